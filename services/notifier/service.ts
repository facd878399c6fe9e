import type { UserId } from '#libs/domain/ids.ts'
import { type AvroCodec, AvroCodecs } from '#libs/kafka/avro.ts'
import { BatchingProducer } from '#libs/kafka/batching-producer.ts'
import { createKafkaClient } from '#libs/kafka/client.ts'
import { type FollowedLog, followInGroup } from '#libs/kafka/follow-in-group.ts'
import { OffsetsAdmin } from '#libs/kafka/topics-admin.ts'
import { createPool, type Pool } from '#libs/postgres/pool.ts'
import { type ActiveUsers, createActiveUsers } from '#libs/redis/active-users.ts'
import { createRedis } from '#libs/redis/client.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import { createLogger, type Logger } from '#libs/runtime/logger.ts'
import { startHealthServer } from '#libs/runtime/metrics.ts'
import { Releasers } from '#libs/runtime/releasers.ts'
import { retryDelayMs } from '#libs/runtime/retry.ts'
import { userDecisionFromAvro } from '#libs/streams/inbox-shapes.ts'
import { topics } from '#libs/streams/topics.ts'
import type { NotifierConfig } from './config.ts'
import { Follower, type NotificationStore } from './core/follower.ts'
import { createSenders, startDeliveries } from './deliveries.ts'
import { removeOlder } from './delivery-store.ts'
import { createNotifierMetrics, type NotifierMetrics } from './metrics.ts'
import { createNotificationStore } from './store.ts'

const FETCH_MIN_BYTES = 512 * 1024
const BATCH_RECORDS_MAX = 2_000
const REMEMBERED_MAX = 50_000
const REPORT_EVERY_MS = 2_000
const REMOVE_EVERY_MS = 60_000

type Parts = {
  readonly config: NotifierConfig
  readonly codec: AvroCodec
  readonly store: NotificationStore
  readonly activeUsers: ActiveUsers
  readonly metrics: NotifierMetrics
  readonly logger: Logger
}

/** Tells users who are away: a follower per assigned partition of user-events, and workers that deliver. */
export async function startNotifier(config: NotifierConfig) {
  const { service } = config
  const logger = createLogger('notifier', service.instanceId, service.logLevel)
  const metrics = createNotifierMetrics()
  const releasers = new Releasers()
  const failed = Promise.withResolvers<never>()
  let ready = false
  const health = await startHealthServer({ host: service.metricsHost, port: service.metricsPort, registry: metrics.registry, isReady: () => ready })
  releasers.add(() => health.close())
  const pool = createPool(config.postgres, logger)
  releasers.add(() => pool.end())
  const redis = createRedis(config.redis, logger)
  releasers.add(() => redis.disconnect())
  const kafka = createKafkaClient(config.kafka, service.instanceId, logger)
  const codec = await new AvroCodecs(config.registry, kafka).whenRegistered(topics.userEvents)
  const offsets = new OffsetsAdmin(kafka)
  releasers.add(() => offsets.close())
  const producer = new BatchingProducer(kafka)
  releasers.add(() => producer.close())
  const { senders, close } = createSenders(config, metrics, logger)
  releasers.add(close)
  const channels = { sqs: senders.sqs !== undefined, webhook: senders.webhook !== undefined, webPush: senders.webPush !== undefined }
  const store = createNotificationStore(pool, channels, async (partition) => (await offsets.range(topics.userEvents.name, partition)).low)
  const deliveries = startDeliveries({ config, pool, notifications: store, producer, senders, metrics, logger })
  releasers.add(() => deliveries.close())
  const activeUsers = createActiveUsers({ redis, keyPrefix: config.redis.prefix, deadMs: config.presenceDeadMs })
  const following = await followInGroup<Follower>({
    kafka,
    offsets,
    topic: topics.userEvents.name,
    groupId: 'notifier',
    fetch: { minBytes: FETCH_MIN_BYTES, waitMs: config.fetchWaitMs },
    create: (partition, log) => createFollower({ config, codec, store, activeUsers, metrics, logger }, partition, log),
    positionOf: (_, task) => task.position?.nextOffset,
    reportEveryMs: REPORT_EVERY_MS,
    onLag: (partition, lag) => metrics.lag.set({ partition }, lag),
    onAssigned: (partitions) => {
      metrics.partitions.set(partitions.length)
      ready = true
    },
    onFailed: (err) => failed.reject(err),
    logger,
  })
  releasers.add(() => following.close())
  releasers.add(startRemoval(pool, config.keptMs, logger))
  logger.info({ metricsPort: health.port, channels }, 'started')
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

/** One after the other: the first, after a long time without, may take longer than the pause. @returns what ends it */
function startRemoval(pool: Pool, keptMs: number, logger: Logger): () => void {
  let removing: Promise<void> | undefined
  const removal = setInterval(() => {
    removing ??= removeOlder(pool, keptMs)
      .then(() => {}, (err: unknown) => logger.warn({ err }, 'old notifications cannot be removed now'))
      .finally(() => (removing = undefined))
  }, REMOVE_EVERY_MS)
  return () => clearInterval(removal)
}

function createFollower({ config, codec, store, activeUsers, metrics, logger }: Parts, partition: number, log: FollowedLog): Follower {
  const own = logger.child({ partition })
  return new Follower({
    partition,
    log,
    store,
    codec,
    decidedOf: userDecisionFromAvro,
    activeAmong: (userIds) => activeAmong(userIds, activeUsers, metrics),
    nowMs: systemClock.nowMs,
    sleep: systemClock.sleep,
    retryDelayMs: (attempt) => retryDelayMs(attempt),
    batchRecordsMax: BATCH_RECORDS_MAX,
    graceMs: config.graceMs,
    staleMs: config.staleMs,
    windowMax: config.windowMax,
    rememberedMax: REMEMBERED_MAX,
    observer: {
      read: (records) => metrics.records.inc(records),
      silent: (reason) => metrics.silent.inc({ reason }),
      applied: ({ told, closed, jobs }) => {
        metrics.notifications.inc({ change: 'told' }, told)
        metrics.notifications.inc({ change: 'closed' }, closed)
        metrics.jobs.inc(jobs)
      },
      behind: (err, delayMs) => {
        metrics.retries.inc()
        own.warn({ err, delayMs }, 'cannot write now: the partition waits')
      },
      moved: () => {
        metrics.moved.inc()
        own.warn('another notifier has been here: the position is read again')
      },
    },
  })
}

/** Where Redis does not answer, all count as away: a needless notification does less harm than a missing one. */
async function activeAmong(userIds: readonly UserId[], activeUsers: ActiveUsers, metrics: NotifierMetrics): Promise<ReadonlySet<UserId>> {
  try {
    return await activeUsers(userIds)
  } catch {
    metrics.presenceUnknown.inc(userIds.length)
    return new Set()
  }
}
