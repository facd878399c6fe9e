import { defaultRoomLimits, type RoomLimits } from '#libs/domain/limits.ts'
import type { TaskLimits } from '#libs/streams/fenced-task.ts'
import type { RoomsLimits } from '../../services/edge/core/rooms.ts'
import { SLOW_BUFFER_BYTES } from './parts/edge.ts'
import type { InboxPlan } from './parts/inbox.ts'
import type { KafkaFaults } from './world/kafka.ts'
import type { Random } from './world/random.ts'

/** What one run is made of. Each seed has a few kinds of faults, rather than a little of all: so each gets its depth. */
export type Plan = {
  readonly partitions: number
  readonly counts: { readonly roomStates: number; readonly persisters: number; readonly edges: number; readonly bridges: number; readonly inboxes: number }
  readonly rooms: number
  /** Whether people also talk outside orders. */
  readonly conversations: boolean
  readonly sdkUsers: boolean
  readonly rawUsers: boolean
  /** How long there is traffic and there are faults. */
  readonly activeMs: number
  readonly actionEveryMs: number
  readonly faultEveryMs: number
  /** Whether a week or a month passes in between. */
  readonly skips: readonly number[]
  readonly kafka: KafkaFaults
  readonly postgresCommitFails: number
  readonly faults: Readonly<Record<FaultName, number>>
  readonly task: TaskLimits
  readonly inbox: InboxPlan
  readonly room: RoomLimits
  readonly roomsLimits: RoomsLimits
  readonly batchRecordsMax: number
}

export type FaultName =
  | 'crashRoomState'
  | 'crashPersister'
  | 'crashEdge'
  | 'crashBridge'
  | 'crashInbox'
  | 'pauseRoomState'
  | 'pausePersister'
  | 'pauseEdge'
  | 'pauseInbox'
  | 'stopAny'
  | 'postgresDown'
  | 'redisDown'
  | 'registryDown'
  | 'sqsDown'
  | 'stallFetches'
  | 'compact'
  | 'cutSocket'
  | 'stallSocket'
  | 'killApp'
  | 'offline'

const FAULTS: Readonly<Record<FaultName, number>> = {
  crashRoomState: 3,
  crashPersister: 2,
  crashEdge: 2,
  crashBridge: 1,
  crashInbox: 3,
  pauseRoomState: 4,
  pausePersister: 2,
  pauseEdge: 1,
  pauseInbox: 3,
  stopAny: 2,
  postgresDown: 2,
  redisDown: 0.5,
  registryDown: 0.5,
  sqsDown: 0.5,
  stallFetches: 2,
  compact: 1,
  cutSocket: 3,
  stallSocket: 2,
  killApp: 2,
  offline: 1,
}
const DAY_MS = 86_400_000

/** A fifth of the runs are about nothing but the rivalry of owners, in one partition: mostly of rooms, else of users. */
export function planOf(random: Random): Plan {
  const plan = anyPlan(random)
  if (!random.chance(0.22)) return plan
  const ofUsers = random.chance(0.2)
  return {
    ...plan,
    partitions: 1,
    counts: { roomStates: ofUsers ? 1 : random.int(2, 3), persisters: 1, edges: 0, bridges: 0, inboxes: ofUsers ? random.int(2, 3) : 0 },
    sdkUsers: false,
    rawUsers: false,
    activeMs: random.between(20_000, 40_000),
    skips: [],
    kafka: { ...plan.kafka, slowTakeovers: 0.1, takerPauses: 0.4 },
    faults: { ...plan.faults, ...(ofUsers ? { crashInbox: 3, pauseInbox: 3 } : { crashRoomState: 3, pauseRoomState: 3 }), stallFetches: 1, compact: 1 },
    task: { ...plan.task, snapshotEveryMs: random.int(50, 400) },
    inbox: { ...plan.inbox, task: { ...plan.inbox.task, snapshotEveryMs: random.int(50, 400) } },
  }
}

function anyPlan(random: Random): Plan {
  const sometimes = (probability: number, value: number) => (random.chance(probability) ? value : 0)
  // The log alone needs no edges: such runs are short, and try the rivalry of its owners often.
  const withEdges = random.chance(0.65)
  const faults = Object.fromEntries(Object.entries(FAULTS).map(([name, weight]) => [name, sometimes(0.6, weight)])) as Record<FaultName, number>
  const withInbox = random.chance(0.4)
  const task: TaskLimits = { snapshotEveryMs: random.int(100, 2_500), remarkEveryMs: random.pick([1_500, 10_000, 3_600_000]), batchInputsMax: random.pick([1, 3, 500]), queueHighMark: 12, queueLowMark: 4 }
  const commitFails = sometimes(0.5, 0.12)
  return {
    partitions: random.int(1, 2),
    counts: { roomStates: random.int(1, 3), persisters: random.int(1, 2), edges: withEdges ? random.int(1, 3) : 0, bridges: random.chance(0.35) ? random.int(1, 2) : 0, inboxes: withInbox ? random.int(1, 2) : 0 },
    rooms: random.int(1, 3),
    conversations: random.chance(0.5),
    sdkUsers: withEdges && random.chance(0.8),
    rawUsers: withEdges && random.chance(0.7),
    activeMs: random.between(8_000, 25_000),
    actionEveryMs: random.between(120, 500),
    faultEveryMs: random.between(500, 3_000),
    skips: random.chance(0.12) ? [random.pick(withInbox ? [8, 31, 31] : [6.9, 8, 8, 31]) * DAY_MS] : [],
    kafka: { appendFails: sometimes(0.6, random.between(0.02, 0.2)), commitFails, fetchStalls: sometimes(0.5, 0.05), askFails: sometimes(0.3, 0.05), slowTakeovers: sometimes(0.35, 0.2), takerPauses: sometimes(0.4, 0.2) },
    postgresCommitFails: sometimes(0.5, 0.15),
    faults,
    task,
    inbox: { task: { ...task, batchInputsMax: random.pick([1, 3, 500]), snapshotEveryMs: random.int(100, 2_500) }, batchRecordsMax: random.pick([1, 4, 100]), saveEveryMs: random.pick([200, 600, 1_200]), headsOnlyAbove: random.chance(0.3) ? random.int(1, 3) : 200 },
    room: { ...defaultRoomLimits, content: { ...defaultRoomLimits.content, duplicatesMax: random.pick([2, 5]) } },
    roomsLimits: {
      joinWaitMs: 2_000,
      replayPageEvents: random.int(1, 6),
      replayBufferBytes: random.pick([400, 1_500]),
      slowBufferBytes: SLOW_BUFFER_BYTES,
      replayStallMs: 5_000,
      roomsPerSocketMax: 10,
      lingerMs: random.pick([300, 1_500, 10_000]),
      buffer: { recordsMax: random.pick([4, 12, 1_000]), bytesMax: 1_000_000 },
    },
    batchRecordsMax: random.pick([1, 4, 100]),
  }
}
