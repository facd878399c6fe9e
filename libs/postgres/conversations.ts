import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { Queryable } from './pool.ts'

/**
 * Whether a user has made as many conversations (direct and group) as he may, of those that he is in now. Ones that others
 * or orders have made for him do not count: nobody can use up what is his. False for the room that is there already, which
 * creating again only gives back. As of what Postgres has: a few that are on their way come through beside it.
 */
export async function hasConversationsMax(db: Queryable, userId: UserId, roomId: RoomId, max: number): Promise<boolean> {
  const { rows } = await db.query<{ isFull: boolean }>(
    `SELECT NOT EXISTS (SELECT FROM chat_rooms WHERE room_id = $2)
        AND (SELECT count(*) FROM (SELECT FROM room_participants p JOIN chat_rooms r USING (room_id)
                                    WHERE p.user_id = $1 AND r.creator_id = $1 AND r.kind IN ('direct', 'group') LIMIT $3) AS made) >= $3 AS "isFull"`,
    [userId, roomId, max],
  )
  return rows[0]?.isFull ?? false
}
