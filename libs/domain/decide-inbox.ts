import type { RoomId, UserId } from './ids.ts'
import {
  CHATS_MAX,
  type Chat,
  type ChatCause,
  type ChatChanged,
  ENDED_CHAT_KEPT_MS,
  FOREVER_MS,
  type InboxChange,
  type InboxCommand,
  type InboxEntry,
  type InboxInput,
  type InboxTotals,
  type InboxUpdate,
  MENTIONS_MAX,
  newUser,
  unreadOf,
  type UserState,
} from './inbox.ts'

/**
 * What an input does to a user's list of chats: one entry. Pure and total.
 *
 * An update counts where its roomSeq is above the chat's, so that repeats, and what comes late from a sender that was
 * replaced, change nothing. What a chat says is about the user's latest stay in the room: entering begins it anew (but for
 * what he has set), leaving ends it, and what comes for a room that he is not in is not his.
 */
export function decideInbox(state: UserState, input: InboxInput, nowMs: number): readonly InboxEntry[] {
  return ['commandId' in input ? decideCommand(state, input, nowMs) : decideUpdate(state, input)]
}

const ignored = (reason: string): InboxEntry => ({ type: 'inboxIgnored', reason })

function decideCommand(state: UserState, { roomId, mutedUntilMs, archived }: InboxCommand, nowMs: number): InboxEntry {
  const before = state.chats.get(roomId)
  if (!before) return { type: 'inboxRefused', code: 'chat_not_found' }
  if (mutedUntilMs !== undefined && !(Number.isSafeInteger(mutedUntilMs) && mutedUntilMs >= 0 && mutedUntilMs <= FOREVER_MS)) return { type: 'inboxRefused', code: 'invalid_request' }
  const chat = { ...before, mutedUntilMs: mutedUntilMs ?? before.mutedUntilMs, archived: archived ?? before.archived }
  if (chat.mutedUntilMs === before.mutedUntilMs && chat.archived === before.archived) return { type: 'inboxUnchanged', userSeq: state.userSeq }
  return changed(state, 'set', chat, nowMs)
}

function decideUpdate(state: UserState, update: InboxUpdate): InboxEntry {
  const { roomId, roomSeq, timestampMs, change } = update
  const before = state.chats.get(roomId)
  if (before && roomSeq <= before.roomSeq) return ignored('applied before')
  switch (change.type) {
    case 'entered':
      return changed(state, 'added', enteredChat(before, update, change), timestampMs)
    case 'invited':
      return before?.status === 'in' ? ignored('is in already') : changed(state, 'invited', invitedChat(before, update, change), timestampMs)
    case 'closed':
      if (before?.status === 'in' || before?.status === 'invited') return changed(state, 'changed', { ...before, roomSeq, closed: true, lastActivityMs: later(before, timestampMs) }, timestampMs)
      return ignored('is not in')
  }
  return before?.status === 'in' ? decideInside(state, { ...before, roomSeq }, change, timestampMs) : ignored('is not in')
}

type InsideChange = Exclude<InboxChange, { readonly type: 'entered' | 'invited' | 'closed' }>

function decideInside(state: UserState, chat: Chat, change: InsideChange, timestampMs: number): InboxEntry {
  switch (change.type) {
    case 'left':
      return changed(state, 'removed', { ...chat, status: 'left', mentions: [], lastActivityMs: later(chat, timestampMs) }, timestampMs)
    case 'messages':
      return changed(state, 'messages', withMessages(chat, change), timestampMs)
    case 'seen': {
      const { seen } = change
      return seen > chat.seen ? changed(state, 'read', { ...chat, seen, mentions: unseenMentions(chat.mentions, seen) }, timestampMs) : ignored('seen already')
    }
    case 'renamed': {
      const { name: _, ...nameless } = chat
      return changed(state, 'changed', change.name ? { ...nameless, name: change.name } : nameless, timestampMs)
    }
    case 'roleChanged':
      return changed(state, 'changed', { ...chat, role: change.role }, timestampMs)
    default:
      // Of a type that only a newer writer knows.
      return ignored('not known to this version')
  }
}

const later = ({ lastActivityMs }: Chat, timestampMs: number): number => Math.max(lastActivityMs, timestampMs)

/** What he himself has set about the chat outlives his stay. */
const freshChat = (before: Chat | undefined, { roomId, roomSeq, timestampMs }: InboxUpdate) => ({
  roomId,
  roomSeq,
  mentions: [],
  lastActivityMs: Math.max(timestampMs, before?.lastActivityMs ?? 0),
  closed: false,
  mutedUntilMs: before?.mutedUntilMs ?? 0,
  archived: false,
})

function enteredChat(before: Chat | undefined, update: InboxUpdate, { kind, role, name, messageCount, seen }: InboxChange & { readonly type: 'entered' }): Chat {
  return { ...freshChat(before, update), status: 'in', kind, role, ...(name && { name }), messageCount, seen: Math.min(seen, messageCount) }
}

function invitedChat(before: Chat | undefined, update: InboxUpdate, { kind }: InboxChange & { readonly type: 'invited' }): Chat {
  return { ...freshChat(before, update), status: 'invited', kind, messageCount: 0, seen: 0 }
}

/** The same in whatever portions the messages come, repeated too: the numbers are absolute, and only a later one that he may see counts as activity. */
function withMessages(chat: Chat, { messageCount, seen: own, last, mentions }: InboxChange & { readonly type: 'messages' }): Chat {
  const seen = Math.max(chat.seen, own ?? 0)
  // Own messages come apart from those of others (`mergeMessages`).
  const isNew = last !== undefined && last.seq > (chat.last?.seq ?? 0)
  const isCalledBack = own === undefined && isNew && last.timestampMs >= chat.mutedUntilMs
  return {
    ...chat,
    messageCount: Math.max(chat.messageCount, messageCount),
    seen,
    mentions: unseenMentions([...chat.mentions, ...mentions], seen),
    archived: chat.archived && !isCalledBack,
    ...(isNew && { last, lastActivityMs: later(chat, last.timestampMs) }),
  }
}

/** Ascending, each once, the latest `MENTIONS_MAX`. */
function unseenMentions(mentions: readonly number[], seen: number): readonly number[] {
  const unseen = mentions.filter((index) => index > seen)
  if (unseen.length < 2) return unseen
  return [...new Set(unseen)].sort((a, b) => a - b).slice(-MENTIONS_MAX)
}

type Messages = InboxUpdate & { readonly change: InboxChange & { readonly type: 'messages' } }

const isMessages = (update: InboxUpdate): update is Messages => update.change.type === 'messages'

/**
 * Two updates of one (user, room) that follow each other, as one that does the same; undefined where there is none. His own
 * messages are kept apart from those of others, which bring an archived chat back.
 */
export function mergeMessages(earlier: InboxUpdate, later: InboxUpdate): InboxUpdate | undefined {
  if (!isMessages(earlier) || !isMessages(later) || (earlier.change.seen === undefined) !== (later.change.seen === undefined)) return undefined
  const last = later.change.last ?? earlier.change.last
  const mentions = unseenMentions([...earlier.change.mentions, ...later.change.mentions], later.change.seen ?? 0)
  return { ...later, change: { ...later.change, mentions, ...(last && { last }) } }
}

function changed(state: UserState, cause: ChatCause, chat: Chat, timeMs: number): ChatChanged {
  const timestampMs = Math.max(state.lastEventMs, timeMs)
  const evicted = evictions(state.chats, cause, chat, timestampMs)
  return { type: 'chatChanged', userSeq: state.userSeq + 1, timestampMs, cause, chat, totals: totalsAfter(state, chat, evicted) }
}

function totalsAfter({ totals, chats }: UserState, chat: Chat, evicted: readonly RoomId[]): InboxTotals {
  let after = moved(totals, chats.get(chat.roomId), chat)
  for (const roomId of evicted) after = moved(after, roomId === chat.roomId ? chat : chats.get(roomId), undefined)
  return after
}

function moved(totals: InboxTotals, from: Chat | undefined, to: Chat | undefined): InboxTotals {
  const [out, into] = [shareOf(from), shareOf(to)]
  return { unread: totals.unread - out.unread + into.unread, mentions: totals.mentions - out.mentions + into.mentions, chats: totals.chats - out.chats + into.chats }
}

/** What a chat adds to the totals. */
export const shareOf = (chat: Chat | undefined): InboxTotals =>
  chat?.status === 'in' ? { unread: unreadOf(chat), mentions: chat.mentions.length, chats: 1 } : { unread: 0, mentions: 0, chats: 0 }

const hasEnded = ({ status, closed }: Chat): boolean => closed || status === 'left'

/**
 * The chats that go when this one comes: those that have ended long ago, and where there are too many, those that have
 * ended longest ago, then those without activity for longest. Looked for only when one comes, since only that makes more.
 */
function evictions(chats: ReadonlyMap<RoomId, Chat>, cause: ChatCause, chat: Chat, timestampMs: number): readonly RoomId[] {
  if (cause !== 'added' && cause !== 'invited') return []
  const evicted: RoomId[] = []
  for (const other of chats.values()) {
    if (hasEnded(other) && other.lastActivityMs < timestampMs - ENDED_CHAT_KEPT_MS && other.roomId !== chat.roomId) evicted.push(other.roomId)
  }
  if (chats.size + (chats.has(chat.roomId) ? 0 : 1) - evicted.length <= CHATS_MAX) return evicted
  const gone = new Set(evicted)
  const kept = [chat, ...[...chats.values()].filter(({ roomId }) => roomId !== chat.roomId && !gone.has(roomId))]
  kept.sort((a, b) => Number(hasEnded(b)) - Number(hasEnded(a)) || a.lastActivityMs - b.lastActivityMs || (a.roomId < b.roomId ? -1 : 1))
  return [...evicted, ...kept.slice(0, kept.length - CHATS_MAX).map(({ roomId }) => roomId)]
}

/** The state after one entry. Pure and total: a user's state is the fold of his entries, whoever folds them. */
export function evolveInbox(state: UserState | undefined, userId: UserId, entry: InboxEntry): UserState {
  const user = state ?? newUser(userId)
  if (entry.type !== 'chatChanged') return user
  const chats = new Map(user.chats)
  return evolveOwned({ ...user, chats }, entry).user
}

export type OwnedUser = UserState & { readonly chats: Map<RoomId, Chat> }

/** `evolveInbox` for who alone holds the map of chats: it is changed, not copied, however many they are. Says which went. */
export function evolveOwned(user: OwnedUser, { cause, chat, timestampMs, userSeq }: ChatChanged): { readonly user: OwnedUser; readonly evicted: readonly RoomId[] } {
  const { chats } = user
  const evicted = evictions(chats, cause, chat, timestampMs)
  const totals = totalsAfter(user, chat, evicted)
  chats.set(chat.roomId, chat)
  for (const roomId of evicted) chats.delete(roomId)
  return { user: { ...user, userSeq, lastEventMs: timestampMs, totals }, evicted }
}
