import { type AvroCodec, AvroCodecs } from '#libs/kafka/avro.ts'
import { BatchingProducer } from '#libs/kafka/batching-producer.ts'
import { createKafkaClient } from '#libs/kafka/client.ts'
import { type FollowedLog, followInGroup } from '#libs/kafka/follow-in-group.ts'
import { OffsetsAdmin } from '#libs/kafka/topics-admin.ts'
import { createPool } from '#libs/postgres/pool.ts'
import { createPositionStore, type PositionStore, SavedPositions } from '#libs/postgres/position-store.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import { createLogger, type Logger } from '#libs/runtime/logger.ts'
import { startHealthServer } from '#libs/runtime/metrics.ts'
import { Releasers } from '#libs/runtime/releasers.ts'
import { retryDelayMs } from '#libs/runtime/retry.ts'
import { newTraceparent } from '#libs/runtime/trace.ts'
import { BatchedTask } from '#libs/streams/batched-task.ts'
import { commandRecord } from '#libs/streams/command-record.ts'
import type { ReadPosition } from '#libs/streams/read-by-rule.ts'
import { NO_EPOCH } from '#libs/streams/reader-rule.ts'
import { topics } from '#libs/streams/topics.ts'
import type { RelayConfig } from './config.ts'
import { readFacts } from './core/facts.ts'
import { relayFacts, type RelayPorts } from './core/relay.ts'
import { createRelayMetrics, type RelayMetrics } from './metrics.ts'
import { createRelayStore } from './store.ts'

const topic = topics.roomEvents.name
/** A fetch with less comes back after `fetchWaitMs`. */
const FETCH_MIN_BYTES = 64 * 1024
const BATCH_RECORDS_MAX = 2_000
const POSITIONS = 'relay:room-events'

type Parts = {
  readonly log: FollowedLog
  readonly offsets: OffsetsAdmin
  readonly codec: AvroCodec
  readonly ports: RelayPorts
  readonly store: PositionStore
  /** Of this process's partitions: everything below was passed on. */
  readonly positions: Map<number, ReadPosition>
  readonly metrics: RelayMetrics
  readonly logger: Logger
}

/** Follows the log and passes on what concerns other rooms, at least once: one task per assigned partition. */
export async function startRelay(config: RelayConfig) {
  const { service } = config
  const logger = createLogger('relay', service.instanceId, service.logLevel)
  const metrics = createRelayMetrics()
  const releasers = new Releasers()
  const failed = Promise.withResolvers<never>()
  const onFailed = (err: unknown) => failed.reject(err)
  let ready = false
  const health = await startHealthServer({ host: service.metricsHost, port: service.metricsPort, registry: metrics.registry, isReady: () => ready })
  releasers.add(() => health.close())
  const pool = createPool(config.postgres, logger)
  releasers.add(() => pool.end())
  const kafka = createKafkaClient(config.kafka, service.instanceId, logger)
  const codecs = new AvroCodecs(config.registry, kafka)
  const [codec, commandCodec] = await Promise.all([codecs.whenRegistered(topics.roomEvents), codecs.whenRegistered(topics.chatCommands)])
  const offsets = new OffsetsAdmin(kafka)
  releasers.add(() => offsets.close())
  const producer = new BatchingProducer(kafka)
  releasers.add(() => producer.close())
  const ports = portsOf({ store: createRelayStore(pool, topic), offsets, producer, commandCodec, metrics })
  const store = createPositionStore(pool, POSITIONS)
  const positions = new Map<number, ReadPosition>()

  const saved = new SavedPositions(store, (err) => logger.warn({ err }, 'positions cannot be written down now'))
  const following = await followInGroup({
    kafka,
    offsets,
    topic,
    groupId: 'relay',
    fetch: { minBytes: FETCH_MIN_BYTES, waitMs: config.fetchWaitMs },
    create: (partition, log) => createTask({ log, offsets, codec, ports, store, positions, metrics, logger }, partition),
    positionOf: (partition) => positions.get(partition)?.nextOffset,
    reportEveryMs: config.commitEveryMs,
    onReport: () => void saved.save(positions),
    onLag: (partition, lag) => metrics.lag.set({ partition }, lag),
    onAssigned: (partitions) => {
      metrics.partitions.set(partitions.length)
      ready = true
    },
    onStopped: () => saved.save(positions),
    onFailed,
    logger,
  })
  releasers.add(() => following.close())
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

function portsOf(parts: { store: RelayPorts['store']; offsets: OffsetsAdmin; producer: BatchingProducer; commandCodec: AvroCodec; metrics: RelayMetrics }): RelayPorts {
  const { store, offsets, producer, commandCodec, metrics } = parts
  return {
    store,
    heads: async () => (await offsets.ranges(topic)).map(({ high }) => high),
    async send(command, traceparent) {
      await producer.send(topics.chatCommands.name, commandRecord(commandCodec, command, { traceparent: newTraceparent(traceparent) }))
      metrics.commands.inc()
    },
    sleep: systemClock.sleep,
    nowMs: systemClock.nowMs,
    onWaited: (tookMs) => metrics.waitSeconds.observe(tookMs / 1_000),
  }
}

function createTask({ log: followed, offsets, codec, ports, store, positions, metrics, logger }: Parts, partition: number): BatchedTask {
  const log = logger.child({ partition })
  // Another may have come further meanwhile.
  positions.delete(partition)
  return new BatchedTask({
    log: followed,
    async begin() {
      const { low } = await offsets.range(topic, partition)
      const position = positions.get(partition) ?? (await store.read(partition)) ?? { nextOffset: low, ownerEpoch: NO_EPOCH, lastSources: new Map() }
      positions.set(partition, position)
      return position.nextOffset
    },
    async apply(batch, signal) {
      const { after, facts } = await readFacts(codec, partition, positions.get(partition)!, batch)
      const commands = await relayFacts(ports, facts, signal)
      positions.set(partition, after)
      metrics.records.inc(batch.length)
      for (const { kind } of facts) metrics.facts.inc({ kind })
      if (commands > 0) log.info({ commands }, 'blocks were passed on')
      return true
    },
    sleep: systemClock.sleep,
    retryDelayMs: (attempt) => retryDelayMs(attempt),
    batchRecordsMax: BATCH_RECORDS_MAX,
    onRetry: (err, delayMs) => {
      metrics.retries.inc()
      log.warn({ err, delayMs }, 'cannot pass on now: the partition waits')
    },
  })
}
