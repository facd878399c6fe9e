import { type AvroCodec, AvroCodecs } from '#libs/kafka/avro.ts'
import { createKafkaClient, type KafkaClient } from '#libs/kafka/client.ts'
import { startFencedService } from '#libs/kafka/fenced-service.ts'
import { OffsetsAdmin } from '#libs/kafka/topics-admin.ts'
import { createLogger } from '#libs/runtime/logger.ts'
import { startHealthServer } from '#libs/runtime/metrics.ts'
import { Releasers } from '#libs/runtime/releasers.ts'
import { inputTopics, topics } from '#libs/streams/topics.ts'
import type { RoomStateConfig } from './config.ts'
import { prepareInputs } from './core/prepare.ts'
import { type PreparedInput, RoomProcessor } from './core/room-processor.ts'
import { createRoomStateMetrics } from './metrics.ts'

type Codecs = Record<'orderEvents' | 'chatCommands' | 'roomEvents' | 'roomState', AvroCodec>

/** One task per assigned partition: order events and commands in, decided room events out. */
export async function startRoomState(config: RoomStateConfig) {
  const { service } = config
  const logger = createLogger('room-state', service.instanceId, service.logLevel)
  const metrics = createRoomStateMetrics()
  const releasers = new Releasers()
  const failed = Promise.withResolvers<never>()
  const stopping = new AbortController()
  let isReady = () => false
  const health = await startHealthServer({ host: service.metricsHost, port: service.metricsPort, registry: metrics.registry, isReady: () => !stopping.signal.aborted && isReady() })
  releasers.add(() => health.close())

  const kafka = createKafkaClient(config.kafka, service.instanceId, logger)
  const codecs = await loadCodecs(config, kafka, stopping.signal)
  const offsets = new OffsetsAdmin(kafka)
  releasers.add(() => offsets.close())
  const decode = (topic: string, bytes: Buffer) => (topic === topics.orderEvents.name ? codecs.orderEvents : codecs.chatCommands).decode(bytes)
  const fenced = await startFencedService<PreparedInput>(
    {
      kafka,
      offsets,
      groupId: 'room-state',
      transactionalId: 'room-state',
      ownerId: service.instanceId,
      inputTopics,
      logTopic: topics.roomEvents.name,
      stateTopic: topics.roomState.name,
      deadLetterTopic: topics.chatCommandsDlq.name,
      createProcessor: (partition, deadLetter) =>
        new RoomProcessor({
          roomEvents: codecs.roomEvents,
          roomState: codecs.roomState,
          limits: config.room,
          prepare: (records) => prepareInputs({ partition, partitions: config.kafka.partitions, decode, deadLetter }, records),
          onEntry: (entry) => metrics.entries.inc({ type: entry.type, code: entry.type === 'refused' ? entry.code : '' }),
        }),
      limits: config.task,
      reportEveryMs: config.commitEveryMs,
      metrics,
      logger,
      onFailed: (err) => failed.reject(err),
    },
    releasers,
  )
  isReady = fenced.isReady
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
