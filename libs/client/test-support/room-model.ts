import type { ErrorCode } from '#libs/domain/errors.ts'
import type { ClientFrame, NewMessageFrame, RoomEventFrame, RoomUpdatedFrame } from '#libs/domain/frames.ts'
import type { UserId } from '#libs/domain/ids.ts'

type Edited = RoomUpdatedFrame & { readonly event: 'messageEdited' }
type Redacted = RoomUpdatedFrame & { readonly event: 'messageRedacted' }
/** Requests that become events, beside messages. */
export type Change = Exclude<ClientFrame, { readonly type: 'join' | 'leave' | 'sendMessage' | 'typing' | 'setPresence' | 'watchProducts' | 'createConversation' | 'sync' | 'setChat' | 'authenticate' | 'ping' }>

type Room = { readonly events: readonly RoomEventFrame[]; readonly messages: number; readonly receipts: ReadonlyMap<string, { readonly delivered: number; readonly seen: number }> }

/** What a request makes of a room, or why not. */
export function changeOf(room: Room, by: UserId, frame: Change): object | 'unchanged' | ErrorCode {
  switch (frame.type) {
    case 'editMessage':
    case 'deleteMessage':
    case 'react':
    case 'reportMessage': {
      const message = room.events.find((event): event is NewMessageFrame => event.type === 'newMessage' && event.messageId === frame.messageId)
      if (!message) return 'message_not_found'
      const target = { messageId: message.messageId, messageSeq: message.seq, by }
      if (frame.type === 'reportMessage') return { event: 'messageReported', ...target, reason: frame.reason, ...(frame.note !== undefined && { note: frame.note }) }
      if (frame.type === 'react') return { event: 'reactionSet', ...target, emoji: frame.emoji, on: frame.on ?? true }
      if (isDeleted(room.events, message)) return frame.type === 'deleteMessage' ? 'unchanged' : 'message_deleted'
      if (frame.type === 'deleteMessage') return { event: 'messageDeleted', ...target }
      return { event: 'messageEdited', ...target, revision: editsOf(room.events, message).length + 1, content: frame.message }
    }
    case 'mark': {
      const before = room.receipts.get(by) ?? { delivered: 0, seen: 0 }
      const seen = Math.min(room.messages, Math.max(before.seen, frame.seen ?? 0))
      const delivered = Math.min(room.messages, Math.max(before.delivered, frame.delivered ?? 0, seen))
      return seen === before.seen && delivered === before.delivered ? 'unchanged' : { event: 'receiptMoved', userId: by, delivered, seen }
    }
    case 'addParticipant':
      return { event: 'participantAdded', userId: frame.userId, role: frame.role ?? 'member', by }
    case 'removeParticipant':
      return { event: 'participantRemoved', userId: frame.userId, role: 'member', reason: frame.userId === by ? 'left' : 'removed', by }
    case 'changeRoom':
      return { event: 'roomChanged', ...(frame.name !== undefined && { name: frame.name }), ...(frame.metadata && { metadata: frame.metadata }), by }
    case 'inviteMediator':
      return { event: 'mediatorInvited', userId: frame.userId, by }
    case 'acceptInvitation':
      return { event: 'participantAdded', userId: by, role: 'mediator', by }
    case 'resolveDispute':
      return { event: 'roomClosed', reason: 'resolved', ...(frame.note !== undefined && { note: frame.note }), by }
  }
}

const editsOf = (events: readonly RoomEventFrame[], { messageId }: NewMessageFrame): Edited[] =>
  events.filter((event): event is Edited => event.type === 'roomUpdated' && event.event === 'messageEdited' && event.messageId === messageId)

const isDeleted = (events: readonly RoomEventFrame[], { messageId }: { readonly messageId: string }): boolean =>
  events.some((event) => event.type === 'roomUpdated' && (event.event === 'messageDeleted' || event.event === 'messageRedacted') && event.messageId === messageId)

const redactionOf = (events: readonly RoomEventFrame[], { messageId }: NewMessageFrame): string | undefined =>
  events.find((event): event is Redacted => event.type === 'roomUpdated' && event.event === 'messageRedacted' && event.messageId === messageId)?.reason

/** An event as a replay of this log shows it: of a message its last revision alone. */
export function shownAt(events: readonly RoomEventFrame[], event: RoomEventFrame): RoomEventFrame {
  if (event.type === 'newMessage') return messageAt(events, event)
  if (event.event !== 'messageEdited') return event
  const isLast = !isDeleted(events, event) && !events.some((e) => e.type === 'roomUpdated' && e.event === 'messageEdited' && e.messageId === event.messageId && e.revision > event.revision)
  return isLast ? event : { ...event, content: null }
}

function messageAt(events: readonly RoomEventFrame[], message: NewMessageFrame): NewMessageFrame {
  const last = editsOf(events, message).at(-1)
  const revision = last && { revision: last.revision }
  if (!isDeleted(events, message)) return last ? { ...message, ...revision, content: last.content } : message
  const { attachments: _, location: __, productId: ___, orderId: ____, ...envelope } = message
  const redacted = redactionOf(events, message)
  return { ...envelope, ...revision, content: null, deleted: true, ...(redacted !== undefined && { redacted }) }
}

/** Every way in which this event of the log may have been shown, as the log grew. */
export const viewsOf = (log: readonly RoomEventFrame[], event: RoomEventFrame): RoomEventFrame[] => {
  const changes = log.filter((later) => later.seq > event.seq && later.type === 'roomUpdated' && (later.event === 'messageEdited' || later.event === 'messageDeleted' || later.event === 'messageRedacted'))
  return [event, ...changes.map(({ seq }) => shownAt(log.slice(0, seq), event))]
}
