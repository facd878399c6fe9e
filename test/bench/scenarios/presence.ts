import { setTimeout as pause } from 'node:timers/promises'
import type { Bench, Scenario } from '../bench.ts'
import type { LinkSpec } from '../generator/messages.ts'
import { Pair } from '../generator/pair.ts'
import { cpuBetween, sampleCpu, sampleMachine, takenByOthers } from '../procfs.ts'
import { formatted, quantilesOf } from '../stats.ts'
import { assignRiders, riderOf } from '../systems/inputs.ts'
import { tokenOf } from '../systems/links.ts'
import { OrderChat } from '../systems/order-chat.ts'
import { withPostgres } from '../world.ts'

/** Of all who are online, how many change in a second. */
const CHANGING = 0.01
/** Of one core, which is all that an edge can use. */
const GOAL_PERCENT = 10
const STORED_WITHIN_MS = 60_000
const EDGES = ['edge-1', 'edge-2'] as const

type Cost = { readonly what: string; readonly edges: readonly number[]; readonly redis: number; readonly changes: number; readonly framesOut: number; readonly others: number }

/** What the edges pay for telling people that somebody has gone away or is back, in rooms of two and of three. */
export const presence: Scenario = {
  name: 'presence',
  estimateS: ({ sockets, settleSeconds, presenceSeconds }) => 60 + sockets / 100 + 2 * (settleSeconds + presenceSeconds),
  async run(bench) {
    const { options, world } = bench
    const system = new OrderChat(world, { name: 'presence' })
    const pair = new Pair()
    const rate = options.sockets * CHANGING
    try {
      await system.start()
      await pair.connect(await openRooms(bench, system))
      const still = await measure(bench, system, 'nobody changes', async () => {
        await pause(options.presenceSeconds * 1_000, undefined, { signal: bench.signal })
      })
      let answered = Number.NaN
      const changing = await measure(bench, system, `${formatted(rate)} changes/s`, async () => {
        const run = await pair.play({ rate, seconds: options.presenceSeconds, seed: 1, settleS: 1 })
        if (run.troubles.length > 0) throw new Error(run.troubles[0])
        answered = quantilesOf(run.ackMs).p99
      })
      return sectionOf(options.sockets, rate, still, changing, answered)
    } finally {
      await pair.end()
      await system.stop()
    }
  },
}

/** Two of five people are in rooms of two, three in rooms of three; the people of a room are on both edges. Those who change are the senders. */
async function openRooms({ world, options }: Bench, system: OrderChat) {
  const count = Math.floor(options.sockets / 5)
  const threes = Array.from({ length: count }, (_, i) => `three-${i}`)
  const { senders, receivers } = await system.openRooms(count, 'two')
  const more = await system.openRooms(count, 'three')
  await assignRiders(system.env, threes)
  await untilStored(system, threes.length)
  const urls = system.urls()
  const riders = await Promise.all(
    threes.map(async (roomId, i): Promise<LinkSpec> => ({ roomId, userId: riderOf(roomId), url: urls[i % urls.length]!, token: await tokenOf(world, riderOf(roomId)) })),
  )
  return {
    senders: { protocol: 'order-chat-presence' as const, links: [...senders.links, ...more.senders.links] },
    receivers: { protocol: 'order-chat' as const, links: [...receivers.links, ...more.receivers.links, ...riders] },
  }
}

/** Then both edges let the riders in. */
async function untilStored(system: OrderChat, riders: number): Promise<void> {
  await withPostgres(system.postgresUrl, async (client) => {
    const deadlineMs = Date.now() + STORED_WITHIN_MS
    for (;;) {
      const { rows } = await client.query(`SELECT count(*)::int AS n FROM room_events WHERE event_type = 'participantAdded'`)
      if (rows[0]!.n >= riders) return
      if (Date.now() > deadlineMs) throw new Error(`${rows[0]!.n} of ${riders} riders were stored in ${STORED_WITHIN_MS / 1_000} s`)
      await pause(100)
    }
  })
}

async function measure({ options, say, signal }: Bench, system: OrderChat, what: string, work: () => Promise<void>): Promise<Cost> {
  await pause(options.settleSeconds * 1_000, undefined, { signal })
  const metric = async (name: string) => (await Promise.all(EDGES.map((id) => system.metric(id, name)))).reduce((a, b) => a + b, 0)
  const [changes, frames] = [await metric('websocket_presence_changes_total'), await metric('websocket_messages_out_total')]
  const pids = system.pids()
  const [machine, before, startedMs] = [sampleMachine(), sampleCpu(pids), performance.now()]
  await work()
  // What was changed last is on its way yet.
  await pause(1_000)
  const used = cpuBetween(before, sampleCpu(pids))
  const percent = (name: string) => ((used.get(name) ?? 0) / ((performance.now() - startedMs) / 1_000)) * 100
  const cost: Cost = {
    what,
    edges: EDGES.map(percent),
    redis: percent('redis'),
    changes: (await metric('websocket_presence_changes_total')) - changes,
    framesOut: (await metric('websocket_messages_out_total')) - frames,
    others: takenByOthers(machine, sampleMachine()),
  }
  say(`  ${what}: ${cost.edges.map((edge) => `${formatted(edge)} %`).join(' and ')} of a core, ${formatted(cost.changes)} changes announced, ${formatted(cost.framesOut)} frames`)
  return cost
}

function sectionOf(sockets: number, rate: number, still: Cost, changing: Cost, ackP99Ms: number) {
  const more = changing.edges.map((percent, i) => percent - still.edges[i]!)
  const rows = [still, changing].map((cost) => [cost.what, ...cost.edges.map(formatted), formatted(cost.redis), formatted(cost.changes), formatted(cost.framesOut)])
  return {
    verdicts: [{
      measure: `presence: ${formatted(rate)} changes/s among ${formatted(sockets)} people on two edges`,
      goal: `≤ ${GOAL_PERCENT} % of an edge's core`,
      measured: `${more.map((percent, i) => `${EDGES[i]} ${formatted(percent)} %`).join(', ')} more than without; p99 of the ack ${formatted(ackP99Ms)} ms`,
      met: more.every((percent) => percent <= GOAL_PERCENT),
    }],
    tables: [{ title: `${formatted(sockets)} sockets in rooms of two and three on two edges: CPU, per cent of one core`, head: ['what happens', ...EDGES, 'redis', 'changes announced', 'frames to sockets'], rows }],
    data: { still, changing },
    warnings: [still, changing].filter(({ others }) => others > 0.05).map(({ what, others }) => `presence, ${what}: other programs had ${Math.round(others * 100)} % of the machine`),
  }
}
