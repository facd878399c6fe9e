import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { Chat, InboxTotals, LastMessage } from '#libs/domain/inbox.ts'
import type { Role } from '#libs/domain/room.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import type { ActivityCursor } from '../core/cursor.ts'

export type ChatOfUser = Chat & { readonly userSeq: number }

/** One state of a user's list: his head, and some of his chats, as of the same moment. */
export type InboxRows = { readonly userSeq: number; readonly totals: InboxTotals; readonly chats: readonly ChatOfUser[] }

type Row = {
  readonly userSeq: number | null
  readonly unread: number | null
  readonly mentions: number | null
  readonly chats: number | null
  readonly chat: Omit<ChatOfUser, 'role' | 'name' | 'last'> & { readonly role: Role | null; readonly name: string | null; readonly last: LastMessage | null } | null
}

// In one statement: heads and chats are of one moment. A number of JSON is exact up to 2^53, as all of these are.
const inboxQuery = (chats: string, order: string) => `
  SELECT h.user_seq AS "userSeq", h.unread, h.mentions, h.chats,
         CASE WHEN c.room_id IS NOT NULL THEN jsonb_build_object(
           'roomId', c.room_id, 'userSeq', c.user_seq, 'status', c.status, 'roomSeq', c.room_seq, 'kind', c.kind, 'role', c.role, 'name', c.name,
           'messageCount', c.message_count, 'seen', c.seen, 'mentions', to_jsonb(c.mentions), 'lastActivityMs', c.last_activity_ms, 'last', c.last_message,
           'closed', c.closed, 'mutedUntilMs', c.muted_until_ms, 'archived', c.archived) END AS chat
    FROM (SELECT $1::text AS user_id) AS one
    LEFT JOIN user_heads h USING (user_id)
    LEFT JOIN LATERAL (${chats}) c ON true
   ORDER BY ${order}`

const BY_ACTIVITY = inboxQuery(
  `SELECT * FROM user_chats u
    WHERE u.user_id = $1 AND u.status = ANY($2::text[]) AND ($3::boolean IS NULL OR u.archived = $3)
      AND ($4::bigint IS NULL OR (u.last_activity_ms, u.room_id) < ($4, $5))
    ORDER BY u.last_activity_ms DESC, u.room_id DESC LIMIT $6`,
  'c.last_activity_ms DESC, c.room_id DESC',
)
const BY_CHANGE = inboxQuery('SELECT * FROM user_chats u WHERE u.user_id = $1 AND u.user_seq > $2 ORDER BY u.user_seq LIMIT $3', 'c.user_seq')

function toRows(rows: readonly Row[]): InboxRows {
  const { userSeq, unread, mentions, chats } = rows[0] ?? {}
  return {
    userSeq: userSeq ?? 0,
    totals: { unread: unread ?? 0, mentions: mentions ?? 0, chats: chats ?? 0 },
    chats: rows.flatMap(({ chat }) => {
      if (!chat) return []
      const { role, name, last, ...rest } = chat
      return [{ ...rest, ...(role !== null && { role }), ...(name !== null && { name }), ...(last !== null && { last }) }]
    }),
  }
}

export type InboxQuery = {
  readonly statuses: readonly Chat['status'][]
  readonly archived: boolean | undefined
  readonly cursor: ActivityCursor | undefined
  readonly limit: number
}

/** By last activity, newest first, up to limit + 1. */
export async function selectInbox(db: Queryable, userId: UserId, { statuses, archived, cursor, limit }: InboxQuery): Promise<InboxRows> {
  const { rows } = await db.query<Row>(BY_ACTIVITY, [userId, statuses, archived ?? null, cursor?.lastActivityMs ?? null, cursor?.roomId ?? null, limit + 1])
  return toRows(rows)
}

/** Those that have changed above this userSeq, in the order of their last change, up to limit + 1. */
export async function selectInboxChanges(db: Queryable, userId: UserId, { after, limit }: { readonly after: number; readonly limit: number }): Promise<InboxRows> {
  const { rows } = await db.query<Row>(BY_CHANGE, [userId, after, limit + 1])
  return toRows(rows)
}

