import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { System } from '../../support/system.ts'
import { sampleMachine, takenByOthers } from '../../bench/procfs.ts'
import { spreadOf } from '../../bench/stats.ts'
import { troublesOf } from '../fuzz/socket.ts'
import { portOf } from '../jwt/matrix.ts'
import { Report, type Run } from '../report.ts'
import { type AttackName, attacks, type Counts, type Target } from './attacks.ts'
import { type Healthy, measure, openHealthy, type Round, type Traffic } from './healthy.ts'

const attackerFile = fileURLToPath(new URL('./attacker.ts', import.meta.url))
const RATIO_MAX = 1.2
const ROOMS = 30
/** 5 % of the healthy sockets. */
const STALLED = 3
const BUSY_ROOMS = 3
const BUSY_VENDOR = 'vendor-of-busy-rooms'
/** Below what one sender may send into one room. */
const BUSY_PER_SECOND = 18
/** A socket's buffers in the kernel take some MB before the edge's own do. */
const HEAVY = '𝄞'.repeat(3_900)

type Plan = { readonly seconds: number; readonly rounds: number; readonly heavy?: true; readonly expected: (counts: Counts) => string | undefined }

const needs = (...whats: readonly string[]) => (counts: Counts) => {
  const missing = whats.filter((what) => !(counts[what]! > 0))
  return missing.length === 0 ? undefined : `never ${missing.join(', ')}`
}
const short = { seconds: 5, rounds: 2 }

/** How long each goes on, and what must come of it. */
const plans: Readonly<Record<AttackName, Plan>> = {
  'a flood of requests': { ...short, expected: needs('closed with 4020') },
  'a flood of garbage': { ...short, expected: needs('closed with 4502') },
  'frames above the limit': { ...short, expected: (counts) => (['closed with 1006', 'closed with 1009'].some((code) => counts[code]! > 0) ? undefined : 'never cut') },
  'a flood of WebSocket pings': { ...short, expected: needs('frames') },
  'joins of unknown rooms': { ...short, expected: needs('frames', 'status 404') },
  'connect and disconnect': { ...short, expected: needs('status 101') },
  'header bombs': { ...short, expected: (counts) => (Object.keys(counts).every((what) => ['closed', 'status 431', 'failed'].includes(what)) ? undefined : 'let in') },
  'no HTTP': { ...short, expected: (counts) => (Object.keys(counts).every((what) => what === 'closed' || /status (400|505)/.test(what)) ? undefined : 'answered') },
  'half-open connections': { seconds: 12, rounds: 1, expected: needs('closed by the edge') },
  'slowloris handshakes': { seconds: 12, rounds: 1, expected: needs('closed by the edge') },
  'who asks and never reads': { seconds: 8, rounds: 1, expected: needs('frames') },
  '5 % of all sockets stalled': { seconds: 20, rounds: 1, heavy: true, expected: (counts) => (counts['closed with 4001'] === STALLED ? undefined : `not all closed with 4001`) },
}

/** Of the short form: one of each kind. */
const quickAttacks: readonly AttackName[] = ['a flood of requests', 'frames above the limit', 'joins of unknown rooms', 'connect and disconnect']

type Field = { readonly system: System; readonly target: Target; readonly light: Traffic; readonly heavy: Traffic }
type Outcome = { readonly attack: AttackName; readonly counts: Counts; readonly undisturbed: readonly Round[]; readonly disturbed: readonly Round[] }

/** Attack by attack, in turn with rounds of peace: what the people who do nothing wrong notice, and what the edge keeps. */
export async function runFloods(system: System, { quick, progress }: Run): Promise<Report> {
  const report = new Report('floods')
  const pairs = await openHealthy(system, ROOMS, BUSY_ROOMS, BUSY_VENDOR)
  const field = await fieldOf(system, pairs)
  await measure(system, [field.light], quick ? 1 : 20)
  const outcomes: Outcome[] = []
  const before = sampleMachine()
  for (const attack of quick ? quickAttacks : (Object.keys(attacks) as AttackName[])) {
    const plan = quick ? { ...plans[attack], rounds: 1, seconds: 1 } : plans[attack]
    const outcome = await progress.step(attack, () => underAttack(field, attack, plan))
    outcomes.push(outcome)
    const told = report.checks.length
    judge(report, outcome, plan, quick)
    for (const { name, ok, detail } of report.checks.slice(told)) progress.say(`  ${ok ? 'ok' : 'FAILED'} ${name}: ${detail}`)
  }
  const slow = await system.process('edge-1').metricSum('websocket_closes_total{code="slow_consumer"')
  const logged = system.process('edge-1').log().split('\n').filter((line) => line.includes('"code":"slow_consumer"')).length
  if (!quick) report.check('slow sockets are counted and logged by their code', slow >= STALLED && logged === slow, `${slow} in websocket_closes_total, ${logged} in the log`)
  report.none('the processes live and have logged no error', troublesOf(system), [...system.processes.keys()].join(', '))
  report.none('no healthy socket was closed', pairs.flatMap(({ orderId, sender, receiver }) => (sender.closed || receiver.closed ? [orderId] : [])), `${pairs.length * 2} sockets`)
  report.figures['attacks'] = outcomes
  report.figures['machineTakenByOthers'] = takenByOthers(before, sampleMachine())
  progress.say(`  other programs had ${Math.round(Number(report.figures['machineTakenByOthers']) * 100)} % of the machine meanwhile`)
  return report
}

async function fieldOf(system: System, pairs: readonly Healthy[]): Promise<Field> {
  const strangers = await Promise.all(Array.from({ length: 40 }, (_, i) => system.token(`stranger-${i}`)))
  const [crowded, others] = [pairs.slice(0, BUSY_ROOMS), pairs.slice(BUSY_ROOMS)]
  const target = { port: portOf(system), strangers, busy: { token: await system.token(BUSY_VENDOR), orderIds: crowded.map(({ orderId }) => orderId), sockets: STALLED } }
  return { system, target, light: { perSecond: 240, content: 'x'.repeat(200), pairs: others }, heavy: { perSecond: BUSY_PER_SECOND * BUSY_ROOMS, content: HEAVY, pairs: crowded } }
}

async function underAttack({ system, target, light, heavy }: Field, attack: AttackName, { seconds, rounds, heavy: isHeavy }: Plan): Promise<Outcome> {
  const traffics = isHeavy ? [light, heavy] : [light]
  const undisturbed = [await measure(system, traffics, seconds)]
  const disturbed: Round[] = []
  const counts: Counts = {}
  for (let i = 0; i < rounds; i++) {
    const attacker = fork(attackerFile, [], { execArgv: ['--disable-warning=ExperimentalWarning'] })
    attacker.send({ attack, target })
    // It has to come up to its rate first.
    await pause(500)
    disturbed.push(await measure(system, traffics, seconds))
    for (const [what, n] of Object.entries(await stopped(attacker))) counts[what] = (counts[what] ?? 0) + n
    await pause(500)
    undisturbed.push(await measure(system, traffics, seconds))
  }
  return { attack, counts, undisturbed, disturbed }
}

async function stopped(attacker: ChildProcess): Promise<Counts> {
  const told = once(attacker, 'message') as Promise<[Counts]>
  const ended = once(attacker, 'exit').then(([code]) => {
    throw new Error(`the attacker ended with ${code} before it told what it had done`)
  })
  attacker.send({})
  const [counts] = await Promise.race([told, ended])
  ended.catch(() => {})
  return counts
}

function judge(report: Report, { attack, counts, undisturbed, disturbed }: Outcome, { expected }: Plan, quick: boolean): void {
  const all = [...undisturbed, ...disturbed]
  const lost = all.reduce((sum, round) => sum + round.lost, 0)
  const unmet = quick ? undefined : expected(counts)
  report.check(`${attack}: nothing is lost, the attacker is dealt with`, lost === 0 && unmet === undefined, `${lost} messages lost; ${JSON.stringify(counts)}${unmet === undefined ? '' : `; ${unmet}`}`)
  const of = (rounds: readonly Round[], what: 'p99Ms' | 'rssMb') => spreadOf(rounds.map((round) => round[what]))
  for (const [what, unit] of [['p99Ms', 'ms'], ['rssMb', 'MB']] as const) {
    const [peace, attackd] = [of(undisturbed, what), of(disturbed, what)]
    const ratio = attackd.median / peace.median
    const detail = `${attackd.median.toFixed(1)} ${unit} (${attackd.min.toFixed(1)}–${attackd.max.toFixed(1)}) against ${peace.median.toFixed(1)} (${peace.min.toFixed(1)}–${peace.max.toFixed(1)}): ${ratio.toFixed(2)}×`
    // In a second or two and with other programs about, only what is out of all proportion tells anything; and rounds of
    // peace that differ by more than the limit among themselves cannot show that it was passed.
    const holds = ratio <= (quick ? (what === 'p99Ms' ? 50 : 2) : RATIO_MAX)
    const isNoise = !holds && attackd.median <= peace.max
    report.check(`${attack}: ${what === 'p99Ms' ? 'p99 of the healthy' : "the edge's memory"}`, holds || isNoise, `${detail}${isNoise ? ', within what rounds of peace differ by' : ''}`)
  }
}
