import type { AvroCodec } from '#libs/kafka/avro.ts'
import { BatchingProducer } from '#libs/kafka/batching-producer.ts'
import type { KafkaClient } from '#libs/kafka/client.ts'
import { type FollowedLog, followInGroup } from '#libs/kafka/follow-in-group.ts'
import { PositionedConsumer } from '#libs/kafka/positioned-consumer.ts'
import { readCompacted, readLog } from '#libs/kafka/read-back.ts'
import type { OffsetsAdmin } from '#libs/kafka/topics-admin.ts'
import { createPositionStore, type PositionStore, SavedPositions } from '#libs/postgres/position-store.ts'
import type { Pool } from '#libs/postgres/pool.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import type { Releasers } from '#libs/runtime/releasers.ts'
import { retryDelayMs } from '#libs/runtime/retry.ts'
import { topics } from '#libs/streams/topics.ts'
import type { InboxConfig } from './config.ts'
import { CHUNK_UPDATES_MAX } from './core/fan-out.ts'
import { FanOutTask } from './core/fan-out-task.ts'
import type { InboxMetrics } from './metrics.ts'
import { sendUpdates } from './sender.ts'

const topic = topics.roomEvents.name
const stateTopic = topics.roomState.name
const GROUP = 'inbox-fan-out'
/** Beside those of the others in persisted_offsets. */
const POSITIONS = 'inbox:room-events'
/** A fetch with less comes back after `fetchWaitMs`. */
const FETCH_MIN_BYTES = 64 * 1024
const BATCH_RECORDS_MAX = 500
/** Records of one partition's portion that may wait: its last event adds as many as its room has people. */
const PENDING_PER_PARTITION = CHUNK_UPDATES_MAX * 2

export type FanOutParts = {
  readonly config: InboxConfig
  readonly kafka: KafkaClient
  readonly offsets: OffsetsAdmin
  readonly pool: Pool
  readonly codecs: Record<'roomEvents' | 'roomState' | 'inboxUpdates', AvroCodec>
  readonly metrics: InboxMetrics['fanOut']
  readonly logger: Logger
  readonly onFailed: (err: unknown) => void
}

type Shared = { readonly reader: PositionedConsumer; readonly producer: BatchingProducer; readonly store: PositionStore }

/** Tells users what happens in their rooms: a task for each assigned partition of the log. */
export async function startFanOut(parts: FanOutParts, releasers: Releasers): Promise<{ isReady(): boolean }> {
  const { config, kafka, offsets, pool, metrics, logger, onFailed } = parts
  const producer = new BatchingProducer(kafka, { pendingMax: Math.max(20_000, kafka.config.partitions * PENDING_PER_PARTITION) })
  releasers.add(() => producer.close())
  const reader = new PositionedConsumer(kafka, { topics: [topic, stateTopic], onFailed })
  releasers.add(() => reader.close())
  await reader.start()
  const store = createPositionStore(pool, POSITIONS)
  const saved = new SavedPositions(store, (err) => logger.warn({ err }, 'positions cannot be written down now'))
  const tasks = new Map<number, FanOutTask>()
  const save = () => saved.save(new Map([...tasks].flatMap(([partition, { position }]) => (position ? [[partition, position] as const] : []))))
  let ready = false
  const following = await followInGroup<FanOutTask>({
    kafka,
    offsets,
    topic,
    groupId: GROUP,
    fetch: { minBytes: FETCH_MIN_BYTES, waitMs: config.fetchWaitMs },
    create: (partition, log) => {
      const task = createTask(parts, { reader, producer, store }, log, partition)
      tasks.set(partition, task)
      return task
    },
    positionOf: (_, task) => task.position?.nextOffset,
    reportEveryMs: config.commitEveryMs,
    onReport: () => void save(),
    onLag: (partition, lag) => metrics.lag.set({ partition }, lag),
    onAssigned: (partitions) => {
      metrics.partitions.set(partitions.length)
      ready = true
    },
    onStopped: save,
    onFailed,
    logger,
  })
  releasers.add(() => following.close())
  return { isReady: () => ready }
}

function createTask({ config, offsets, codecs, metrics, logger }: FanOutParts, { reader, producer, store }: Shared, followed: FollowedLog, partition: number): FanOutTask {
  const log = logger.child({ topic, partition })
  const deps = { reader, offsets }
  const sender = { producer, encode: codecs.inboxUpdates.encode, partitions: config.kafka.partitions }
  return new FanOutTask({
    log: followed,
    roomEvents: codecs.roomEvents,
    roomState: codecs.roomState,
    readSnapshots: (onRecords, signal) => readCompacted(deps, { topic: stateTopic, partition, onRecords, signal }),
    readLog: (from, upTo, onRecords, signal) => readLog(deps, { topic, partition, from, upTo, onRecords, signal }),
    readPosition: () => store.read(partition),
    logBegin: async () => (await offsets.range(topic, partition)).low,
    async send(updates) {
      await sendUpdates(sender, updates)
      metrics.updates.inc(updates.length)
    },
    onUnknownRoom: (roomId) => {
      metrics.unknownRooms.inc()
      log.error({ roomId }, 'nobody knows who was in this room: nobody is told what happened in it')
    },
    nowMs: systemClock.nowMs,
    sleep: systemClock.sleep,
    retryDelayMs: (attempt) => retryDelayMs(attempt),
    batchRecordsMax: BATCH_RECORDS_MAX,
    onRetry: (err, delayMs) => {
      metrics.retries.inc()
      log.warn({ err, delayMs }, 'cannot fan out now: the partition waits')
    },
    observer: {
      applied: (records, tookMs) => {
        metrics.records.inc(records)
        metrics.batchSeconds.observe(tookMs / 1_000)
      },
      restored: (tookMs) => metrics.restoreSeconds.observe(tookMs / 1_000),
    },
  })
}
