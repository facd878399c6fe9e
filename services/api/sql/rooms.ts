import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { HistoryRule, Metadata, Role, RoomKind } from '#libs/domain/room.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import type { RoomCursor } from '../core/cursor.ts'
import type { Member } from '../core/may-read.ts'

/** Times are ms since 1970. */
export type RoomRow = {
  readonly roomId: RoomId
  readonly orderId: RoomId | null
  readonly kind: RoomKind
  readonly name: string | null
  readonly metadata: Metadata
  readonly history: HistoryRule
  readonly subjectId: string | null
  readonly mediatorInvited: boolean
  readonly participants: Member[]
  readonly readOnly: boolean
  /** By a moderator. */
  readonly frozen: boolean
  readonly closedReason: string | null
  readonly closeNote: string | null
  readonly headSeq: number
  readonly messageCount: number
  readonly openedAt: number
  readonly openedAtUs: number
  readonly lastEventAt: number
  readonly closedAt: number | null
}

const ROOM_COLUMNS = `
  r.room_id AS "roomId", r.order_id AS "orderId", r.kind, r.name, r.metadata, r.history, r.subject_id AS "subjectId",
  r.mediator_invited AS "mediatorInvited", r.participants, r.is_readonly AS "readOnly", r.is_frozen AS frozen,
  r.closed_reason AS "closedReason", r.close_note AS "closeNote", r.head_seq AS "headSeq", r.message_count AS "messageCount",
  (extract(epoch FROM r.opened_at) * 1000)::bigint AS "openedAt",
  (extract(epoch FROM r.opened_at) * 1000000)::bigint AS "openedAtUs",
  (extract(epoch FROM r.last_event_at) * 1000)::bigint AS "lastEventAt",
  (extract(epoch FROM r.closed_at) * 1000)::bigint AS "closedAt"`

/** The time of a cursor, to the microsecond (to_timestamp would round: it takes a float of seconds). */
const opened = (parameter: string) => `(timestamptz 'epoch' + ${parameter}::bigint * interval '1 microsecond')`

export async function selectRoom(db: Queryable, roomId: RoomId): Promise<RoomRow | undefined> {
  const { rows } = await db.query<RoomRow>(`SELECT ${ROOM_COLUMNS} FROM chat_rooms r WHERE r.room_id = $1`, [roomId])
  return rows[0]
}

/** Among these rooms the ones whose head is above the seq at the same place of `afters`. */
export async function selectMovedHeads(
  db: Queryable,
  roomIds: readonly RoomId[],
  afters: readonly number[],
): Promise<readonly { readonly roomId: RoomId; readonly headSeq: number }[]> {
  const { rows } = await db.query<{ roomId: RoomId; headSeq: number }>(
    `SELECT r.room_id AS "roomId", r.head_seq AS "headSeq"
       FROM unnest($1::text[], $2::bigint[]) AS asked (room_id, after)
       JOIN chat_rooms r ON r.room_id = asked.room_id AND r.head_seq > asked.after`,
    [roomIds, afters],
  )
  return rows
}

export type RoomsQuery = { readonly cursor: RoomCursor | undefined; readonly limit: number }

/** The rooms that the user is in now, by opening, newest first, up to limit + 1. */
export async function selectRoomsOf(
  db: Queryable,
  userId: UserId,
  { cursor, limit }: RoomsQuery,
  readOnly?: boolean,
): Promise<readonly (RoomRow & { readonly role: Role })[]> {
  const { rows } = await db.query<RoomRow & { role: Role }>(
    `SELECT p.role, ${ROOM_COLUMNS}
       FROM room_participants p JOIN chat_rooms r USING (room_id)
      WHERE p.user_id = $1 AND ($2::bigint IS NULL OR (p.opened_at, p.room_id) < (${opened('$2')}, $3))
        AND ($5::boolean IS NULL OR r.is_readonly = $5)
      ORDER BY p.opened_at DESC, p.room_id DESC LIMIT $4`,
    [userId, cursor?.openedAtUs ?? null, cursor?.roomId ?? null, limit + 1, readOnly ?? null],
  )
  return rows
}

export type ChatRow = RoomRow & {
  readonly role: Role
  readonly unread: number
  /** Of the last message that the user may see; null: none. */
  readonly lastSeq: number | null
}

/** As `selectRoomsOf`, with what a list of chats shows of each. */
export async function selectChatsOf(db: Queryable, userId: UserId, { cursor, limit }: RoomsQuery): Promise<readonly ChatRow[]> {
  const { rows } = await db.query<ChatRow>(
    `SELECT p.role, ${ROOM_COLUMNS},
            greatest(0, r.message_count - coalesce(c.seen, 0)) AS unread,
            (SELECT m.seq FROM chat_messages m WHERE m.room_id = r.room_id AND (r.history = 'all' OR m.seq >= p.since_seq) ORDER BY m.seq DESC LIMIT 1) AS "lastSeq"
       FROM room_participants p JOIN chat_rooms r USING (room_id)
       LEFT JOIN room_receipts c ON c.room_id = p.room_id AND c.user_id = p.user_id
      WHERE p.user_id = $1 AND ($2::bigint IS NULL OR (p.opened_at, p.room_id) < (${opened('$2')}, $3))
      ORDER BY p.opened_at DESC, p.room_id DESC LIMIT $4`,
    [userId, cursor?.openedAtUs ?? null, cursor?.roomId ?? null, limit + 1],
  )
  return rows
}

/** All rooms, by opening, newest first, up to limit + 1. */
export async function selectRooms(db: Queryable, { cursor, limit }: RoomsQuery, readOnly?: boolean): Promise<readonly RoomRow[]> {
  const { rows } = await db.query<RoomRow>(
    `SELECT ${ROOM_COLUMNS}
       FROM chat_rooms r
      WHERE ($1::boolean IS NULL OR r.is_readonly = $1)
        AND ($2::bigint IS NULL OR (r.opened_at, r.room_id) < (${opened('$2')}, $3))
      ORDER BY r.opened_at DESC, r.room_id DESC LIMIT $4`,
    [readOnly ?? null, cursor?.openedAtUs ?? null, cursor?.roomId ?? null, limit + 1],
  )
  return rows
}
