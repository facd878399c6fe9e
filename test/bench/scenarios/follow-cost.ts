import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { partitionOf } from '#libs/streams/murmur2.ts'
import { PARTITIONS } from '../../../deploy/local/service-env.ts'
import type { Bench, Scenario } from '../bench.ts'
import { Pair } from '../generator/pair.ts'
import { RemoteGenerator } from '../generator/remote.ts'
import { sampleCpu } from '../procfs.ts'
import { formatted } from '../stats.ts'
import { linksOf } from '../systems/links.ts'
import { OrderChat } from '../systems/order-chat.ts'

const FOLLOWED = [0, 1, 3, 6, 12]
/** Of the bytes at k partitions: so far from k/P may chance take them. */
const PROPORTIONAL_WITHIN = 0.25

type Cost = { readonly k: number; readonly cpuPercent: number; readonly kbPerS: number }

/** All talk goes over edge-1; edge-2 has one silent socket in each of k partitions, and so reads these. */
export const followCost: Scenario = {
  name: 'follow-cost',
  estimateS: ({ followSeconds }) => 30 + FOLLOWED.length * (followSeconds + 4),
  async run(bench) {
    const { options, world, signal } = bench
    const system = new OrderChat(world, { name: 'follow' })
    const [pair, watcher] = [new Pair(), new RemoteGenerator()]
    const rate = options.quick ? 100 : 1_000
    const costs: Cost[] = []
    try {
      await system.start()
      const [edge1 = '', edge2 = ''] = system.urls()
      await pair.connect(await system.openRooms(options.rooms, 'talk', [edge1]))
      const silent = await silentRooms(system)
      await pair.play({ rate, seconds: options.warmUpSeconds, seed: 1 })
      for (const k of FOLLOWED) {
        signal.throwIfAborted()
        const links = (await Promise.all(silent.slice(costs.length === 0 ? 0 : costs.at(-1)!.k, k).map((prefix) => linksOf(world, [edge2], 1, prefix)))).flatMap((l) => l.receivers)
        // Those before stay open: each order opens only what is new.
        const opened = await watcher.connect({ protocol: 'order-chat', links, atOnce: 4 })
        if (opened.failures.length > 0) throw new Error(opened.failures[0])
        const cost = await measure(bench, system, pair, k, rate)
        costs.push(cost)
        bench.say(`  ${k} of ${PARTITIONS} partitions: ${formatted(cost.cpuPercent)} % of a core, ${formatted(cost.kbPerS)} KB/s`)
      }
    } finally {
      await Promise.all([pair.end(), watcher.end()])
      await system.stop()
    }
    return sectionOf(costs, rate)
  },
}

/** One room in each partition, by partition; each is named `<prefix>-0`. */
async function silentRooms(system: OrderChat): Promise<string[]> {
  const byPartition = new Map<number, string>()
  for (let i = 0; byPartition.size < PARTITIONS; i++) {
    const partition = partitionOf(`silent-${i}-0`, PARTITIONS)
    if (!byPartition.has(partition)) byPartition.set(partition, `silent-${i}`)
  }
  await system.acceptOrders([...byPartition.values()].map((prefix) => `${prefix}-0`))
  return [...byPartition.values()]
}

async function measure({ options }: Bench, system: OrderChat, pair: Pair, k: number, rate: number): Promise<Cost> {
  const pid = system.pidOf('edge-2')
  const pids = new Map([['edge-2', pid]])
  await pause(1_000)
  const [cpu, bytes, startedMs] = [sampleCpu(pids), bytesRead(pid), performance.now()]
  await pair.play({ rate, seconds: options.followSeconds, seed: 10 + k })
  const seconds = (performance.now() - startedMs) / 1_000
  return { k, cpuPercent: ((sampleCpu(pids).get('edge-2')! - cpu.get('edge-2')!) / seconds) * 100, kbPerS: (bytesRead(pid) - bytes) / seconds / 1_024 }
}

/** By whatever read(), sockets included. */
const bytesRead = (pid: number): number => Number(/^rchar: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))![1])

function sectionOf(costs: readonly Cost[], rate: number) {
  const [none, all] = [costs.find(({ k }) => k === 0)!, costs.at(-1)!]
  const share = (of: keyof Cost, { [of]: value }: Cost) => (value - none[of]) / (all[of] - none[of])
  const rows = costs.map((cost) => [String(cost.k), formatted(cost.kbPerS), formatted(share('kbPerS', cost)), formatted(cost.cpuPercent), formatted(share('cpuPercent', cost)), formatted(cost.k / all.k)])
  const middle = costs.filter(({ k }) => k > 0 && k < all.k)
  return {
    verdicts: [{
      measure: 'reading cost of an edge that has rooms in k of P partitions',
      goal: 'proportional to k',
      measured: costs.filter(({ k }) => k > 0).map((cost) => `k=${cost.k}: ${formatted(cost.kbPerS)} KB/s, ${formatted(cost.cpuPercent)} % of a core`).join('; '),
      met: middle.every((cost) => Math.abs(share('kbPerS', cost) - cost.k / all.k) <= PROPORTIONAL_WITHIN * (cost.k / all.k)),
    }],
    tables: [{ title: `What edge-2 reads while ${formatted(rate)} messages/s go over edge-1 in all ${PARTITIONS} partitions`, head: ['k', 'KB/s read', 'share of that above k = 0', 'CPU, % of a core', 'share of that above k = 0', 'k/P'], rows }],
    data: costs,
    warnings: [],
  }
}
