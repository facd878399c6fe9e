import type { RoomId } from '#libs/domain/ids.ts'
import type { Queryable } from '#libs/postgres/pool.ts'

export type EventRow = {
  readonly seq: number
  readonly type: string
  /** ms since 1970 */
  readonly timestamp: number
  /** The event as it was persisted: without content and salt, with their hash. */
  readonly body: Readonly<Record<string, unknown>>
  /** Of messages and their edits only, and null once erased. */
  readonly content: string | null
  readonly payload: string | null
  readonly salt: string | null
  readonly erasedAt: number | null
  readonly logPartition: number
  readonly logOffset: number
}

/** Up to limit + 1 events after the seq, in order. */
export async function selectEvents(
  db: Queryable,
  roomId: RoomId,
  { after, limit }: { readonly after: number; readonly limit: number },
): Promise<readonly EventRow[]> {
  const { rows } = await db.query<EventRow>(
    `SELECT e.seq, e.event_type AS type, (extract(epoch FROM e.occurred_at) * 1000)::bigint AS "timestamp", e.body,
            c.content, c.payload, c.salt, (extract(epoch FROM c.erased_at) * 1000)::bigint AS "erasedAt",
            e.log_partition AS "logPartition", e.log_offset AS "logOffset"
       FROM room_events e LEFT JOIN message_contents c ON c.room_id = $1 AND c.seq = e.seq
      WHERE e.room_id = $1 AND e.seq > $2
      ORDER BY e.seq LIMIT $3`,
    [roomId, after, limit + 1],
  )
  return rows
}
