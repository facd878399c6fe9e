import { type AvroCodec, AvroCodecs } from '#libs/kafka/avro.ts'
import { BatchingProducer } from '#libs/kafka/batching-producer.ts'
import { createKafkaClient } from '#libs/kafka/client.ts'
import { type FollowedLog, followInGroup } from '#libs/kafka/follow-in-group.ts'
import { OffsetsAdmin } from '#libs/kafka/topics-admin.ts'
import { createPool } from '#libs/postgres/pool.ts'
import { createPositionStore, type PositionStore, SavedPositions } from '#libs/postgres/position-store.ts'
import { createAskingWebhook } from '#libs/push/ask.ts'
import { Breakers } from '#libs/push/breakers.ts'
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
import { headerNames, topics } from '#libs/streams/topics.ts'
import type { AskedConfig, ModerationConfig } from './config.ts'
import { moderate, type ModerationPorts } from './core/moderate.ts'
import { readSaid } from './core/said.ts'
import { Slots } from './core/slots.ts'
import { createModerationMetrics, type ModerationMetrics } from './metrics.ts'

const topic = topics.roomEvents.name
const FETCH_MIN_BYTES = 64 * 1024
/** Few, since the position waits for the slowest of them. */
const BATCH_RECORDS_MAX = 200
const POSITIONS = 'moderation:room-events'
const PROVIDER = 'webhook'

type Parts = {
  readonly log: FollowedLog
  readonly offsets: OffsetsAdmin
  readonly codec: AvroCodec
  readonly ports: ModerationPorts
  readonly store: PositionStore
  readonly positions: Map<number, ReadPosition>
  readonly metrics: ModerationMetrics
  readonly logger: Logger
}

/** Has what was said judged by a webhook, behind the chat's back: nobody waits for it. Without a webhook it idles. */
export async function startModeration({ service, asked }: ModerationConfig) {
  const logger = createLogger('moderation', service.instanceId, service.logLevel)
  const metrics = createModerationMetrics()
  const releasers = new Releasers()
  const failed = Promise.withResolvers<never>()
  let ready = asked === undefined
  const health = await startHealthServer({ host: service.metricsHost, port: service.metricsPort, registry: metrics.registry, isReady: () => ready })
  releasers.add(() => health.close())
  if (asked) await follow(asked, { instanceId: service.instanceId, logger, metrics, releasers, onReady: () => (ready = true), onFailed: (err) => failed.reject(err) })
  logger.info({ metricsPort: health.port }, asked ? 'started' : 'started: no webhook is configured, so there is nothing to do')
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

type Process = {
  readonly instanceId: string
  readonly logger: Logger
  readonly metrics: ModerationMetrics
  readonly releasers: Releasers
  readonly onReady: () => void
  readonly onFailed: (err: unknown) => void
}

async function follow(config: AskedConfig, { instanceId, logger, metrics, releasers, onReady, onFailed }: Process): Promise<void> {
  const pool = createPool(config.postgres, logger)
  releasers.add(() => pool.end())
  const kafka = createKafkaClient(config.kafka, instanceId, logger)
  const codecs = new AvroCodecs(config.registry, kafka)
  const [codec, commandCodec] = await Promise.all([codecs.whenRegistered(topics.roomEvents), codecs.whenRegistered(topics.chatCommands)])
  const offsets = new OffsetsAdmin(kafka)
  releasers.add(() => offsets.close())
  const producer = new BatchingProducer(kafka)
  releasers.add(() => producer.close())
  const ports = portsOf({ config, producer, commandCodec, metrics, logger })
  const store = createPositionStore(pool, POSITIONS)
  const positions = new Map<number, ReadPosition>()
  const saved = new SavedPositions(store, (err) => logger.warn({ err }, 'positions cannot be written down now'))
  const following = await followInGroup({
    kafka,
    offsets,
    topic,
    groupId: 'moderation',
    fetch: { minBytes: FETCH_MIN_BYTES, waitMs: config.fetchWaitMs },
    create: (partition, log) => createTask({ log, offsets, codec, ports, store, positions, metrics, logger }, partition),
    positionOf: (partition) => positions.get(partition)?.nextOffset,
    reportEveryMs: config.commitEveryMs,
    onReport: () => void saved.save(positions),
    onLag: (partition, lag) => metrics.lag.set({ partition }, lag),
    onAssigned: (partitions) => {
      metrics.partitions.set(partitions.length)
      onReady()
    },
    onStopped: () => saved.save(positions),
    onFailed,
    logger,
  })
  releasers.add(() => following.close())
}

function portsOf(parts: { config: AskedConfig; producer: BatchingProducer; commandCodec: AvroCodec; metrics: ModerationMetrics; logger: Logger }): ModerationPorts {
  const { config, producer, commandCodec, metrics, logger } = parts
  const { senderId, ageMaxMs, concurrency, breaker } = config
  const webhook = createAskingWebhook(config.webhook)
  const breakers = new Breakers({
    ...breaker,
    onState: (_, isOpen) => {
      metrics.breakerOpen.set(isOpen ? 1 : 0)
      if (isOpen) logger.warn({ openMs: breaker.openMs }, 'the webhook has failed too often and is left alone for now')
    },
  })
  return {
    ask: (id, body) => breakers.run(PROVIDER, () => webhook.ask(id, body).finally(metrics.askSeconds.startTimer())),
    async send(command, traceparent) {
      await producer.send(topics.chatCommands.name, commandRecord(commandCodec, command, { traceparent: newTraceparent(traceparent) }))
    },
    async deadLetter({ key, body, code, reason }) {
      logger.error({ roomId: key, code, reason }, 'a message goes to the dead letters')
      await producer.send(topics.moderationDlq.name, { key, partition: 0, value: Buffer.from(body), headers: { [headerNames.errorCode]: code, [headerNames.errorReason]: reason } })
    },
    slots: new Slots(concurrency),
    senderId,
    ageMaxMs,
    nowMs: systemClock.nowMs,
    onVerdict: (verdict) => metrics.verdicts.inc({ verdict }),
  }
}

function createTask({ log: followed, offsets, codec, ports, store, positions, metrics, logger }: Parts, partition: number): BatchedTask {
  const log = logger.child({ partition })
  // Another may have come further meanwhile.
  positions.delete(partition)
  const done = new Set<string>()
  return new BatchedTask({
    log: followed,
    async begin() {
      const { low } = await offsets.range(topic, partition)
      const position = positions.get(partition) ?? (await store.read(partition)) ?? { nextOffset: low, ownerEpoch: NO_EPOCH, lastSources: new Map() }
      positions.set(partition, position)
      return position.nextOffset
    },
    async apply(batch, signal) {
      const { after, facts } = await readSaid(codec, partition, positions.get(partition)!, batch)
      await moderate(ports, facts, done, signal)
      positions.set(partition, after)
      done.clear()
      metrics.records.inc(batch.length)
      return true
    },
    sleep: systemClock.sleep,
    retryDelayMs: (attempt) => retryDelayMs(attempt),
    batchRecordsMax: BATCH_RECORDS_MAX,
    onRetry: (err, delayMs) => {
      metrics.retries.inc()
      log.warn({ err, delayMs }, 'cannot have it judged now: the partition waits')
    },
  })
}
