import { AvroCodecs, type AvroCodec } from '#libs/kafka/avro.ts'
import { coPartitionedAssigner } from '#libs/kafka/assigner.ts'
import { BatchingProducer } from '#libs/kafka/batching-producer.ts'
import { createKafkaClient, type KafkaClient } from '#libs/kafka/client.ts'
import { kafkaFencedLog, kafkaSnapshotLog, kafkaTaskInputs, SharedAppends } from '#libs/kafka/fenced-log.ts'
import { PositionedConsumer } from '#libs/kafka/positioned-consumer.ts'
import { reportPositions } from '#libs/kafka/report-positions.ts'
import { OffsetsAdmin } from '#libs/kafka/topics-admin.ts'
import { ChatError } from '#libs/domain/errors.ts'
import { newId, systemClock } from '#libs/runtime/clock.ts'
import { createLogger, type Logger } from '#libs/runtime/logger.ts'
import { startHealthServer } from '#libs/runtime/metrics.ts'
import { Releasers } from '#libs/runtime/releasers.ts'
import { retryDelayMs } from '#libs/runtime/retry.ts'
import { FencedTask } from '#libs/streams/fenced-task.ts'
import { PartitionTasks } from '#libs/streams/partition-tasks.ts'
import { headerNames, inputTopics, topics } from '#libs/streams/topics.ts'
import type { RoomStateConfig } from './config.ts'
import { prepareInputs } from './core/prepare.ts'
import { type PreparedInput, RoomProcessor } from './core/room-processor.ts'
import { createRoomStateMetrics, type RoomStateMetrics } from './metrics.ts'

/** Some heartbeats. Where none gets through, the partition may be another's: asked again after a delay. */
const CONFIRM_WITHIN_MS = 5_000

/** People wait for a restore, so its reader looks often; a look that asks for nothing is a timer, no request. */
const RESTORE_FETCH = { minBytes: 1, waitMs: 20 }

/** Its next heartbeat tells a member that another has left, and that people wait for it to take over. */
const HEARTBEAT_MS_MAX = 150

/** A stop waits no longer for the last snapshots: without them the next owner replays some seconds of log. */
const CHECKPOINT_WITHIN_MS = 1_000

type RoomTask = FencedTask<PreparedInput>
type Codecs = Record<'orderEvents' | 'chatCommands' | 'roomEvents' | 'roomState', AvroCodec>

type Parts = {
  readonly config: RoomStateConfig
  readonly kafka: KafkaClient
  readonly codecs: Codecs
  readonly consumer: PositionedConsumer
  readonly reader: PositionedConsumer
  readonly offsets: OffsetsAdmin
  readonly appends: SharedAppends
  readonly deadLetters: BatchingProducer
  readonly metrics: RoomStateMetrics
  readonly logger: Logger
}

/** One task per assigned partition: order events and commands in, decided room events out. */
export async function startRoomState(config: RoomStateConfig) {
  const { service } = config
  const logger = createLogger('room-state', service.instanceId, service.logLevel)
  const metrics = createRoomStateMetrics()
  const releasers = new Releasers()
  const failed = Promise.withResolvers<never>()
  const stopping = new AbortController()
  // Ready once every partition of the first assignment was taken over; later rebalances are no reason to unlist a node.
  let ready = false
  const isReady = () => (ready ||= assigned && tasks.entries().every(([, task]) => task.positions !== undefined))
  let assigned = false
  const health = await startHealthServer({ host: service.metricsHost, port: service.metricsPort, registry: metrics.registry, isReady: () => !stopping.signal.aborted && isReady() })
  releasers.add(() => health.close())

  const kafka = createKafkaClient(config.kafka, service.instanceId, logger)
  const codecs = await loadCodecs(config, kafka, stopping.signal)
  const offsets = new OffsetsAdmin(kafka)
  releasers.add(() => offsets.close())
  const appends = new SharedAppends(kafka, offsets)
  releasers.add(() => appends.close())
  const deadLetters = new BatchingProducer(kafka)
  releasers.add(() => deadLetters.close())
  const onFailed = (err: unknown) => failed.reject(err)
  const reader = new PositionedConsumer(kafka, { topics: [topics.roomEvents.name, topics.roomState.name], fetch: RESTORE_FETCH, onFailed })
  releasers.add(() => reader.close())
  const tasks = new PartitionTasks<RoomTask>({ create: (partition) => createTask(parts, partition), onFailure: onFailed })
  const consumer = new PositionedConsumer(kafka, {
    topics: inputTopics,
    group: {
      id: 'room-state',
      assigner: coPartitionedAssigner(config.kafka.partitions, () => tasks.partitions()),
      heartbeatMs: Math.min(config.kafka.heartbeatMs, HEARTBEAT_MS_MAX),
    },
    onAssigned: (byTopic) => {
      const partitions = byTopic.get(topics.chatCommands.name) ?? []
      logger.info({ partitions }, 'partitions are assigned')
      tasks.assign(partitions)
      metrics.partitions.set(partitions.length)
      assigned = true
    },
    onFailed,
  })
  const parts: Parts = { config, kafka, codecs, consumer, reader, offsets, appends, deadLetters, metrics, logger }
  // In reverse: snapshots while the work goes on; then the group learns that the partitions are free; what has been
  // read by then is still decided, and nobody waits for anything of ours.
  releasers.add(() => tasks.stopAll())
  releasers.add(() => consumer.close())
  releasers.add(() => checkpointAll(tasks))

  await reader.start()
  await consumer.start()
  const commits = setInterval(() => {
    const positions = tasks.entries().flatMap(([partition, task]) => positionsOf(partition, task.positions))
    reportPositions(parts, positions, ({ topic, partition }, lag) => metrics.lag.set({ topic, partition }, lag))
  }, config.commitEveryMs)
  releasers.add(() => clearInterval(commits))
  logger.info({ metricsPort: health.port }, 'started')
  return {
    logger,
    stopTimeoutMs: service.stopTimeoutMs,
    metricsPort: health.port,
    finished: failed.promise,
    close: async () => {
      stopping.abort()
      await releasers.releaseAll()
    },
  }
}

async function checkpointAll(tasks: PartitionTasks<RoomTask>): Promise<void> {
  const checkpoints = tasks.entries().map(([, task]) => task.checkpoint())
  await Promise.race([Promise.all(checkpoints), systemClock.sleep(CHECKPOINT_WITHIN_MS)])
}

async function loadCodecs(config: RoomStateConfig, kafka: KafkaClient, signal: AbortSignal): Promise<Codecs> {
  const registry = new AvroCodecs(config.registry, kafka)
  const [orderEvents, chatCommands, roomEvents, roomState] = await Promise.all([
    registry.whenRegistered(topics.orderEvents, signal),
    registry.whenRegistered(topics.chatCommands, signal),
    registry.whenRegistered(topics.roomEvents, signal),
    registry.whenRegistered(topics.roomState, signal),
  ])
  return { orderEvents, chatCommands, roomEvents, roomState }
}

function createTask(parts: Parts, partition: number): RoomTask {
  const { config, codecs, consumer, offsets, deadLetters, metrics, logger } = parts
  const log = logger.child({ partition })
  const decode = (topic: string, bytes: Buffer) => (topic === topics.orderEvents.name ? codecs.orderEvents : codecs.chatCommands).decode(bytes)
  return new FencedTask({
    ownerId: config.service.instanceId,
    log: kafkaFencedLog(parts, topics.roomEvents.name, partition),
    snapshots: kafkaSnapshotLog(parts, topics.roomState.name, partition, `room-state-${partition}`),
    inputs: kafkaTaskInputs(consumer, offsets, inputTopics, partition),
    inputTopics,
    createProcessor: () =>
      new RoomProcessor({
        roomEvents: codecs.roomEvents,
        roomState: codecs.roomState,
        limits: config.room,
        prepare: (records) =>
          prepareInputs(
            {
              partition,
              partitions: config.kafka.partitions,
              decode,
              deadLetter: async (letter) => {
                metrics.deadLetters.inc({ code: String(letter.headers[headerNames.errorCode]) })
                log.error({ source: letter.headers[headerNames.source], reason: letter.headers[headerNames.errorReason] }, 'an input goes to the dead letters')
                await deadLetters.send(topics.chatCommandsDlq.name, letter)
              },
            },
            records,
          ),
        onEntry: (entry) => metrics.entries.inc({ type: entry.type, code: entry.type === 'refused' ? entry.code : '' }),
      }),
    clock: systemClock,
    newNonce: newId,
    retryDelayMs: (attempt) => retryDelayMs(attempt),
    confirmAssigned: (signal) => consumer.confirmMembership(CONFIRM_WITHIN_MS, signal),
    limits: config.task,
    observer: {
      takenOver: (epoch, tookMs) => {
        metrics.takeovers.inc()
        metrics.takeoverSeconds.observe(tookMs / 1_000)
        log.info({ epoch: epoch.toString(), tookMs }, 'took the partition over')
      },
      appended: (inputs, _bytes, tookMs) => {
        metrics.inputs.inc(inputs)
        metrics.batchInputs.observe(inputs)
        metrics.batchSeconds.observe(tookMs / 1_000)
      },
      snapshotted: (records, tookMs) => {
        metrics.snapshotRecords.observe(records)
        metrics.snapshotSeconds.observe(tookMs / 1_000)
      },
      lost: (err, delayMs) => {
        metrics.doubts.inc({ code: err instanceof ChatError ? err.code : 'stranger' })
        log.warn({ err, delayMs }, 'in doubt: the partition is taken over again')
      },
    },
  })
}

function positionsOf(partition: number, acknowledged: ReadonlyMap<string, bigint> | undefined) {
  return inputTopics.flatMap((topic) => {
    const next = acknowledged?.get(topic)
    return next === undefined ? [] : [{ topic, partition, next }]
  })
}
