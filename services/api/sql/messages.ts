import type { MessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import type { MessageRow } from '../core/message-view.ts'
import type { PageRange } from '../core/message-page.ts'

/** Of `m`, for one viewer: the last revision, without what was deleted or erased. An edit leaves the payload as it was. */
const columns = (viewer: string) => `
  m.room_id AS "roomId", m.seq, m.message_id AS "messageId", m.client_message_id AS "clientMessageId",
  m.sender_id AS "senderId", m.message_index AS "messageIndex",
  CASE WHEN h.deleted_seq IS NOT NULL THEN NULL WHEN h.content_seq IS NULL THEN o.content ELSE c.content END AS content,
  (extract(epoch FROM m.sent_at) * 1000)::bigint AS "timestamp",
  m.message_type AS "messageType", CASE WHEN h.deleted_seq IS NULL THEN coalesce(c.payload, o.payload) END AS payload,
  e.body ->> 'replyTo' AS "replyTo", m.reply_to_seq AS "replyToSeq", e.body -> 'mentions' AS mentions,
  h.revision, h.deleted_seq IS NOT NULL AS deleted, h.redacted_reason AS redacted, coalesce((e.body -> 'hiddenFor') ? ${viewer}, false) AS hidden,
  (SELECT jsonb_agg(jsonb_build_object('emoji', g.emoji, 'count', g.n, 'own', g.own) ORDER BY g.first_seq, g.emoji)
     FROM (SELECT x.emoji, count(*) AS n, bool_or(x.user_id = ${viewer}) AS own, min(x.seq) AS first_seq
             FROM message_reactions x WHERE x.room_id = m.room_id AND x.message_seq = m.seq GROUP BY x.emoji) g) AS reactions`

const JOINS = `
  LEFT JOIN message_changes h ON h.room_id = m.room_id AND h.message_seq = m.seq
  LEFT JOIN message_contents o ON o.room_id = m.room_id AND o.seq = m.seq
  LEFT JOIN message_contents c ON c.room_id = m.room_id AND c.seq = h.content_seq
  LEFT JOIN room_events e ON e.room_id = m.room_id AND e.seq = m.seq`

// The order cannot be a parameter; all are written out so that each is one walk along an index.
const page = (order: 'ASC' | 'DESC', condition = '') => `
  SELECT ${columns('$5')} FROM chat_messages m ${JOINS}
   WHERE m.room_id = $1 AND m.seq > $2 AND m.seq <= $3 ${condition}
   ORDER BY m.seq ${order} LIMIT $4`
const ROOM = { oldest: page('ASC'), newest: page('DESC') }
const IN_THREAD = 'AND m.reply_to_seq = $6'
const THREAD = { oldest: page('ASC', IN_THREAD), newest: page('DESC', IN_THREAD) }

/** Up to limit + 1 messages of the range, oldest first or newest first as it says; of one thread where it is given. */
export async function selectMessages(db: Queryable, viewer: UserId, roomId: RoomId, range: PageRange, threadSeq?: number): Promise<readonly MessageRow[]> {
  const values = [roomId, range.above, range.upTo, range.limit + 1, viewer]
  const { rows } = threadSeq === undefined ? await db.query<MessageRow>(ROOM[range.take], values) : await db.query<MessageRow>(THREAD[range.take], [...values, threadSeq])
  return rows
}

// One by one along the index: without LIMIT a planner that has no statistics yet reads whole tables.
const at = (condition = '') => `
  SELECT one.*
    FROM unnest($1::text[], $2::bigint[]) AS asked (room_id, seq),
         LATERAL (SELECT ${columns('$3')} FROM chat_messages m ${JOINS} WHERE m.room_id = asked.room_id AND m.seq = asked.seq ${condition} LIMIT 1) AS one`
const AT = at()
const AT_IF_SHOWN = at(`AND EXISTS (
           SELECT FROM room_participants p JOIN chat_rooms r USING (room_id)
            WHERE p.user_id = $3 AND p.room_id = m.room_id AND (r.history = 'all' OR m.seq >= p.since_seq))`)

type Place = { readonly roomId: RoomId; readonly seq: number }

/** The messages at these places, in no particular order. The viewer may see them. */
export const selectMessagesAt = (db: Queryable, viewer: UserId, places: readonly Place[]): Promise<readonly MessageRow[]> => messagesAt(db, AT, viewer, places)

/** As `selectMessagesAt`; of any places, those that the viewer may see now, as one of the room's people. */
export const selectShownMessagesAt = (db: Queryable, viewer: UserId, places: readonly Place[]): Promise<readonly MessageRow[]> => messagesAt(db, AT_IF_SHOWN, viewer, places)

async function messagesAt(db: Queryable, statement: string, viewer: UserId, places: readonly Place[]): Promise<readonly MessageRow[]> {
  if (places.length === 0) return []
  const { rows } = await db.query<MessageRow>(statement, [places.map(({ roomId }) => roomId), places.map(({ seq }) => seq), viewer])
  return rows
}

export type MessagePlace = { readonly seq: number; readonly messageIndex: number; readonly senderId: UserId }

/** Where the history has it. */
export async function selectMessagePlace(db: Queryable, roomId: RoomId, messageId: MessageId): Promise<MessagePlace | undefined> {
  const { rows } = await db.query<MessagePlace>(
    'SELECT seq, message_index AS "messageIndex", sender_id AS "senderId" FROM chat_messages WHERE room_id = $1 AND message_id = $2',
    [roomId, messageId],
  )
  return rows[0]
}

export type ThreadRow = { readonly rootSeq: number; readonly replies: number; readonly unread: number; readonly lastSeq: number }
export type ThreadsQuery = { readonly visibleFrom: number; readonly before: number | undefined; readonly limit: number }

/** By the last reply, newest first, up to limit + 1. Unread: replies of others above one's own seen cursor. */
export async function selectThreads(db: Queryable, viewer: UserId, roomId: RoomId, { visibleFrom, before, limit }: ThreadsQuery): Promise<readonly ThreadRow[]> {
  const { rows } = await db.query<ThreadRow>(
    `SELECT m.reply_to_seq AS "rootSeq", count(*) AS replies, max(m.seq) AS "lastSeq",
            count(*) FILTER (WHERE m.sender_id <> $2 AND h.deleted_seq IS NULL
                               AND m.message_index > coalesce((SELECT seen FROM room_receipts WHERE room_id = $1 AND user_id = $2), 0)) AS unread
       FROM chat_messages m LEFT JOIN message_changes h ON h.room_id = m.room_id AND h.message_seq = m.seq
      WHERE m.room_id = $1 AND m.reply_to_seq IS NOT NULL AND m.seq >= $3
      GROUP BY m.reply_to_seq HAVING $4::bigint IS NULL OR max(m.seq) < $4
      ORDER BY max(m.seq) DESC LIMIT $5`,
    [roomId, viewer, visibleFrom, before ?? null, limit + 1],
  )
  return rows
}

/** Whether a moderator has taken away a message with this file: an id, which stands in the payload as it is. Looks at the redacted messages of the room alone. */
export async function isRedactedFile(db: Queryable, roomId: RoomId, fileId: string): Promise<boolean> {
  const { rowCount } = await db.query(
    `SELECT FROM message_changes h JOIN message_contents c ON c.room_id = h.room_id AND c.seq = h.message_seq
      WHERE h.room_id = $1 AND h.redacted_reason IS NOT NULL AND position($2 in c.payload) > 0 LIMIT 1`,
    [roomId, fileId],
  )
  return rowCount > 0
}
