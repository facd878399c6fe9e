import type { ChatFields, InboxPageFrame } from '#libs/domain/frames.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { CHATS_MAX, ENDED_CHAT_KEPT_MS, type InboxTotals } from '#libs/domain/inbox.ts'

/**
 * A user's own list of chats as the app has it, up to `cursor`. Pure.
 *
 * Invariants (held by inbox-state.test.ts): a change is taken if it is the next one, and never twice; one that is further
 * on is always followed by a sync from `cursor`; whatever is lost, repeated or cut, once a sync has ended the list is the
 * server's.
 */
export type InboxState = {
  readonly phase: InboxPhase
  /** The last `userSeq` of which the app has everything. Never goes down, but where it is another user's or the server's log is another one. */
  readonly cursor: number
  readonly chats: ReadonlyMap<RoomId, ChatFields>
  readonly totals: InboxTotals
  /** Whose it is, once known. */
  readonly userId: UserId | undefined
  /** Syncs in a row that brought nothing: paces the next. */
  readonly fruitless: number
}

/** off: not asked for. away: no connection. syncing: what has changed is coming. live: it is there, and each change comes. */
export type InboxPhase = 'off' | 'away' | 'syncing' | 'live'

/** What an app keeps over a restart. JSON-safe. */
export type InboxSnapshot = {
  /** By the device's clock. Left out: taken however old it is. */
  readonly savedAtMs?: number
  readonly userId?: UserId
  readonly cursor: number
  readonly chats: readonly ChatFields[]
  readonly totals: InboxTotals
}

/** `changed`: of these the app is told. */
export type InboxStep = { readonly state: InboxState; readonly outcome: 'nothing' | 'sync' | 'synced'; readonly changed: readonly ChatFields[] }

type Change = { readonly userSeq: number; readonly chat: ChatFields; readonly totals: InboxTotals }

const SNAPSHOT_GOOD_MS = ENDED_CHAT_KEPT_MS - 5 * 24 * 3_600_000
const NONE: InboxTotals = { unread: 0, mentions: 0, chats: 0 }
export const emptyInbox: InboxState = { phase: 'off', cursor: 0, chats: new Map(), totals: NONE, userId: undefined, fruitless: 0 }

export const snapshotOf = ({ userId, cursor, chats, totals }: InboxState, nowMs: number): InboxSnapshot => ({ savedAtMs: nowMs, ...(userId !== undefined && { userId }), cursor, chats: [...chats.values()], totals })

/** What is so old that the server may have forgotten chats since, without a word, is not taken: the list begins anew. */
export function restored(state: InboxState, { savedAtMs, userId, cursor, chats, totals }: InboxSnapshot, nowMs: number): InboxState {
  if (savedAtMs !== undefined && nowMs - savedAtMs > SNAPSHOT_GOOD_MS) return state
  return { ...state, cursor, chats: new Map(chats.map((chat) => [chat.roomId, chat])), totals, userId }
}

/** A socket has come up, or the app wants the list. What is somebody else's is let go of. */
export function startSyncing(state: InboxState, userId: UserId): InboxState {
  const own = state.userId === undefined || state.userId === userId ? state : { ...emptyInbox }
  return { ...own, userId, phase: 'syncing', fruitless: 0 }
}

/** The server does not know the cursor: it is of another log. */
export const forgotten = (state: InboxState): InboxState => ({ ...emptyInbox, phase: state.phase, userId: state.userId, fruitless: state.fruitless + 1 })

export const disconnected = (state: InboxState): InboxState => (state.phase === 'off' ? state : { ...state, phase: 'away', fruitless: 0 })

/** Each chat as it is now, in the order of its last change; everything up to the last of them has come. */
export function onPage(state: InboxState, page: InboxPageFrame['chats']): InboxStep {
  if (!isOn(state)) return nothing(state)
  let { cursor } = state
  const changed: ChatFields[] = []
  for (const { userSeq, ...chat } of page) {
    if (userSeq <= cursor) continue
    cursor = userSeq
    changed.push(chat)
  }
  const chats = withChats(state.chats, changed)
  // One that nobody has asked for: the server reads again, and says when it is done.
  return { state: { ...state, phase: cursor > state.cursor ? 'syncing' : state.phase, cursor, chats, fruitless: cursor > state.cursor ? 0 : state.fruitless }, outcome: 'nothing', changed }
}

export function onSynced(state: InboxState, userSeq: number, totals: InboxTotals): InboxStep {
  if (!isOn(state)) return nothing(state)
  return { state: { ...state, phase: 'live', cursor: Math.max(state.cursor, userSeq), totals }, outcome: 'synced', changed: [] }
}

/** A change, or the ack of one's own that stands in its place. While a sync is under way its pages bring it. */
export function onChange(state: InboxState, { userSeq, chat, totals }: Change): InboxStep {
  const { phase, cursor, fruitless } = state
  if (phase !== 'live' || userSeq <= cursor) return nothing(state)
  if (userSeq > cursor + 1) return { state: { ...state, phase: 'syncing', fruitless: fruitless + 1 }, outcome: 'sync', changed: [] }
  return { state: { ...state, cursor: userSeq, chats: withChats(state.chats, [chat]), totals, fruitless: 0 }, outcome: 'nothing', changed: [chat] }
}

/** From a heartbeat: what the server believes to have handed on. */
export const onHead = (state: InboxState, userSeq: number): InboxStep =>
  state.phase === 'live' && userSeq > state.cursor ? { state: { ...state, phase: 'syncing', fruitless: state.fruitless + 1 }, outcome: 'sync', changed: [] } : nothing(state)

/** By last activity, the latest first. */
export const byActivity = ({ chats }: InboxState): ChatFields[] =>
  [...chats.values()].sort((a, b) => b.lastActivityMs - a.lastActivityMs || (a.roomId < b.roomId ? 1 : a.roomId > b.roomId ? -1 : 0))

/** Copied once for all of a page: a list may be long, and so a first sync have many pages. */
function withChats(before: ReadonlyMap<RoomId, ChatFields>, changed: readonly ChatFields[]): ReadonlyMap<RoomId, ChatFields> {
  if (changed.length === 0) return before
  const chats = new Map(before)
  for (const chat of changed) {
    if (chat.status === 'left') chats.delete(chat.roomId)
    else chats.set(chat.roomId, chat)
  }
  if (chats.size <= CHATS_MAX) return chats
  // The server forgets ended chats without a word; a list that was never begun anew must not grow for ever.
  const oldest = [...chats.values()].sort((a, b) => a.lastActivityMs - b.lastActivityMs).slice(0, chats.size - CHATS_MAX)
  for (const { roomId } of oldest) chats.delete(roomId)
  return chats
}

const isOn = ({ phase }: InboxState): boolean => phase === 'syncing' || phase === 'live'
const nothing = (state: InboxState): InboxStep => ({ state, outcome: 'nothing', changed: [] })
