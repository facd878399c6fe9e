import type { Queryable } from '#libs/postgres/pool.ts'
import type { LogPosition } from '../log-follower.ts'

/** Up to where the history goes, by partition, with the epoch in force there. */
export async function selectLogPositions(db: Queryable, topic: string): Promise<ReadonlyMap<number, LogPosition>> {
  const { rows } = await db.query<{ partition: number; next_offset: string; owner_epoch: string }>(
    'SELECT partition, next_offset::text, owner_epoch::text FROM persisted_offsets WHERE topic = $1',
    [topic],
  )
  return new Map(rows.map((row) => [row.partition, { nextOffset: BigInt(row.next_offset), ownerEpoch: BigInt(row.owner_epoch) }]))
}
