import { hasCode } from '#libs/domain/errors.ts'
import type { Chat, InboxTotals } from '#libs/domain/inbox.ts'
import type { RoomId } from '#libs/domain/ids.ts'
import type { FollowedUsers } from './followed-users.ts'
import { inboxPageFrame, isNumbered, syncedFrame } from './inbox-frames.ts'
import type { InboxSubscription } from './inbox-subscription.ts'
import type { EdgeClock, InboxChanges, InboxHistory } from './ports.ts'
import type { ReplayLimits } from './replay.ts'

/** Chats in one frame. */
export const INBOX_PAGE_CHATS = 100
/** Chats that are read at once: each reading sorts all that are left, and about so many fit into a socket's buffer. */
export const INBOX_READ_CHATS = 3 * INBOX_PAGE_CHATS

export type InboxSyncDeps = {
  readonly history: Pick<InboxHistory, 'changes'>
  readonly clock: EdgeClock
  readonly limits: Pick<ReplayLimits, 'replayBufferBytes' | 'replayStallMs'>
  readonly isStale: () => boolean
  readonly onTrouble: (err: unknown) => void
}

/**
 * Brings a socket up to its user's last change, at the pace of its drain, and goes live: what Postgres has above what the
 * socket holds, page by page, then what the tail has above that. A chat that changes meanwhile comes again, with its
 * later `userSeq`; so whatever has been handed on, everything up to `lastSeq` has come.
 */
export async function bringUp(deps: InboxSyncDeps, partition: FollowedUsers, subscription: InboxSubscription, first?: InboxChanges): Promise<void> {
  const { clock, limits } = deps
  const { connection } = subscription
  let page = first
  let stalledSinceMs: number | undefined
  while (subscription.mode === 'syncing' && !connection.closed) {
    if (isFull(deps, subscription)) {
      await connection.drained()
      continue
    }
    const before = subscription.lastSeq
    page ??= await readPage(deps, partition, subscription)
    // Ended while it was read.
    if (subscription.mode !== 'syncing' || connection.closed) return
    if (page && step(deps, partition, subscription, page)) return
    page = undefined
    if (subscription.lastSeq > before) {
      stalledSinceMs = undefined
      continue
    }
    stalledSinceMs ??= clock.nowMs()
    if (clock.nowMs() - stalledSinceMs > limits.replayStallMs) {
      connection.close('history_unavailable', 2_000)
      return
    }
    await clock.sleep(100)
  }
}

async function readPage({ history, onTrouble }: InboxSyncDeps, { partition }: FollowedUsers, { connection, userId, lastSeq }: InboxSubscription): Promise<InboxChanges | undefined> {
  try {
    return await connection.historyReads.take(() => history.changes(partition, userId, lastSeq, INBOX_READ_CHATS))
  } catch (err) {
    if (!hasCode(err, 'unavailable')) throw err
    // Counts as a page that brought nothing: tried again for a while.
    onTrouble(err)
    return undefined
  }
}

/** Hands on one page, and if it was the history's last, what the tail has above. True once the socket is live. Nothing in here awaits. */
function step(deps: InboxSyncDeps, partition: FollowedUsers, subscription: InboxSubscription, page: InboxChanges): boolean {
  partition.persisted(page.nextOffset)
  if (!sendPages(deps, subscription, page.chats) || page.chats.length >= INBOX_READ_CHATS) return false
  subscription.lastSeq = Math.max(subscription.lastSeq, page.userSeq)
  // Between what was read and what the buffer holds there must be no hole.
  if (partition.buffer.floor > page.nextOffset) return false
  const tail = tailOf(partition, subscription, page.userSeq)
  if (!tail) return false
  if (!sendPages(deps, subscription, tail.chats)) return false
  subscription.lastSeq = tail.userSeq
  subscription.mode = 'live'
  goLive(deps, subscription, tail.totals ?? page.totals)
  return true
}

/** False where the socket is full before the end: the rest is read again, from wherever it is by then. */
function sendPages(deps: InboxSyncDeps, subscription: InboxSubscription, chats: Tail['chats']): boolean {
  for (let next = 0; next < chats.length; next += INBOX_PAGE_CHATS) {
    if (isFull(deps, subscription)) return false
    const page = chats.slice(next, next + INBOX_PAGE_CHATS)
    subscription.connection.send(inboxPageFrame(page))
    subscription.lastSeq = page.at(-1)!.userSeq
  }
  return true
}

type Tail = {
  readonly userSeq: number
  /** Undefined: the tail has nothing above the page. */
  readonly totals: InboxTotals | undefined
  /** By their last change. */
  readonly chats: readonly { readonly userSeq: number; readonly chat: Chat }[]
}

/** What the buffer has above the subscription; undefined where a change is missing between the two. */
function tailOf(partition: FollowedUsers, { userId, lastSeq }: InboxSubscription, pageSeq: number): Tail | undefined {
  let userSeq = lastSeq
  let totals: InboxTotals | undefined
  const last = new Map<RoomId, { userSeq: number; chat: Chat }>()
  for (const { entries } of partition.bufferedDecisions(userId)) {
    for (const entry of entries) {
      if (!isNumbered(entry)) continue
      // Also of what the socket holds already: it may be ahead of what Postgres has.
      if (entry.type === 'chatChanged' && entry.userSeq > pageSeq) totals = entry.totals
      if (entry.userSeq <= userSeq) continue
      if (entry.userSeq !== userSeq + 1) return undefined
      userSeq = entry.userSeq
      if (entry.type !== 'chatChanged') continue
      // Deleted first, so that they stay in the order of their last change.
      last.delete(entry.chat.roomId)
      last.set(entry.chat.roomId, entry)
    }
  }
  return { userSeq, totals, chats: [...last.values()] }
}

function goLive({ isStale }: InboxSyncDeps, subscription: InboxSubscription, totals: InboxTotals): void {
  const { connection, asked, lastSeq } = subscription
  subscription.asked = []
  // Where nobody has asked, this node had to read again: the client is told all the same where it stands.
  for (const id of asked.length > 0 ? asked : [undefined]) connection.send(syncedFrame(id, lastSeq, totals, isStale()))
}

const isFull = ({ limits }: InboxSyncDeps, { connection }: InboxSubscription): boolean => connection.socket.bufferedBytes() > limits.replayBufferBytes
