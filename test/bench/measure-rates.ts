import type { Bench, SystemName } from './bench.ts'
import { Pair, type Run } from './generator/pair.ts'
import { cpuBetween, residentMb, sampleCpu, sampleMachine, takenByOthers } from './procfs.ts'
import { quantilesOf, type Quantiles } from './stats.ts'
import type { System } from './systems/system.ts'

/** One system at one rate in one round. */
export type RateResult = {
  readonly system: SystemName
  readonly rate: number
  readonly round: number
  readonly sent: number
  readonly delivered: number
  readonly duplicates: number
  readonly latencyMs: Quantiles
  readonly ackMs: Quantiles
  /** Of the generator behind its own schedule. */
  readonly latenessMs: Quantiles
  /** Seconds per 1,000 delivered messages, by process. */
  readonly cpu: Readonly<Record<string, number>>
  readonly generatorCpu: number
  readonly residentMb: Readonly<Record<string, number>>
  /** Part of the machine that was not ours meanwhile. */
  readonly takenByOthers: number
  readonly troubles: readonly string[]
}

/** A generator that is later than this at its 99th percentile is itself what is measured. */
const LATE_MS = 20

export const isGeneratorsLimit = (result: Pick<RateResult, 'latenessMs'>): boolean => result.latenessMs.p99 > LATE_MS

/** Every system at every rate, in turn, round after round. */
export async function measureRates(bench: Bench, names: readonly SystemName[], rates: readonly number[]): Promise<RateResult[]> {
  const { options, systems, say, signal } = bench
  const results: RateResult[] = []
  for (let round = 1; round <= options.rounds; round++) {
    for (const name of names) {
      const system = systems[name]
      if (!system) continue
      await withSystem(bench, system, `r${round}`, async (pair) => {
        await pair.play({ rate: options.quick ? 200 : 1_000, seconds: options.warmUpSeconds, seed: 7 })
        for (const rate of rates) {
          signal.throwIfAborted()
          const result = await measureOne(system, name, pair, { rate, seconds: options.seconds, round })
          results.push(result)
          say(`  round ${round}, ${name} at ${rate}/s: p50 ${result.latencyMs.p50.toFixed(2)}, p99 ${result.latencyMs.p99.toFixed(2)} ms, ${sum(result.cpu).toFixed(3)} CPU s per 1,000`)
        }
      })
    }
  }
  return results
}

/** Starts it, opens its rooms, and ends both whatever happens. */
export async function withSystem<T>({ options }: Pick<Bench, 'options'>, system: System, prefix: string, work: (pair: Pair) => Promise<T>): Promise<T> {
  const pair = new Pair()
  try {
    await system.start()
    await pair.connect(await system.openRooms(options.rooms, prefix))
    return await work(pair)
  } finally {
    await pair.end()
    await system.stop()
  }
}

async function measureOne(system: System, name: SystemName, pair: Pair, { rate, seconds, round }: { rate: number; seconds: number; round: number }): Promise<RateResult> {
  const generators = new Map([['sender', pair.sender.pid], ['receiver', pair.receiver.pid]])
  const pids = system.pids()
  const machine = sampleMachine()
  const before = [sampleCpu(pids), sampleCpu(generators)] as const
  const run = await pair.play({ rate, seconds, seed: round * 1_000 + rate })
  const after = [sampleCpu(pids), sampleCpu(generators)] as const
  const per1000 = (seconds: number) => (seconds / run.delivered) * 1_000
  return {
    system: name,
    rate,
    round,
    ...summaryOf(run),
    cpu: Object.fromEntries([...cpuBetween(before[0], after[0])].map(([process, s]) => [process, per1000(s)])),
    generatorCpu: per1000([...cpuBetween(before[1], after[1]).values()].reduce((a, b) => a + b, 0)),
    takenByOthers: takenByOthers(machine, sampleMachine()),
    residentMb: Object.fromEntries(residentMb(pids)),
  }
}

export function summaryOf(run: Run) {
  return {
    sent: run.dueMs.length,
    delivered: run.delivered,
    duplicates: run.duplicates,
    latencyMs: quantilesOf(run.latencyMs),
    ackMs: quantilesOf(run.ackMs),
    latenessMs: quantilesOf(run.latenessMs),
    troubles: run.troubles,
  }
}

export const sum = (of: Readonly<Record<string, number>>): number => Object.values(of).reduce((a, b) => a + b, 0)
