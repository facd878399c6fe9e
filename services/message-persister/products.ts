import type { AvroCodec } from '#libs/kafka/avro.ts'
import type { KafkaClient } from '#libs/kafka/client.ts'
import { type FollowedLog, followInGroup } from '#libs/kafka/follow-in-group.ts'
import type { OffsetsAdmin } from '#libs/kafka/topics-admin.ts'
import type { Pool } from '#libs/postgres/pool.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import { Counter, Gauge, type Registry } from '#libs/runtime/metrics.ts'
import { retryDelayMs } from '#libs/runtime/retry.ts'
import { BatchedTask } from '#libs/streams/batched-task.ts'
import { topics } from '#libs/streams/topics.ts'
import { readProducts } from './products-batch.ts'
import { createProductStore } from './products-store.ts'

const topic = topics.productUpdates.name
const BATCH_RECORDS_MAX = 500
/** Nearly always there is nothing: each look costs as much as one that finds something. */
const FETCH_WAIT_MS = 500

export type ProductsParts = {
  readonly kafka: KafkaClient
  readonly codec: AvroCodec
  readonly offsets: OffsetsAdmin
  readonly pool: Pool
  readonly registry: Registry
  readonly logger: Logger
  readonly reportEveryMs: number
  readonly onFailed: (err: unknown) => void
}

/** Keeps the table `products` as `product-updates` has it, beside the rooms and in a consumer group of its own. */
export async function startProducts(parts: ProductsParts): Promise<{ close(): Promise<void> }> {
  const { kafka, offsets, logger, onFailed } = parts
  const metrics = createProductsMetrics(parts.registry)
  const positions = new Map<number, bigint>()
  return followInGroup({
    kafka,
    offsets,
    topic,
    groupId: 'message-persister-products',
    fetch: { minBytes: 1, waitMs: FETCH_WAIT_MS },
    // What a compacted topic no longer holds was replaced by what it does hold.
    lostPosition: 'moves up',
    create: (partition, log) => createTask({ ...parts, log, metrics, positions }, partition),
    positionOf: (partition) => positions.get(partition),
    reportEveryMs: parts.reportEveryMs,
    onLag: (partition, lag) => metrics.lag.set({ partition }, lag),
    onFailed,
    logger,
  })
}

type ProductsMetrics = ReturnType<typeof createProductsMetrics>

function createProductsMetrics(registry: Registry) {
  const registers = [registry]
  return {
    updates: new Counter({ name: 'message_persister_product_updates_total', help: 'Product updates applied, those that came too late included', registers }),
    skipped: new Counter({ name: 'message_persister_product_updates_skipped_total', help: 'Product updates that cannot be read, left out', labelNames: ['code'], registers }),
    lag: new Gauge({ name: 'message_persister_product_updates_lag', help: 'Product updates that are waiting', labelNames: ['partition'], registers }),
  }
}

type TaskParts = ProductsParts & { readonly log: FollowedLog; readonly metrics: ProductsMetrics; readonly positions: Map<number, bigint> }

function createTask({ log: followed, metrics, positions, codec, pool, logger }: TaskParts, partition: number): BatchedTask {
  const log = logger.child({ topic, partition })
  const store = createProductStore(pool)
  return new BatchedTask({
    log: followed,
    async begin() {
      const position = await store.readPosition(partition)
      positions.set(partition, position)
      return position
    },
    async apply(batch) {
      const { products, skipped } = await readProducts(codec, batch)
      const next = batch.at(-1)!.offset + 1n
      if (!(await store.apply(partition, positions.get(partition)!, next, products))) return false
      positions.set(partition, next)
      metrics.updates.inc(batch.length - skipped.length)
      for (const { offset, code, reason } of skipped) {
        metrics.skipped.inc({ code })
        log.error({ offset: offset.toString(), code, reason }, 'a product update cannot be read: it is left out')
      }
      return true
    },
    sleep: systemClock.sleep,
    retryDelayMs: (attempt) => retryDelayMs(attempt),
    batchRecordsMax: BATCH_RECORDS_MAX,
    onRetry: (err, delayMs) => log.warn({ err, delayMs }, 'cannot write now: the partition waits'),
  })
}
