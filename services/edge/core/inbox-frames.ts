import { chatFields } from '#libs/domain/chat-fields.ts'
import type { AckFrame, InboxFrame, InboxPageFrame, RequestId, SyncedFrame } from '#libs/domain/frames.ts'
import type { RoomId } from '#libs/domain/ids.ts'
import type { Chat, ChatCause, ChatChanged, InboxEntry, InboxTotals } from '#libs/domain/inbox.ts'

const typeOf: Readonly<Record<ChatCause, InboxFrame['type']>> = {
  added: 'roomAdded',
  invited: 'roomAdded',
  removed: 'roomRemoved',
  messages: 'unreadChanged',
  read: 'roomRead',
  changed: 'chatChanged',
  set: 'chatChanged',
}

/** A change as it happens. A cause that only a newer writer knows is a change like any other. */
export function inboxFrame({ cause, userSeq, timestampMs: timestamp, chat, totals }: ChatChanged): InboxFrame {
  return { type: Object.hasOwn(typeOf, cause) ? typeOf[cause] : 'chatChanged', userSeq, timestamp, chat: chatFields(chat), totals }
}

export const inboxPageFrame = (chats: readonly { readonly userSeq: number; readonly chat: Chat }[]): InboxPageFrame => ({
  type: 'inboxPage',
  chats: chats.map(({ userSeq, chat }) => ({ userSeq, ...chatFields(chat) })),
})

export const syncedFrame = (id: RequestId | undefined, userSeq: number, totals: InboxTotals, isStale: boolean): SyncedFrame => ({
  ...(id !== undefined && { id }),
  type: 'synced',
  userSeq,
  totals,
  ...(isStale && { stale: true }),
})

/** Of the change that a `setChat` has made; on the socket that asked it takes the place of the change's frame. */
export const setChatAck = (id: RequestId, { userSeq, timestampMs: timestamp, chat, totals }: ChatChanged): AckFrame => ({
  id,
  type: 'ack',
  roomId: chat.roomId,
  timestamp,
  userSeq,
  chat: chatFields(chat),
  totals,
})

export const unchangedChatAck = (id: RequestId, roomId: RoomId, userSeq: number): AckFrame => ({ id, type: 'ack', roomId, unchanged: true, userSeq })

export type Numbered = InboxEntry & { readonly userSeq: number }

/** Whether it has taken a `userSeq`: also what a newer writer has made, of a type that is not known here. */
export const isNumbered = (entry: InboxEntry): entry is Numbered => entry.type !== 'inboxUnchanged' && Number.isSafeInteger((entry as Partial<Numbered>).userSeq)
