import type { ErrorCode } from './errors.ts'
import type { ClientMessageId, MessageId, RoomId, UserId } from './ids.ts'
import type { CloseReason, Participant, Role } from './room.ts'

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
  | {
      readonly id?: RequestId
      readonly type: 'sendMessage'
      /** May be left out on a socket of `/chat?orderId=`. */
      readonly roomId?: RoomId
      /** UUIDv7 or ULID, made from server time; where it is missing, the edge makes one (and a retry may double). */
      readonly clientMessageId?: string
      readonly message: string
    }
  | { readonly id?: RequestId; readonly type: 'authenticate'; readonly token: string }
  | { readonly id?: RequestId; readonly type: 'ping' }

export type ServerFrame = ReplyFrame | PushFrame

export type ReplyFrame = AckFrame | ErrorFrame | JoinedFrame

/** Of a `sendMessage` it carries all fields below; of `leave`, `authenticate` and `ping` only what is said there. */
export type AckFrame = {
  readonly id?: RequestId
  readonly type: 'ack'
  readonly roomId?: RoomId
  readonly seq?: number
  readonly messageId?: MessageId
  readonly messageIndex?: number
  readonly clientMessageId?: ClientMessageId
  readonly timestamp?: number
  /** True where this clientMessageId had been accepted before: the other fields are those of the original ack. */
  readonly repeated?: true
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
  readonly participants: readonly Participant[]
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
  /** Everything up to `seq` has been replayed: what follows is live. */
  | { readonly type: 'caughtUp'; readonly roomId: RoomId; readonly seq: number }
  /** The room was left without the client asking: nothing more of it will come on this socket. */
  | { readonly type: 'left'; readonly roomId: RoomId; readonly code: ErrorCode }
  /** `heads`: the head seq of each joined room; one above what the client holds means: join again with `since`. */
  | { readonly type: 'heartbeat'; readonly serverTimeMs: number; readonly heads: Readonly<Record<string, number>> }

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
  /** null once it was erased. */
  readonly content: string | null
  readonly timestamp: number
}

export type RoomUpdatedFrame = {
  readonly type: 'roomUpdated'
  readonly roomId: RoomId
  readonly seq: number
  readonly timestamp: number
} & (
  | { readonly event: 'roomOpened'; readonly participants: readonly Participant[] }
  | { readonly event: 'participantAdded'; readonly userId: UserId; readonly role: Role }
  | { readonly event: 'participantRemoved'; readonly userId: UserId; readonly role: Role; readonly reason: 'replaced' }
  | { readonly event: 'roomClosed'; readonly reason: CloseReason }
  /** An event type that this node does not know yet: it keeps its seq, and a client only counts it. */
  | { readonly event: 'unknown' }
)
