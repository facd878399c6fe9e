import { ChatError } from '#libs/domain/errors.ts'
import type { BatchedTaskOptions } from '#libs/streams/batched-task.ts'
import { type PartitionTask, PartitionTasks } from '#libs/streams/partition-tasks.ts'
import { SimConsumer } from '../world/consumer.ts'
import type { Group } from '../world/group.ts'
import type { Process } from '../world/process.ts'
import type { Servers } from '../world/servers.ts'

export type FollowOptions<T extends PartitionTask> = {
  readonly group: Group
  readonly topic: string
  readonly batchRecordsMax: number
  readonly create: (partition: number, log: BatchedTaskOptions['log'], onApplied: () => void) => T
  /** Everything below was done; undefined: not known. */
  readonly positionOf: (task: T) => bigint | undefined
  readonly onStopped?: () => Promise<void>
}

/** libs/kafka/follow-in-group.ts in the simulated world. */
export function followInGroup<T extends PartitionTask>(process: Process, { world, kafka }: Servers, options: FollowOptions<T>): { readonly tasks: PartitionTasks<T>; readonly close: () => Promise<void> } {
  const { group, topic, batchRecordsMax, create, positionOf, onStopped } = options
  const fatal = (err: unknown) => world.fail('no-fatal-error', `${process.name}: ${err instanceof Error ? err.message : err}`)
  const consumer = new SimConsumer(process, kafka, { inGroup: true, onFailed: fatal })
  const logOf = (partition: number): BatchedTaskOptions['log'] => ({
    open: async (from, sink) => {
      const { low, high } = await kafka.range(process, topic, partition)
      if (from < low || from > high) throw new ChatError('input_position_lost', `${topic}/${partition} holds ${low} … ${high}, ${process.name} needs ${from}`)
      consumer.open(topic, partition, from, sink)
    },
    hold: (on) => consumer.hold(topic, partition, 'full', on),
    close: () => consumer.close(topic, partition),
  })
  const start = (partition: number): T => {
    const task: T = create(partition, logOf(partition), () => {
      const position = positionOf(task)
      const queued = (consumer.next(topic, partition) ?? 0) - Number(position ?? 0n)
      if (position !== undefined && queued > batchRecordsMax * 2 + 50) world.fail('bounded-buffers', `${process.name}: ${queued} records of ${topic}/${partition} wait`)
    })
    return task
  }
  const tasks = new PartitionTasks<T>({ create: start, onFailure: fatal })
  const member = group.join(process, {
    owned: () => tasks.partitions(),
    onAssigned: (partitions) => {
      consumer.assign(partitions)
      tasks.assign(partitions)
    },
  })
  return {
    tasks,
    close: async () => {
      await tasks.stopAll()
      await onStopped?.()
      member.leave()
    },
  }
}
