import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { Queryable } from '#libs/postgres/pool.ts'

export type AdminAction = 'read_room' | 'read_messages' | 'read_threads' | 'read_receipts' | 'read_attachment' | 'read_job' | 'read_events' | 'list_rooms' | 'list_own_rooms' | 'list_reports'

export type AuditEntry = {
  readonly actor: UserId
  readonly action: AdminAction
  readonly roomId: RoomId | undefined
  readonly details: Readonly<Record<string, unknown>>
}

/** Committed when it resolves. */
export async function insertAdminAudit(db: Queryable, { actor, action, roomId, details }: AuditEntry): Promise<void> {
  await db.query('INSERT INTO admin_audit (actor, action, room_id, details) VALUES ($1, $2, $3, $4)', [
    actor,
    action,
    roomId ?? null,
    JSON.stringify(details),
  ])
}
