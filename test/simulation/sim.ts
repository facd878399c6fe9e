import { availableParallelism } from 'node:os'
import { Command, InvalidArgumentError } from 'commander'
import { runSeeds, type Total } from './crew.ts'
import { type Mutation, mutations } from './mutations.ts'
import { plant } from './plant.ts'
import type { RunResult } from './run.ts'

type Options = { readonly seeds: number; readonly from: number; readonly workers: number; readonly seed?: number; readonly mutations?: true | string; readonly digest?: true; readonly plant?: string }

const MUTATION_SEEDS_MAX = 2_000
const startedMs = performance.now()
/** Before a run takes the clock away. */
const now = performance.now.bind(performance)
const seconds = (): number => (now() - startedMs) / 1_000

/** One seed again, with all that happened. */
async function replay(seed: number, digestOnly: boolean, planted: string | undefined): Promise<boolean> {
  if (planted !== undefined) plant(mutations.find(({ name }) => name.includes(planted))!)
  const { runSeed } = await import('./run.ts')
  const result = await runSeed(seed, { keepTrace: !digestOnly })
  if (!digestOnly) for (const line of result.trace) console.log(line)
  console.log(`seed ${seed}: ${result.events} events, digest ${result.digest}`)
  if (result.violation) console.log(`violated: ${result.violation.invariant}: ${result.violation.message}`)
  return result.violation === undefined
}

function say({ runs, events, virtualMs }: Total): string {
  return `${runs} runs, ${events} events, ${(virtualMs / 3_600_000).toFixed(1)} h of simulated time in ${seconds().toFixed(1)} s: ${(runs / seconds()).toFixed(1)} runs/s`
}

function tell({ seed, violation, trace, digest }: RunResult): void {
  console.log(`\nThe last events of seed ${seed}:`)
  for (const line of trace) console.log(`  ${line}`)
  console.log(`\nSeed ${seed} (digest ${digest}) violates "${violation!.invariant}": ${violation!.message}`)
  console.log(`Again, with all its events: npm run sim -- --seed ${seed}`)
}

async function many({ seeds, from, workers }: Options): Promise<boolean> {
  let saidS = 0
  const onProgress = (total: Total) => {
    if (seconds() - saidS < 5) return
    saidS = seconds()
    console.log(say(total))
  }
  const { total, failed } = await runSeeds(from, from + seeds - 1, workers, { onProgress })
  console.log(say(total))
  if (failed) tell(failed)
  else console.log('Every invariant held.')
  return !failed
}

/** Each planted bug until it is found. False where one was not. */
async function plantAll({ workers, mutations: only, from, seeds }: Options): Promise<boolean> {
  const chosen = mutations.filter(({ name }) => typeof only !== 'string' || name.includes(only))
  const max = Math.min(seeds, MUTATION_SEEDS_MAX)
  const missed: string[] = []
  const waiting = [...chosen]
  const hunt = async (): Promise<void> => {
    for (let mutation: Mutation | undefined; (mutation = waiting.shift()); ) {
      const { failed, total } = await runSeeds(from, from + max - 1, 1, { mutation })
      if (!failed) missed.push(mutation.name)
      console.log(failed ? `${String(failed.seed - from + 1).padStart(5)}  ${mutation.name} (${failed.violation!.invariant}: ${failed.violation!.message.slice(0, 120)})` : `    –  ${mutation.name}: not found in ${total.runs} runs`)
    }
  }
  await Promise.all(Array.from({ length: workers }, hunt))
  console.log(`${chosen.length - missed.length} of ${chosen.length} planted bugs found in ${seconds().toFixed(0)} s`)
  return missed.length === 0
}

function count(raw: string): number {
  if (!/^\d{1,9}$/.test(raw)) throw new InvalidArgumentError('a whole number')
  return Number(raw)
}

const program = new Command('sim')
  .description('The real code in a simulated world: every interleaving and every fault by seed')
  .option('--seeds <n>', 'how many runs', count, 1_000)
  .option('--from <seed>', 'the first seed', count, 1)
  .option('--workers <n>', 'threads', count, availableParallelism())
  .option('--seed <seed>', 'one run, with everything that happens in it', count)
  .option('--digest', 'with --seed: only the digest of its history')
  .option('--plant <part of a name>', 'with --seed: with this bug in it')
  .option('--mutations [part of a name]', 'plant each known bug in turn, and see that it is found')
  .action(async (options: Options) => {
    const isGood = options.seed !== undefined ? await replay(options.seed, options.digest ?? false, options.plant) : options.mutations !== undefined ? await plantAll(options) : await many(options)
    process.exitCode = isGood ? 0 : 1
  })

await program.parseAsync()
