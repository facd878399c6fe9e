import type { ReadPosition } from '#libs/streams/read-by-rule.ts'
import type { Pool } from './pool.ts'

/** Where a follower keeps its positions, in persisted_offsets beside those of message-persister. */
export type PositionStore = {
  /** Undefined: nobody has read this partition yet. */
  read(partition: number): Promise<ReadPosition | undefined>
  /** Moves forward only, so that one who is late loses nothing of what another has done. */
  save(positions: ReadonlyMap<number, Pick<ReadPosition, 'nextOffset' | 'ownerEpoch'>>): Promise<void>
}

/** @param name instead of a topic: `<follower>:<topic>` */
export function createPositionStore(pool: Pool, name: string): PositionStore {
  return {
    async read(partition) {
      const { rows } = await pool.query<{ next_offset: string; owner_epoch: string }>(
        'SELECT next_offset::text, owner_epoch::text FROM persisted_offsets WHERE topic = $1 AND partition = $2',
        [name, partition],
      )
      return rows[0] && { nextOffset: BigInt(rows[0].next_offset), ownerEpoch: BigInt(rows[0].owner_epoch), lastSources: new Map() }
    },
    async save(positions) {
      if (positions.size === 0) return
      const all = [...positions.values()]
      await pool.query(
        `INSERT INTO persisted_offsets AS o (topic, partition, next_offset, owner_epoch)
         SELECT $1, * FROM unnest($2::int[], $3::bigint[], $4::bigint[])
         ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset, owner_epoch = excluded.owner_epoch, updated_at = now()
          WHERE o.next_offset < excluded.next_offset`,
        [name, [...positions.keys()], all.map((p) => p.nextOffset.toString()), all.map((p) => p.ownerEpoch.toString())],
      )
    },
  }
}

/** Writes down what has moved since the last time. What was not written is read again by the next one: at least once. */
export class SavedPositions {
  readonly #store: PositionStore
  readonly #onTrouble: (err: unknown) => void
  readonly #saved = new Map<number, bigint>()

  constructor(store: PositionStore, onTrouble: (err: unknown) => void) {
    this.#store = store
    this.#onTrouble = onTrouble
  }

  async save(positions: ReadonlyMap<number, Pick<ReadPosition, 'nextOffset' | 'ownerEpoch'>>): Promise<void> {
    const moved = new Map([...positions].filter(([partition, { nextOffset }]) => this.#saved.get(partition) !== nextOffset))
    try {
      await this.#store.save(moved)
      for (const [partition, { nextOffset }] of moved) this.#saved.set(partition, nextOffset)
    } catch (err) {
      this.#onTrouble(err)
    }
  }
}
