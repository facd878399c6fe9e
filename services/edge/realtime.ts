import type { PresenceEvent } from '#libs/domain/presence.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { AvroCodec } from '#libs/kafka/avro.ts'
import type { BatchingProducer } from '#libs/kafka/batching-producer.ts'
import type { PositionedConsumer } from '#libs/kafka/positioned-consumer.ts'
import type { OffsetsAdmin } from '#libs/kafka/topics-admin.ts'
import type { Pool } from '#libs/postgres/pool.ts'
import { createPresenceStore, presenceStoreLimits } from '#libs/redis/presence-store.ts'
import { createPubSub } from '#libs/redis/pub-sub.ts'
import { newId, systemClock } from '#libs/runtime/clock.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import type { Releasers } from '#libs/runtime/releasers.ts'
import { partitionOf } from '#libs/streams/murmur2.ts'
import { presenceEventToAvro } from '#libs/streams/presence-shape.ts'
import { topics } from '#libs/streams/topics.ts'
import type { EdgeConfig } from './config.ts'
import { presenceLimits } from './core/presence.ts'
import type { Connections, LiveRooms } from './core/presence-ports.ts'
import { LiveRealtime } from './core/presence-realtime.ts'
import { viewersLimits } from './core/presence-viewers.ts'
import { productWatchLimits } from './core/product-watch.ts'
import { typingLimits } from './core/typing.ts'
import { createProductHistory } from './history.ts'
import type { EdgeMetrics } from './metrics.ts'
import { ProductFeed } from './product-feed.ts'

/** How often presence is looked after: so late may a change be, and so many of them travel together. */
const TICK_MS = 250
const SWEEP_MS = 10_000

export type RealtimeParts = {
  readonly config: EdgeConfig
  readonly logger: Logger
  readonly metrics: EdgeMetrics
  readonly releasers: Releasers
  readonly pool: Pool
  readonly redis: Parameters<typeof createPubSub>[0]['redis']
  readonly producer: BatchingProducer
  readonly consumer: PositionedConsumer
  readonly offsets: OffsetsAdmin
  readonly codecs: { readonly presenceEvents: AvroCodec; readonly productUpdates: AvroCodec }
  readonly rooms: LiveRooms
  readonly sockets: Connections
  readonly hidesLastSeen: (userId: UserId) => Promise<boolean>
}

export type EdgeRealtime = { readonly realtime: LiveRealtime; stop(): Promise<void> }

/** Typing, presence and product cards, with Redis, the log and the history plugged in. */
export function createRealtime(parts: RealtimeParts): EdgeRealtime {
  const { config, logger, metrics, redis, producer, releasers } = parts
  const { partitions } = config.kafka
  const edgeId = config.service.instanceId
  const onTrouble = (err: unknown) => {
    metrics.liveErrors.inc()
    logger.debug({ err }, 'typing or presence was not told')
  }
  const bus = createPubSub({
    redis,
    keyPrefix: config.redis.prefix,
    onMessage: (text) => realtime.heard(text),
    onLost: () => realtime.lost(),
    onRegained: () => realtime.regained(),
  })
  releasers.add(() => bus.close())
  const feed = createFeed(parts, (product) => realtime.products.updated(product))
  const realtime: LiveRealtime = new LiveRealtime({
    bus: { ...bus, publish: (partition, text) => (metrics.livePublished.inc(), bus.publish(partition, text)) },
    rooms: parts.rooms,
    partitionOf: (roomId: RoomId) => partitionOf(roomId, partitions),
    nowMs: systemClock.nowMs,
    lingerMs: config.rooms.lingerMs,
    typingLimits,
    // By then every node has said anew what was lost.
    viewersLimits: { ...viewersLimits, rereadAfterMs: 2 * config.presence.heartbeatMs },
    presence: {
      edgeId,
      newNodeId: () => `${edgeId}-${newId()}`,
      store: createPresenceStore({ redis, keyPrefix: config.redis.prefix, edgeId, limits: presenceStoreLimits }),
      sockets: parts.sockets,
      publish: async (event: PresenceEvent) => {
        await producer.send(topics.presenceEvents.name, { key: event.userId, value: parts.codecs.presenceEvents.encode(presenceEventToAvro(event)), headers: {} })
      },
      hidesLastSeen: parts.hidesLastSeen,
      limits: { ...presenceLimits, ...config.presence },
      onChanges: (changes, reaped) => {
        for (const { after } of changes) metrics.presenceChanges.inc({ status: after })
        if (reaped) metrics.presenceReaped.inc(changes.length)
      },
    },
    products: { load: createProductHistory(parts.pool).products, follow: (productId) => feed.follow(productId), limits: productWatchLimits },
    onTrouble,
  })
  startTimers(parts, realtime, feed, onTrouble)
  return { realtime, stop: () => realtime.presence.stop() }
}

function createFeed({ consumer, offsets, codecs, config, pool, logger, releasers }: RealtimeParts, onUpdate: ConstructorParameters<typeof ProductFeed>[0]['onUpdate']): ProductFeed {
  const feed = new ProductFeed({
    consumer,
    offsets,
    codec: codecs.productUpdates,
    partitions: config.kafka.partitions,
    position: createProductHistory(pool).productsPosition,
    onUpdate,
    logger,
  })
  releasers.add(() => feed.close())
  return feed
}

function startTimers({ metrics, releasers }: RealtimeParts, realtime: LiveRealtime, feed: ProductFeed, onTrouble: (err: unknown) => void): void {
  const timers = [
    setInterval(() => {
      realtime.tick().catch(onTrouble)
      metrics.presenceUsers.set(realtime.presence.users)
      metrics.liveChannels.set(realtime.channels.open)
      metrics.watchedProducts.set(realtime.products.size)
    }, TICK_MS),
    setInterval(() => feed.sweep(realtime.products.ids()), SWEEP_MS),
  ]
  releasers.add(() => {
    for (const timer of timers) clearInterval(timer)
  })
}
