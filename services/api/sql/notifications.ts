import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { RoomKind } from '#libs/domain/room.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import type { PushSubscription } from '#libs/push/endpoints.ts'
import type { CreatedCursor } from '../core/cursor.ts'

/** Times are ms since 1970. */
export type NotificationRow = {
  readonly notificationId: string
  readonly roomId: RoomId
  readonly kind: 'message' | 'mention' | 'invitation'
  readonly firstIndex: number | null
  readonly lastIndex: number | null
  readonly lastSeq: number
  readonly count: number
  readonly senderId: UserId | null
  readonly roomKind: RoomKind
  readonly roomName: string | null
  readonly createdAt: number
  readonly createdAtUs: number
  readonly updatedAt: number
  readonly readAt: number | null
  readonly closedBy: string | null
}

const COLUMNS = `
  notification_id AS "notificationId", room_id AS "roomId", kind, first_index AS "firstIndex", last_index AS "lastIndex", last_seq AS "lastSeq", count,
  sender_id AS "senderId", room_kind AS "roomKind", room_name AS "roomName", closed_by AS "closedBy",
  (extract(epoch FROM created_at) * 1000)::bigint AS "createdAt", (extract(epoch FROM created_at) * 1000000)::bigint AS "createdAtUs",
  (extract(epoch FROM updated_at) * 1000)::bigint AS "updatedAt", (extract(epoch FROM read_at) * 1000)::bigint AS "readAt"`

export type NotificationsQuery = {
  /** Left out: both. */
  readonly unread: boolean | undefined
  readonly cursor: CreatedCursor | undefined
  readonly limit: number
}

/** The newest first, up to limit + 1. */
export async function selectNotifications(db: Queryable, userId: UserId, { unread, cursor, limit }: NotificationsQuery): Promise<readonly NotificationRow[]> {
  const { rows } = await db.query<NotificationRow>(
    `SELECT ${COLUMNS} FROM notifications
      WHERE user_id = $1 AND ($2::boolean IS NULL OR (read_at IS NULL) = $2)
        AND ($3::bigint IS NULL OR (created_at, notification_id) < (timestamptz 'epoch' + $3 * interval '1 microsecond', $4::uuid))
      ORDER BY created_at DESC, notification_id DESC LIMIT $5`,
    [userId, unread ?? null, cursor?.createdAtUs ?? null, cursor?.id ?? null, limit + 1],
  )
  return rows
}

export async function countUnreadNotifications(db: Queryable, userId: UserId): Promise<number> {
  const { rows } = await db.query<{ n: number }>('SELECT count(*) AS n FROM notifications WHERE user_id = $1 AND read_at IS NULL', [userId])
  return rows[0]!.n
}

// What is closed already keeps its time and its reason.
const READ = `read_at = coalesce(read_at, now()), closed_by = coalesce(closed_by, 'read'), updated_at = CASE WHEN read_at IS NULL THEN now() ELSE updated_at END`

/** Undefined: he has none of this id. */
export async function markNotificationRead(db: Queryable, userId: UserId, notificationId: string): Promise<NotificationRow | undefined> {
  const { rows } = await db.query<NotificationRow>(`UPDATE notifications SET ${READ} WHERE user_id = $1 AND notification_id = $2 RETURNING ${COLUMNS}`, [userId, notificationId])
  return rows[0]
}

/** How many were unread. */
export async function markAllNotificationsRead(db: Queryable, userId: UserId): Promise<number> {
  const { rowCount } = await db.query(`UPDATE notifications SET ${READ} WHERE user_id = $1 AND read_at IS NULL`, [userId])
  return rowCount
}

/** Above `max` the one that was given longest ago goes. A browser's endpoint is one user's at a time, and another subscription under another user. */
export async function upsertSubscription(db: Queryable, userId: UserId, { endpoint, p256dh, auth }: PushSubscription, max: number): Promise<void> {
  await db.query(
    `INSERT INTO push_subscriptions AS s (user_id, endpoint, p256dh, auth) VALUES ($1, $2, $3, $4)
     ON CONFLICT (endpoint) DO UPDATE SET user_id = $1, p256dh = $3, auth = $4, updated_at = now(),
       subscription_id = CASE WHEN s.user_id = $1 THEN s.subscription_id ELSE gen_random_uuid() END`,
    [userId, endpoint, p256dh, auth],
  )
  await db.query(
    `DELETE FROM push_subscriptions
      WHERE subscription_id IN (SELECT subscription_id FROM push_subscriptions WHERE user_id = $1 ORDER BY updated_at DESC, endpoint OFFSET $2)`,
    [userId, max],
  )
}

export type SubscriptionRow = { readonly endpoint: string; readonly createdAt: number; readonly updatedAt: number }

export async function selectSubscriptions(db: Queryable, userId: UserId): Promise<readonly SubscriptionRow[]> {
  const { rows } = await db.query<SubscriptionRow>(
    `SELECT endpoint, (extract(epoch FROM created_at) * 1000)::bigint AS "createdAt", (extract(epoch FROM updated_at) * 1000)::bigint AS "updatedAt"
       FROM push_subscriptions WHERE user_id = $1 ORDER BY created_at, endpoint`,
    [userId],
  )
  return rows
}

/** Whether he had it. */
export async function deleteSubscription(db: Queryable, userId: UserId, endpoint: string): Promise<boolean> {
  const { rowCount } = await db.query('DELETE FROM push_subscriptions WHERE user_id = $1 AND endpoint = $2', [userId, endpoint])
  return rowCount > 0
}
