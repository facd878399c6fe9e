import { createPositionStore, SavedPositions } from '#libs/postgres/position-store.ts'
import { retryDelayMs } from '#libs/runtime/retry.ts'
import type { TaskLimits } from '#libs/streams/fenced-task.ts'
import { feedInputTopics, topics } from '#libs/streams/topics.ts'
import { FanOutTask } from '../../../services/inbox/core/fan-out-task.ts'
import { FeedProcessor } from '../../../services/inbox/core/feed-processor.ts'
import { type PreparedInboxInput, prepareInboxInputs } from '../../../services/inbox/core/prepare.ts'
import { sendUpdates } from '../../../services/inbox/sender.ts'
import { ofRooms, ofUsers } from '../world/kafka.ts'
import { SimProducer } from '../world/producer.ts'
import type { Process } from '../world/process.ts'
import type { Servers } from '../world/servers.ts'
import { startFenced } from './fenced.ts'
import { followInGroup } from './follow.ts'

export type InboxPlan = {
  readonly task: TaskLimits
  readonly batchRecordsMax: number
  readonly saveEveryMs: number
  readonly headsOnlyAbove: number
}

/** Where its fan-out stands, in persisted_offsets. */
export const FAN_OUT = 'inbox:room-events'

/** services/inbox/service.ts in the simulated world. Returns its graceful end. */
export function startInbox(process: Process, servers: Servers, plan: InboxPlan): () => Promise<void> {
  const closeFanOut = startFanOut(process, servers, plan)
  const closeFeed = startFeed(process, servers, plan.task)
  return async () => {
    await closeFeed()
    await closeFanOut()
  }
}

function startFeed(process: Process, servers: Servers, limits: TaskLimits): () => Promise<void> {
  const { kafka, registry, groups } = servers
  const known = new Set<number>()
  const codecs = {
    inboxUpdates: registry.codec(process, topics.inboxUpdates, known),
    inboxCommands: registry.codec(process, topics.inboxCommands, known),
    userEvents: registry.codec(process, topics.userEvents, known),
    inboxState: registry.codec(process, topics.inboxState, known),
  }
  const decode = (topic: string, bytes: Buffer) => (topic === topics.inboxUpdates.name ? codecs.inboxUpdates : codecs.inboxCommands).decode(bytes)
  return startFenced<PreparedInboxInput, FeedProcessor>(process, servers, {
    group: groups.feed,
    fenced: ofUsers,
    inputTopics: feedInputTopics,
    deadLetterTopic: topics.inboxDlq.name,
    createProcessor: (partition, deadLetter) =>
      new FeedProcessor({ userEvents: codecs.userEvents, inboxState: codecs.inboxState, prepare: (records) => prepareInboxInputs({ partition, partitions: kafka.partitions, decode, deadLetter }, records) }),
    onTakenOver: (partition, epoch, { users }) => servers.probes.onFeedTakenOver(partition, epoch, users),
    limits,
  })
}

function startFanOut(process: Process, servers: Servers, { batchRecordsMax, saveEveryMs, headsOnlyAbove }: InboxPlan): () => Promise<void> {
  const { world, kafka, postgres, registry, groups } = servers
  const topic = topics.roomEvents.name
  const known = new Set<number>()
  const producer = new SimProducer(process, kafka)
  const roomEvents = registry.codec(process, topics.roomEvents, known)
  const roomState = registry.codec(process, topics.roomState, known)
  const sender = { producer, encode: registry.codec(process, topics.inboxUpdates, known).encode, partitions: kafka.partitions }
  const store = createPositionStore(postgres.pool(process), FAN_OUT)
  const saved = new SavedPositions(store, (err) => world.note(`${process.name} cannot write its positions down: ${(err as Error).message}`))
  const all = new Map<number, FanOutTask>()
  const save = () => saved.save(new Map([...all].flatMap(([partition, { position }]) => (position ? [[partition, position] as const] : []))))
  const { close } = followInGroup<FanOutTask>(process, servers, {
    group: groups.fanOut,
    topic,
    batchRecordsMax,
    create: (partition, log, onApplied) => {
      const task = new FanOutTask({
        log,
        roomEvents,
        roomState,
        readSnapshots: (onRecords, signal) => kafka.snapshots(ofRooms, partition).readAll(process, kafka, onRecords, signal),
        readLog: async (from, upTo, onRecords, signal) => {
          if (from <= upTo) await kafka.fencedLog(process, ofRooms, partition).read(from, upTo, onRecords, signal)
        },
        readPosition: () => store.read(partition),
        logBegin: async () => (await kafka.range(process, topic, partition)).low,
        send: (updates) => sendUpdates(sender, updates),
        onUnknownRoom: (roomId) => world.note(`${process.name} does not know who is in ${roomId}`),
        headsOnlyAbove,
        nowMs: process.clock.nowMs,
        sleep: process.clock.sleep,
        retryDelayMs: (attempt) => retryDelayMs(attempt),
        batchRecordsMax,
        onRetry: (err, delayMs) => world.note(`${process.name} cannot fan ${partition} out: ${(err as Error).message}, again in ${Math.round(delayMs)} ms`),
        observer: { applied: onApplied, restored: () => world.note(`${process.name} fans ${partition} out from ${task.position?.nextOffset}`) },
      })
      all.set(partition, task)
      return task
    },
    // What it has read; what it has told is behind it.
    positionOf: () => undefined,
    onStopped: save,
  })
  process.every(saveEveryMs, 'report', () => void save())
  return close
}
