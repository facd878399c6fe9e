import type { RoomId } from '#libs/domain/ids.ts'
import type { Participant } from '#libs/domain/room.ts'
import type { Pool } from '#libs/postgres/pool.ts'
import { NO_EPOCH } from '#libs/streams/reader-rule.ts'
import { topics } from '#libs/streams/topics.ts'
import type { StoredEvent } from './core/frames.ts'
import type { History, LogPosition } from './core/ports.ts'
import type { RoomView } from './core/room-view.ts'

type PositionRow = { next_offset: string; owner_epoch: string }
type RoomRow = { participants: Participant[]; is_readonly: boolean; head_seq: number; message_count: number }
type PositionAndRoomRow = Omit<RoomRow, 'participants'> & { next_offset: string | null; participants: RoomRow['participants'] | null }
type EventRow = { body: Record<string, unknown>; content: string | null }

const topic = topics.roomEvents.name

/** The history in Postgres, as an edge reads it. */
export function createHistory(pool: Pool): History {
  return {
    async position(partition) {
      const { rows } = await pool.query<PositionRow>(POSITION, [topic, partition])
      return positionOf(rows[0])
    },
    async nextOffsets() {
      const { rows } = await pool.query<{ partition: number; next_offset: string }>('SELECT partition, next_offset::text FROM persisted_offsets WHERE topic = $1', [topic])
      return new Map(rows.map((row) => [row.partition, BigInt(row.next_offset)]))
    },
    async room(partition, roomId) {
      const { rows } = await pool.query<PositionAndRoomRow>(POSITION_AND_ROOM, [topic, partition, roomId])
      const { next_offset, participants, ...room } = rows[0]!
      return { nextOffset: BigInt(next_offset ?? 0), view: participants ? viewOf({ participants, ...room }) : undefined }
    },
    async events(roomId: RoomId, after, upTo, limit) {
      const { rows } = await pool.query<EventRow>(
        `SELECT e.body, c.content
           FROM room_events e LEFT JOIN message_contents c ON c.room_id = e.room_id AND c.seq = e.seq
          WHERE e.room_id = $1 AND e.seq > $2 AND e.seq <= $3 ORDER BY e.seq LIMIT $4`,
        [roomId, after, upTo, limit],
      )
      return rows.map(({ body, content }) => (body['type'] === 'messageSent' ? { ...body, content } : body) as unknown as StoredEvent)
    },
  }
}

const POSITION = 'SELECT next_offset::text, owner_epoch::text FROM persisted_offsets WHERE topic = $1 AND partition = $2'

/** One statement sees one moment, for a fourth of a transaction's round trips. Always one row. */
const POSITION_AND_ROOM = `
  SELECT p.next_offset::text, r.participants, r.is_readonly, r.head_seq, r.message_count
    FROM (SELECT 1) AS one
    LEFT JOIN persisted_offsets p ON p.topic = $1 AND p.partition = $2
    LEFT JOIN chat_rooms r ON r.room_id = $3`

function positionOf(row: PositionRow | undefined): LogPosition {
  return row ? { nextOffset: BigInt(row.next_offset), ownerEpoch: BigInt(row.owner_epoch) } : { nextOffset: 0n, ownerEpoch: NO_EPOCH }
}

function viewOf({ participants, is_readonly, head_seq, message_count }: RoomRow): RoomView {
  return { headSeq: head_seq, messageCount: message_count, readOnly: is_readonly, participants: new Map(participants.map((p) => [p.userId, p.role])) }
}
