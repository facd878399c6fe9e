import { ChatError } from '#libs/domain/errors.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import type { BatchedTaskOptions } from '#libs/streams/batched-task.ts'
import { type PartitionTask, PartitionTasks } from '#libs/streams/partition-tasks.ts'
import type { TopicName } from '#libs/streams/topics.ts'
import { coPartitionedAssigner } from './assigner.ts'
import type { KafkaClient } from './client.ts'
import { PositionedConsumer } from './positioned-consumer.ts'
import { reportPositions } from './report-positions.ts'
import type { OffsetsAdmin } from './topics-admin.ts'

export type FollowedLog = BatchedTaskOptions['log']

export type FollowOptions<T extends PartitionTask> = {
  readonly kafka: KafkaClient
  readonly offsets: OffsetsAdmin
  readonly topic: TopicName
  readonly groupId: string
  readonly fetch: { readonly minBytes: number; readonly waitMs: number }
  /** Positions below what a topic still holds: an error, or, in a compacted one, from what it holds on. Default: an error. */
  readonly lostPosition?: 'fails' | 'moves up'
  readonly create: (partition: number, log: FollowedLog) => T
  /** Everything below was done; undefined: not known yet. */
  readonly positionOf: (partition: number, task: T) => bigint | undefined
  readonly reportEveryMs: number
  /** Before each report. */
  readonly onReport?: () => void
  readonly onLag: (partition: number, lag: number) => void
  readonly onAssigned?: (partitions: readonly number[]) => void
  /** At the end, after the tasks have stopped and before the group is left: who comes next has not begun. */
  readonly onStopped?: () => Promise<void>
  /** The process should end. */
  readonly onFailed: (err: unknown) => void
  readonly logger: Logger
}

/** Follows a topic as a member of a group: a task for each assigned partition, and its lag for people's tools. */
export async function followInGroup<T extends PartitionTask>(options: FollowOptions<T>): Promise<{ close(): Promise<void> }> {
  const { kafka, offsets, topic, groupId, fetch, create, positionOf, reportEveryMs, onReport, onLag, onAssigned, onStopped, onFailed, logger } = options
  const tasks = new PartitionTasks<T>({ create: (partition) => create(partition, logOf(options, consumer, partition)), onFailure: onFailed })
  const consumer = new PositionedConsumer(kafka, {
    topics: [topic],
    fetch,
    group: { id: groupId, assigner: coPartitionedAssigner(kafka.config.partitions, () => tasks.partitions()) },
    onAssigned: (assigned) => {
      const partitions = assigned.get(topic) ?? []
      logger.info({ topic, partitions }, 'partitions are assigned')
      tasks.assign(partitions)
      onAssigned?.(partitions)
    },
    onFailed,
  })
  await consumer.start()
  const report = setInterval(() => {
    onReport?.()
    const positions = tasks.entries().flatMap(([partition, task]) => {
      const next = positionOf(partition, task)
      return next === undefined ? [] : [{ topic, partition, next }]
    })
    reportPositions({ consumer, offsets, logger }, positions, ({ partition }, lag) => onLag(partition, lag))
  }, reportEveryMs)
  return {
    async close() {
      clearInterval(report)
      try {
        await tasks.stopAll()
        await onStopped?.()
      } finally {
        await consumer.close()
      }
    },
  }
}

function logOf<T extends PartitionTask>({ offsets, topic, groupId, lostPosition }: FollowOptions<T>, consumer: PositionedConsumer, partition: number): FollowedLog {
  return {
    async open(from, sink) {
      const { low, high } = await offsets.range(topic, partition)
      const isLost = from > high || (from < low && lostPosition !== 'moves up')
      if (isLost) throw new ChatError('input_position_lost', `${topic}[${partition}] holds ${low} … ${high}, ${groupId} needs ${from}`)
      consumer.open(topic, partition, from < low ? low : from, sink)
    },
    hold: (on) => consumer.hold(topic, partition, 'full', on),
    close: () => consumer.closePartition(topic, partition),
  }
}
