import { ChatError } from '#libs/domain/errors.ts'
import { CHATS_MAX } from '#libs/domain/inbox.ts'
import type { Pool, Queryable } from '#libs/postgres/pool.ts'
import type { PartitionStore } from './core/partition-store.ts'
import type { UserChatRow, UserRows } from './core/user-rows.ts'
import { createPartitionStore } from './partition-tables.ts'

/** user_heads and user_chats, as the log `user-events` has them. */
export const createUserStore = (pool: Pool, topic: string): PartitionStore<UserRows> => createPartitionStore(pool, topic, writeRows)

async function writeRows(tx: Queryable, _partition: number, rows: UserRows): Promise<void> {
  if (rows.heads.length > 0) await upsertHeads(tx, rows)
  if (rows.chats.length > 0) await upsertChats(tx, rows)
  if (rows.evictions.length > 0) await evict(tx, rows)
}

async function upsertHeads(tx: Queryable, { heads }: UserRows): Promise<void> {
  const { rowCount } = await tx.query(
    `INSERT INTO user_heads AS h (user_id, user_seq, unread, mentions, chats)
     SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
     ON CONFLICT (user_id) DO UPDATE SET user_seq = excluded.user_seq, unread = excluded.unread, mentions = excluded.mentions, chats = excluded.chats
      WHERE h.user_seq < excluded.user_seq`,
    [heads.map((h) => h.userId), heads.map((h) => h.userSeq), heads.map((h) => h.unread), heads.map((h) => h.mentions), heads.map((h) => h.chats)],
  )
  // The compare-and-set of the position lets each batch in once.
  if (rowCount !== heads.length) throw new ChatError('log_corrupt', `of ${heads.length} users ${heads.length - (rowCount ?? 0)} have numbers that do not go up`)
}

/** As JSON: arrays of arrays would come out of `unnest` as one. */
async function upsertChats(tx: Queryable, { chats }: UserRows): Promise<void> {
  await tx.query(
    `INSERT INTO user_chats (user_id, room_id, user_seq, status, room_seq, kind, role, name, message_count, seen, mentions, last_activity_ms, last_message, closed, muted_until_ms, archived)
     SELECT user_id, room_id, user_seq, status, room_seq, kind, role, name, message_count, seen, mentions, last_activity_ms, last_message, closed, muted_until_ms, archived
       FROM jsonb_to_recordset($1::jsonb) AS c(user_id text, room_id text, user_seq bigint, status text, room_seq bigint, kind text, role text, name text, message_count bigint,
            seen bigint, mentions bigint[], last_activity_ms bigint, last_message jsonb, closed boolean, muted_until_ms bigint, archived boolean)
     ON CONFLICT (user_id, room_id) DO UPDATE
        SET user_seq = excluded.user_seq, status = excluded.status, room_seq = excluded.room_seq, kind = excluded.kind, role = excluded.role, name = excluded.name,
            message_count = excluded.message_count, seen = excluded.seen, mentions = excluded.mentions, last_activity_ms = excluded.last_activity_ms,
            last_message = excluded.last_message, closed = excluded.closed, muted_until_ms = excluded.muted_until_ms, archived = excluded.archived`,
    [JSON.stringify(chats.map(columnsOf))],
  )
}

const columnsOf = ({ userId, userSeq, chat }: UserChatRow) => ({
  user_id: userId,
  room_id: chat.roomId,
  user_seq: userSeq,
  status: chat.status,
  room_seq: chat.roomSeq,
  kind: chat.kind,
  role: chat.role ?? null,
  name: chat.name ?? null,
  message_count: chat.messageCount,
  seen: chat.seen,
  mentions: chat.mentions,
  last_activity_ms: chat.lastActivityMs,
  last_message: chat.last ?? null,
  closed: chat.closed,
  muted_until_ms: chat.mutedUntilMs,
  archived: chat.archived,
})

/** By the same rule as the feed (`evictions` in decide-inbox.ts), which forgets them when another chat comes. */
async function evict(tx: Queryable, { evictions }: UserRows): Promise<void> {
  const users = [evictions.map((e) => e.userId), evictions.map((e) => e.userSeq)]
  await tx.query(
    `DELETE FROM user_chats c USING unnest($1::text[], $2::bigint[], $3::bigint[]) AS e(user_id, user_seq, before_ms)
      WHERE c.user_id = e.user_id AND c.user_seq < e.user_seq AND (c.closed OR c.status = 'left') AND c.last_activity_ms < e.before_ms`,
    [...users, evictions.map((e) => e.endedBeforeMs)],
  )
  await tx.query(
    `DELETE FROM user_chats c
      USING (SELECT u.user_id, u.room_id, count(*) OVER of_user AS total,
                    row_number() OVER (of_user ORDER BY u.user_seq > e.user_seq, NOT (u.closed OR u.status = 'left'), u.last_activity_ms, u.room_id COLLATE "C") AS place
               FROM unnest($1::text[], $2::bigint[]) AS e(user_id, user_seq)
               JOIN user_chats u USING (user_id)
             WINDOW of_user AS (PARTITION BY u.user_id)) AS r
      WHERE c.user_id = r.user_id AND c.room_id = r.room_id AND r.place <= r.total - $3::bigint`,
    [...users, CHATS_MAX],
  )
}
