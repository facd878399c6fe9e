import { setTimeout as pause } from 'node:timers/promises'
import type { Bench, BenchOptions, Scenario, SystemName } from '../bench.ts'
import { isGeneratorsLimit, summaryOf, withSystem } from '../measure-rates.ts'
import { sampleMachine, takenByOthers } from '../procfs.ts'
import { formatted, formattedSpread, ratiosOf, spreadOf } from '../stats.ts'

const P99_MAX_MS = 500
const STEPS = [500, 1_000, 1_500, 2_000, 2_500, 3_000, 4_000, 5_000, 6_000, 8_000, 10_000]
const NAMES = ['order-chat', 'usual', 'raw'] as const
/** One may be chance. */
const FAILURES_MAX = 2
const PAUSE_MS = 2_000

type Step = { readonly system: SystemName; readonly round: number; readonly rate: number; readonly passed: boolean; readonly p50: number; readonly p99: number; readonly lost: number; readonly lateP99: number; readonly isGeneratorsLimit: boolean; readonly others: number }

/** The highest rate at which 99 % arrive within half a second, up the steps until two in a row fail. */
export const maxRate: Scenario = {
  name: 'max-rate',
  estimateS: (options) => roundsOf(options) * NAMES.length * (20 + options.warmUpSeconds + 7 * (options.stepSeconds + 3)),
  async run(bench) {
    const steps: Step[] = []
    for (let round = 1; round <= roundsOf(bench.options); round++) {
      for (const name of NAMES) {
        const system = bench.systems[name]
        if (!system) continue
        await withSystem(bench, system, `max${round}`, async (pair) => {
          await pair.play({ rate: bench.options.quick ? 100 : 1_000, seconds: bench.options.warmUpSeconds, seed: 7 })
          await climb(bench, name, round, (rate) => pair.play({ rate, seconds: bench.options.stepSeconds, seed: round * 100_000 + rate }), steps)
        })
      }
    }
    return sectionOf(steps, bench.options)
  },
}

const roundsOf = ({ rounds }: BenchOptions) => Math.min(rounds, 2)

async function climb({ options, say, signal }: Bench, system: SystemName, round: number, play: (rate: number) => Promise<Parameters<typeof summaryOf>[0]>, steps: Step[]): Promise<void> {
  let failures = 0
  for (const rate of options.quick ? [100, 200] : STEPS) {
    signal.throwIfAborted()
    const machine = sampleMachine()
    const result = summaryOf(await play(rate))
    const others = takenByOthers(machine, sampleMachine())
    const { p50, p99 } = result.latencyMs
    const lost = result.sent - result.delivered
    const passed = p99 <= P99_MAX_MS && lost === 0
    steps.push({ system, round, rate, passed, p50, p99, lost, lateP99: result.latenessMs.p99, isGeneratorsLimit: isGeneratorsLimit(result), others })
    say(`  round ${round}, ${system} at ${rate}/s: p50 ${formatted(p50)}, p99 ${formatted(p99)} ms${lost > 0 ? `, ${lost} lost` : ''}`)
    failures = passed ? 0 : failures + 1
    if (failures >= FAILURES_MAX) return
    await pause(PAUSE_MS)
  }
}

function sectionOf(steps: readonly Step[], options: BenchOptions) {
  const best = (system: SystemName) =>
    [...new Set(steps.map((s) => s.round))].flatMap((round) => {
      const mine = steps.filter((s) => s.system === system && s.round === round)
      return mine.length === 0 ? [] : [Math.max(0, ...mine.filter((s) => s.passed).map((s) => s.rate))]
    })
  const [ours, theirs] = [best('order-chat'), best('usual')]
  const ratio = ratiosOf(ours, theirs)
  const verdict = {
    measure: `highest rate with p99 ≤ ${P99_MAX_MS} ms, ${options.stepSeconds} s each step`,
    goal: "≥ 4× the usual build's",
    measured: `${formatted(spreadOf(ours).median)}/s against ${formatted(spreadOf(theirs).median)}/s: ${formattedSpread(ratio)}×`,
    met: ratio.median >= 4,
  }
  return {
    verdicts: ours.length > 0 && theirs.length > 0 ? [verdict] : [],
    tables: [{
      title: `Steps up to the highest rate, ${options.stepSeconds} s each`,
      head: ['system', 'round', 'msg/s', 'p50 ms', 'p99 ms', 'lost', 'generator late p99 ms', ''],
      rows: steps.map((s) => [s.system, String(s.round), formatted(s.rate), formatted(s.p50), formatted(s.p99), String(s.lost), formatted(s.lateP99), `${s.passed ? '' : 'failed'}${s.isGeneratorsLimit ? ' (generator’s limit)' : ''}`]),
    }],
    data: steps,
    warnings: steps.filter((s) => s.others > 0.05).map((s) => `${s.system} at ${s.rate}/s, round ${s.round}: other programs had ${Math.round(s.others * 100)} % of the machine`),
  }
}
