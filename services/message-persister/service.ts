import { ChatError } from '#libs/domain/errors.ts'
import { coPartitionedAssigner } from '#libs/kafka/assigner.ts'
import { type AvroCodec, AvroCodecs } from '#libs/kafka/avro.ts'
import { createKafkaClient } from '#libs/kafka/client.ts'
import { PositionedConsumer } from '#libs/kafka/positioned-consumer.ts'
import { reportPositions } from '#libs/kafka/report-positions.ts'
import { OffsetsAdmin } from '#libs/kafka/topics-admin.ts'
import { createPool } from '#libs/postgres/pool.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import { createLogger } from '#libs/runtime/logger.ts'
import { startHealthServer } from '#libs/runtime/metrics.ts'
import { Releasers } from '#libs/runtime/releasers.ts'
import { retryDelayMs } from '#libs/runtime/retry.ts'
import { type Decision, decisionFromAvro } from '#libs/streams/avro-shapes.ts'
import { PartitionTasks } from '#libs/streams/partition-tasks.ts'
import { topics } from '#libs/streams/topics.ts'
import type { PersisterConfig } from './config.ts'
import type { PartitionStore } from './core/partition-store.ts'
import { PersisterTask } from './core/persister-task.ts'
import { type Rows, rowsOf } from './core/rows.ts'
import { createPersisterMetrics, type PersisterMetrics } from './metrics.ts'
import { startProducts } from './products.ts'
import { createMessageStore } from './store.ts'

const topic = topics.roomEvents.name

/** A fetch with less comes back after `fetchWaitMs`: few large transactions cost far less than many small ones. */
const FETCH_MIN_BYTES = 256 * 1024

/** Brings the log into Postgres: one task per assigned partition. */
export async function startPersister(config: PersisterConfig) {
  const { service } = config
  const logger = createLogger('message-persister', service.instanceId, service.logLevel)
  const metrics = createPersisterMetrics()
  const releasers = new Releasers()
  const failed = Promise.withResolvers<never>()
  let ready = false
  const health = await startHealthServer({ host: service.metricsHost, port: service.metricsPort, registry: metrics.registry, isReady: () => ready })
  releasers.add(() => health.close())
  const pool = createPool(config.postgres, logger)
  releasers.add(() => pool.end())
  const kafka = createKafkaClient(config.kafka, service.instanceId, logger)
  const codecs = new AvroCodecs(config.registry, kafka)
  const [codec, productCodec] = await Promise.all([codecs.whenRegistered(topics.roomEvents), codecs.whenRegistered(topics.productUpdates)])
  const offsets = new OffsetsAdmin(kafka)
  releasers.add(() => offsets.close())
  const store = createMessageStore(pool, topic)

  const tasks = new PartitionTasks<RoomEventsTask>({
    create: (partition) => createTask({ config, consumer, offsets, store, codec, metrics, logger }, partition),
    onFailure: (err) => failed.reject(err),
  })
  const consumer = new PositionedConsumer(kafka, {
    topics: [topic],
    fetch: { minBytes: FETCH_MIN_BYTES, waitMs: config.fetchWaitMs },
    group: { id: 'message-persister', assigner: coPartitionedAssigner(config.kafka.partitions, () => tasks.partitions()) },
    onAssigned: (assigned) => {
      const partitions = assigned.get(topic) ?? []
      logger.info({ partitions }, 'partitions are assigned')
      tasks.assign(partitions)
      metrics.partitions.set(partitions.length)
      ready = true
    },
    onFailed: (err) => failed.reject(err),
  })
  releasers.add(() => consumer.close())
  releasers.add(() => tasks.stopAll())
  await consumer.start()
  const products = await startProducts({
    kafka, codec: productCodec, offsets, pool, logger, registry: metrics.registry, reportEveryMs: config.commitEveryMs, onFailed: (err) => failed.reject(err),
  })
  releasers.add(() => products.close())
  const report = setInterval(() => {
    const positions = tasks.entries().flatMap(([partition, task]) => (task.position ? [{ topic, partition, next: task.position.nextOffset }] : []))
    reportPositions({ consumer, offsets, logger }, positions, ({ partition }, lag) => metrics.lag.set({ partition }, lag))
  }, config.commitEveryMs)
  releasers.add(() => clearInterval(report))
  logger.info({ metricsPort: health.port }, 'started')
  return {
    logger,
    stopTimeoutMs: service.stopTimeoutMs,
    metricsPort: health.port,
    finished: failed.promise,
    close: () => {
      ready = false
      return releasers.releaseAll()
    },
  }
}

type RoomEventsTask = PersisterTask<Decision, Rows>

type Parts = {
  readonly config: PersisterConfig
  readonly consumer: PositionedConsumer
  readonly offsets: OffsetsAdmin
  readonly store: PartitionStore<Rows>
  readonly codec: AvroCodec
  readonly metrics: PersisterMetrics
  readonly logger: ReturnType<typeof createLogger>
}

function createTask({ config, consumer, offsets, store, codec, metrics, logger }: Parts, partition: number): RoomEventsTask {
  const log = logger.child({ partition })
  return new PersisterTask({
    partition,
    store,
    codec,
    decidedOf: decisionFromAvro,
    rowsOf,
    log: {
      async open(from, sink) {
        const { low, high } = await offsets.range(topic, partition)
        if (from < low || from > high) throw new ChatError('input_position_lost', `${topic}[${partition}] holds ${low} … ${high}, Postgres needs ${from}`)
        consumer.open(topic, partition, from, sink)
      },
      hold: (on) => consumer.hold(topic, partition, 'full', on),
      close: () => consumer.closePartition(topic, partition),
    },
    nowMs: systemClock.nowMs,
    sleep: systemClock.sleep,
    retryDelayMs: (attempt) => retryDelayMs(attempt),
    batchRecordsMax: config.batchRecordsMax,
    observer: {
      applied: (records, { events }, tookMs) => {
        metrics.records.inc(records)
        metrics.rows.inc(events.length)
        metrics.batchRecords.observe(records)
        metrics.batchSeconds.observe(tookMs / 1_000)
      },
      behind: (err, delayMs) => {
        metrics.behind.inc()
        log.warn({ err, delayMs }, 'cannot write now: the partition waits')
      },
      moved: () => {
        metrics.moved.inc()
        log.warn('another persister has been here: the position is read again')
      },
    },
  })
}
