import type { Bench, BenchOptions, Scenario, Section, SystemName, Table, Verdict } from '../bench.ts'
import { isGeneratorsLimit, measureRates, type RateResult, sum } from '../measure-rates.ts'
import { formatted, formattedSpread, ratiosOf, spreadOf } from '../stats.ts'

const NAMES = ['order-chat', 'rooms-only', 'raw', 'usual', 'fan-out'] as const

/** Where others had more of the machine than this, the figures say it. */
const OTHERS_MAX = 0.05

/** Latency and CPU come out of the same runs. */
export const rates: Scenario = {
  name: 'rates',
  estimateS: (options) => options.rounds * NAMES.length * (14 + options.warmUpSeconds + options.rates.length * (options.seconds + 1)),
  async run(bench) {
    const results = await measureRates(bench, NAMES, bench.options.rates)
    return sectionOf(results, bench.options)
  },
}

function sectionOf(results: readonly RateResult[], options: BenchOptions): Section {
  return {
    verdicts: [...latencyVerdicts(results), ...cpuVerdicts(results)],
    tables: [latencyTable(results, options), cpuTable(results, options), cpuByProcess(results, options), memoryTable(results)],
    data: results,
    warnings: warningsOf(results),
  }
}

const of = (results: readonly RateResult[], system: SystemName, rate: number) => results.filter((r) => r.system === system && r.rate === rate)

function latencyVerdicts(results: readonly RateResult[]): Verdict[] {
  const p = (system: SystemName, rate: number, key: 'p50' | 'p99') => of(results, system, rate).map((r) => r.latencyMs[key])
  const verdicts: Verdict[] = []
  const compare = (rate: number, key: 'p50' | 'p99', other: SystemName, otherName: string, max: number) => {
    const [ours, theirs] = [p('order-chat', rate, key), p(other, rate, key)]
    if (ours.length === 0 || theirs.length === 0) return
    const ratio = ratiosOf(ours, theirs)
    verdicts.push({
      measure: `${key} at ${rate.toLocaleString('en')} msg/s against ${otherName}`,
      goal: max === 1 ? 'below' : `≤ ${max}×`,
      measured: `${formatted(spreadOf(ours).median)} ms against ${formatted(spreadOf(theirs).median)} ms: ${formattedSpread(ratio)}×`,
      met: max === 1 ? ratio.median < 1 : ratio.median <= max,
    })
  }
  compare(1_000, 'p50', 'raw', 'raw two hops', 1.3)
  compare(1_000, 'p99', 'raw', 'raw two hops', 1.5)
  compare(3_000, 'p99', 'usual', 'the usual build', 1)
  return verdicts
}

function cpuVerdicts(results: readonly RateResult[]): Verdict[] {
  return ratesIn(results).flatMap((rate) => {
    const [ours, theirs] = [of(results, 'order-chat', rate), of(results, 'usual', rate)].map((rs) => rs!.map((r) => sum(r.cpu)))
    if (ours!.length === 0 || theirs!.length === 0) return []
    const ratio = ratiosOf(ours!, theirs!)
    return [{
      measure: `server CPU seconds per 1,000 delivered at ${rate.toLocaleString('en')} msg/s`,
      goal: "at or below the usual build's",
      measured: `${formatted(spreadOf(ours!).median)} s against ${formatted(spreadOf(theirs!).median)} s: ${formattedSpread(ratio)}×`,
      met: ratio.median <= 1,
    }]
  })
}

const ratesIn = (results: readonly RateResult[]) => [...new Set(results.map((r) => r.rate))].toSorted((a, b) => a - b)

function latencyTable(results: readonly RateResult[], { rounds, seconds, rooms }: BenchOptions): Table {
  const rows = ratesIn(results).flatMap((rate) =>
    NAMES.flatMap((system) => {
      const found = of(results, system, rate)
      if (found.length === 0) return []
      const spread = (pick: (r: RateResult) => number) => formattedSpread(spreadOf(found.map(pick)))
      const lost = found.reduce((n, r) => n + r.sent - r.delivered, 0)
      const mark = found.some(isGeneratorsLimit) ? ' (generator’s limit)' : ''
      return [[`${rate.toLocaleString('en')}`, system + mark, spread((r) => r.latencyMs.p50), spread((r) => r.latencyMs.p99), spread((r) => r.latencyMs.max), spread((r) => r.ackMs.p50), spread((r) => r.latenessMs.p99), String(lost)]]
    }),
  )
  return {
    title: `Latency, from the scheduled send to the receipt on the other instance: ${rooms.toLocaleString('en')} rooms, ${(rooms * 2).toLocaleString('en')} sockets, ${seconds} s, ${rounds} rounds`,
    head: ['msg/s', 'system', 'p50 ms', 'p99 ms', 'max ms', 'ack p50 ms', 'generator late p99 ms', 'lost'],
    rows,
  }
}

function cpuTable(results: readonly RateResult[], _: BenchOptions): Table {
  const rows = ratesIn(results).flatMap((rate) =>
    NAMES.flatMap((system) => {
      const found = of(results, system, rate)
      return found.length === 0 ? [] : [[rate.toLocaleString('en'), system, formattedSpread(spreadOf(found.map((r) => sum(r.cpu)))), formattedSpread(spreadOf(found.map((r) => r.generatorCpu)))]]
    }),
  )
  return { title: 'CPU seconds per 1,000 delivered messages', head: ['msg/s', 'system', 'all its processes', 'generator (not counted)'], rows }
}

function cpuByProcess(results: readonly RateResult[], _: BenchOptions): Table {
  const rows = ratesIn(results).flatMap((rate) =>
    NAMES.flatMap((system) => {
      const found = of(results, system, rate)
      if (found.length === 0) return []
      const cells = Object.keys(found[0]!.cpu).map((process) => `${process} ${formatted(spreadOf(found.map((r) => r.cpu[process] ?? 0)).median)}`)
      return [[rate.toLocaleString('en'), system, cells.join(', ')]]
    }),
  )
  return { title: 'The same by process (medians)', head: ['msg/s', 'system', 'CPU seconds per 1,000 delivered'], rows }
}

function memoryTable(results: readonly RateResult[]): Table {
  const rows = NAMES.flatMap((system) => {
    const last = results.findLast((r) => r.system === system)
    return last ? [[system, Object.entries(last.residentMb).map(([process, mb]) => `${process} ${Math.round(mb)}`).join(', ')]] : []
  })
  return { title: 'Resident MB at the end of a round (shared pages divided)', head: ['system', 'by process'], rows }
}

function warningsOf(results: readonly RateResult[]): string[] {
  return results.flatMap((r) => {
    const where = `${r.system} at ${r.rate}/s, round ${r.round}`
    return [
      ...(r.takenByOthers > OTHERS_MAX ? [`${where}: other programs had ${Math.round(r.takenByOthers * 100)} % of the machine`] : []),
      ...(isGeneratorsLimit(r) ? [`${where}: the generator itself was ${formatted(r.latenessMs.p99)} ms late (p99)`] : []),
      ...(r.delivered < r.sent ? [`${where}: ${r.sent - r.delivered} of ${r.sent} did not arrive`] : []),
      ...(r.duplicates > 0 ? [`${where}: ${r.duplicates} arrived twice`] : []),
      ...(r.troubles.length > 0 ? [`${where}: ${r.troubles[0]}`] : []),
    ]
  })
}
