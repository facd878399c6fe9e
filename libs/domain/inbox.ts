import type { ErrorCode } from './errors.ts'
import type { MessageId, RoomId, UserId } from './ids.ts'
import type { CloseReason, RemovalReason, Role, RoomKind } from './room.ts'

/**
 * A user's own list of chats, across all rooms. Fan-out says what has changed for whom (`InboxUpdate`, at least once);
 * the feed applies each once and gives it the user's next `userSeq`.
 */

/** Never again, unless he says so. The last instant that a Date can be. */
export const FOREVER_MS = 8_640_000_000_000_000

/** Chats that a user has at once: where more come, those that have ended longest ago go, then those without activity. */
export const CHATS_MAX = 10_000
/** Chats that have ended, or that he has left, are forgotten this long after their last activity (by event time). */
export const ENDED_CHAT_KEPT_MS = 30 * 24 * 3_600_000
/** Mentions above the seen cursor that a chat counts; older ones are let go of. */
export const MENTIONS_MAX = 100
/** Rooms with more people say how many messages there are, once a second at most, and each mention. */
export const HEADS_ONLY_ABOVE = 200

export type LastMessage = {
  readonly seq: number
  readonly messageIndex: number
  readonly messageId: MessageId
  readonly senderId: UserId
  readonly timestampMs: number
}

export type InboxChange =
  | { readonly type: 'entered'; readonly kind: RoomKind; readonly role: Role; readonly name?: string; readonly messageCount: number; readonly seen: number }
  | { readonly type: 'left'; readonly reason: RemovalReason }
  | {
      readonly type: 'messages'
      readonly messageCount: number
      /** Of who has written himself: what he has seen. */
      readonly seen?: number
      /** Left out: he may see none of them. */
      readonly last?: LastMessage
      /** messageIndexes of those that mention him. */
      readonly mentions: readonly number[]
    }
  | { readonly type: 'seen'; readonly seen: number }
  | { readonly type: 'closed'; readonly reason: CloseReason }
  | { readonly type: 'renamed'; readonly name?: string }
  | { readonly type: 'roleChanged'; readonly role: Role }
  | { readonly type: 'invited'; readonly kind: RoomKind }

export type InboxUpdate = {
  readonly userId: UserId
  readonly roomId: RoomId
  /** As of which the change holds; one that is not above the last applied of this (user, room) changes nothing. */
  readonly roomSeq: number
  readonly timestampMs: number
  readonly change: InboxChange
}

export type InboxCommand = {
  readonly userId: UserId
  readonly commandId: string
  readonly type: 'setChat'
  readonly roomId: RoomId
  /** 0: not muted; `FOREVER_MS`. Left out: as it was. */
  readonly mutedUntilMs?: number
  readonly archived?: boolean
}

export type InboxInput = InboxUpdate | InboxCommand

export type Chat = {
  readonly roomId: RoomId
  readonly roomSeq: number
  readonly status: 'in' | 'invited' | 'left'
  readonly kind: RoomKind
  readonly role?: Role
  readonly name?: string
  readonly messageCount: number
  readonly seen: number
  /** messageIndexes above `seen` that mention him, ascending. */
  readonly mentions: readonly number[]
  readonly lastActivityMs: number
  readonly last?: LastMessage
  readonly closed: boolean
  readonly mutedUntilMs: number
  readonly archived: boolean
}

/** Over all chats with status `in`, those that are muted or archived too: muting silences, it does not count. */
export type InboxTotals = { readonly unread: number; readonly mentions: number; readonly chats: number }

/** The one rule of unread counts, everywhere: messages above the seen cursor; who writes has seen what he answers. */
export const unreadOf = ({ status, messageCount, seen }: Pick<Chat, 'status' | 'messageCount' | 'seen'>): number => (status === 'in' ? Math.max(0, messageCount - seen) : 0)

export type ChatCause = 'added' | 'removed' | 'messages' | 'read' | 'changed' | 'invited' | 'set'

export type ChatChanged = {
  readonly type: 'chatChanged'
  /** Per user, from 1, no holes. */
  readonly userSeq: number
  readonly timestampMs: number
  readonly cause: ChatCause
  /** As it is after this. */
  readonly chat: Chat
  readonly totals: InboxTotals
}

export type InboxEntry =
  | ChatChanged
  | { readonly type: 'inboxIgnored'; readonly reason: string }
  | { readonly type: 'inboxRefused'; readonly code: ErrorCode }
  | { readonly type: 'inboxUnchanged'; readonly userSeq: number }

/** One input's whole effect on one user. */
export type UserDecision = { readonly userId: UserId; readonly commandId: string | undefined; readonly entries: readonly InboxEntry[] }

/** Immutable. */
export type UserState = {
  readonly userId: UserId
  readonly userSeq: number
  readonly lastEventMs: number
  readonly totals: InboxTotals
  readonly chats: ReadonlyMap<RoomId, Chat>
}

export const newUser = (userId: UserId): UserState => ({ userId, userSeq: 0, lastEventMs: 0, totals: { unread: 0, mentions: 0, chats: 0 }, chats: new Map() })
