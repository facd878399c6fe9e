import type { ProductFields } from '#libs/domain/frames.ts'
import type { Pool, Queryable } from '#libs/postgres/pool.ts'
import { withTransaction } from '#libs/postgres/transaction.ts'
import { topics } from '#libs/streams/topics.ts'

const topic = topics.productUpdates.name
/** A topic without an owner has no epochs. */
const NO_EPOCH = -1

/** The table `products`, and how far each partition of `product-updates` is in it. */
export type ProductStore = {
  readPosition(partition: number): Promise<bigint>
  /** False: another persister has been there, and nothing was written. */
  apply(partition: number, before: bigint, after: bigint, products: readonly ProductFields[]): Promise<boolean>
}

export function createProductStore(pool: Pool): ProductStore {
  return {
    async readPosition(partition) {
      await pool.query('INSERT INTO persisted_offsets (topic, partition, next_offset, owner_epoch) VALUES ($1, $2, 0, $3) ON CONFLICT DO NOTHING', [topic, partition, NO_EPOCH])
      const { rows } = await pool.query<{ next_offset: string }>('SELECT next_offset::text FROM persisted_offsets WHERE topic = $1 AND partition = $2', [topic, partition])
      return BigInt(rows[0]!.next_offset)
    },
    apply(partition, before, after, products) {
      return withTransaction(pool, 'read committed', async (tx) => {
        if (!(await movePosition(tx, partition, before, after))) return false
        if (products.length > 0) await upsert(tx, products)
        return true
      })
    },
  }
}

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
