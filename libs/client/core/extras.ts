import { validate as isUuid } from 'uuid'
import type { NewMessageFrame } from '#libs/domain/frames.ts'
import { type ClientMessageId, isUserId, type MessageId, type RoomId, type UserId } from '#libs/domain/ids.ts'
import { fixedLimits } from '#libs/domain/limits.ts'
import { type MessagePayload, parsePayload, payloadText } from '#libs/domain/payload.ts'
import type { MessageType } from '#libs/domain/room.ts'

/** What a message has beside its text. */
export type MessageExtras = {
  /** Left out: text. */
  readonly messageType?: Exclude<MessageType, 'system'>
  /** messageId of the thread's first message. */
  readonly replyTo?: string
  /** User ids. */
  readonly mentions?: readonly string[]
} & MessagePayload

/** As it waits in the outbox and goes into the frame: JSON-safe, and with something in it. */
export type KeptExtras = MessageExtras & { readonly replyTo?: MessageId; readonly mentions?: readonly UserId[] }

/**
 * As the log keeps them: only what means something, so that the frame that is made from an own ack equals the one that
 * everybody else gets. Undefined where there is nothing.
 */
export function normalExtras({ messageType, replyTo, mentions = [], ...payload }: MessageExtras): KeptExtras | undefined {
  const people = [...new Set(mentions)]
  const kept: KeptExtras = {
    ...(messageType !== undefined && { messageType }),
    ...(replyTo !== undefined && { replyTo: replyTo as MessageId }),
    ...(people.length > 0 && { mentions: people as UserId[] }),
    ...parsePayload(payloadText(payload)),
  }
  return Object.keys(kept).length === 0 ? undefined : kept
}

/** What the server would refuse for ever, and count against the socket: `invalid_request` or `invalid_attachment`. */
export function extrasRefusal({ replyTo, mentions = [], messageType: _, ...payload }: MessageExtras): 'invalid_request' | 'invalid_attachment' | undefined {
  if (replyTo !== undefined && !isUuid(replyTo)) return 'invalid_request'
  if (mentions.length > fixedLimits.mentionsMax || !mentions.every(isUserId)) return 'invalid_request'
  return (payloadText(payload)?.length ?? 0) > fixedLimits.payloadCharsMax ? 'invalid_attachment' : undefined
}

export type OwnMessage = {
  readonly roomId: RoomId
  readonly clientMessageId: ClientMessageId
  readonly messageId: MessageId
  readonly seq: number
  readonly messageIndex: number
  readonly timestamp: number
  /** Of a message in a thread: a client cannot know it, so the ack brings it. */
  readonly replyToSeq?: number
}

/** The event of an own message, made of its ack and what was sent. Undefined where the ack does not say enough: then it has to be fetched. */
export function ownMessageFrame(ack: OwnMessage, senderId: UserId, content: string, extras: KeptExtras = {}): NewMessageFrame | undefined {
  const { roomId, seq, messageId, clientMessageId, messageIndex, timestamp, replyToSeq } = ack
  if (extras.replyTo !== undefined && replyToSeq === undefined) return undefined
  const frame = { type: 'newMessage', roomId, seq, messageId, clientMessageId, senderId, messageIndex, content, timestamp } as const
  return { ...frame, ...extras, ...(replyToSeq !== undefined && { replyToSeq }) }
}
