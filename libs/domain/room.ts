import type { ClientMessageId, MessageId, RoomId, UserId } from './ids.ts'
import { type DedupeLedger, emptyLedger } from './dedupe.ts'
import type { ErrorCode } from './errors.ts'

/**
 * order: follows an order's events. direct: of two people, the same for the same pair. group: of whom its owner lets in.
 * job: of a client and a provider. dispute: about an order or a job, with a mediator where one was invited.
 */
export const roomKinds = ['order', 'direct', 'group', 'job', 'dispute'] as const
export type RoomKind = (typeof roomKinds)[number]
export const roles = ['customer', 'vendor', 'rider', 'client', 'provider', 'owner', 'member', 'mediator', 'observer'] as const
export type Role = (typeof roles)[number]
export type CloseReason = 'delivered' | 'cancelled' | 'resolved'
/** moderated: by a moderator. */
export type RemovalReason = 'replaced' | 'left' | 'removed' | 'resolved' | 'moderated'
export type Participant = { readonly userId: UserId; readonly role: Role }
/** What newcomers see: everything, or only what came after they did. */
export type HistoryRule = 'all' | 'fromJoin'
export type Metadata = Readonly<Record<string, string>>
/** undefined: text. */
export const messageTypes = ['image', 'file', 'location', 'productCard', 'orderCard', 'system'] as const
export type MessageType = (typeof messageTypes)[number]

export const reportReasons = ['spam', 'abuse', 'fraud', 'other'] as const
export type ReportReason = (typeof reportReasons)[number]

/** A durable room event. Each takes the next `seq` of its room: from 1, no holes. Times are ms since 1970. */
export type RoomEvent = {
  readonly seq: number
  readonly timestampMs: number
  /** `eventHash` of the event before, of the first event `genesisHash` (chain.ts). Left out by writers of before. */
  readonly prevHash?: string
} & RoomEventBody

/**
 * Of an event that a command has made: `by` who asked, and the id under which a repeat of the command gets this event's
 * ack again (`messageSent` has `senderId` and the same id).
 */
type Asked = { readonly by?: UserId; readonly clientMessageId?: ClientMessageId }

/** Fields with `?` are left out where they have nothing to say, also in events of writers that did not know them. */
export type RoomEventBody =
  | {
      readonly type: 'roomOpened'
      readonly participants: readonly Participant[]
      /** Left out: order. */
      readonly kind?: RoomKind
      readonly creatorId?: UserId
      readonly name?: string
      readonly metadata?: Metadata
      /** Left out: all. */
      readonly history?: HistoryRule
      /** What it is about: the order, or the job. */
      readonly subjectId?: string
    }
  | ({
      readonly type: 'participantAdded'
      readonly participant: Participant
      /** What the room is to who comes in; left out where somebody who is in already gets another role. */
      readonly messageCount?: number
      /** messageIndex up to which he has seen all, or need not: what was before him in a room that is `fromJoin`. Left out: 0. */
      readonly seen?: number
      /** Left out: order. */
      readonly kind?: RoomKind
      readonly name?: string
    } & Asked)
  | ({ readonly type: 'participantRemoved'; readonly participant: Participant; readonly reason: RemovalReason; /** Why a moderator did it: for the audit. */ readonly note?: string } & Asked)
  | MessageSentBody
  | ({ readonly type: 'messageEdited' } & Target & Content & { readonly revision: number } & Required<Asked>)
  | ({ readonly type: 'messageDeleted' } & Target & Required<Asked>)
  | ({ readonly type: 'reactionSet'; readonly emoji: string; readonly on: boolean } & Target & Required<Asked>)
  /** A cursor that only goes up: messageIndexes up to which the user's devices have, and he has seen, all. */
  | {
      readonly type: 'receiptMoved'
      readonly userId: UserId
      readonly delivered: number
      readonly seen: number
      /** He does not want others to know. */
      readonly hidden?: true
    }
  /** To moderators and admins, and to who has reported it. */
  | ({ readonly type: 'messageReported'; readonly reason: ReportReason; readonly note?: string } & Target & Required<Asked>)
  /** Participants see no content of any revision from here on. Also in a room that has closed. */
  | ({ readonly type: 'messageRedacted'; readonly reason: string } & Target & Required<Asked>)
  /** While it is, participants read and mark, and write nothing. */
  | ({ readonly type: 'roomFrozen'; readonly on: boolean; readonly reason?: string } & Required<Asked>)
  | ({ readonly type: 'roomChanged'; readonly name?: string; readonly metadata?: Metadata } & Asked)
  | ({ readonly type: 'mediatorInvited'; readonly userId: UserId } & Asked)
  /** Between two people of this room. In a direct room nobody can send while there is one; elsewhere `hiddenFor` marks. */
  | ({ readonly type: 'blockSet' } & BlockWord)
  | ({ readonly type: 'roomClosed'; readonly reason: CloseReason; readonly note?: string } & Asked)

/** What somebody has said about another last. */
export type BlockWord = {
  readonly blockerId: UserId
  readonly blockedId: UserId
  readonly on: boolean
  /** When he said so: the later word wins, in any order of arrival, and of two at the same time the block. Left out: this one wins. */
  readonly occurredAtMs?: number
}

/** Kept apart from the rest in Postgres, and erased together. */
export type Content = {
  readonly content: string
  /** Random bytes of the sender's edge (base64url), kept beside the content and erased with it. */
  readonly salt: string
  /** SHA-256 of salt and content (hex): all that an audit needs once the content is erased. */
  readonly contentHash: string
}

/** The message that an event is about. */
export type Target = { readonly messageId: MessageId; readonly messageSeq: number }

export type MessageSentBody = {
  readonly type: 'messageSent'
  readonly messageId: MessageId
  readonly clientMessageId: ClientMessageId
  readonly senderId: UserId
  /** Counts only messages, from 1. */
  readonly messageIndex: number
  readonly messageType?: MessageType
  /** JSON of `MessagePayload` (payload.ts): part of the content, also of its hash and its erasure. */
  readonly payload?: string
  /** The first message of the thread. */
  readonly replyTo?: MessageId
  readonly replyToSeq?: number
  readonly mentions?: readonly UserId[]
  /** Participants between whom and the sender there is a block: their clients hide it. */
  readonly hiddenFor?: readonly UserId[]
} & Content

/** What an order event does to a room's state without a durable event: it takes no seq and no client sees it. */
export type RoomNote =
  | { readonly type: 'riderHeld'; readonly rider: RiderAssignment; readonly heldAtMs: number }
  | { readonly type: 'closeHeld'; readonly reason: CloseReason; readonly heldAtMs: number }
  /** The rider stands (so far as there is one); only the time of the winning assignment moves. */
  | { readonly type: 'riderStands'; readonly occurredAtMs: number; readonly eventId: string }
  /** The block stands, or there is none, as before; only the time of the last word about it moves. */
  | { readonly type: 'blockStands'; readonly blockerId: UserId; readonly blockedId: UserId; readonly occurredAtMs: number }

/** An answer to the sender of one command. Changes nothing. */
export type Reply =
  | {
      readonly type: 'refused'
      readonly code: ErrorCode
      readonly retryAfterMs?: number
    }
  /** The same clientMessageId again: the original ack. */
  | { readonly type: 'repeated'; readonly clientMessageId: ClientMessageId; readonly ack: OriginalAck }
  /** It is so already: a room that exists, a participant who is in, a cursor that is not behind. */
  | { readonly type: 'unchanged'; readonly headSeq: number }
  /** An input that changes nothing; `reason` is for people who read the topic. */
  | { readonly type: 'ignored'; readonly reason: string }

export type Entry = RoomEvent | RoomNote | Reply

/**
 * What the sender was told when his command became durable, and is told again for every repeat. Of a command that is no
 * message: the message that it is about (or the id that one would have), and the room's count of messages.
 */
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

/** messageIndexes. */
export type Receipt = { readonly delivered: number; readonly seen: number; readonly hidden: boolean }

/** Of a message that was edited or deleted, for as long as it may be edited. */
export type MessageChange = { readonly revision: number; readonly deleted: boolean; readonly changedMs: number }

/** What somebody has said last, and when, as often as he has said it in a row (content-rules.ts). */
export type Repeat = { readonly digest: string; readonly timesMs: readonly number[] }

/** The state that `decide` reads and `evolve` makes. Immutable. */
export type RoomState = {
  readonly roomId: RoomId
  readonly kind: RoomKind
  /** pending: order events came before `order.accepted`; nobody can see the room yet. */
  readonly status: 'pending' | 'open' | 'closed'
  readonly headSeq: number
  readonly messageCount: number
  /** Event time never runs backwards in a room. 0 before the first event. */
  readonly lastEventMs: number
  readonly participants: ReadonlyMap<UserId, Role>
  readonly name: string | null
  readonly metadata: Metadata
  readonly history: HistoryRule
  /** By a moderator. */
  readonly frozen: boolean
  /** `eventHash` of the last event; null: none yet, or one of a writer of before. */
  readonly headHash: string | null
  /** Mediators who may come in. */
  readonly invited: ReadonlySet<UserId>
  /** `<blocker> <blocked>` */
  readonly blocks: ReadonlySet<BlockKey>
  /** When the last word about a block was said, also of those that were lifted: an earlier one that comes later loses. */
  readonly blockTimes: ReadonlyMap<BlockKey, number>
  /** Who writes has seen what he answers: sending moves the sender's own. */
  readonly receipts: ReadonlyMap<UserId, Receipt>
  readonly changes: ReadonlyMap<MessageId, MessageChange>
  /** The winning assignment's time, and before opening its rider too. */
  readonly riderWon: { readonly occurredAtMs: number; readonly eventId: string } | null
  readonly heldRider: (RiderAssignment & { readonly heldAtMs: number }) | null
  readonly heldClose: { readonly reason: CloseReason; readonly heldAtMs: number } | null
  /** Commands that became events, per sender within one second of event time. */
  readonly sendRate: { readonly second: number; readonly counts: ReadonlyMap<UserId, number> }
  /** Of each sender, against the same message over and over. */
  readonly repeats: ReadonlyMap<UserId, Repeat>
  readonly dedupe: DedupeLedger
}

export type BlockKey = `${UserId} ${UserId}`
export const blockKey = (blockerId: UserId, blockedId: UserId): BlockKey => `${blockerId} ${blockedId}`

export const isBlocked = (blocks: ReadonlySet<BlockKey>, a: UserId, b: UserId): boolean =>
  blocks.size > 0 && (blocks.has(blockKey(a, b)) || blocks.has(blockKey(b, a)))

export function newRoom(roomId: RoomId): RoomState {
  return {
    roomId,
    kind: 'order',
    status: 'pending',
    headSeq: 0,
    messageCount: 0,
    lastEventMs: 0,
    participants: new Map(),
    name: null,
    metadata: {},
    history: 'all',
    frozen: false,
    headHash: null,
    invited: new Set(),
    blocks: new Set(),
    blockTimes: new Map(),
    receipts: new Map(),
    changes: new Map(),
    riderWon: null,
    heldRider: null,
    heldClose: null,
    sendRate: { second: 0, counts: new Map() },
    repeats: new Map(),
    dedupe: emptyLedger,
  }
}

/**
 * The receipts once somebody has seen all up to `seen`: by writing, or because what was before him is not his to read.
 * Whether others are told stays as it was; where he has never said so, they are not.
 */
export function seenBy(receipts: ReadonlyMap<UserId, Receipt>, userId: UserId, seen: number): ReadonlyMap<UserId, Receipt> {
  const before = receipts.get(userId)
  if (before && before.seen >= seen) return receipts
  return new Map(receipts).set(userId, { delivered: Math.max(seen, before?.delivered ?? 0), seen, hidden: before?.hidden ?? true })
}

/** What has a `seq` is durable, of whatever type: one that a newer writer knows alone keeps its place too. */
export const isRoomEvent = (entry: Entry): entry is RoomEvent => 'seq' in entry
