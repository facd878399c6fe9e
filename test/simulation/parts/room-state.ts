import { defaultRoomLimits } from '#libs/domain/limits.ts'
import { retryDelayMs } from '#libs/runtime/retry.ts'
import { FencedTask, type TaskLimits } from '#libs/streams/fenced-task.ts'
import { PartitionTasks } from '#libs/streams/partition-tasks.ts'
import { inputTopics, topics } from '#libs/streams/topics.ts'
import { prepareInputs } from '../../../services/room-state/core/prepare.ts'
import { type PreparedInput, RoomProcessor } from '../../../services/room-state/core/room-processor.ts'
import { abortable } from '../world/abortable.ts'
import { SimConsumer } from '../world/consumer.ts'
import { SimProducer } from '../world/producer.ts'
import type { Process } from '../world/process.ts'
import type { Servers } from '../world/servers.ts'

type RoomTask = FencedTask<PreparedInput>

const CHECKPOINT_WITHIN_MS = 1_000

/** What the queue of a task may hold beyond its high mark: what one fetch brings, of each input. */
const FETCH_SLACK = 2 * 50

/** services/room-state/service.ts in the simulated world. Returns its graceful end. */
export function startRoomState(process: Process, servers: Servers, limits: TaskLimits): () => Promise<void> {
  const { world, kafka, registry, groups } = servers
  const fatal = (err: unknown) => world.fail('no-fatal-error', `${process.name}: ${err instanceof Error ? err.message : err}`)
  const known = new Set<number>()
  const codecs = {
    orderEvents: registry.codec(process, topics.orderEvents, known),
    chatCommands: registry.codec(process, topics.chatCommands, known),
    roomEvents: registry.codec(process, topics.roomEvents, known),
    roomState: registry.codec(process, topics.roomState, known),
  }
  const consumer = new SimConsumer(process, kafka, { inGroup: true, onFailed: fatal })
  const deadLetters = new SimProducer(process, kafka)
  let nonces = 0
  const create = (partition: number): RoomTask => {
    const prepare = {
      partition,
      partitions: kafka.partitions,
      decode: (topic: string, bytes: Buffer) => (topic === topics.orderEvents.name ? codecs.orderEvents : codecs.chatCommands).decode(bytes),
      deadLetter: async (letter: Parameters<SimProducer['send']>[1]) => void (await deadLetters.send(topics.chatCommandsDlq.name, letter)),
    }
    let processor: RoomProcessor
    const task: RoomTask = new FencedTask<PreparedInput>({
      ownerId: process.name,
      log: kafka.fencedLog(process, partition),
      snapshots: kafka.snapshots(partition).for(process, kafka),
      inputs: consumer.taskInputs(partition),
      inputTopics,
      createProcessor: () => (processor = new RoomProcessor({ roomEvents: codecs.roomEvents, roomState: codecs.roomState, limits: defaultRoomLimits, prepare: (records) => prepareInputs(prepare, records) })),
      clock: process.clock,
      newNonce: () => `${process.name}-${nonces++}`,
      retryDelayMs: (attempt) => retryDelayMs(attempt),
      confirmAssigned: (signal) => abortable(member.confirm(), signal),
      limits,
      observer: {
        takenOver: (epoch) => {
          world.note(`${process.name} took partition ${partition} over, epoch ${epoch}`)
          servers.probes.onTakenOver(partition, epoch, processor.rooms)
        },
        appended: () => checkQueue(partition, task),
        lost: (err, delayMs) => world.note(`${process.name} is in doubt about ${partition}: ${(err as Error).message}, again in ${Math.round(delayMs)} ms`),
      },
    })
    return task
  }
  const checkQueue = (partition: number, task: RoomTask): void => {
    const queued = inputTopics.map((topic) => (consumer.next(topic, partition) ?? 0) - Number(task.positions?.get(topic) ?? 0n)).reduce((a, b) => a + b, 0)
    if (queued > limits.queueHighMark + FETCH_SLACK + limits.batchInputsMax) world.fail('bounded-buffers', `${process.name}: ${queued} inputs of partition ${partition} wait`)
  }
  const tasks = new PartitionTasks<RoomTask>({ create, onFailure: fatal })
  const member = groups.roomState.join(process, {
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
