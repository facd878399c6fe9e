import type { KafkaClient } from '#libs/kafka/client.ts'
import { followInGroup } from '#libs/kafka/follow-in-group.ts'
import type { OffsetsAdmin } from '#libs/kafka/topics-admin.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import { retryDelayMs } from '#libs/runtime/retry.ts'
import type { ReadOptions } from '#libs/streams/read-by-rule.ts'
import type { TopicName } from '#libs/streams/topics.ts'
import type { PersisterConfig } from './config.ts'
import type { PartitionStore } from './core/partition-store.ts'
import { type AppliedRecord, PersisterTask } from './core/persister-task.ts'
import type { LogMetrics } from './metrics.ts'

/** A fetch with less comes back after `fetchWaitMs`: few large transactions cost far less than many small ones. */
const FETCH_MIN_BYTES = 256 * 1024

export type FollowLogOptions<Decided, Rows> = ReadOptions<Decided> & {
  readonly config: PersisterConfig
  /** Default: that of the configuration. */
  readonly fetchWaitMs?: number
  readonly kafka: KafkaClient
  readonly offsets: OffsetsAdmin
  readonly topic: TopicName
  readonly groupId: string
  readonly store: PartitionStore<Rows>
  readonly rowsOf: (applied: readonly AppliedRecord<Decided>[]) => Rows
  readonly eventsOf: (rows: Rows) => number
  readonly metrics: LogMetrics
  readonly logger: Logger
  readonly onAssigned?: () => void
  /** The process should end. */
  readonly onFailed: (err: unknown) => void
}

/** Brings a fenced log into Postgres: one task per assigned partition. */
export function followLog<Decided, Rows>(options: FollowLogOptions<Decided, Rows>): Promise<{ close(): Promise<void> }> {
  const { config, kafka, offsets, topic, groupId, eventsOf, metrics, logger, onAssigned, onFailed } = options
  return followInGroup<PersisterTask<Decided, Rows>>({
    kafka,
    offsets,
    topic,
    groupId,
    fetch: { minBytes: FETCH_MIN_BYTES, waitMs: options.fetchWaitMs ?? config.fetchWaitMs },
    create: (partition, log) => {
      const told = logger.child({ topic, partition })
      return new PersisterTask({
        ...options,
        partition,
        log,
        nowMs: systemClock.nowMs,
        sleep: systemClock.sleep,
        retryDelayMs: (attempt) => retryDelayMs(attempt),
        batchRecordsMax: config.batchRecordsMax,
        observer: {
          applied: (records, rows, tookMs) => {
            metrics.records.inc(records)
            metrics.rows.inc(eventsOf(rows))
            metrics.batchRecords.observe(records)
            metrics.batchSeconds.observe(tookMs / 1_000)
          },
          behind: (err, delayMs) => {
            metrics.behind.inc()
            told.warn({ err, delayMs }, 'cannot write now: the partition waits')
          },
          moved: () => {
            metrics.moved.inc()
            told.warn('another persister has been here: the position is read again')
          },
        },
      })
    },
    positionOf: (_, task) => task.position?.nextOffset,
    reportEveryMs: config.commitEveryMs,
    onLag: (partition, lag) => metrics.lag.set({ partition }, lag),
    onAssigned: (partitions) => {
      metrics.partitions.set(partitions.length)
      onAssigned?.()
    },
    onFailed,
    logger,
  })
}
