import { ChatError } from '#libs/domain/errors.ts'
import type { ProductFields } from '#libs/domain/frames.ts'
import { coPartitionedAssigner } from '#libs/kafka/assigner.ts'
import type { AvroCodec } from '#libs/kafka/avro.ts'
import type { KafkaClient } from '#libs/kafka/client.ts'
import { PositionedConsumer } from '#libs/kafka/positioned-consumer.ts'
import { reportPositions } from '#libs/kafka/report-positions.ts'
import type { OffsetsAdmin } from '#libs/kafka/topics-admin.ts'
import type { Pool, Queryable } from '#libs/postgres/pool.ts'
import { withTransaction } from '#libs/postgres/transaction.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import { Counter, Gauge, type Registry } from '#libs/runtime/metrics.ts'
import { Releasers } from '#libs/runtime/releasers.ts'
import { retryDelayMs } from '#libs/runtime/retry.ts'
import { BatchedTask } from '#libs/streams/batched-task.ts'
import { PartitionTasks } from '#libs/streams/partition-tasks.ts'
import { topics } from '#libs/streams/topics.ts'
import { readProducts } from './products-batch.ts'

const topic = topics.productUpdates.name
const BATCH_RECORDS_MAX = 500
/** Nearly always there is nothing: each look costs as much as one that finds something. */
const FETCH_WAIT_MS = 500
/** A topic without an owner has no epochs. */
const NO_EPOCH = -1

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
  const releasers = new Releasers()
  const tasks = new PartitionTasks<BatchedTask>({ create: (partition) => createTask({ ...parts, consumer, metrics, positions }, partition), onFailure: onFailed })
  const consumer = new PositionedConsumer(kafka, {
    topics: [topic],
    fetch: { minBytes: 1, waitMs: FETCH_WAIT_MS },
    group: { id: 'message-persister-products', assigner: coPartitionedAssigner(kafka.config.partitions, () => tasks.partitions()) },
    onAssigned: (assigned) => tasks.assign(assigned.get(topic) ?? []),
    onFailed,
  })
  releasers.add(() => consumer.close())
  releasers.add(() => tasks.stopAll())
  await consumer.start()
  const report = setInterval(() => {
    const mine = tasks.partitions().flatMap((partition) => (positions.has(partition) ? [{ topic, partition, next: positions.get(partition)! }] : []))
    reportPositions({ consumer, offsets, logger }, mine, ({ partition }, lag) => metrics.lag.set({ partition }, lag))
  }, parts.reportEveryMs)
  releasers.add(() => clearInterval(report))
  return { close: () => releasers.releaseAll() }
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

type TaskParts = ProductsParts & { readonly consumer: PositionedConsumer; readonly metrics: ProductsMetrics; readonly positions: Map<number, bigint> }

function createTask({ consumer, metrics, positions, codec, offsets, pool, logger }: TaskParts, partition: number): BatchedTask {
  const log = logger.child({ topic, partition })
  return new BatchedTask({
    log: {
      async open(from, sink) {
        const { low, high } = await offsets.range(topic, partition)
        if (from > high) throw new ChatError('input_position_lost', `${topic}[${partition}] ends at ${high}, Postgres has ${from}`)
        // What a compacted topic no longer holds was replaced by what it does hold.
        consumer.open(topic, partition, from < low ? low : from, sink)
      },
      hold: (on) => consumer.hold(topic, partition, 'full', on),
      close: () => consumer.closePartition(topic, partition),
    },
    async begin() {
      const position = await readPosition(pool, partition)
      positions.set(partition, position)
      return position
    },
    async apply(batch) {
      const { products, skipped } = await readProducts(codec, batch)
      const next = batch.at(-1)!.offset + 1n
      const moved = await withTransaction(pool, 'read committed', async (tx) => {
        if (!(await movePosition(tx, partition, positions.get(partition)!, next))) return false
        if (products.length > 0) await upsert(tx, products)
        return true
      })
      if (!moved) return false
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

async function readPosition(pool: Pool, partition: number): Promise<bigint> {
  await pool.query('INSERT INTO persisted_offsets (topic, partition, next_offset, owner_epoch) VALUES ($1, $2, 0, $3) ON CONFLICT DO NOTHING', [topic, partition, NO_EPOCH])
  const { rows } = await pool.query<{ next_offset: string }>('SELECT next_offset::text FROM persisted_offsets WHERE topic = $1 AND partition = $2', [topic, partition])
  return BigInt(rows[0]!.next_offset)
}

/** False: another persister has been there. */
async function movePosition(tx: Queryable, partition: number, before: bigint, after: bigint): Promise<boolean> {
  const { rowCount } = await tx.query(
    'UPDATE persisted_offsets SET next_offset = $4, updated_at = now() WHERE topic = $1 AND partition = $2 AND next_offset = $3',
    [topic, partition, before.toString(), after.toString()],
  )
  return rowCount === 1
}

/** The later one wins, in any order of arrival. */
async function upsert(tx: Queryable, products: readonly ProductFields[]): Promise<void> {
  await tx.query(
    `INSERT INTO products AS p (product_id, name, price_minor, currency, image_url, available, updated_at_ms)
     SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::boolean[], $7::bigint[])
     ON CONFLICT (product_id) DO UPDATE
        SET name = excluded.name, price_minor = excluded.price_minor, currency = excluded.currency,
            image_url = excluded.image_url, available = excluded.available, updated_at_ms = excluded.updated_at_ms
      WHERE p.updated_at_ms < excluded.updated_at_ms`,
    [
      products.map((p) => p.productId),
      products.map((p) => p.name),
      products.map((p) => p.priceMinor ?? null),
      products.map((p) => p.currency ?? null),
      products.map((p) => p.imageUrl ?? null),
      products.map((p) => p.available ?? null),
      products.map((p) => p.updatedAtMs),
    ],
  )
}
