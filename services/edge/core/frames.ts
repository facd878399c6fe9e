import { ChatError, type ErrorCode, errorCatalogue } from '#libs/domain/errors.ts'
import type { ErrorFrame, JoinedFrame, NewMessageFrame, ReceiptFields, RequestId, RoomEventFrame, RoomUpdatedFrame } from '#libs/domain/frames.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { parsePayload } from '#libs/domain/payload.ts'
import type { RoomEvent, Target } from '#libs/domain/room.ts'
import type { Speaker } from './connection.ts'
import { isStaff, participantList, type RoomView, visibleFrom } from './room-view.ts'

type MessageSent = RoomEvent & { readonly type: 'messageSent' }
type MessageEdited = RoomEvent & { readonly type: 'messageEdited' }

/**
 * An event as it is shown: of a message its last revision alone. `content` is null where it was erased or deleted; of an
 * edit also where a later revision is known.
 */
export type StoredEvent =
  | Exclude<RoomEvent, { readonly type: 'messageSent' | 'messageEdited' }>
  | (Omit<MessageSent, 'content' | 'salt'> & {
      readonly content: string | null
      /** Of the last revision; left out: never edited. */
      readonly revision?: number
      readonly deleted?: true
      /** Why, where a moderator did it. */
      readonly redacted?: string
      /** Of the edit that `content` is of. */
      readonly contentSeq?: number
    })
  | (Omit<MessageEdited, 'content' | 'salt'> & { readonly content: string | null })

/** `private`: that there is an event of this seq, and nothing else. `hidden`: from somebody with whom there is a block. */
export type Variant = 'plain' | 'hidden' | 'private'

/** Whether everybody who is shown an event of this room gets the same frame; asked for each event, so that most need no look at who gets it. */
function isSameForAll(view: RoomView, event: StoredEvent): boolean {
  switch (event.type) {
    case 'messageSent':
      return event.hiddenFor === undefined
    case 'receiptMoved':
      return !event.hidden
    case 'blockSet':
    case 'messageReported':
      return false
    case 'messageEdited':
    case 'messageDeleted':
    case 'messageRedacted':
    case 'reactionSet':
      return view.history === 'all'
    default:
      return true
  }
}

/** Admins and moderators see everything. */
export function variantFor(event: StoredEvent, view: RoomView, speaker: Speaker): Variant {
  const { userId } = speaker
  const seesAll = isStaff(speaker)
  switch (event.type) {
    case 'messageSent':
      return event.hiddenFor?.includes(userId) ? 'hidden' : 'plain'
    case 'receiptMoved':
      return event.hidden && !seesAll && event.userId !== userId ? 'private' : 'plain'
    case 'blockSet':
      return seesAll || event.blockerId === userId ? 'plain' : 'private'
    case 'messageReported':
      return seesAll || event.by === userId ? 'plain' : 'private'
    case 'messageEdited':
    case 'messageDeleted':
    case 'messageRedacted':
    case 'reactionSet':
      // Of a message from before he came.
      return event.messageSeq < visibleFrom(view, speaker) ? 'private' : 'plain'
    default:
      return 'plain'
  }
}

/** The JSON of an event for whoever gets it: made once per variant, and only where somebody asks for it. */
export function encoderOf(roomId: RoomId, event: StoredEvent, view: RoomView): (speaker: Speaker) => () => string {
  const texts: { [variant in Variant]?: string } = {}
  const encode = (variant: Variant) => (texts[variant] ??= JSON.stringify(eventFrame(roomId, event, variant)))
  const plain = () => encode('plain')
  return isSameForAll(view, event) ? () => plain : (speaker) => () => encode(variantFor(event, view, speaker))
}

/** The frame of an event, the same for all to whom it is shown in this variant. */
export function eventFrame(roomId: RoomId, event: StoredEvent, variant: Variant = 'plain'): RoomEventFrame {
  if (event.type === 'messageSent') return messageFrame(roomId, event, variant === 'hidden')
  return updateFrame(roomId, event, variant)
}

export function updateFrame(roomId: RoomId, event: Exclude<StoredEvent, { readonly type: 'messageSent' }>, variant: Variant = 'plain'): RoomUpdatedFrame {
  const head = { type: 'roomUpdated', roomId, seq: event.seq, timestamp: event.timestampMs } as const
  if (variant === 'private') return { ...head, event: 'private' }
  switch (event.type) {
    case 'roomOpened': {
      const { participants, kind, name, metadata } = event
      return { ...head, event: event.type, participants, ...(kind !== undefined && { kind }), ...(name !== undefined && { name }), ...(metadata && { metadata }) }
    }
    case 'participantAdded':
      return { ...head, event: event.type, ...event.participant, ...by(event) }
    case 'participantRemoved':
      return { ...head, event: event.type, ...event.participant, reason: event.reason, ...by(event) }
    case 'messageEdited':
      return { ...head, event: event.type, ...target(event), revision: event.revision, content: event.content, by: event.by }
    case 'messageDeleted':
      return { ...head, event: event.type, ...target(event), by: event.by }
    case 'messageRedacted':
      return { ...head, event: event.type, ...target(event), reason: event.reason, by: event.by }
    case 'messageReported':
      return { ...head, event: event.type, ...target(event), reason: event.reason, ...(event.note !== undefined && { note: event.note }), by: event.by }
    case 'roomFrozen':
      return { ...head, event: event.type, on: event.on, ...(event.reason !== undefined && { reason: event.reason }), by: event.by }
    case 'reactionSet':
      return { ...head, event: event.type, ...target(event), emoji: event.emoji, on: event.on, by: event.by }
    case 'receiptMoved':
      return { ...head, event: event.type, userId: event.userId, delivered: event.delivered, seen: event.seen }
    case 'roomChanged': {
      const { name, metadata } = event
      return { ...head, event: event.type, ...(name !== undefined && { name }), ...(metadata && { metadata }), ...by(event) }
    }
    case 'mediatorInvited':
      return { ...head, event: event.type, userId: event.userId, ...by(event) }
    case 'blockSet':
      return { ...head, event: event.type, userId: event.blockedId, on: event.on }
    case 'roomClosed':
      return { ...head, event: event.type, reason: event.reason, ...(event.note !== undefined && { note: event.note }), ...by(event) }
    default:
      return { ...head, event: 'unknown' }
  }
}

const by = (event: { readonly by?: UserId }) => event.by !== undefined && { by: event.by }
const target = ({ messageId, messageSeq }: Target): Target => ({ messageId, messageSeq })

function messageFrame(roomId: RoomId, event: StoredEvent & { readonly type: 'messageSent' }, hidden: boolean): NewMessageFrame {
  const { seq, messageId, clientMessageId, senderId, messageIndex, content, timestampMs: timestamp } = event
  const { messageType, payload, replyTo, replyToSeq, mentions, revision, deleted, redacted } = event
  const frame = { type: 'newMessage', roomId, seq, messageId, clientMessageId, senderId, messageIndex, content, timestamp } as const
  // Nearly every message has nothing else.
  if (!(messageType ?? payload ?? replyTo ?? mentions ?? revision ?? deleted) && !hidden) return frame
  const { attachments, location, productId, orderId } = parsePayload(payload) ?? {}
  return {
    ...frame,
    ...(messageType !== undefined && { messageType }),
    ...(attachments && { attachments }),
    ...(location && { location }),
    ...(productId !== undefined && { productId }),
    ...(orderId !== undefined && { orderId }),
    ...(replyTo !== undefined && { replyTo }),
    ...(replyToSeq !== undefined && { replyToSeq }),
    ...(mentions && { mentions }),
    ...(revision !== undefined && { revision }),
    ...(deleted && { deleted }),
    ...(redacted !== undefined && { redacted }),
    ...(hidden && { hidden }),
  }
}

export type Joining = { readonly id: RequestId | undefined; readonly since: number; readonly isStale: boolean }

export function joinedFrame(roomId: RoomId, view: RoomView, speaker: Speaker, { id, since, isStale }: Joining): JoinedFrame {
  const { headSeq, messageCount, readOnly, frozen, kind, name, metadata } = view
  const from = visibleFrom(view, speaker)
  return {
    ...(id !== undefined && { id }),
    type: 'joined',
    roomId,
    since,
    headSeq,
    messageCount,
    readOnly,
    ...(frozen && { frozen }),
    participants: participantList(view),
    kind,
    ...(name !== undefined && { name }),
    ...(Object.keys(metadata).length > 0 && { metadata }),
    receipts: receiptList(view, speaker),
    ...(from > 1 && { visibleFrom: from }),
    ...(isStale && { stale: true }),
  }
}

function receiptList({ receipts }: RoomView, speaker: Speaker): ReceiptFields[] {
  const list: ReceiptFields[] = []
  for (const [userId, { delivered, seen, hidden }] of receipts) {
    if (!hidden || userId === speaker.userId || isStaff(speaker)) list.push({ userId, delivered, seen })
  }
  return list
}

export type ErrorContext = { readonly roomId?: RoomId | undefined; readonly clientMessageId?: string | undefined; readonly retryAfterMs?: number | undefined }

export function errorFrame(id: RequestId | undefined, code: ErrorCode, message: string, context: ErrorContext = {}): ErrorFrame {
  const { roomId, clientMessageId, retryAfterMs } = context
  return {
    ...(id !== undefined && { id }),
    type: 'error',
    code,
    message,
    // A newer room-state may refuse for a reason that this node does not know.
    retriable: errorCatalogue[code]?.retriable ?? false,
    ...(retryAfterMs !== undefined && { retryAfterMs }),
    ...(roomId !== undefined && { roomId }),
    ...(clientMessageId !== undefined && { clientMessageId }),
  }
}

/** A stranger's text is for the log, not for the client. */
export function errorFrameOf(id: RequestId | undefined, err: unknown, context: ErrorContext = {}): ErrorFrame {
  if (!(err instanceof ChatError)) return errorFrame(id, 'internal', errorCatalogue.internal.message, context)
  return errorFrame(id, err.code, err.message, { retryAfterMs: err.retryAfterMs, ...context })
}
