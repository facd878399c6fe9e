import type pg from 'pg'
import { changeFields, changeOf } from './history.ts'
import type { StoredLists } from './lists.ts'
import type { LoggedEvent } from './topic.ts'

export type Database = {
  readonly rooms: ReadonlyMap<string, readonly LoggedEvent[]>
  readonly heads: ReadonlyMap<string, { readonly head: number; readonly messages: number }>
  /** By partition of `room-events`. */
  readonly positions: ReadonlyMap<number, { readonly next: bigint; readonly epoch: bigint }>
}

const EVENTS = `
  SELECT e.room_id, e.seq::int, e.event_type, (extract(epoch FROM e.occurred_at) * 1000)::float8 AS at_ms, e.log_partition, e.log_offset::text,
         m.client_message_id, m.message_id::text, m.sender_id, m.message_index::int, c.content, e.body
    FROM room_events e LEFT JOIN chat_messages m USING (room_id, seq) LEFT JOIN message_contents c USING (room_id, seq)
   ORDER BY room_id, seq`

/** All that history has, read in plain SQL. */
export async function readDatabase(pool: pg.Pool): Promise<Database> {
  const rooms = new Map<string, LoggedEvent[]>()
  for (const row of (await pool.query(EVENTS)).rows) {
    const events = rooms.get(row.room_id) ?? []
    rooms.set(row.room_id, events)
    events.push({
      seq: row.seq,
      type: row.event_type,
      timestamp: Math.round(row.at_ms),
      partition: row.log_partition,
      offset: BigInt(row.log_offset),
      ...changeOf(row.event_type, row.body),
      ...(row.body.hidden === true && { hidden: true }),
      ...(row.event_type === 'messageEdited' && { text: row.content }),
      ...(row.event_type in changeFields && typeof row.body.clientMessageId === 'string' && { id: row.body.clientMessageId }),
      ...(row.message_id !== null && { message: { id: row.client_message_id, messageId: row.message_id, senderId: row.sender_id, text: row.content, index: row.message_index } }),
    })
  }
  const heads = (await pool.query('SELECT room_id, head_seq::int AS head, message_count::int AS messages FROM chat_rooms')).rows
  return { rooms, heads: new Map(heads.map(({ room_id, head, messages }) => [room_id, { head, messages }])), positions: await readPositions(pool) }
}

/** Everybody's own list, in plain SQL. */
export async function readLists(pool: pg.Pool): Promise<StoredLists> {
  const heads = (await pool.query('SELECT user_id, user_seq::int, unread::int, chats::int FROM user_heads')).rows
  const chats = (await pool.query('SELECT user_id, room_id, user_seq::int, message_count::int, seen::int FROM user_chats')).rows
  return {
    heads: new Map(heads.map(({ user_id, user_seq: userSeq, unread, chats: count }) => [user_id, { userSeq, unread, chats: count }])),
    chats: new Map(chats.map(({ user_id, room_id, user_seq: userSeq, message_count: messageCount, seen }) => [`${user_id} ${room_id}`, { userSeq, messageCount, seen }])),
  }
}

export async function readPositions(pool: pg.Pool, topic = 'room-events'): Promise<Database['positions']> {
  const { rows } = await pool.query('SELECT partition, next_offset::text AS next, owner_epoch::text AS epoch FROM persisted_offsets WHERE topic = $1', [topic])
  return new Map(rows.map(({ partition, next, epoch }) => [partition, { next: BigInt(next), epoch: BigInt(epoch) }]))
}
