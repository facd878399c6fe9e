import { ChatError } from '#libs/domain/errors.ts'
import { sqlStateOf } from '#libs/postgres/errors.ts'
import type { Pool, Queryable } from '#libs/postgres/pool.ts'
import { withTransaction } from '#libs/postgres/transaction.ts'
import type { ReadPosition } from '#libs/streams/read-by-rule.ts'
import type { PartitionStore } from './core/partition-store.ts'

const UNIQUE_VIOLATION = '23505'

/** The tables that one log is kept in, and its positions in persisted_offsets. @param write all rows of a batch, in the transaction that moves the position */
export function createPartitionStore<Rows>(pool: Pool, topic: string, write: (tx: Queryable, partition: number, rows: Rows) => Promise<void>): PartitionStore<Rows> {
  return {
    async readPosition(partition) {
      await pool.query('INSERT INTO persisted_offsets (topic, partition, next_offset, owner_epoch) VALUES ($1, $2, 0, -1) ON CONFLICT DO NOTHING', [topic, partition])
      const { rows } = await pool.query<{ next_offset: string; owner_epoch: string; last_sources: Record<string, string> }>(
        'SELECT next_offset::text, owner_epoch::text, last_sources FROM persisted_offsets WHERE topic = $1 AND partition = $2',
        [topic, partition],
      )
      const row = rows[0]!
      const lastSources = new Map(Object.entries(row.last_sources).map(([t, offset]) => [t, BigInt(offset)]))
      return { nextOffset: BigInt(row.next_offset), ownerEpoch: BigInt(row.owner_epoch), lastSources }
    },
    async apply(partition, before, after, rows) {
      try {
        return await withTransaction(pool, 'read committed', async (tx) => {
          if (!(await movePosition(tx, topic, partition, before, after))) return false
          await write(tx, partition, rows)
          return true
        })
      } catch (err) {
        if (sqlStateOf(err) === UNIQUE_VIOLATION) {
          throw new ChatError('duplicate_row', (err as { detail?: string }).detail ?? (err as Error).message, { cause: err })
        }
        throw err
      }
    },
  }
}

async function movePosition(tx: Queryable, topic: string, partition: number, before: ReadPosition, after: ReadPosition): Promise<boolean> {
  const { rowCount } = await tx.query(
    `UPDATE persisted_offsets SET next_offset = $3, owner_epoch = $4, last_sources = $5, updated_at = now()
      WHERE topic = $1 AND partition = $2 AND next_offset = $6 AND owner_epoch = $7`,
    [
      topic,
      partition,
      after.nextOffset.toString(),
      after.ownerEpoch.toString(),
      JSON.stringify(Object.fromEntries([...after.lastSources].map(([t, offset]) => [t, offset.toString()]))),
      before.nextOffset.toString(),
      before.ownerEpoch.toString(),
    ],
  )
  return rowCount === 1
}
