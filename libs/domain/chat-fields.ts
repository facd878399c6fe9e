import type { ChatFields } from './frames.ts'
import { type Chat, unreadOf } from './inbox.ts'

/** A chat of a user's own list as he is shown it, by whichever way. */
export function chatFields(chat: Chat): ChatFields {
  const { roomId, roomSeq, status, kind, role, name, messageCount, mentions, lastActivityMs, last, closed, mutedUntilMs, archived } = chat
  return {
    roomId,
    roomSeq,
    status,
    kind,
    ...(role !== undefined && { role }),
    ...(name !== undefined && { name }),
    messageCount,
    unread: unreadOf(chat),
    mentions: mentions.length,
    lastActivityMs,
    ...(last && { last }),
    ...(closed && { closed }),
    ...(mutedUntilMs > 0 && { mutedUntilMs }),
    ...(archived && { archived }),
  }
}
