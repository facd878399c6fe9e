import { ChatError } from '#libs/domain/errors.ts'
import { coPartitionedAssigner } from '#libs/kafka/assigner.ts'
import { type AvroCodec, AvroCodecs } from '#libs/kafka/avro.ts'
import { BatchingProducer } from '#libs/kafka/batching-producer.ts'
import { createKafkaClient } from '#libs/kafka/client.ts'
import { PositionedConsumer } from '#libs/kafka/positioned-consumer.ts'
import { reportPositions } from '#libs/kafka/report-positions.ts'
import { OffsetsAdmin } from '#libs/kafka/topics-admin.ts'
import { createPool } from '#libs/postgres/pool.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import { createLogger, type Logger } from '#libs/runtime/logger.ts'
import { startHealthServer } from '#libs/runtime/metrics.ts'
import { Releasers } from '#libs/runtime/releasers.ts'
import { retryDelayMs } from '#libs/runtime/retry.ts'
import { newTraceparent } from '#libs/runtime/trace.ts'
import { commandToAvro } from '#libs/streams/avro-shapes.ts'
import { BatchedTask } from '#libs/streams/batched-task.ts'
import { PartitionTasks } from '#libs/streams/partition-tasks.ts'
import type { ReadPosition } from '#libs/streams/read-by-rule.ts'
import { NO_EPOCH } from '#libs/streams/reader-rule.ts'
import { headerNames, topics } from '#libs/streams/topics.ts'
import type { RelayConfig } from './config.ts'
import { readFacts } from './core/facts.ts'
import { relayFacts, type RelayPorts } from './core/relay.ts'
import { createRelayMetrics, type RelayMetrics } from './metrics.ts'
import { createPositionStore, createRelayStore, type PositionStore } from './store.ts'

const topic = topics.roomEvents.name
/** A fetch with less comes back after `fetchWaitMs`. */
const FETCH_MIN_BYTES = 64 * 1024
const BATCH_RECORDS_MAX = 2_000

type Parts = {
  readonly consumer: PositionedConsumer
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
  const store = createPositionStore(pool)
  const positions = new Map<number, ReadPosition>()

  const tasks = new PartitionTasks<BatchedTask>({
    create: (partition) => createTask({ consumer, offsets, codec, ports, store, positions, metrics, logger }, partition),
    onFailure: onFailed,
  })
  const consumer = new PositionedConsumer(kafka, {
    topics: [topic],
    fetch: { minBytes: FETCH_MIN_BYTES, waitMs: config.fetchWaitMs },
    group: { id: 'relay', assigner: coPartitionedAssigner(config.kafka.partitions, () => tasks.partitions()) },
    onAssigned: (assigned) => {
      const partitions = assigned.get(topic) ?? []
      logger.info({ partitions }, 'partitions are assigned')
      tasks.assign(partitions)
      metrics.partitions.set(partitions.length)
      ready = true
    },
    onFailed,
  })
  const savedPositions = keepSaved(store, positions, logger)
  releasers.add(() => consumer.close())
  releasers.add(() => savedPositions.save())
  releasers.add(() => tasks.stopAll())
  await consumer.start()
  const report = setInterval(() => {
    void savedPositions.save()
    const mine = tasks.partitions().flatMap((partition) => (positions.has(partition) ? [{ topic, partition, next: positions.get(partition)!.nextOffset }] : []))
    reportPositions({ consumer, offsets, logger }, mine, ({ partition }, lag) => metrics.lag.set({ partition }, lag))
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

function portsOf(parts: { store: RelayPorts['store']; offsets: OffsetsAdmin; producer: BatchingProducer; commandCodec: AvroCodec; metrics: RelayMetrics }): RelayPorts {
  const { store, offsets, producer, commandCodec, metrics } = parts
  return {
    store,
    heads: async () => (await offsets.ranges(topic)).map(({ high }) => high),
    async send(command, traceparent) {
      const headers = { [headerNames.commandId]: command.commandId, [headerNames.traceparent]: newTraceparent(traceparent) }
      await producer.send(topics.chatCommands.name, { key: command.roomId, value: commandCodec.encode(commandToAvro(command)), headers })
      metrics.commands.inc()
    },
    sleep: systemClock.sleep,
    nowMs: systemClock.nowMs,
    onWaited: (tookMs) => metrics.waitSeconds.observe(tookMs / 1_000),
  }
}

/** Writes down what has moved since the last time. What was not written is read again by the next one. */
function keepSaved(store: PositionStore, positions: ReadonlyMap<number, ReadPosition>, logger: Logger): { save(): Promise<void> } {
  const saved = new Map<number, bigint>()
  return {
    async save() {
      const moved = new Map([...positions].filter(([partition, { nextOffset }]) => saved.get(partition) !== nextOffset))
      try {
        await store.save(moved)
        for (const [partition, { nextOffset }] of moved) saved.set(partition, nextOffset)
      } catch (err) {
        logger.warn({ err }, 'positions cannot be written down now')
      }
    },
  }
}

function createTask({ consumer, offsets, codec, ports, store, positions, metrics, logger }: Parts, partition: number): BatchedTask {
  const log = logger.child({ partition })
  // Another may have come further meanwhile.
  positions.delete(partition)
  return new BatchedTask({
    log: {
      open: async (from, sink) => consumer.open(topic, partition, from, sink),
      hold: (on) => consumer.hold(topic, partition, 'full', on),
      close: () => consumer.closePartition(topic, partition),
    },
    async begin() {
      const { low, high } = await offsets.range(topic, partition)
      const position = positions.get(partition) ?? (await store.read(partition)) ?? { nextOffset: low, ownerEpoch: NO_EPOCH, lastSources: new Map() }
      const { nextOffset } = position
      if (nextOffset < low || nextOffset > high) throw new ChatError('input_position_lost', `${topic}[${partition}] holds ${low} … ${high}, the relay needs ${nextOffset}`)
      positions.set(partition, position)
      return nextOffset
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
