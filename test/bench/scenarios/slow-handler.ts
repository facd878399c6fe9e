import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import { partitionOf } from '#libs/streams/murmur2.ts'
import { PARTITIONS } from '../../../deploy/local/service-env.ts'
import type { Bench, Scenario } from '../bench.ts'
import { Pair, type Run } from '../generator/pair.ts'
import { formatted, formattedSpread, quantilesOf, ratiosOf, spreadOf } from '../stats.ts'
import { sendUnknownSchema } from '../systems/inputs.ts'
import { OrderChat } from '../systems/order-chat.ts'
import { World } from '../world.ts'

const GOAL = 1.2
const SLOW_MS = 3_000
/** Before, and after until all is as before. */
const QUIET_MS = 4_000
const SLOW_PARTITION = 0

type Where = 'room-state' | 'message-persister'

type Slow = { readonly where: Where; readonly beforeP99: number; readonly duringP99: number; readonly slowPartitionMax: number }

/**
 * One partition's handler takes 3 s, by what makes it slow in life. In `room-state`: a command whose schema must be asked
 * for, from a registry that does not answer. In the persister: a row that somebody else has locked. The others' messages
 * in those 3 s against the seconds before.
 */
export const slowHandler: Scenario = {
  name: 'slow-handler',
  estimateS: ({ rounds }) => 50 + rounds * 2 * ((2 * QUIET_MS + SLOW_MS) / 1_000 + 2),
  async run(bench) {
    const { options, signal, world } = bench
    const found: Slow[] = []
    const system = new OrderChat(world, { name: 'slow' })
    const pair = new Pair()
    const rate = options.quick ? 100 : 500
    try {
      await system.start()
      const rooms = await system.openRooms(options.rooms, 'slow')
      await pair.connect(rooms)
      const partitions = rooms.senders.links.map(({ roomId }) => partitionOf(roomId, PARTITIONS))
      const slowRoom = rooms.senders.links[partitions.indexOf(SLOW_PARTITION)]!.roomId
      await pair.play({ rate, seconds: options.warmUpSeconds, seed: 1 })
      for (let round = 1; round <= options.rounds; round++) {
        for (const where of ['room-state', 'message-persister'] as const) {
          signal.throwIfAborted()
          const talk = pair.play({ rate, seconds: (2 * QUIET_MS + SLOW_MS) / 1_000, seed: round * 10 })
          await pause(QUIET_MS)
          await (where === 'room-state' ? stallRegistry(world, system, slowRoom, 1_000_000 + round) : lockPosition(system))
          found.push(judge(where, await talk, partitions))
          const { beforeP99, duringP99 } = found.at(-1)!
          bench.say(`  round ${round}, ${where}: others' p99 ${formatted(beforeP99)} ms before, ${formatted(duringP99)} ms during`)
        }
      }
    } finally {
      await pair.end()
      await system.stop()
    }
    return sectionOf(found)
  },
}

/** The registry stands still; one command of one partition needs it. */
async function stallRegistry(world: World, system: OrderChat, roomId: string, schemaId: number): Promise<void> {
  const pid = world.pids('registry').get('registry')!
  process.kill(pid, 'SIGSTOP')
  try {
    await Promise.all([sendUnknownSchema(system.env, roomId, schemaId), pause(SLOW_MS)])
  } finally {
    process.kill(pid, 'SIGCONT')
  }
}

async function lockPosition(system: OrderChat): Promise<void> {
  const client = new pg.Client({ connectionString: system.postgresUrl })
  await client.connect()
  try {
    await client.query('BEGIN')
    await client.query('SELECT 1 FROM persisted_offsets WHERE partition = $1 FOR UPDATE', [SLOW_PARTITION])
    await pause(SLOW_MS)
    await client.query('ROLLBACK')
  } finally {
    await client.end()
  }
}

function judge(where: Where, run: Run, partitions: readonly number[]): Slow {
  const pick = (fromMs: number, toMs: number, isSlow: boolean) =>
    run.latencyMs.filter((_, n) => run.dueMs[n]! >= fromMs && run.dueMs[n]! < toMs && (partitions[run.room[n]!] === SLOW_PARTITION) === isSlow)
  return {
    where,
    beforeP99: quantilesOf(pick(0, QUIET_MS, false)).p99,
    duringP99: quantilesOf(pick(QUIET_MS, QUIET_MS + SLOW_MS, false)).p99,
    slowPartitionMax: quantilesOf(pick(QUIET_MS, QUIET_MS + SLOW_MS, true)).max,
  }
}

function sectionOf(found: readonly Slow[]) {
  const of = (where: Where) => found.filter((s) => s.where === where)
  const ratio = (where: Where) => ratiosOf(of(where).map((s) => s.duringP99), of(where).map((s) => s.beforeP99))
  const both = (['room-state', 'message-persister'] as const).map((where) => ({ where, ratio: ratio(where) }))
  return {
    verdicts: [{
      measure: "one slow handler (3 s): other partitions' p99",
      goal: `≤ ${GOAL}×`,
      measured: both.map(({ where, ratio: r }) => `${formattedSpread(r)}× in ${where}`).join(', '),
      met: both.every(({ ratio: r }) => r.median <= GOAL),
    }],
    tables: [{
      title: "One partition's handler takes 3 s: p99 of all other partitions' messages, ms",
      head: ['where', 'before', 'during', 'ratio', 'slowest message of the slow partition'],
      rows: both.map(({ where, ratio: r }) => [
        where,
        formattedSpread(spreadOf(of(where).map((s) => s.beforeP99))),
        formattedSpread(spreadOf(of(where).map((s) => s.duringP99))),
        formattedSpread(r),
        formattedSpread(spreadOf(of(where).map((s) => s.slowPartitionMax))),
      ]),
    }],
    data: found,
    warnings: [],
  }
}
