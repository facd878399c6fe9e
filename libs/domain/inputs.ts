import type { ClientMessageId, MessageId, RoomId, UserId } from './ids.ts'
import type { BlockWord, CloseReason, HistoryRule, MessageType, Metadata, Participant, ReportReason, Role, RoomKind } from './room.ts'

/** What `room-state` reads: an order event, or what somebody asked for. Shapes follow schemas/*.avsc. */
export type RoomInput = OrderEvent | RoomCommand

export type OrderEvent = {
  /** The room that it touches: the order's, but of what concerns a pair of people, their direct room (`directRoomId`). */
  readonly orderId: RoomId
  /** SNS MessageId, else a hash of the body: the same for every redelivery. */
  readonly eventId: string
  /** `occurredAt` of the payload, else SNS `Timestamp`, else SQS `SentTimestamp`; ms since 1970. */
  readonly occurredAtMs: number
} & (
  | { readonly type: 'orderAccepted'; readonly customerId: UserId; readonly vendorId: UserId }
  | { readonly type: 'riderAssigned'; readonly riderId: UserId }
  | { readonly type: 'orderEnded'; readonly reason: CloseReason }
  /** Posts an order card of the customer into the pair's direct room. */
  | { readonly type: 'orderCreated'; readonly subjectId: string; readonly customerId: UserId; readonly vendorId: UserId }
  /** Of the pair's direct room, and passed on to the other rooms that both are in. */
  | { readonly type: 'blockChanged'; readonly blockerId: UserId; readonly blockedId: UserId; readonly on: boolean }
)

export type RoomCommand = {
  readonly roomId: RoomId
  /** Made by the edge; the reply in `room-events` carries it back. */
  readonly commandId: string
  readonly senderId: UserId
  /** The dedupe key per (room, sender), of messages and of everything else. */
  readonly clientMessageId: ClientMessageId
} & RoomCommandBody

export type RoomCommandBody =
  | {
      readonly type: 'sendMessage'
      readonly content: string
      readonly salt: string
      readonly messageType?: MessageType
      /** JSON of a `MessagePayload`. */
      readonly payload?: string
      readonly replyTo?: MessageId
      /** Where the history has `replyTo`; it is looked up there because a room does not remember old messages. */
      readonly replyToSeq?: number
      readonly mentions?: readonly UserId[]
    }
  | { readonly type: 'editMessage'; readonly messageId: MessageId; readonly content: string; readonly salt: string }
  | { readonly type: 'deleteMessage'; readonly messageId: MessageId }
  | { readonly type: 'react'; readonly messageId: MessageId; readonly messageSeq?: number; readonly emoji: string; readonly on: boolean }
  /** Up to which messageIndex; left out: as it was. Seen is delivered too. */
  | { readonly type: 'mark'; readonly delivered?: number; readonly seen?: number; readonly hidden?: true }
  | {
      readonly type: 'createRoom'
      readonly kind: RoomKind
      readonly participants: readonly Participant[]
      readonly name?: string
      readonly metadata?: Metadata
      readonly history?: HistoryRule
      readonly subjectId?: string
    }
  | { readonly type: 'addParticipant'; readonly userId: UserId; readonly role: Role }
  /** Oneself: leaves. */
  | { readonly type: 'removeParticipant'; readonly userId: UserId }
  | { readonly type: 'changeRoom'; readonly name?: string; readonly metadata?: Metadata }
  | { readonly type: 'inviteMediator'; readonly userId: UserId }
  | { readonly type: 'acceptInvitation' }
  | { readonly type: 'resolveDispute'; readonly note?: string }
  | { readonly type: 'reportMessage'; readonly messageId: MessageId; readonly messageSeq?: number; readonly reason: ReportReason; readonly note?: string }
  /** These three of a moderator, whose token the writer has verified; the first also of the moderation service. */
  | { readonly type: 'redactMessage'; readonly messageId: MessageId; readonly messageSeq?: number; readonly reason: string }
  | { readonly type: 'freezeRoom'; readonly on: boolean; readonly reason?: string }
  | { readonly type: 'expelParticipant'; readonly userId: UserId; readonly reason: string }
  /** From `relay` alone, which follows the pair's room; the time is that of the pair's own word. */
  | ({ readonly type: 'setBlock' } & BlockWord)
