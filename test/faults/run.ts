import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command, InvalidArgumentError } from 'commander'
import { seededRandom } from '#libs/streams/memory-log.ts'
import { lineProgress } from '../../deploy/local/progress.ts'
import { startOwnStack } from '../support/own-stack.ts'
import { playRound, type RoundResult } from './harness/round.ts'
import { World } from './harness/world.ts'
import { tableOf } from './report.ts'
import { type Scenario, scenarios } from './scenarios/index.ts'

/** `npm run faults`: faults on a real stack of its own, and what an independent checker says to it. */
type Options = { only?: string[]; kills?: number; times?: number; seed: number; quick: boolean; out: string }

const root = fileURLToPath(new URL('../../', import.meta.url))
const BROKERS = 3

const startedMs = Date.now()
const say = (text: string): void => console.log(`${((Date.now() - startedMs) / 1_000).toFixed(0).padStart(5)} s  ${text}`)

function parseCount(raw: string): number {
  if (!/^\d{1,9}$/.test(raw) || raw === '0') throw new InvalidArgumentError('a number from 1')
  return Number(raw)
}

function parseNames(raw: string, before: string[] = []): string[] {
  const names = raw.split(',')
  const wrong = names.find((name) => !scenarios.some((scenario) => scenario.name === name))
  if (wrong !== undefined) throw new InvalidArgumentError(`there is no "${wrong}", only: ${scenarios.map(({ name }) => name).join(', ')}`)
  return [...before, ...names]
}

async function faults(options: Options): Promise<void> {
  const chosen = scenarios.filter(({ name }) => !options.only || options.only.includes(name))
  say(`seed ${options.seed}: ${chosen.map(({ name }) => name).join(', ')}`)
  const { stack, close } = await startOwnStack(BROKERS, lineProgress((line) => say(`stack: ${line}`)))
  const results = new Map<Scenario, RoundResult>()
  try {
    const world = await World.open(stack, path.join(options.out, 'histories'))
    try {
      for (const scenario of chosen) results.set(scenario, await play(world, scenario, options))
    } finally {
      await world.close()
    }
  } finally {
    await close()
  }
  report(results, options)
}

async function play(world: World, scenario: Scenario, { quick, kills, times: wanted, seed }: Options): Promise<RoundResult> {
  const { name, what, fault } = scenario
  const times = (name === 'kill' ? kills : undefined) ?? wanted ?? scenario.times[quick ? 'quick' : 'full']
  say(`${name}: ${what}, ${times} times`)
  const result = await playRound(world, { name, times, fault, random: seededRandom(seed), say: (text) => say(`  ${name}: ${text}`) })
  for (const text of [...result.unasked, ...result.violations.slice(0, 20).map((violation) => `VIOLATION ${violation}`)]) say(`  ${name}: ${text}`)
  say(`${name}: ${result.violations.length === 0 ? 'held' : `${result.violations.length} VIOLATIONS`} after ${result.seconds} s`)
  return result
}

function report(results: ReadonlyMap<Scenario, RoundResult>, { seed, out }: Options): void {
  const rows = [...results].map(([{ name, what }, result]) => ({ name, what, ...result }))
  mkdirSync(out, { recursive: true })
  const file = path.join(out, 'result.json')
  writeFileSync(file, `${JSON.stringify({ seed, startedAt: new Date(startedMs).toISOString(), seconds: Math.round((Date.now() - startedMs) / 1_000), scenarios: rows }, null, 2)}\n`)
  console.log(`\n${tableOf(rows)}\n\nseed ${seed}; figures and violations: ${file}`)
  if (rows.some(({ violations }) => violations.length > 0)) process.exitCode = 1
}

await new Command('npm run faults --')
  .description('Play faults on a real stack and compare what clients, Postgres and the topic say afterwards. Exit code 1: something did not hold')
  .option('--only <scenario>', `only these, comma between them: ${scenarios.map(({ name }) => name).join(', ')}`, parseNames)
  .option('--kills <n>', 'how many SIGKILLs in the scenario "kill"', parseCount)
  .option('--times <n>', 'how many faults in each scenario', parseCount)
  .option('--seed <n>', 'of the random timing', parseCount, Math.floor(Math.random() * 1_000_000) + 1)
  .option('--quick', 'one short round of each', false)
  .option('--out <folder>', 'where histories and results go', path.join(root, '.local/faults', new Date(startedMs).toISOString().replaceAll(':', '-')))
  .action(faults)
  .parseAsync()
