import type { HistoryEntry } from './history.ts'
import type { LoggedEvent } from './topic.ts'
import type { LoggedChange } from './user-topic.ts'

export type ListEvidence = {
  readonly history: readonly HistoryEntry[]
  /** Who was in which room from its beginning to the end. */
  readonly views: readonly { readonly user: string; readonly room: string }[]
  readonly topic: ReadonlyMap<string, readonly LoggedEvent[]>
  readonly users: ReadonlyMap<string, readonly LoggedChange[]>
  readonly stored: StoredLists
}

/** As Postgres has them: by user; and by user and room. */
export type StoredLists = {
  readonly heads: ReadonlyMap<string, { readonly userSeq: number; readonly unread: number; readonly chats: number }>
  readonly chats: ReadonlyMap<string, { readonly userSeq: number; readonly messageCount: number; readonly seen: number }>
}

/** What is wrong with users' own lists, in words; empty: unread by the rooms' logs = by the users' log = in Postgres = shown. */
export function checkLists(evidence: ListEvidence): string[] {
  return [...checkLog(evidence), ...checkHeads(evidence), ...checkStored(evidence), ...checkShown(evidence)]
}

/** Each user's changes are 1 … n, and each says what the rooms say. */
function* checkLog({ topic, users }: ListEvidence): Iterable<string> {
  for (const [user, changes] of users) {
    const hole = changes.findIndex(({ userSeq }, i) => userSeq !== i + 1)
    if (hole >= 0) yield `${user}: userSeq ${changes[hole]!.userSeq} where ${hole + 1} was due`
    const chats = new Map<string, LoggedChange>()
    for (const change of changes) {
      const { userSeq, roomId, roomSeq, messageCount, seen } = change
      const due = countsOf(topic.get(roomId) ?? [], user, roomSeq)
      if (change.isIn && (messageCount !== due.messageCount || seen !== due.seen)) yield `${user} at ${userSeq} has ${messageCount} messages of ${roomId}, ${seen} seen; the room at ${roomSeq} has ${due.messageCount}, ${due.seen}`
      if (roomSeq <= (chats.get(roomId)?.roomSeq ?? 0)) yield `${user} at ${userSeq}: ${roomId} as of ${roomSeq}, after ${chats.get(roomId)!.roomSeq}`
      chats.set(roomId, change)
      const present = [...chats.values()].filter(({ isIn }) => isIn)
      const unread = present.reduce((sum, chat) => sum + chat.messageCount - chat.seen, 0)
      if (change.unread !== unread || change.chats !== present.length) yield `${user} at ${userSeq} is told ${change.unread} unread in ${change.chats} chats; they are ${unread} in ${present.length}`
    }
  }
}

/** Messages up to a seq, and up to which of them he has seen all: who writes has seen what is before. */
function countsOf(events: readonly LoggedEvent[], user: string, upTo: number): { readonly messageCount: number; readonly seen: number } {
  let [messageCount, seen] = [0, 0]
  for (const { seq, type, message, change } of events) {
    if (seq > upTo) break
    if (message) messageCount = message.index
    if (message?.senderId === user) seen = Math.max(seen, message.index)
    if (type === 'receiptMoved' && change?.['userId'] === user) seen = Math.max(seen, change['seen'] as number)
  }
  return { messageCount, seen }
}

/** At the end nothing is missing. */
function* checkHeads({ views, topic, users }: ListEvidence): Iterable<string> {
  for (const { user, room } of views) {
    const last = users.get(user)?.findLast(({ roomId }) => roomId === room)
    const due = countsOf(topic.get(room) ?? [], user, Number.MAX_SAFE_INTEGER)
    if (!last?.isIn || last.messageCount !== due.messageCount || last.seen !== due.seen) yield `${user} ends with ${JSON.stringify(last)} of ${room}, the room with ${JSON.stringify(due)}`
  }
}

function* checkStored({ users, stored }: ListEvidence): Iterable<string> {
  for (const user of new Set([...users.keys(), ...stored.heads.keys()])) {
    const changes = users.get(user) ?? []
    const [last, head] = [changes.at(-1), stored.heads.get(user)]
    if (last?.userSeq !== head?.userSeq || last?.unread !== head?.unread || last?.chats !== head?.chats) yield `${user} in Postgres: ${JSON.stringify(head)}, in the log ${JSON.stringify(last)}`
    for (const [roomId, change] of new Map(changes.map((one) => [one.roomId, one]))) {
      const chat = stored.chats.get(`${user} ${roomId}`)
      if (chat?.userSeq !== change.userSeq || chat.messageCount !== change.messageCount || chat.seen !== change.seen) yield `${user} in ${roomId} in Postgres: ${JSON.stringify(chat)}, in the log ${JSON.stringify(change)}`
    }
  }
}

/** Whoever is told that he is up to date has what the log has there; in the end that is everything. */
function* checkShown({ history, views, users }: ListEvidence): Iterable<string> {
  const shown = Map.groupBy(history.filter((entry) => entry.what === 'list'), ({ user }) => user)
  for (const user of new Set(views.map((view) => view.user))) {
    const changes = users.get(user) ?? []
    const lists = shown.get(user) ?? []
    if (lists.at(-1)?.cursor !== changes.length) yield `${user} was last shown his list at ${lists.at(-1)?.cursor}, it ends at ${changes.length}`
    const chats = new Map<string, number>()
    let [at, before] = [0, 0]
    for (const { cursor, unread, chats: given } of lists) {
      if (cursor < before) yield `${user}'s list goes back from ${before} to ${cursor}`
      for (; at < cursor && at < changes.length; at++) {
        const { roomId, isIn, messageCount, seen } = changes[at]!
        if (isIn) chats.set(roomId, messageCount - seen)
        else chats.delete(roomId)
      }
      const isSame = given.length === chats.size && given.every(([roomId, count]) => chats.get(roomId) === count) && unread === (changes[cursor - 1]?.unread ?? 0)
      if (at === cursor && !isSame) yield `${user} was shown ${unread} unread, ${JSON.stringify(given)} at ${cursor}, the log has ${changes[cursor - 1]?.unread}, ${JSON.stringify([...chats])}`
      before = cursor
    }
  }
}
