import { setTimeout as pause } from 'node:timers/promises'
import type { System } from '../../support/system.ts'
import { rawRequest, upgradeHeaders } from '../raw-http.ts'
import { Report } from '../report.ts'
import { claimsOf, type Issuer, type Key, newKey, signed } from './issuer.ts'
import { portOf } from './matrix.ts'

export type KeyFloodOptions = { readonly cooldownMs: number; readonly seconds: number; readonly perSecond: number }

/** Tokens with a `kid` that nobody knows, each another one: the issuer is asked at most once per cooldown, and nobody else notices. */
export async function runKeyFlood(system: System, issuer: Issuer, options: KeyFloodOptions): Promise<Report> {
  const report = new Report('jwt')
  const forger = await newKey('forged', 'ES256')
  for (const [name, status, delayMs] of [['which answers at once', 200, 0], ['which takes 300 ms', 200, 300], ['which fails', 500, 0]] as const) {
    issuer.status = status
    issuer.delayMs = delayMs
    const wave = await flood(system, issuer, forger, options)
    const max = Math.ceil((wave.seconds * 1_000) / options.cooldownMs) + 1
    const { sent, fetches, gapMs, answers, goodRefused } = wave
    report.check(`key flood at an issuer ${name}: one fetch per cooldown`, fetches <= max && gapMs >= options.cooldownMs * 0.9, `${fetches} fetches, at least ${Math.round(gapMs)} ms apart, for ${sent} tokens in ${wave.seconds.toFixed(1)} s (cooldown ${options.cooldownMs} ms)`)
    const strange = [...answers].filter(([status]) => status !== 401 && status !== 503)
    report.check(`key flood at an issuer ${name}: each refused, good tokens let in`, strange.length === 0 && goodRefused === 0, `${JSON.stringify(Object.fromEntries(answers))}, ${goodRefused} good ones refused`)
  }
  issuer.status = 200
  issuer.delayMs = 0
  return report
}

async function flood(system: System, issuer: Issuer, forger: Key, { seconds, perSecond }: KeyFloodOptions) {
  const before = issuer.askedAtMs.length
  const answers = new Map<number, number>()
  const startMs = performance.now()
  const pending: Promise<void>[] = []
  let goodRefused = 0
  let sent = 0
  const attempt = async (token: string) => {
    const { status, socket } = await rawRequest(portOf(system), '/ws/chat', [...upgradeHeaders, ['Authorization', `Bearer ${token}`]])
    socket.destroy()
    return status
  }
  while (performance.now() - startMs < seconds * 1_000) {
    const due = ((performance.now() - startMs) / 1_000) * perSecond
    for (; sent < due; sent++) {
      const n = sent
      pending.push(signed(claimsOf('customer'), { ...forger, kid: `kid-${startMs}-${n}` }).then(attempt).then((status) => void answers.set(status, (answers.get(status) ?? 0) + 1)))
      if (n % 50 === 0) pending.push(issuer.token(`good-${n}`, { jti: `${startMs}-${n}` }).then(attempt).then((status) => void (goodRefused += status === 101 ? 0 : 1)))
    }
    await pause(5)
  }
  await Promise.all(pending)
  const asked = issuer.askedAtMs.slice(before)
  const gapMs = Math.min(...asked.slice(1).map((atMs, i) => atMs - asked[i]!), Number.POSITIVE_INFINITY)
  return { sent, fetches: asked.length, gapMs, answers, goodRefused, seconds: (performance.now() - startMs) / 1_000 }
}
