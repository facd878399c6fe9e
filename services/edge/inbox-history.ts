import type { Chat, LastMessage } from '#libs/domain/inbox.ts'
import type { Pool } from '#libs/postgres/pool.ts'
import { topics } from '#libs/streams/topics.ts'
import type { InboxHistory } from './core/ports.ts'
import { createPersisted } from './history.ts'

/** Of the first row all, of the others the chat alone. Without any chat it is one row with none. */
type ChangesRow = {
  readonly next_offset: string | null
  readonly user_seq: number | null
  readonly unread: number
  readonly mentions: number
  readonly chats: number
  readonly chat: ChatJson | null
}
type ChatJson = Omit<Chat, 'role' | 'name' | 'last'> & { readonly userSeq: number; readonly role: NonNullable<Chat['role']> | null; readonly name: string | null; readonly last: LastMessage | null }

/** Users' own lists in Postgres, as an edge reads them. */
export function createInboxHistory(pool: Pool): InboxHistory {
  const topic = topics.userEvents.name
  return {
    ...createPersisted(pool, topic),
    async changes(partition, userId, after, limit) {
      const { rows } = await pool.query<ChangesRow>(CHANGES, [topic, partition, userId, after, limit])
      const { next_offset, user_seq, unread, mentions, chats } = rows[0]!
      return {
        nextOffset: BigInt(next_offset ?? 0),
        userSeq: user_seq ?? 0,
        totals: user_seq === null ? { unread: 0, mentions: 0, chats: 0 } : { unread, mentions, chats },
        chats: rows.flatMap(({ chat }) => (chat ? [{ userSeq: chat.userSeq, chat: chatOf(chat) }] : [])),
      }
    },
  }
}

/** One statement sees one moment, for a fourth of a transaction's round trips. A number of JSON is exact up to 2^53, as all of these are. */
const CHANGES = `
  SELECT p.next_offset::text, h.user_seq, h.unread, h.mentions, h.chats,
         CASE WHEN c.room_id IS NOT NULL THEN jsonb_build_object(
           'userSeq', c.user_seq, 'roomId', c.room_id, 'roomSeq', c.room_seq, 'status', c.status, 'kind', c.kind, 'role', c.role, 'name', c.name,
           'messageCount', c.message_count, 'seen', c.seen, 'mentions', to_jsonb(c.mentions), 'lastActivityMs', c.last_activity_ms, 'last', c.last_message,
           'closed', c.closed, 'mutedUntilMs', c.muted_until_ms, 'archived', c.archived) END AS chat
    FROM (SELECT 1) AS one
    LEFT JOIN persisted_offsets p ON p.topic = $1 AND p.partition = $2
    LEFT JOIN user_heads h ON h.user_id = $3
    LEFT JOIN LATERAL (SELECT * FROM user_chats u WHERE u.user_id = $3 AND u.user_seq > $4 ORDER BY u.user_seq LIMIT $5) c ON true
   ORDER BY c.user_seq`

function chatOf({ userSeq: _, role, name, last, ...rest }: ChatJson): Chat {
  return { ...rest, ...(role !== null && { role }), ...(name !== null && { name }), ...(last !== null && { last }) }
}
