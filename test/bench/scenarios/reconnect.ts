import { setTimeout as pause } from 'node:timers/promises'
import type { Bench, Scenario } from '../bench.ts'
import type { ConnectOrder } from '../generator/messages.ts'
import { Pair, type Run } from '../generator/pair.ts'
import { RemoteGenerator } from '../generator/remote.ts'
import { formatted, formattedSpread, quantilesOf, ratiosOf, spreadOf } from '../stats.ts'
import { bareFanOut } from '../systems/bare-fan-out.ts'
import { sendMessages } from '../systems/inputs.ts'
import { OrderChat } from '../systems/order-chat.ts'

const GOAL = 2
const ROUNDS_MAX = 3
/** Rooms in which people talk meanwhile, and how much. */
const LIVE = { rooms: 100, rate: 200 } as const
const BEFORE_S = 5
/** Handshakes under way at a time: what a listening socket lets wait, and no more; all others come right behind. */
const AT_ONCE = 500

type Reconnect = { readonly oursS: number; readonly bareS: number; readonly p99Before: number; readonly p99During: number }

/** A crowd whose sockets were cut comes back at once, each with the seq that it has; every one has missed a message. */
export const reconnect: Scenario = {
  name: 'reconnect',
  estimateS: ({ crowd, rounds }) => 60 + crowd / 200 + Math.min(rounds, ROUNDS_MAX) * (30 + crowd / 300),
  async run(bench) {
    const { options, world, signal, say } = bench
    const found: Reconnect[] = []
    const system = new OrderChat(world, { name: 'reconnect' })
    const floor = bareFanOut(world)
    const [pair, crowd] = [new Pair(), new RemoteGenerator()]
    try {
      await Promise.all([system.start(), floor.start()])
      const rooms = await system.openRooms(options.crowd / 2, 'crowd')
      await sendMessages(system.env, rooms.senders.links.map(({ roomId }) => roomId), 1)
      await pair.connect(await system.openRooms(LIVE.rooms, 'live'))
      await pair.play({ rate: LIVE.rate, seconds: options.warmUpSeconds, seed: 1 })
      const order = { protocol: 'order-chat', links: [...rooms.senders.links, ...rooms.receivers.links], atOnce: AT_ONCE } as const
      const bareRooms = await floor.openRooms(options.crowd, 'crowd')
      await comeBack(crowd, order)
      for (let round = 1; round <= Math.min(options.rounds, ROUNDS_MAX); round++) {
        signal.throwIfAborted()
        const bareS = await comeBack(crowd, { ...bareRooms.senders, atOnce: AT_ONCE })
        await comeBack(crowd, order)
        found.push({ bareS, ...(await measure(pair, crowd, order, round)) })
        const { oursS, p99Before, p99During } = found.at(-1)!
        say(`  round ${round}: ${formatted(oursS)} s, bare ${formatted(bareS)} s; live p99 ${formatted(p99Before)} before, ${formatted(p99During)} ms during`)
      }
    } finally {
      await Promise.all([pair.end(), crowd.end()])
      await Promise.all([system.stop(), floor.stop()])
    }
    return sectionOf(found, bench)
  },
}

/** Cuts what is open and opens all anew. */
async function comeBack(crowd: RemoteGenerator, order: Omit<ConnectOrder, 'do'>): Promise<number> {
  await crowd.disconnect()
  await pause(500)
  const { tookMs, failures } = await crowd.connect(order)
  if (failures.length > 0) throw new Error(`did not come back: ${failures[0]}`)
  return tookMs / 1_000
}

async function measure(pair: Pair, crowd: RemoteGenerator, order: Omit<ConnectOrder, 'do'>, round: number): Promise<Omit<Reconnect, 'bareS'>> {
  const seconds = BEFORE_S + 12
  const startedMs = performance.now()
  const talk = pair.play({ rate: LIVE.rate, seconds, seed: round, settleS: 20 })
  await pause(BEFORE_S * 1_000)
  const fromMs = performance.now() - startedMs
  // The opening is seq 1, which they have; the message behind it is what they have missed.
  const oursS = await comeBack(crowd, { ...order, since: 1 })
  const toMs = performance.now() - startedMs
  const run = await talk
  return { oursS, p99Before: p99Between(run, 500, fromMs), p99During: p99Between(run, fromMs, toMs) }
}

const p99Between = ({ dueMs, latencyMs }: Run, fromMs: number, toMs: number): number =>
  quantilesOf(latencyMs.filter((_, n) => dueMs[n]! >= fromMs && dueMs[n]! < toMs)).p99

function sectionOf(found: readonly Reconnect[], { options }: Bench) {
  const time = ratiosOf(found.map((r) => r.oursS), found.map((r) => r.bareS))
  const live = ratiosOf(found.map((r) => r.p99During), found.map((r) => r.p99Before))
  const spread = (pick: (r: Reconnect) => number) => formattedSpread(spreadOf(found.map(pick)))
  return {
    verdicts: [
      { measure: `${formatted(options.crowd)} sockets reconnect at once with \`since\``, goal: `≤ ${GOAL}× bare accept-and-upgrade`, measured: `${spread((r) => r.oursS)} s against ${spread((r) => r.bareS)} s: ${formattedSpread(time)}×`, met: time.median <= GOAL },
      { measure: 'live p99 meanwhile', goal: `≤ ${GOAL}×`, measured: `${spread((r) => r.p99During)} ms against ${spread((r) => r.p99Before)} ms: ${formattedSpread(live)}×`, met: live.median <= GOAL },
    ],
    tables: [{
      title: `${formatted(options.crowd)} sockets come back at once, each to its room with one message missed; ${LIVE.rate} messages/s in ${LIVE.rooms} other rooms meanwhile`,
      head: ['round', 'order-chat s', 'bare uWebSockets.js s', 'live p99 before, ms', 'live p99 during, ms'],
      rows: found.map((r, i) => [String(i + 1), formatted(r.oursS), formatted(r.bareS), formatted(r.p99Before), formatted(r.p99During)]),
    }],
    data: found,
    warnings: [],
  }
}
