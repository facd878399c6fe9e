import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Command } from 'commander'
import type { Bench, BenchOptions, Scenario, Section, SystemName, Systems } from './bench.ts'
import { machineFacts, markdownOf } from './report.ts'
import { followCost } from './scenarios/follow-cost.ts'
import { idle } from './scenarios/idle.ts'
import { maxRate } from './scenarios/max-rate.ts'
import { memory } from './scenarios/memory.ts'
import { persister } from './scenarios/persister.ts'
import { rates } from './scenarios/rates.ts'
import { reconnect } from './scenarios/reconnect.ts'
import { slowHandler } from './scenarios/slow-handler.ts'
import { takeover } from './scenarios/takeover.ts'
import { bareFanOut } from './systems/bare-fan-out.ts'
import { OrderChat } from './systems/order-chat.ts'
import { rawTwoHops } from './systems/raw-two-hops.ts'
import { usualBuild } from './systems/usual-build.ts'
import { benchDir, World } from './world.ts'

const scenarios = [rates, maxRate, memory, persister, slowHandler, reconnect, takeover, followCost, idle]
/** Other names of the same runs. */
const ALIASES: Readonly<Record<string, string>> = { latency: 'rates', cpu: 'rates' }

/** Nothing but: does it work. */
const QUICK: BenchOptions = {
  rounds: 1, seconds: 2, warmUpSeconds: 1, rooms: 50, rates: [100], stepSeconds: 1, idleSeconds: 2, settleSeconds: 2, followSeconds: 2,
  sockets: 200, crowd: 100, persistedMessages: 2_000, takeoverRooms: 1_000, quick: true,
}

type CliOptions = {
  warmUp: number
  stepSeconds: number
  only?: string[]
  rounds: number
  rates: number[]
  seconds: number
  rooms: number
  systems: SystemName[]
  env: Record<string, string>
  quick?: boolean
}

const list = (raw: string) => raw.split(',').map((part) => part.trim())

const program = new Command('npm run bench --')
  .description('Measures order-chat against its floor and against the usual build, and writes tables and JSON')
  .option('--only <names>', 'scenarios, separated by commas', list)
  .option('--rounds <n>', 'how often everything is measured, in turn', Number, 5)
  .option('--rates <list>', 'messages per second', (raw: string) => list(raw).map(Number), [100, 1_000, 3_000])
  .option('--seconds <n>', 'of each rate', Number, 10)
  .option('--warm-up <n>', 'seconds before the first rate', Number, 10)
  .option('--step-seconds <n>', 'of each step up to the highest rate', Number, 15)
  .option('--rooms <n>', 'of two people', Number, 1_000)
  .option('--systems <names>', 'order-chat, raw, usual, fan-out', list as never, ['order-chat', 'raw', 'usual', 'fan-out'] as SystemName[])
  .option('--env <NAME=value>', 'for our services; may be repeated', (raw: string, all: Record<string, string>) => ({ ...all, [raw.split('=')[0]!]: raw.slice(raw.indexOf('=') + 1) }), {})
  .option('--quick', 'one short round: to see that it works')

function optionsOf(cli: CliOptions): BenchOptions {
  const { rates: perSecond, seconds, rounds, rooms } = cli
  if (cli.quick) return QUICK
  const sizes = { idleSeconds: 30, settleSeconds: 15, followSeconds: 10, sockets: 10_000, crowd: 5_000, persistedMessages: 100_000, takeoverRooms: 100_000 }
  return { rounds, seconds, warmUpSeconds: cli.warmUp, rooms, rates: perSecond, stepSeconds: cli.stepSeconds, ...sizes, quick: false }
}

function chosenBy(only: readonly string[] | undefined): Scenario[] {
  const wanted = only?.map((name) => ALIASES[name] ?? name)
  const unknown = wanted?.filter((name) => !scenarios.some((scenario) => scenario.name === name)) ?? []
  if (unknown.length > 0) throw new Error(`no scenario ${unknown.join(', ')}; there are ${[...scenarios.map(({ name }) => name), ...Object.keys(ALIASES)].join(', ')}`)
  return scenarios.filter(({ name }) => !wanted || wanted.includes(name))
}

function systemsOf(world: World, { systems, env }: CliOptions): Systems {
  const all = {
    'order-chat': () => new OrderChat(world, { extraEnv: env }),
    raw: () => rawTwoHops(world),
    usual: () => usualBuild(world),
    'fan-out': () => bareFanOut(world),
  }
  return Object.fromEntries(systems.map((name) => [name, all[name]()]))
}

async function main(cli: CliOptions): Promise<void> {
  const options = optionsOf(cli)
  const chosen = chosenBy(cli.only)
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => interrupted.abort(new Error(signal)))
  const startedMs = performance.now()
  const say = (line: string) => console.log(`${((performance.now() - startedMs) / 1_000).toFixed(0).padStart(5)} s  ${line}`)
  const estimateS = chosen.reduce((sum, scenario) => sum + scenario.estimateS(options), 20)
  say(`plan: ${chosen.map((s) => `${s.name} ${Math.ceil(s.estimateS(options) / 60)} min`).join(', ')}; about ${Math.ceil(estimateS / 60)} minutes`)
  say('starting Kafka, Postgres, Redis, registry')
  const world = await World.start(interrupted.signal)
  const sections: Record<string, Section> = {}
  try {
    const bench: Bench = { world, systems: systemsOf(world, cli), options, say, signal: interrupted.signal }
    for (const scenario of chosen) {
      interrupted.signal.throwIfAborted()
      say(`${scenario.name} …`)
      sections[scenario.name] = await scenario.run(bench).catch((err: unknown): Section => failedSection(scenario.name, err))
    }
  } finally {
    await world.discard()
  }
  report(sections, options)
}

function failedSection(name: string, err: unknown): Section {
  const { message, stack } = err as Error
  console.error(`${name} has failed: ${stack}`)
  return { verdicts: [{ measure: name, goal: '', measured: `failed: ${message.split('\n')[0]}`, met: false }], tables: [], data: { failed: stack }, warnings: [] }
}

function report(sections: Readonly<Record<string, Section>>, options: BenchOptions): void {
  const facts = machineFacts()
  mkdirSync(benchDir, { recursive: true })
  const file = path.join(benchDir, `${facts.date.replaceAll(/[:.]/g, '-')}.json`)
  writeFileSync(file, JSON.stringify({ facts, options, sections }, null, 1))
  console.log(`\n${markdownOf(sections)}\n${file}`)
}

await program.action(main).parseAsync()
