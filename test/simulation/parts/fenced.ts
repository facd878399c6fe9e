import type { DeadLetter } from '#libs/kafka/fenced-service.ts'
import { retryDelayMs } from '#libs/runtime/retry.ts'
import type { Processor } from '#libs/streams/fenced-ports.ts'
import { FencedTask, type TaskLimits } from '#libs/streams/fenced-task.ts'
import { PartitionTasks } from '#libs/streams/partition-tasks.ts'
import { abortable } from '../world/abortable.ts'
import { SimConsumer } from '../world/consumer.ts'
import type { Group } from '../world/group.ts'
import type { Fenced } from '../world/kafka.ts'
import { SimProducer } from '../world/producer.ts'
import type { Process } from '../world/process.ts'
import type { Servers } from '../world/servers.ts'

const CHECKPOINT_WITHIN_MS = 1_000

/** What the queue of a task may hold beyond its high mark: what one fetch brings, of each input. */
const FETCH_SLACK = 2 * 50

export type FencedOptions<Prepared, P extends Processor<Prepared>> = {
  readonly group: Group
  readonly fenced: Fenced
  readonly inputTopics: readonly string[]
  readonly deadLetterTopic: string
  readonly createProcessor: (partition: number, deadLetter: DeadLetter) => P
  readonly onTakenOver: (partition: number, epoch: bigint, processor: P) => void
  readonly limits: TaskLimits
}

/** libs/kafka/fenced-service.ts in the simulated world. Returns its graceful end. */
export function startFenced<Prepared, P extends Processor<Prepared>>(process: Process, servers: Servers, options: FencedOptions<Prepared, P>): () => Promise<void> {
  const { world, kafka } = servers
  const { group, fenced, inputTopics, deadLetterTopic, createProcessor, onTakenOver, limits } = options
  const fatal = (err: unknown) => world.fail('no-fatal-error', `${process.name}: ${err instanceof Error ? err.message : err}`)
  const consumer = new SimConsumer(process, kafka, { inGroup: true, onFailed: fatal })
  const deadLetters = new SimProducer(process, kafka)
  let nonces = 0
  const create = (partition: number): FencedTask<Prepared> => {
    let processor: P
    const task: FencedTask<Prepared> = new FencedTask<Prepared>({
      ownerId: process.name,
      log: kafka.fencedLog(process, fenced, partition),
      snapshots: kafka.snapshots(fenced, partition).for(process, kafka),
      inputs: consumer.taskInputs(inputTopics, partition),
      inputTopics,
      createProcessor: () => (processor = createProcessor(partition, async (letter) => void (await deadLetters.send(deadLetterTopic, letter)))),
      clock: process.clock,
      newNonce: () => `${process.name}-${nonces++}`,
      retryDelayMs: (attempt) => retryDelayMs(attempt),
      confirmAssigned: (signal) => abortable(member.confirm(), signal),
      limits,
      observer: {
        takenOver: (epoch) => {
          world.note(`${process.name} took partition ${partition} of ${fenced.log} over, epoch ${epoch}`)
          onTakenOver(partition, epoch, processor)
        },
        appended: () => checkQueue(partition, task),
        lost: (err, delayMs) => world.note(`${process.name} is in doubt about ${fenced.log}/${partition}: ${(err as Error).message}, again in ${Math.round(delayMs)} ms`),
      },
    })
    return task
  }
  const checkQueue = (partition: number, task: FencedTask<Prepared>): void => {
    const queued = inputTopics.map((topic) => (consumer.next(topic, partition) ?? 0) - Number(task.positions?.get(topic) ?? 0n)).reduce((a, b) => a + b, 0)
    if (queued > limits.queueHighMark + FETCH_SLACK + limits.batchInputsMax) world.fail('bounded-buffers', `${process.name}: ${queued} inputs of ${fenced.log}/${partition} wait`)
  }
  const tasks = new PartitionTasks<FencedTask<Prepared>>({ create, onFailure: fatal })
  const member = group.join(process, {
    owned: () => tasks.partitions(),
    onAssigned: (partitions) => {
      consumer.assign(partitions)
      tasks.assign(partitions)
    },
  })
  return async () => {
    await Promise.race([Promise.all(tasks.entries().map(([, task]) => task.checkpoint())), process.clock.sleep(CHECKPOINT_WITHIN_MS)])
    member.leave()
    await tasks.stopAll()
  }
}
