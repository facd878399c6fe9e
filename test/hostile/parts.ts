import { System } from '../support/system.ts'
import type { Stack } from '../support/stack.ts'
import { runFloods } from './floods/run.ts'
import { fuzzDirectly } from './fuzz/direct.ts'
import { fuzzHandshakes } from './fuzz/handshakes.ts'
import { fuzzEnv, fuzzSockets } from './fuzz/socket.ts'
import { Issuer } from './jwt/issuer.ts'
import { runKeyFlood } from './jwt/key-flood.ts'
import { runJwtMatrix } from './jwt/matrix.ts'
import { runAutobahn } from './protocol/autobahn.ts'
import { runRawCases } from './protocol/raw.ts'
import { NoSuiteError } from './protocol/suite.ts'
import { Report, type Run } from './report.ts'

export type Part = (run: Run, stack: () => Promise<Stack>) => Promise<Report[]>

const COOLDOWN_MS = 1_000
const wide = { EDGE_CONNECTIONS_PER_USER_MAX: '100000', EDGE_REQUESTS_PER_SECOND_USER: '1000000' }

/** One edge with what it needs, on topics and a database of its own. */
async function withSystem<T>(stack: Stack, name: string, env: Readonly<Record<string, string>>, work: (system: System) => Promise<T>): Promise<T> {
  const system = await System.start(stack, `hostile-${name}`, { count: { edge: 1 }, env })
  try {
    return await work(system)
  } finally {
    await system.close()
  }
}

export const jwt: Part = async (run, stack) => {
  const issuer = await Issuer.start()
  try {
    const env = { ...wide, AUTH_JWKS_URL: issuer.url, AUTH_JWKS_COOLDOWN_MS: String(COOLDOWN_MS), LOG_LEVEL: 'debug' }
    return await withSystem(await stack(), 'jwt', env, async (system) => {
      const matrix = await run.progress.step('tokens of every kind by every way', () => runJwtMatrix(system, issuer))
      const options = { cooldownMs: COOLDOWN_MS, ...(run.quick ? { seconds: 1.5, perSecond: 200 } : { seconds: 10, perSecond: 300 }) }
      return [matrix, await run.progress.step('floods of unknown kids', () => runKeyFlood(system, issuer, options))]
    })
  } finally {
    issuer.close()
  }
}

/** How many frames go where: a socket takes a thousandth of a second each, the rules alone a tenth of that. */
const FRAMES = { direct: 900_000, socket: 100_000, handshakes: 5_000 } as const
const QUICK_FRAMES = { direct: 20_000, socket: 3_000, handshakes: 300 } as const

export const fuzz: Part = async ({ quick, seed, progress }, stack) => {
  const counts = quick ? QUICK_FRAMES : FRAMES
  const direct = await progress.step(`${counts.direct.toLocaleString('en')} frames into the edge's rules`, (note) => fuzzDirectly(counts.direct, seed, note))
  const bySocket = await withSystem(await stack(), 'fuzz', { ...wide, ...fuzzEnv }, async (system) => [
    await progress.step('handshakes of any shape', () => fuzzHandshakes(system, counts.handshakes, seed)),
    await progress.step(`${counts.socket.toLocaleString('en')} frames through sockets`, (note) => fuzzSockets(system, counts.socket, seed, note)),
  ])
  return [direct, ...bySocket]
}

export const autobahn: Part = async ({ quick, progress }) => {
  const raw = await progress.step('raw frames', () => runRawCases())
  // Takes Python 2.7 and some minutes.
  if (quick) return [raw]
  try {
    return [raw, await runAutobahn(progress)]
  } catch (err) {
    if (!(err instanceof NoSuiteError)) throw err
    const report = new Report('autobahn')
    report.notRun.push({ name: "Autobahn's own cases", why: `${err.message}; the raw frames above are in their place` })
    return [raw, report]
  }
}

export const floods: Part = async (run, stack) =>
  // With the limits that an edge has by default; only rooms may be filled at the pace of a test.
  withSystem(await stack(), 'floods', {}, async (system) => [await runFloods(system, run)])
