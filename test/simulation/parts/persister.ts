import { ChatError } from '#libs/domain/errors.ts'
import { retryDelayMs } from '#libs/runtime/retry.ts'
import { type Decision, decisionFromAvro } from '#libs/streams/avro-shapes.ts'
import { PartitionTasks } from '#libs/streams/partition-tasks.ts'
import { topics } from '#libs/streams/topics.ts'
import { PersisterTask } from '../../../services/message-persister/core/persister-task.ts'
import { type Rows, rowsOf } from '../../../services/message-persister/core/rows.ts'
import { createMessageStore } from '../../../services/message-persister/store.ts'
import { SimConsumer } from '../world/consumer.ts'
import type { Process } from '../world/process.ts'
import type { Servers } from '../world/servers.ts'

const topic = topics.roomEvents.name

type Task = PersisterTask<Decision, Rows>

/** services/message-persister/service.ts in the simulated world. Returns its graceful end. */
export function startPersister(process: Process, servers: Servers, batchRecordsMax: number): () => Promise<void> {
  const { world, kafka, postgres, registry, groups } = servers
  const fatal = (err: unknown) => world.fail('no-fatal-error', `${process.name}: ${err instanceof Error ? err.message : err}`)
  const codec = registry.codec(process, topics.roomEvents, new Set())
  const consumer = new SimConsumer(process, kafka, { inGroup: true, onFailed: fatal })
  const store = createMessageStore(postgres.pool(process), topic)
  const create = (partition: number): Task => {
    const task: Task = new PersisterTask({
      partition,
      store,
      codec,
      decidedOf: decisionFromAvro,
      rowsOf,
      log: {
        open: async (from, sink) => {
          const { low, high } = await kafka.range(process, topic, partition)
          if (from < low || from > high) throw new ChatError('input_position_lost', `${topic}/${partition} holds ${low} … ${high}, Postgres needs ${from}`)
          consumer.open(topic, partition, from, sink)
        },
        hold: (on) => consumer.hold(topic, partition, 'full', on),
        close: () => consumer.close(topic, partition),
      },
      nowMs: process.clock.nowMs,
      sleep: process.clock.sleep,
      retryDelayMs: (attempt) => retryDelayMs(attempt),
      batchRecordsMax,
      observer: {
        applied: () => {
          const queued = (consumer.next(topic, partition) ?? 0) - Number(task.position?.nextOffset ?? 0n)
          if (queued > batchRecordsMax * 2 + 50) world.fail('bounded-buffers', `${process.name}: ${queued} records of partition ${partition} wait`)
        },
        behind: (err, delayMs) => world.note(`${process.name} cannot write ${partition}: ${(err as Error).message}, again in ${Math.round(delayMs)} ms`),
        moved: () => world.note(`${process.name}: another persister has been at ${partition}`),
      },
    })
    return task
  }
  const tasks = new PartitionTasks<Task>({ create, onFailure: fatal })
  const member = groups.persister.join(process, {
    owned: () => tasks.partitions(),
    onAssigned: (partitions) => {
      consumer.assign(partitions)
      tasks.assign(partitions)
    },
  })
  return async () => {
    await tasks.stopAll()
    member.leave()
  }
}
