import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import type { Bench, BenchOptions, Scenario, Section, SystemName } from './bench.ts'
import { writeDocs } from './docs.ts'
import { FULL_SIZES, QUICK } from './options.ts'
import { machineFacts, markdownOf } from './report.ts'
import { followCost } from './scenarios/follow-cost.ts'
import { idle } from './scenarios/idle.ts'
import { maxRate } from './scenarios/max-rate.ts'
import { memory } from './scenarios/memory.ts'
import { persister } from './scenarios/persister.ts'
import { presence } from './scenarios/presence.ts'
import { rates } from './scenarios/rates.ts'
import { reconnect } from './scenarios/reconnect.ts'
import { slowHandler } from './scenarios/slow-handler.ts'
import { takeover } from './scenarios/takeover.ts'
import { systemNames, systemsOf } from './systems/all.ts'
import { benchDir, World } from './world.ts'

const scenarios = [rates, maxRate, memory, persister, slowHandler, reconnect, takeover, followCost, presence, idle]
/** Other names of the same runs. */
const ALIASES: Readonly<Record<string, string>> = { latency: 'rates', cpu: 'rates' }

type CliOptions = {
  only?: Scenario[]
  rounds: number
  rates: number[]
  seconds: number
  stepSeconds: number
  warmUp: number
  rooms: number
  systems: SystemName[]
  env: Record<string, string>
  profile?: string
  writeDocs?: boolean
  beside?: string[]
  quick?: boolean
}

const list = (raw: string) => raw.split(',').map((part) => part.trim())

function positive(raw: string): number {
  const value = Number(raw)
  if (!(value > 0)) throw new InvalidArgumentError('a number above 0')
  return value
}

function scenariosNamed(raw: string): Scenario[] {
  const wanted = list(raw).map((name) => ALIASES[name] ?? name)
  const known = scenarios.map(({ name }) => name)
  const unknown = wanted.filter((name) => !known.includes(name))
  if (unknown.length > 0) throw new InvalidArgumentError(`there are ${[...known, ...Object.keys(ALIASES)].join(', ')}`)
  return scenarios.filter(({ name }) => wanted.includes(name))
}

function systemsNamed(raw: string): SystemName[] {
  const wanted = list(raw) as SystemName[]
  if (!wanted.every((name) => systemNames.includes(name))) throw new InvalidArgumentError(`there are ${systemNames.join(', ')}`)
  return wanted
}

const program = new Command('npm run bench --')
  .description('Measures order-chat against its floor and against the usual build, and writes tables and JSON')
  .option('--only <names>', 'scenarios, separated by commas', scenariosNamed)
  .option('--rounds <n>', 'how often everything is measured, in turn', positive, 5)
  .option('--rates <list>', 'messages per second', (raw: string) => list(raw).map(positive), [100, 1_000, 3_000])
  .option('--seconds <n>', 'of each rate', positive, 10)
  .option('--step-seconds <n>', 'of each step up to the highest rate', positive, 15)
  .option('--warm-up <n>', 'seconds before the first rate', positive, 10)
  .option('--rooms <n>', 'of two people', positive, 1_000)
  .option('--systems <names>', systemNames.join(', '), systemsNamed, [...systemNames])
  .option('--env <NAME=value>', 'for our services; may be repeated', (raw: string, all: Record<string, string>) => ({ ...all, [raw.split('=')[0]!]: raw.slice(raw.indexOf('=') + 1) }), {})
  .option('--profile <folder>', 'CPU profiles of our services, for Chrome DevTools')
  .option('--beside <files...>', 'JSON of earlier runs: the scenarios that this run leaves out go into the tables too')
  .option('--write-docs', 'put the tables into docs/benchmarks.md')
  .option('--quick', 'one short round: to see that it works')

function optionsOf(cli: CliOptions): BenchOptions {
  if (cli.quick) return QUICK
  const { rates: perSecond, seconds, stepSeconds, rounds, rooms, warmUp } = cli
  return { ...FULL_SIZES, rounds, seconds, stepSeconds, warmUpSeconds: warmUp, rooms, rates: perSecond, quick: false }
}

async function main(cli: CliOptions): Promise<void> {
  const options = optionsOf(cli)
  const chosen = cli.only ?? scenarios
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      console.error('stopping after what is being measured now; once more to stop at once')
      interrupted.abort(new Error(`interrupted by ${signal}`))
    })
  }
  const startedMs = performance.now()
  const say = (line: string) => console.log(`${((performance.now() - startedMs) / 1_000).toFixed(0).padStart(5)} s  ${line}`)
  const minutes = (seconds: number) => Math.ceil(seconds / 60)
  say(`plan: ${chosen.map((s) => `${s.name} ${minutes(s.estimateS(options))} min`).join(', ')}; about ${minutes(chosen.reduce((sum, s) => sum + s.estimateS(options), 20))} minutes`)
  say('starting Kafka, Postgres, Redis, registry')
  const world = await World.start(interrupted.signal)
  const sections: Record<string, Section> = {}
  try {
    const extraEnv = { ...cli.env, ...(cli.profile && { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${path.resolve(cli.profile)}` }) }
    const bench: Bench = { world, systems: systemsOf(world, { extraEnv }, cli.systems), options, say, signal: interrupted.signal }
    for (const scenario of chosen) {
      if (interrupted.signal.aborted) break
      say(`${scenario.name} …`)
      sections[scenario.name] = await scenario.run(bench).catch((err: unknown) => failedSection(scenario.name, err as Error))
      save(sections, options)
    }
  } finally {
    await world.discard()
  }
  const markdown = markdownOf(inOrder({ ...earlierSections(cli.beside ?? []), ...sections }))
  console.log(`\n${markdown}\n\n${save(sections, options)}`)
  if (interrupted.signal.aborted) process.exitCode = 130
  else if (cli.writeDocs) console.log(writeDocs(markdown, facts, file))
}

type Sections = Readonly<Record<string, Section>>

/** A later file's section takes an earlier one's place. Each says when it was measured. */
function earlierSections(files: readonly string[]): Sections {
  return Object.assign({}, ...files.map((name) => {
    const { facts: then, sections } = JSON.parse(readFileSync(name, 'utf8')) as { facts: typeof facts; sections: Sections }
    const at = `${then.date.slice(0, 16).replace('T', ' ')} UTC`
    const dated = ({ tables, ...rest }: Section): Section => ({ ...rest, tables: tables.map((table) => ({ ...table, title: `${table.title} (run of ${at})` })) })
    return Object.fromEntries(Object.entries(sections).map(([scenario, section]) => [scenario, dated(section)]))
  }))
}

const inOrder = (sections: Sections): Sections => Object.fromEntries(scenarios.flatMap(({ name }) => (sections[name] ? [[name, sections[name]]] : [])))

/** The others go on; the table says it. */
function failedSection(name: string, { message, stack }: Error): Section {
  console.error(`${name} has failed: ${stack}`)
  process.exitCode = 1
  return { verdicts: [{ measure: name, goal: '', measured: `failed: ${message.split('\n')[0]}`, met: false }], tables: [], data: { failed: stack }, warnings: [] }
}

const facts = machineFacts()
const file = path.join(benchDir, `${facts.date.replaceAll(/[:.]/g, '-')}.json`)

/** After each scenario: what was measured stays, whatever comes. */
function save(sections: Readonly<Record<string, Section>>, options: BenchOptions): string {
  mkdirSync(benchDir, { recursive: true })
  writeFileSync(file, JSON.stringify({ facts, options, sections }, null, 1))
  return file
}

await program.action(main).parseAsync()
