import { setTimeout as pause } from 'node:timers/promises'
import type { Bench, Scenario } from '../bench.ts'
import { Pair } from '../generator/pair.ts'
import { cpuBetween, type Pids, sampleCpu, sampleMachine, takenByOthers } from '../procfs.ts'
import { formatted } from '../stats.ts'

type Idle = { readonly what: string; readonly cpu: Readonly<Record<string, number>>; readonly others: number }

/** What everything costs while nobody says anything, in per cent of one core. */
export const idle: Scenario = {
  name: 'idle',
  estimateS: ({ idleSeconds, settleSeconds }) => 40 + 4 * (idleSeconds + settleSeconds),
  async run(bench) {
    const { world, systems, options } = bench
    const found: Idle[] = []
    found.push(await measure(bench, 'servers alone', world.pids('kafka', 'postgres', 'redis', 'registry', 'elasticmq')))
    for (const system of [systems['order-chat'], systems.usual]) {
      if (!system) continue
      const pair = new Pair()
      try {
        await system.start()
        found.push(await measure(bench, `${system.name}, no sockets`, system.pids()))
        await pair.connect(await system.openRooms(options.rooms, 'idle'))
        found.push(await measure(bench, `${system.name}, ${formatted(options.rooms * 2)} sockets in ${formatted(options.rooms)} rooms`, system.pids()))
      } finally {
        await pair.end()
        await system.stop()
      }
    }
    const total = (one: Idle) => Object.values(one.cpu).reduce((a, b) => a + b, 0)
    const ours = found.filter(({ what }) => what.startsWith('order-chat'))
    return {
      verdicts: ours.length === 0 ? [] : [{
        measure: 'idle CPU of the whole system',
        goal: 'measured',
        measured: ours.map((one) => `${formatted(total(one))} % of a core (${one.what.split(', ')[1]})`).join(', '),
        met: undefined,
      }],
      tables: [{
        title: `Idle CPU over ${options.idleSeconds} s, per cent of one core`,
        head: ['what runs', 'together', 'by process'],
        rows: found.map((one) => [one.what, formatted(total(one)), Object.entries(one.cpu).map(([process, percent]) => `${process} ${formatted(percent)}`).join(', ')]),
      }],
      data: found,
      warnings: found.filter(({ others }) => others > 0.05).map(({ what, others }) => `idle, ${what}: other programs had ${Math.round(others * 100)} % of the machine`),
    }
  },
}

async function measure({ options, say, signal }: Bench, what: string, pids: Pids): Promise<Idle> {
  await pause(options.settleSeconds * 1_000, undefined, { signal })
  const machine = sampleMachine()
  const before = sampleCpu(pids)
  await pause(options.idleSeconds * 1_000, undefined, { signal })
  const used = cpuBetween(before, sampleCpu(pids))
  const cpu = Object.fromEntries([...used].map(([process, seconds]) => [process, (seconds / options.idleSeconds) * 100]))
  const result = { what, cpu, others: takenByOthers(machine, sampleMachine()) }
  say(`  ${what}: ${formatted(Object.values(cpu).reduce((a, b) => a + b, 0))} %`)
  return result
}
