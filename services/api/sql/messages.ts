import type { NewMessageFrame } from '#libs/domain/frames.ts'
import type { RoomId } from '#libs/domain/ids.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import type { PageRange } from '../core/message-page.ts'

/** A message as a socket would have got it. `content` is null once it was erased. */
export type MessageRow = Omit<NewMessageFrame, 'type'>

// The order cannot be a parameter; both are written out so that each is one walk along the primary key.
const select = (order: 'ASC' | 'DESC') => `
  SELECT m.room_id AS "roomId", m.seq, m.message_id AS "messageId", m.client_message_id AS "clientMessageId",
         m.sender_id AS "senderId", m.message_index AS "messageIndex", c.content,
         (extract(epoch FROM m.sent_at) * 1000)::bigint AS "timestamp"
    FROM chat_messages m LEFT JOIN message_contents c ON c.room_id = $1 AND c.seq = m.seq
   WHERE m.room_id = $1 AND m.seq > $2 AND m.seq <= $3
   ORDER BY m.seq ${order} LIMIT $4`
const OLDEST = select('ASC')
const NEWEST = select('DESC')

/** Up to limit + 1 messages of the range, oldest first or newest first as it says. */
export async function selectMessages(db: Queryable, roomId: RoomId, range: PageRange): Promise<readonly MessageRow[]> {
  const text = range.take === 'oldest' ? OLDEST : NEWEST
  const { rows } = await db.query<MessageRow>(text, [roomId, range.above, range.upTo, range.limit + 1])
  return rows
}
