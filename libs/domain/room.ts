import type { ClientMessageId, MessageId, RoomId, UserId } from './ids.ts'
import { type DedupeLedger, emptyLedger } from './dedupe.ts'
import type { ErrorCode } from './errors.ts'

export type Role = 'customer' | 'vendor' | 'rider'
export type CloseReason = 'delivered' | 'cancelled'
export type Participant = { readonly userId: UserId; readonly role: Role }

/** A durable room event. Each takes the next `seq` of its room: from 1, no holes. Times are ms since 1970. */
export type RoomEvent = { readonly seq: number; readonly timestampMs: number } & RoomEventBody

export type RoomEventBody =
  | { readonly type: 'roomOpened'; readonly participants: readonly Participant[] }
  | { readonly type: 'participantAdded'; readonly participant: Participant }
  | { readonly type: 'participantRemoved'; readonly participant: Participant; readonly reason: 'replaced' }
  | {
      readonly type: 'messageSent'
      readonly messageId: MessageId
      readonly clientMessageId: ClientMessageId
      readonly senderId: UserId
      /** Counts only messages, from 1. */
      readonly messageIndex: number
      readonly content: string
      /** Random bytes of the sender's edge (base64url), kept beside the content and erased with it. */
      readonly salt: string
      /** SHA-256 of salt and content (hex): all that an audit needs once the content is erased. */
      readonly contentHash: string
    }
  | { readonly type: 'roomClosed'; readonly reason: CloseReason }

/** What an order event does to a room's state without a durable event: it takes no seq and no client sees it. */
export type RoomNote =
  | { readonly type: 'riderHeld'; readonly rider: RiderAssignment; readonly heldAtMs: number }
  | { readonly type: 'closeHeld'; readonly reason: CloseReason; readonly heldAtMs: number }
  /** The rider stands (so far as there is one); only the time of the winning assignment moves. */
  | { readonly type: 'riderStands'; readonly occurredAtMs: number; readonly eventId: string }

/** An answer to the sender of one command. Changes nothing. */
export type Reply =
  | {
      readonly type: 'refused'
      readonly code: ErrorCode
      readonly retryAfterMs?: number
    }
  /** The same clientMessageId again: the original ack. */
  | { readonly type: 'repeated'; readonly clientMessageId: ClientMessageId; readonly ack: OriginalAck }
  /** An input that changes nothing; `reason` is for people who read the topic. */
  | { readonly type: 'ignored'; readonly reason: string }

export type Entry = RoomEvent | RoomNote | Reply

/** What the sender was told when his message became durable, and is told again for every repeat. */
export type OriginalAck = {
  readonly messageId: MessageId
  readonly seq: number
  readonly messageIndex: number
  readonly timestampMs: number
}

export type RiderAssignment = {
  readonly userId: UserId
  readonly occurredAtMs: number
  /** Breaks a tie of `occurredAtMs`, so that any order of arrival ends the same. */
  readonly eventId: string
}

/** The state that `decide` reads and `evolve` makes. Immutable. */
export type RoomState = {
  readonly roomId: RoomId
  /** pending: order events came before `order.accepted`; nobody can see the room yet. */
  readonly status: 'pending' | 'open' | 'closed'
  readonly headSeq: number
  readonly messageCount: number
  /** Event time never runs backwards in a room. 0 before the first event. */
  readonly lastEventMs: number
  readonly participants: ReadonlyMap<UserId, Role>
  /** The winning assignment's time, and before opening its rider too. */
  readonly riderWon: { readonly occurredAtMs: number; readonly eventId: string } | null
  readonly heldRider: (RiderAssignment & { readonly heldAtMs: number }) | null
  readonly heldClose: { readonly reason: CloseReason; readonly heldAtMs: number } | null
  /** Messages per sender within one second of event time. */
  readonly sendRate: { readonly second: number; readonly counts: ReadonlyMap<UserId, number> }
  readonly dedupe: DedupeLedger
}

export function newRoom(roomId: RoomId): RoomState {
  return {
    roomId,
    status: 'pending',
    headSeq: 0,
    messageCount: 0,
    lastEventMs: 0,
    participants: new Map(),
    riderWon: null,
    heldRider: null,
    heldClose: null,
    sendRate: { second: 0, counts: new Map() },
    dedupe: emptyLedger,
  }
}

/** What has a `seq` is durable, of whatever type: one that a newer writer knows alone keeps its place too. */
export const isRoomEvent = (entry: Entry): entry is RoomEvent => 'seq' in entry
