import { AvroCodecs } from '#libs/kafka/avro.ts'
import { createKafkaClient } from '#libs/kafka/client.ts'
import { OffsetsAdmin } from '#libs/kafka/topics-admin.ts'
import { createPool } from '#libs/postgres/pool.ts'
import { createLogger } from '#libs/runtime/logger.ts'
import { startHealthServer } from '#libs/runtime/metrics.ts'
import { Releasers } from '#libs/runtime/releasers.ts'
import { decisionFromAvro } from '#libs/streams/avro-shapes.ts'
import { topics } from '#libs/streams/topics.ts'
import type { PersisterConfig } from './config.ts'
import { rowsOf } from './core/rows.ts'
import { followLog } from './follow-log.ts'
import { createPersisterMetrics } from './metrics.ts'
import { startProducts } from './products.ts'
import { createMessageStore } from './store.ts'
import { startUserEvents } from './user-events.ts'

const topic = topics.roomEvents.name

/** Brings the logs of rooms and of users into Postgres, each in a consumer group of its own, and what products are. */
export async function startPersister(config: PersisterConfig) {
  const { service } = config
  const logger = createLogger('message-persister', service.instanceId, service.logLevel)
  const metrics = createPersisterMetrics()
  const releasers = new Releasers()
  const failed = Promise.withResolvers<never>()
  const onFailed = (err: unknown) => failed.reject(err)
  let isClosing = false
  const waitingFor = new Set(['rooms', 'users'])
  const isReady = () => !isClosing && waitingFor.size === 0
  const health = await startHealthServer({ host: service.metricsHost, port: service.metricsPort, registry: metrics.registry, isReady })
  releasers.add(() => health.close())
  const pool = createPool(config.postgres, logger)
  releasers.add(() => pool.end())
  const kafka = createKafkaClient(config.kafka, service.instanceId, logger)
  const codecs = new AvroCodecs(config.registry, kafka)
  const [codec, userCodec, productCodec] = await Promise.all([codecs.whenRegistered(topics.roomEvents), codecs.whenRegistered(topics.userEvents), codecs.whenRegistered(topics.productUpdates)])
  const offsets = new OffsetsAdmin(kafka)
  releasers.add(() => offsets.close())
  const parts = { config, kafka, offsets, logger, onFailed }
  const rooms = await followLog({
    ...parts,
    topic,
    groupId: 'message-persister',
    store: createMessageStore(pool, topic),
    codec,
    decidedOf: decisionFromAvro,
    rowsOf,
    eventsOf: ({ events }) => events.length,
    metrics,
    onAssigned: () => waitingFor.delete('rooms'),
  })
  releasers.add(() => rooms.close())
  const users = await startUserEvents({ ...parts, pool, codec: userCodec, metrics: metrics.userEvents, onAssigned: () => waitingFor.delete('users') })
  releasers.add(() => users.close())
  const products = await startProducts({ kafka, codec: productCodec, offsets, pool, logger, registry: metrics.registry, reportEveryMs: config.commitEveryMs, onFailed })
  releasers.add(() => products.close())
  logger.info({ metricsPort: health.port }, 'started')
  return {
    logger,
    stopTimeoutMs: service.stopTimeoutMs,
    metricsPort: health.port,
    finished: failed.promise,
    close: () => {
      isClosing = true
      return releasers.releaseAll()
    },
  }
}
