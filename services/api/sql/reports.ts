import type { MessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import type { ReportReason } from '#libs/domain/room.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import type { ReportCursor } from '../core/cursor.ts'

export type ReportRow = {
  readonly roomId: RoomId
  readonly seq: number
  readonly messageId: MessageId
  readonly messageSeq: number
  readonly senderId: UserId | null
  readonly content: string | null
  readonly reportedBy: UserId
  readonly reason: ReportReason
  readonly note: string | null
  /** ms since 1970 */
  readonly timestamp: number
  readonly reportedAtUs: number
  readonly state: 'open' | 'closed'
  readonly redacted: string | null
}

export type ReportsQuery = {
  /** Left out: both. */
  readonly state: ReportRow['state'] | undefined
  readonly roomId: RoomId | undefined
  readonly cursor: ReportCursor | undefined
  readonly limit: number
}

/** The newest first, up to limit + 1, each with what the message says now, or said last. */
export async function selectReports(db: Queryable, { state, roomId, cursor, limit }: ReportsQuery): Promise<readonly ReportRow[]> {
  const { rows } = await db.query<ReportRow>(
    `SELECT r.room_id AS "roomId", r.seq, r.message_id AS "messageId", r.message_seq AS "messageSeq", m.sender_id AS "senderId", c.content,
            r.reporter_id AS "reportedBy", r.reason, r.note,
            (extract(epoch FROM r.reported_at) * 1000)::bigint AS "timestamp", (extract(epoch FROM r.reported_at) * 1000000)::bigint AS "reportedAtUs",
            CASE WHEN h.deleted_seq IS NULL THEN 'open' ELSE 'closed' END AS state, h.redacted_reason AS redacted
       FROM message_reports r
       LEFT JOIN chat_messages m ON m.room_id = r.room_id AND m.seq = r.message_seq
       LEFT JOIN message_changes h ON h.room_id = r.room_id AND h.message_seq = r.message_seq
       LEFT JOIN message_contents c ON c.room_id = r.room_id AND c.seq = coalesce(h.content_seq, r.message_seq)
      WHERE ($1::text IS NULL OR (h.deleted_seq IS NULL) = ($1 = 'open')) AND ($2::text IS NULL OR r.room_id = $2)
        AND ($3::bigint IS NULL OR (r.reported_at, r.room_id, r.seq) < (timestamptz 'epoch' + $3 * interval '1 microsecond', $4, $5::bigint))
      ORDER BY r.reported_at DESC, r.room_id DESC, r.seq DESC LIMIT $6`,
    [state ?? null, roomId ?? null, cursor?.reportedAtUs ?? null, cursor?.roomId ?? null, cursor?.seq ?? null, limit + 1],
  )
  return rows
}
