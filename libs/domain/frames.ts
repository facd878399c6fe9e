import type { ErrorCode } from './errors.ts'
import type { ClientMessageId, MessageId, RoomId, UserId } from './ids.ts'
import type { Chat, InboxTotals, LastMessage } from './inbox.ts'
import type { MessagePayload } from './payload.ts'
import type { CloseReason, HistoryRule, MessageType, Metadata, Participant, RemovalReason, ReportReason, Role, RoomKind, Target } from './room.ts'

/**
 * The frames of subprotocol `chat.v1`: JSON text, one object a frame. docs/protocol.md is their reference.
 * A request with an `id` (a number or a string of at most 64 characters, the client's own) gets exactly one reply with
 * that `id`: an `ack` or an `error` (for `join`, `joined` is the ack). Pushed frames have no `id`. Times are ms since 1970.
 */
export const SUBPROTOCOL = 'chat.v1'
/** The token travels as a second offered subprotocol, `bearer.<jwt>`, where headers cannot be set; it is never echoed. */
export const BEARER_SUBPROTOCOL_PREFIX = 'bearer.'

export type RequestId = number | string

export type ClientFrame =
  /** `since`: the last seq that the client holds of this room (default 0: everything). */
  | { readonly id?: RequestId; readonly type: 'join'; readonly roomId: RoomId; readonly since?: number }
  | { readonly id?: RequestId; readonly type: 'leave'; readonly roomId?: RoomId }
  | ({
      readonly id?: RequestId
      readonly type: 'sendMessage'
      /** May be left out on a socket of `/chat?orderId=`. */
      readonly roomId?: RoomId
      /** UUIDv7 or ULID, made from server time; where it is missing, the edge makes one (and a retry may double). */
      readonly clientMessageId?: string
      /** May be empty beside attachments, a location or a card. */
      readonly message: string
      /** Left out: text. */
      readonly messageType?: Exclude<MessageType, 'system'>
      /** messageId of the thread's first message. */
      readonly replyTo?: MessageId
      readonly mentions?: readonly UserId[]
    } & MessagePayload)
  | (RoomRequest & { readonly type: 'editMessage'; readonly messageId: MessageId; readonly message: string })
  | (RoomRequest & { readonly type: 'deleteMessage'; readonly messageId: MessageId })
  /** `on: false` takes it back. */
  | (RoomRequest & { readonly type: 'react'; readonly messageId: MessageId; readonly emoji: string; readonly on?: boolean })
  /** Up to which messageIndex everything was delivered to this device, or seen. `hidden`: others are not told. */
  | { readonly id?: RequestId; readonly type: 'mark'; readonly roomId?: RoomId; readonly delivered?: number; readonly seen?: number; readonly hidden?: boolean }
  /** Not durable. Said again every 3 s while it lasts, since it ends by itself after 5. */
  | { readonly id?: RequestId; readonly type: 'typing'; readonly roomId?: RoomId; readonly on: boolean }
  | { readonly id?: RequestId; readonly type: 'setPresence'; readonly status: 'online' | 'away'; readonly hideLastSeen?: boolean }
  /** Whose cards this socket shows: replaces what it showed before. */
  | { readonly id?: RequestId; readonly type: 'watchProducts'; readonly productIds: readonly string[] }
  | {
      readonly id?: RequestId
      readonly type: 'createConversation'
      readonly kind: 'direct' | 'group'
      /** Of the others; oneself is in, as the owner of a group. */
      readonly participants: readonly UserId[]
      /** Needed for a group: creating it again with the same one gives the same room. */
      readonly clientId?: string
      readonly name?: string
      readonly metadata?: Metadata
      readonly history?: HistoryRule
    }
  | (RoomRequest & { readonly type: 'addParticipant'; readonly userId: UserId; readonly role?: 'owner' | 'member' | 'observer' })
  /** Oneself: leaves the conversation (`leave` only ends what this socket follows). */
  | (RoomRequest & { readonly type: 'removeParticipant'; readonly userId: UserId })
  | (RoomRequest & { readonly type: 'changeRoom'; readonly name?: string; readonly metadata?: Metadata })
  | (RoomRequest & { readonly type: 'inviteMediator'; readonly userId: UserId })
  | (RoomRequest & { readonly type: 'acceptInvitation' })
  | (RoomRequest & { readonly type: 'resolveDispute'; readonly note?: string })
  | (RoomRequest & { readonly type: 'reportMessage'; readonly messageId: MessageId; readonly reason: ReportReason; readonly note?: string })
  /**
   * One's own list of chats: all that has changed above `cursor` (the last `userSeq` that the client holds; default 0:
   * everything) comes in `inboxPage`s, then the reply `synced`; from then on each change as it happens.
   */
  | { readonly id?: RequestId; readonly type: 'sync'; readonly cursor?: number }
  /** Of one's own list. `mutedUntilMs` 0: not muted; 8640000000000000: for ever. Left out: as it was. */
  | { readonly id?: RequestId; readonly type: 'setChat'; readonly roomId: RoomId; readonly mutedUntilMs?: number; readonly archived?: boolean }
  | { readonly id?: RequestId; readonly type: 'authenticate'; readonly token: string }
  | { readonly id?: RequestId; readonly type: 'ping' }

/** A request about one room that becomes an event of it: repeated with the same id it gets the same ack. */
type RoomRequest = {
  readonly id?: RequestId
  readonly roomId?: RoomId
  readonly clientMessageId?: string
}

export type ServerFrame = ReplyFrame | PushFrame

export type ReplyFrame = AckFrame | ErrorFrame | JoinedFrame | SyncedFrame

/** Of a `sendMessage` it carries all fields to `timestamp`; of `leave`, `authenticate` and `ping` only what is said there. */
export type AckFrame = {
  readonly id?: RequestId
  readonly type: 'ack'
  readonly roomId?: RoomId
  readonly seq?: number
  readonly messageId?: MessageId
  readonly messageIndex?: number
  readonly clientMessageId?: ClientMessageId
  readonly timestamp?: number
  /** Of a message in a thread: where its first one is. */
  readonly replyToSeq?: number
  /** True where this clientMessageId had been accepted before: the other fields are those of the original ack. */
  readonly repeated?: true
  /** The event that a request other than `sendMessage` has made, as the others get it; it stands in its place in the order. */
  readonly event?: RoomUpdatedFrame
  /** Answer to `setChat`: what it has made of the chat; the user's other sockets get it as a frame of its own. */
  readonly userSeq?: number
  readonly chat?: ChatFields
  readonly totals?: InboxTotals
  /** True where it was so already: no event was made. */
  readonly unchanged?: true
  /** Answer to `ping`. */
  readonly serverTimeMs?: number
  /** Answer to `authenticate`: when the new token expires. */
  readonly expiresAtMs?: number
}

export type ErrorFrame = {
  readonly id?: RequestId
  readonly type: 'error'
  readonly code: ErrorCode
  readonly message: string
  readonly retriable: boolean
  readonly retryAfterMs?: number
  readonly roomId?: RoomId
  readonly clientMessageId?: string
}

/** The answer to `join`, and the first frame about its room on a `/chat?orderId=` socket. Replayed frames follow. */
export type JoinedFrame = {
  readonly id?: RequestId
  readonly type: 'joined'
  readonly roomId: RoomId
  /** What is replayed is `since + 1 … headSeq`. */
  readonly since: number
  readonly headSeq: number
  readonly messageCount: number
  readonly readOnly: boolean
  /** By a moderator: nobody writes for now. */
  readonly frozen?: true
  readonly participants: readonly Participant[]
  readonly kind: RoomKind
  readonly name?: string
  readonly metadata?: Metadata
  /** Of those who show them, and one's own, in messageIndexes. Unread is messageCount minus one's own `seen`. */
  readonly receipts: readonly ReceiptFields[]
  /** Events below this seq are not shown to this user, who came later. */
  readonly visibleFrom?: number
  /** True while the log cannot be read: what is newer than the history in Postgres comes later, in order. */
  readonly stale?: true
}

export type PushFrame =
  | {
      readonly type: 'connected'
      readonly connectionId: string
      readonly userId: UserId
      readonly serverTimeMs: number
      readonly heartbeatMs: number
      readonly expiresAtMs: number
    }
  | RoomEventFrame
  | InboxPageFrame
  | InboxFrame
  /** Everything up to `seq` has been replayed: what follows is live. */
  | { readonly type: 'caughtUp'; readonly roomId: RoomId; readonly seq: number }
  /** The room was left without the client asking: nothing more of it will come on this socket. */
  | { readonly type: 'left'; readonly roomId: RoomId; readonly code: ErrorCode }
  /**
   * `heads`: the head seq of each joined room; one above what the client holds means: join again with `since`. `userSeq`, of a
   * socket that is synced: the last change that it was handed; one above what the client holds means: sync again.
   */
  | { readonly type: 'heartbeat'; readonly serverTimeMs: number; readonly heads: Readonly<Record<string, number>>; readonly userSeq?: number }
  /** Without a seq, and never replayed. `on` lasts 5 s unless it comes again. */
  | { readonly type: 'typing'; readonly roomId: RoomId; readonly userId: UserId; readonly on: boolean }
  /** Of people of a joined room: all at the join, then who changes. */
  | { readonly type: 'presence'; readonly roomId: RoomId; readonly users: readonly PresenceFields[] }
  /** The present data of a watched product. */
  | { readonly type: 'cardUpdated'; readonly productId: string; readonly product: ProductFields }

/** The answer to `sync`: everything up to `userSeq` has come; what follows is `userSeq + 1` and so on, no holes. */
export type SyncedFrame = {
  /** Left out where this node had to read again by itself. */
  readonly id?: RequestId
  readonly type: 'synced'
  readonly userSeq: number
  readonly totals: InboxTotals
  /** True while the log cannot be read: what is newer than the history in Postgres comes later, in order. */
  readonly stale?: true
}

/** Chats that have changed, in the order of their last change, each as it is now; also those that were left. */
export type InboxPageFrame = { readonly type: 'inboxPage'; readonly chats: readonly (ChatFields & { readonly userSeq: number })[] }

/**
 * One change of one's own list, live, after `synced`. roomAdded: also by an invitation (`status`). unreadChanged: messages,
 * also one's own. roomRead: seen, on whichever device. chatChanged: closed, renamed, another role, muted, archived.
 */
export type InboxFrame = {
  readonly type: 'roomAdded' | 'roomRemoved' | 'unreadChanged' | 'roomRead' | 'chatChanged'
  /** Per user, from 1, no holes: one above the last means that nothing is missing. */
  readonly userSeq: number
  readonly timestamp: number
  readonly chat: ChatFields
  readonly totals: InboxTotals
}

/** Fields with `?` are left out where they have nothing to say. */
export type ChatFields = {
  readonly roomId: RoomId
  /** Of the room, as of which this holds. */
  readonly roomSeq: number
  readonly status: Chat['status']
  readonly kind: RoomKind
  readonly role?: Role
  readonly name?: string
  readonly messageCount: number
  /** messageCount minus seen. */
  readonly unread: number
  /** Unread ones that mention this user. */
  readonly mentions: number
  readonly lastActivityMs: number
  /** Without its content, which may have been edited or erased: join the room, or ask the api. */
  readonly last?: LastMessage
  readonly closed?: true
  readonly mutedUntilMs?: number
  readonly archived?: true
}

export type ReceiptFields = { readonly userId: UserId; readonly delivered: number; readonly seen: number }

export type PresenceFields = {
  readonly userId: UserId
  readonly status: 'online' | 'away' | 'offline'
  /** Only of who is offline and lets others know. */
  readonly lastSeenMs?: number
}

/** A card of a product, as its last `product.updated` had it. */
export type ProductFields = {
  readonly productId: string
  readonly name: string
  readonly priceMinor?: number
  readonly currency?: string
  readonly imageUrl?: string
  readonly available?: boolean
  readonly updatedAtMs: number
}

/** One durable room event: exactly one frame for each `seq`. */
export type RoomEventFrame = NewMessageFrame | RoomUpdatedFrame

export type NewMessageFrame = {
  readonly type: 'newMessage'
  readonly roomId: RoomId
  readonly seq: number
  readonly messageId: MessageId
  readonly clientMessageId: ClientMessageId
  readonly senderId: UserId
  /** Counts only messages, from 1: unread is arithmetic on it. */
  readonly messageIndex: number
  /** Its last revision; null once it was deleted or erased. */
  readonly content: string | null
  readonly timestamp: number
  /** Left out: text. */
  readonly messageType?: MessageType
  readonly replyTo?: MessageId
  readonly replyToSeq?: number
  readonly mentions?: readonly UserId[]
  /** How often it was edited, in a replay. */
  readonly revision?: number
  readonly deleted?: true
  /** By a moderator, for this reason; `deleted` too. */
  readonly redacted?: string
  /** Between the sender and this user there is a block. */
  readonly hidden?: true
} & MessagePayload

export type RoomUpdatedFrame = {
  readonly type: 'roomUpdated'
  readonly roomId: RoomId
  readonly seq: number
  readonly timestamp: number
} & (
  | { readonly event: 'roomOpened'; readonly participants: readonly Participant[]; readonly kind?: RoomKind; readonly name?: string; readonly metadata?: Metadata }
  /** Of somebody who is in already: he has another role now. */
  | { readonly event: 'participantAdded'; readonly userId: UserId; readonly role: Role; readonly by?: UserId }
  | { readonly event: 'participantRemoved'; readonly userId: UserId; readonly role: Role; readonly reason: RemovalReason; readonly by?: UserId }
  | { readonly event: 'roomClosed'; readonly reason: CloseReason; readonly note?: string; readonly by?: UserId }
  /** `content` null: a later revision is known already, or it was deleted. */
  | ({ readonly event: 'messageEdited'; readonly revision: number; readonly content: string | null; readonly by: UserId } & Target)
  | ({ readonly event: 'messageDeleted'; readonly by: UserId } & Target)
  /** By a moderator. */
  | ({ readonly event: 'messageRedacted'; readonly reason: string; readonly by: UserId } & Target)
  /** To who has reported it, and to moderators and admins. */
  | ({ readonly event: 'messageReported'; readonly reason: ReportReason; readonly note?: string; readonly by: UserId } & Target)
  | { readonly event: 'roomFrozen'; readonly on: boolean; readonly reason?: string; readonly by: UserId }
  | ({ readonly event: 'reactionSet'; readonly emoji: string; readonly on: boolean; readonly by: UserId } & Target)
  | ({ readonly event: 'receiptMoved' } & ReceiptFields)
  | { readonly event: 'roomChanged'; readonly name?: string; readonly metadata?: Metadata; readonly by?: UserId }
  | { readonly event: 'mediatorInvited'; readonly userId: UserId; readonly by?: UserId }
  /** To the blocker alone. */
  | { readonly event: 'blockSet'; readonly userId: UserId; readonly on: boolean }
  /** Something that is not this user's to know; it only takes its seq. */
  | { readonly event: 'private' }
  /** An event type that this node does not know yet: it keeps its seq, and a client only counts it. */
  | { readonly event: 'unknown' }
)
