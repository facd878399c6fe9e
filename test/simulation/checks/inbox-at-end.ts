import { isDeepStrictEqual } from 'node:util'
import type { Chat } from '#libs/domain/inbox.ts'
import type { Servers } from '../world/servers.ts'
import type { UserChatRow } from '../world/tables.ts'
import type { Users } from './users.ts'

/** Everybody has what his rooms say, and Postgres has what the log of users says, all of it, once each. */
export function checkInbox({ world, postgres: { tables } }: Servers, users: Users): void {
  const difference = users.difference()
  if (difference) world.fail('inbox', `at the end ${difference}`)
  const fail = (message: string) => world.fail('postgres', message)
  let count = 0
  for (const [userId, { events, chats }] of users.users) {
    if (events.length === 0) continue
    const { userSeq, totals } = events.at(-1)!
    const head = tables.userHeads.rows.get(userId)
    if (!isDeepStrictEqual({ ...head }, { userSeq, ...totals })) fail(`${userId} is ${JSON.stringify(head)}, the log has ${userSeq} and ${JSON.stringify(totals)}`)
    for (const [roomId, chat] of chats) {
      const row = tables.userChats.rows.get(`${userId} ${roomId}`)
      const due = columnsOf(userId, events.findLast((event) => event.chat.roomId === roomId)!.userSeq, chat)
      if (!isDeepStrictEqual(row && JSON.parse(JSON.stringify(row)), JSON.parse(JSON.stringify(due)))) fail(`the chat of ${userId} in ${roomId} is ${JSON.stringify(row)}, the log has ${JSON.stringify(due)}`)
    }
    count += chats.size
  }
  const { size } = tables.userChats.rows
  if (size !== count) fail(`has ${size} chats, the log of users ${count}`)
}

function columnsOf(userId: string, userSeq: number, chat: Chat): UserChatRow {
  return {
    user_id: userId,
    room_id: chat.roomId,
    user_seq: userSeq,
    status: chat.status,
    room_seq: chat.roomSeq,
    kind: chat.kind,
    role: chat.role ?? null,
    name: chat.name ?? null,
    message_count: chat.messageCount,
    seen: chat.seen,
    mentions: chat.mentions,
    last_activity_ms: chat.lastActivityMs,
    last_message: chat.last ?? null,
    closed: chat.closed,
    muted_until_ms: chat.mutedUntilMs,
    archived: chat.archived,
  }
}
