import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import type { ReceiptRow } from '../core/receipts.ts'

export async function selectReceipts(db: Queryable, roomId: RoomId): Promise<readonly ReceiptRow[]> {
  const { rows } = await db.query<ReceiptRow>('SELECT user_id AS "userId", delivered, seen, hidden FROM room_receipts WHERE room_id = $1 ORDER BY user_id', [roomId])
  return rows
}

export type Settings = { readonly hideReceipts: boolean; readonly hideLastSeen: boolean }

export async function selectSettings(db: Queryable, userId: UserId): Promise<Settings> {
  const { rows } = await db.query<Settings>('SELECT hide_receipts AS "hideReceipts", hide_last_seen AS "hideLastSeen" FROM user_settings WHERE user_id = $1', [userId])
  return rows[0] ?? { hideReceipts: false, hideLastSeen: false }
}

/** What is left out stays as it was. */
export async function upsertSettings(db: Queryable, userId: UserId, { hideReceipts, hideLastSeen }: Partial<Settings>): Promise<Settings> {
  const { rows } = await db.query<Settings>(
    `INSERT INTO user_settings AS s (user_id, hide_receipts, hide_last_seen) VALUES ($1, coalesce($2, false), coalesce($3, false))
     ON CONFLICT (user_id) DO UPDATE SET hide_receipts = coalesce($2, s.hide_receipts), hide_last_seen = coalesce($3, s.hide_last_seen), updated_at = now()
     RETURNING hide_receipts AS "hideReceipts", hide_last_seen AS "hideLastSeen"`,
    [userId, hideReceipts ?? null, hideLastSeen ?? null],
  )
  return rows[0]!
}
