import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { RoomKind } from '#libs/domain/room.ts'
import type { Pool } from '#libs/postgres/pool.ts'
import { type DeliveryPorts, type PushTarget, tasks } from './core/delivery.ts'
import type { NotificationKind } from './core/judge.ts'

type StateRow = {
  notification_id: string
  kind: NotificationKind
  first_index: number | null
  last_index: number | null
  last_seq: number
  count: number
  sender_id: UserId | null
  room_kind: RoomKind
  room_name: string | null
  version: number
  is_open: boolean
  updated_ms: number
  badge: number
  preview: string | null
}

/** Dead letters wait for Kafka as long as it takes, within reason: the pause between attempts grows to six hours. */
const DEAD_LETTER_ATTEMPTS_MAX = 100

/** @param withPreview whether the text of the last message goes out */
export function createDeliveryStore(pool: Pool, withPreview: boolean): DeliveryPorts['store'] {
  return {
    async state(userId, roomId) {
      const { rows } = await pool.query<StateRow>(STATE, [userId, roomId, withPreview])
      const row = rows[0]
      return (
        row && {
          notificationId: row.notification_id,
          kind: row.kind,
          firstIndex: row.first_index,
          lastIndex: row.last_index,
          lastSeq: row.last_seq,
          count: row.count,
          senderId: row.sender_id,
          roomKind: row.room_kind,
          roomName: row.room_name,
          version: row.version,
          isOpen: row.is_open,
          updatedAtMs: row.updated_ms,
          badge: row.badge,
          preview: row.preview,
        }
      )
    },
    async isShown(userId, roomId, target) {
      const { rows } = await pool.query('SELECT 1 FROM notifications_shown WHERE user_id = $1 AND room_id = $2 AND target = $3', [userId, roomId, target])
      return rows.length > 0
    },
    async setShown(userId, roomId, target, version) {
      await pool.query(
        `INSERT INTO notifications_shown AS s (user_id, room_id, target, version) VALUES ($1, $2, $3, $4)
         ON CONFLICT (user_id, room_id, target) DO UPDATE SET version = greatest(s.version, excluded.version), begun_at = now()`,
        [userId, roomId, target, version],
      )
    },
    async setCleared(userId, roomId, target, version) {
      await pool.query('DELETE FROM notifications_shown WHERE user_id = $1 AND room_id = $2 AND target = $3 AND version <= $4', [userId, roomId, target, version])
    },
    async subscription(subscriptionId) {
      const { rows } = await pool.query<PushTarget & { userId: UserId }>('SELECT user_id AS "userId", endpoint, p256dh, auth FROM push_subscriptions WHERE subscription_id = $1', [subscriptionId])
      return rows[0]
    },
    async removeSubscription(subscriptionId) {
      await pool.query('DELETE FROM push_subscriptions WHERE subscription_id = $1', [subscriptionId])
    },
    async addDeadLetter(letter) {
      await pool.query('SELECT graphile_worker.add_job($1, $2::json, max_attempts => $3, job_key => $4)', [
        tasks.deadLetter,
        JSON.stringify(letter),
        DEAD_LETTER_ATTEMPTS_MAX,
        `${letter.target} ${letter.payload.dedupeId}`,
      ])
    },
  }
}

/**
 * The badge is the newest that is known: a delivery that comes late must not bring an old one back. The preview is what
 * chat_history shows now: nothing of what was deleted or erased, nothing between people of whom one blocks the other, nothing
 * of a room that he is not in any more.
 */
const STATE = `
  SELECT n.notification_id, n.kind, n.first_index, n.last_index, n.last_seq, n.count, n.sender_id, n.room_kind, n.room_name, n.version,
         n.read_at IS NULL AS is_open, (extract(epoch FROM n.updated_at) * 1000)::bigint AS updated_ms,
         (SELECT b.badge FROM (SELECT o.badge, o.user_seq FROM notifications o WHERE o.user_id = $1
                               UNION ALL SELECT h.unread, h.user_seq FROM user_heads h WHERE h.user_id = $1) b ORDER BY b.user_seq DESC LIMIT 1) AS badge,
         CASE WHEN $3::boolean AND n.read_at IS NULL AND n.kind <> 'invitation' THEN (
           SELECT h.content FROM chat_history h
            WHERE h.room_id = n.room_id AND h.seq = n.last_seq AND NOT h.deleted
              AND EXISTS (SELECT 1 FROM room_participants p WHERE p.room_id = n.room_id AND p.user_id = n.user_id)
              AND NOT EXISTS (SELECT 1 FROM room_blocks b WHERE b.room_id = n.room_id
                                 AND ((b.blocker_id = n.user_id AND b.blocked_id = n.sender_id) OR (b.blocker_id = n.sender_id AND b.blocked_id = n.user_id)))) END AS preview
    FROM notifications n
   WHERE n.user_id = $1 AND n.room_id = $2
   ORDER BY n.version DESC LIMIT 1`

const REMOVED_AT_ONCE = 1_000

/** Removes all that is older; a little at a time, so that nothing waits for it. @returns how many rows */
export async function removeOlder(pool: Pool, keptMs: number): Promise<number> {
  let rows = 0
  for (;;) {
    const [notifications, shown] = await removeSome(pool, keptMs)
    rows += notifications + shown
    if (notifications < REMOVED_AT_ONCE && shown < REMOVED_AT_ONCE) return rows
  }
}

async function removeSome(pool: Pool, keptMs: number): Promise<readonly [number, number]> {
  const removed = await pool.query(
    `DELETE FROM notifications WHERE notification_id IN (SELECT notification_id FROM notifications WHERE updated_at < now() - $1 * interval '1 millisecond' ORDER BY updated_at LIMIT $2)`,
    [keptMs, REMOVED_AT_ONCE],
  )
  const shown = await pool.query(
    `DELETE FROM notifications_shown s USING (SELECT user_id, room_id, target FROM notifications_shown WHERE begun_at < now() - $1 * interval '1 millisecond' ORDER BY begun_at LIMIT $2) o
      WHERE s.user_id = o.user_id AND s.room_id = o.room_id AND s.target = o.target`,
    [keptMs, REMOVED_AT_ONCE],
  )
  return [removed.rowCount, shown.rowCount]
}
