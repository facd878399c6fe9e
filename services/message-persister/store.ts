import { ChatError } from '#libs/domain/errors.ts'
import { sqlStateOf } from '#libs/postgres/errors.ts'
import type { Pool, Queryable } from '#libs/postgres/pool.ts'
import { withTransaction } from '#libs/postgres/transaction.ts'
import type { MessageStore, Position } from './core/message-store.ts'
import type { Rows } from './core/rows.ts'

const UNIQUE_VIOLATION = '23505'

export function createMessageStore(pool: Pool, topic: string): MessageStore {
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
          await writeRows(tx, partition, rows)
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

async function movePosition(tx: Queryable, topic: string, partition: number, before: Position, after: Position): Promise<boolean> {
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

async function writeRows(tx: Queryable, partition: number, rows: Rows): Promise<void> {
  if (rows.opened.length > 0) await insertRooms(tx, rows)
  if (rows.heads.length > 0) await updateHeads(tx, rows)
  if (rows.joined.length > 0 || rows.gone.length > 0) await updateMembers(tx, rows)
  if (rows.messages.length > 0) await insertMessages(tx, rows)
  if (rows.events.length > 0) await insertEvents(tx, partition, rows)
}

async function insertRooms(tx: Queryable, { opened }: Rows): Promise<void> {
  await tx.query(
    `INSERT INTO chat_rooms (room_id, order_id, participants, head_seq, message_count, opened_at, last_event_at)
     SELECT room_id, room_id, participants, 0, 0, to_timestamp(ms / 1000.0), to_timestamp(ms / 1000.0)
       FROM unnest($1::text[], $2::jsonb[], $3::bigint[]) AS r(room_id, participants, ms)`,
    [opened.map((r) => r.roomId), opened.map((r) => JSON.stringify(r.participants)), opened.map((r) => r.openedAtMs)],
  )
}

async function updateHeads(tx: Queryable, { heads }: Rows): Promise<void> {
  await tx.query(
    `UPDATE chat_rooms c
        SET head_seq = h.head_seq,
            message_count = coalesce(h.message_count, c.message_count),
            last_event_at = to_timestamp(h.ms / 1000.0),
            is_readonly = c.is_readonly OR h.closed_reason IS NOT NULL,
            closed_reason = coalesce(h.closed_reason, c.closed_reason),
            closed_at = coalesce(to_timestamp(h.closed_ms / 1000.0), c.closed_at)
       FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[])
            AS h(room_id, head_seq, message_count, ms, closed_reason, closed_ms)
      WHERE c.room_id = h.room_id`,
    [
      heads.map((h) => h.roomId),
      heads.map((h) => h.headSeq),
      heads.map((h) => h.messageCount),
      heads.map((h) => h.lastEventMs),
      heads.map((h) => h.closed?.reason ?? null),
      heads.map((h) => h.closed?.atMs ?? null),
    ],
  )
}

async function updateMembers(tx: Queryable, { joined, gone }: Rows): Promise<void> {
  if (gone.length > 0) {
    await tx.query('DELETE FROM room_participants p USING unnest($1::text[], $2::text[]) AS g(room_id, user_id) WHERE p.room_id = g.room_id AND p.user_id = g.user_id', [
      gone.map((g) => g.roomId),
      gone.map((g) => g.userId),
    ])
  }
  if (joined.length > 0) {
    await tx.query(
      `INSERT INTO room_participants (room_id, user_id, role, since_seq)
       SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
       ON CONFLICT (user_id, room_id) DO UPDATE SET role = excluded.role, since_seq = excluded.since_seq`,
      [joined.map((j) => j.roomId), joined.map((j) => j.userId), joined.map((j) => j.role), joined.map((j) => j.sinceSeq)],
    )
  }
  await tx.query(
    `UPDATE chat_rooms c SET participants = coalesce(
        (SELECT jsonb_agg(jsonb_build_object('userId', p.user_id, 'role', p.role) ORDER BY p.since_seq, p.role, p.user_id)
           FROM room_participants p WHERE p.room_id = c.room_id), '[]')
      WHERE c.room_id = ANY($1::text[])`,
    [[...new Set([...joined, ...gone].map((m) => m.roomId))]],
  )
}

async function insertMessages(tx: Queryable, { messages }: Rows): Promise<void> {
  const ids = [messages.map((m) => m.roomId), messages.map((m) => m.seq)]
  await tx.query(
    `INSERT INTO chat_messages (room_id, seq, message_id, client_message_id, sender_id, message_index, sent_at)
     SELECT room_id, seq, message_id, client_message_id, sender_id, message_index, to_timestamp(ms / 1000.0)
       FROM unnest($1::text[], $2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::bigint[], $7::bigint[])
            AS m(room_id, seq, message_id, client_message_id, sender_id, message_index, ms)`,
    [
      ...ids,
      messages.map((m) => m.messageId),
      messages.map((m) => m.clientMessageId),
      messages.map((m) => m.senderId),
      messages.map((m) => m.messageIndex),
      messages.map((m) => m.timestampMs),
    ],
  )
  await tx.query(
    `INSERT INTO message_contents (room_id, seq, content, salt)
     SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[])`,
    [...ids, messages.map((m) => m.content), messages.map((m) => m.salt)],
  )
}

async function insertEvents(tx: Queryable, partition: number, { events }: Rows): Promise<void> {
  await tx.query(
    `INSERT INTO room_events (room_id, seq, event_type, occurred_at, body, log_partition, log_offset)
     SELECT room_id, seq, event_type, to_timestamp(ms / 1000.0), body, $6, log_offset
       FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::jsonb[], $7::bigint[])
            AS e(room_id, seq, event_type, ms, body, log_offset)`,
    [
      events.map((e) => e.roomId),
      events.map((e) => e.seq),
      events.map((e) => e.type),
      events.map((e) => e.timestampMs),
      events.map((e) => e.body),
      partition,
      events.map((e) => e.offset.toString()),
    ],
  )
}
