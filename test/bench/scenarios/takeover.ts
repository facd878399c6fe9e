import { setTimeout as pause } from 'node:timers/promises'
import type { Bench, Scenario } from '../bench.ts'
import { Pair } from '../generator/pair.ts'
import { formatted, formattedSpread, spreadOf } from '../stats.ts'
import { sendMessages } from '../systems/inputs.ts'
import { OrderChat } from '../systems/order-chat.ts'

const GOAL_S = 2
const ROUNDS_MAX = 3
/** So many rooms that what has waited for a takeover does not look like one person's flood when it is decided. */
const LIVE = { rooms: 100, rate: 50 } as const
/** Snapshots come every 5 s. */
const SNAPSHOT_WAIT_MS = 12_000

type Takeover = { readonly takeoverS: number; readonly silenceS: number }

/** One partition with many open rooms, two room-states: the owner stops, the other takes over. */
export const takeover: Scenario = {
  name: 'takeover',
  estimateS: ({ takeoverRooms, rounds }) => 60 + takeoverRooms / 1_000 + Math.min(rounds, ROUNDS_MAX) * 25,
  async run(bench) {
    const { options, say, signal } = bench
    const found: Takeover[] = []
    const system = new OrderChat(bench.world, { name: 'takeover', partitions: 1, standby: true })
    const pair = new Pair()
    try {
      await system.start()
      const rooms = Array.from({ length: options.takeoverRooms }, (_, i) => `many-${i}`)
      await system.acceptOrders(rooms)
      await sendMessages(system.env, rooms, 1)
      await pair.connect(await system.openRooms(LIVE.rooms, 'live'))
      say(`  ${formatted(options.takeoverRooms)} rooms are open in one partition`)
      for (let round = 0; round < Math.min(options.rounds, ROUNDS_MAX); round++) {
        signal.throwIfAborted()
        await pause(options.quick ? 1_000 : SNAPSHOT_WAIT_MS)
        found.push(await handOver(system, pair, round))
        say(`  handed over in ${formatted(found.at(-1)!.takeoverS)} s, silence ${formatted(found.at(-1)!.silenceS)} s`)
      }
    } finally {
      await pair.end()
      await system.stop()
    }
    const took = spreadOf(found.map((t) => t.takeoverS))
    return {
      verdicts: [{ measure: `takeover of a partition with ${formatted(options.takeoverRooms)} open rooms`, goal: `≤ ${GOAL_S} s`, measured: `${formattedSpread(took)} s`, met: took.median <= GOAL_S }],
      tables: [{
        title: `Takeover of a partition with ${formatted(options.takeoverRooms)} open rooms, each with a message, after its owner was stopped`,
        head: ['round', 'from the fence to the first input, s', 'longest time without a delivery, s'],
        rows: found.map((t, i) => [String(i + 1), formatted(t.takeoverS), formatted(t.silenceS)]),
      }],
      data: found,
      warnings: [],
    }
  },
}

/** While some rooms talk; afterwards the former owner stands by. */
async function handOver(system: OrderChat, pair: Pair, round: number): Promise<Takeover> {
  const ids = ['room-state', 'room-state-2'] as const
  const owned = await Promise.all(ids.map((id) => system.metric(id, 'room_state_partitions_owned')))
  const [owner, other] = owned[0]! > 0 ? ids : ([ids[1], ids[0]] as const)
  const before = await takeoverSeconds(system, other)
  const talk = pair.play({ rate: LIVE.rate, seconds: 12, seed: round, settleS: 20 })
  await pause(3_000)
  await system.stopOne(owner)
  const run = await talk
  if (run.delivered < run.dueMs.length) throw new Error(`${run.dueMs.length - run.delivered} messages did not arrive in a takeover: ${run.troubles.join('; ') || 'nobody said why'}`)
  const takeoverS = (await takeoverSeconds(system, other)) - before
  await system.startOne(owner)
  return { takeoverS, silenceS: longestSilenceMs(run) / 1_000 }
}

const takeoverSeconds = (system: OrderChat, id: string): Promise<number> => system.metric(id, 'room_state_takeover_seconds_sum')

function longestSilenceMs({ dueMs, latencyMs }: { readonly dueMs: Float64Array; readonly latencyMs: Float64Array }): number {
  const arrivals = dueMs.map((due, n) => due + latencyMs[n]!).sort()
  return arrivals.reduce((longest, at, n) => Math.max(longest, n === 0 ? 0 : at - arrivals[n - 1]!), 0)
}
