import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { RoomKind } from '#libs/domain/room.ts'
import type { Queryable } from '#libs/postgres/pool.ts'

export type InvitationRow = {
  readonly roomId: RoomId
  readonly kind: RoomKind
  readonly subjectId: string | null
  readonly invitedBy: UserId | null
  /** ms since 1970 */
  readonly timestamp: number
}

/** To open rooms, the newest first. */
export async function selectInvitations(db: Queryable, userId: UserId, limit: number): Promise<readonly InvitationRow[]> {
  const { rows } = await db.query<InvitationRow>(
    `SELECT i.room_id AS "roomId", r.kind, r.subject_id AS "subjectId", e.body ->> 'by' AS "invitedBy", (extract(epoch FROM e.occurred_at) * 1000)::bigint AS "timestamp"
       FROM room_invitations i JOIN chat_rooms r USING (room_id) JOIN room_events e ON e.room_id = i.room_id AND e.seq = i.seq
      WHERE i.user_id = $1 AND NOT r.is_readonly
      ORDER BY e.occurred_at DESC, i.room_id LIMIT $2`,
    [userId, limit],
  )
  return rows
}

export async function isInvited(db: Queryable, userId: UserId, roomId: RoomId): Promise<boolean> {
  const { rowCount } = await db.query('SELECT FROM room_invitations WHERE user_id = $1 AND room_id = $2', [userId, roomId])
  return rowCount > 0
}
