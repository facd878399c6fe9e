import type { Chat, InboxTotals } from '#libs/domain/inbox.ts'
import type { Queryable } from '#libs/postgres/pool.ts'

export type StoredChat = Omit<Chat, 'roomId'> & { readonly roomId: string; readonly userSeq: number }

export const storedChat = (roomId: string, userSeq: number, more: Partial<StoredChat> = {}): StoredChat => ({
  roomId, userSeq, roomSeq: 1, status: 'in', kind: 'order', role: 'vendor', messageCount: 0, seen: 0, mentions: [], lastActivityMs: 1_000 * userSeq, closed: false, mutedUntilMs: 0, archived: false, ...more,
})

/** What the persister has of a user after these changes. */
export async function storeChats(db: Queryable, userId: string, chats: readonly StoredChat[], totals: InboxTotals): Promise<void> {
  const userSeq = Math.max(...chats.map((chat) => chat.userSeq))
  await db.query(
    `INSERT INTO user_heads VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (user_id) DO UPDATE SET user_seq = greatest(user_heads.user_seq, $2), unread = $3, mentions = $4, chats = $5`,
    [userId, userSeq, totals.unread, totals.mentions, totals.chats],
  )
  for (const chat of chats) {
    await db.query(
      `INSERT INTO user_chats (user_id, room_id, user_seq, status, room_seq, kind, role, name, message_count, seen, mentions, last_activity_ms, last_message, closed, muted_until_ms, archived)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
       ON CONFLICT (user_id, room_id) DO UPDATE SET user_seq = $3, status = $4, room_seq = $5, message_count = $9, seen = $10, mentions = $11, last_activity_ms = $12, last_message = $13, closed = $14,
         muted_until_ms = $15, archived = $16`,
      [
        userId, chat.roomId, chat.userSeq, chat.status, chat.roomSeq, chat.kind, chat.role ?? null, chat.name ?? null, chat.messageCount, chat.seen, chat.mentions, chat.lastActivityMs,
        chat.last ? JSON.stringify(chat.last) : null, chat.closed, chat.mutedUntilMs, chat.archived,
      ],
    )
  }
}
