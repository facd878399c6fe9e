import { isDeepStrictEqual } from 'node:util'
import type { AckFrame, InboxFrame, InboxPageFrame, SyncedFrame } from '#libs/domain/frames.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { Chat, ChatCause, InboxTotals } from '#libs/domain/inbox.ts'
import type { Wire } from '../world/wire.ts'
import type { Users } from './users.ts'

/** What one socket was given of its user's list. */
type List = {
  /** userSeq by room, of the last word on it. */
  readonly given: Map<RoomId, number>
  /** Up to here nothing is missing; undefined: not synced yet. */
  lastSeq: number | undefined
  /** Pages have come, and `synced` has not. */
  isPaging: boolean
}

const LIVE: Readonly<Record<ChatCause, InboxFrame['type']>> = { added: 'roomAdded', invited: 'roomAdded', removed: 'roomRemoved', messages: 'unreadChanged', read: 'roomRead', changed: 'chatChanged', set: 'chatChanged' }

/** Looks at what an edge hands on of users' own lists: to each his own, as the log has it, in its order, and all of it. */
export class InboxWires {
  readonly #users: Users
  readonly #fail: (wire: Wire, invariant: string, message: string) => void
  readonly #lists = new Map<Wire, List>()

  constructor(users: Users, fail: (wire: Wire, invariant: string, message: string) => void) {
    this.#users = users
    this.#fail = fail
  }

  closed(wire: Wire): void {
    this.#lists.delete(wire)
  }

  onPage(wire: Wire, { chats }: InboxPageFrame): void {
    const list = this.#listOf(wire)
    list.isPaging = true
    for (const { userSeq, ...fields } of chats) {
      this.#checkChat(wire, userSeq, fields)
      list.given.set(fields.roomId, userSeq)
    }
  }

  /** `cursors`: of all that wait for it; none where the edge has read again by itself. */
  onSynced(wire: Wire, { userSeq, totals }: SyncedFrame, cursors: readonly number[]): void {
    const userId = userOf(wire)
    const list = this.#listOf(wire)
    const from = cursors.length > 0 ? Math.max(...cursors) : list.lastSeq
    if (from === undefined) return this.#fail(wire, 'inbox-order', 'is told that it is synced, and has never asked')
    if (userSeq > this.#users.headOf(userId)) return this.#fail(wire, 'durable', `is synced at ${userSeq}, the log has ${this.#users.headOf(userId)}`)
    this.#checkTotals(wire, userSeq, totals)
    for (const [roomId, due] of this.#lastsAt(userId, userSeq)) {
      if (due > from && list.given.get(roomId) !== due) this.#fail(wire, 'inbox-sync', `is synced from ${from} to ${userSeq} without ${roomId} as of ${due}; it was given ${list.given.get(roomId)}`)
    }
    list.lastSeq = userSeq
    list.isPaging = false
  }

  onChange(wire: Wire, { type, userSeq, timestamp, chat, totals }: InboxFrame): void {
    const list = this.#listOf(wire)
    if (list.lastSeq === undefined || list.isPaging) return this.#fail(wire, 'inbox-order', `userSeq ${userSeq} is pushed, and the list is not synced`)
    if (userSeq !== list.lastSeq + 1) return this.#fail(wire, 'inbox-order', `userSeq ${userSeq} comes after ${list.lastSeq}`)
    list.lastSeq = userSeq
    this.#checkChat(wire, userSeq, chat)
    this.#checkTotals(wire, userSeq, totals)
    const event = this.#users.users.get(userOf(wire))?.events[userSeq - 1]
    if (event && (LIVE[event.cause] !== type || event.timestampMs !== timestamp)) this.#fail(wire, 'inbox-shown', `userSeq ${userSeq} (${event.cause}) is shown as ${type}`)
    list.given.set(chat.roomId, userSeq)
  }

  /** Of what he himself has set: it stands for the change on the socket that asked. */
  onAck(wire: Wire, { userSeq, chat, totals }: AckFrame): void {
    const list = this.#listOf(wire)
    if (!chat || !totals) {
      if (userSeq! > this.#users.headOf(userOf(wire))) this.#fail(wire, 'durable', `is unchanged at ${userSeq}, the log has ${this.#users.headOf(userOf(wire))}`)
      return
    }
    this.#checkChat(wire, userSeq!, chat)
    this.#checkTotals(wire, userSeq!, totals)
    if (this.#users.users.get(userOf(wire))?.events[userSeq! - 1]?.cause !== 'set') this.#fail(wire, 'inbox-shown', `userSeq ${userSeq} is acked, and nobody has set it`)
    if (list.isPaging || list.lastSeq === undefined || userSeq !== list.lastSeq + 1) return
    list.lastSeq = userSeq
    list.given.set(chat.roomId, userSeq)
  }

  /** What a synced socket lacks when all is calm. */
  unsettled(): string | undefined {
    for (const [wire, { lastSeq }] of this.#lists) {
      const head = wire.isOpen ? this.#users.headOf(userOf(wire)) : undefined
      if (lastSeq !== undefined && head !== undefined && lastSeq !== head) return `the list of ${userOf(wire)} on ${wire.server?.name} is at ${lastSeq}, the log at ${head}`
    }
    return undefined
  }

  #checkChat(wire: Wire, userSeq: number, fields: object): void {
    const event = this.#users.users.get(userOf(wire))?.events[userSeq - 1]
    if (!event) return this.#fail(wire, 'durable', `userSeq ${userSeq} is shown, but not in the log`)
    const due = JSON.parse(JSON.stringify(fieldsOf(event.chat)))
    if (!isDeepStrictEqual(fields, due)) this.#fail(wire, 'inbox-shown', `userSeq ${userSeq} is shown as ${JSON.stringify(fields)}, the log has ${JSON.stringify(due)}`)
  }

  #checkTotals(wire: Wire, userSeq: number, totals: InboxTotals): void {
    const due = this.#users.totalsAt(userOf(wire), userSeq)
    if (!isDeepStrictEqual({ ...totals }, { ...due })) this.#fail(wire, 'inbox-totals', `is shown ${JSON.stringify(totals)} at ${userSeq}, the log has ${JSON.stringify(due)}`)
  }

  /** The last userSeq of each room that is in the list at one. */
  #lastsAt(userId: UserId, userSeq: number): Map<RoomId, number> {
    const events = this.#users.users.get(userId)?.events.slice(0, userSeq) ?? []
    return new Map([...this.#users.chatsAt(userId, userSeq).keys()].map((roomId) => [roomId, events.findLast((event) => event.chat.roomId === roomId)!.userSeq]))
  }

  #listOf(wire: Wire): List {
    const known = this.#lists.get(wire)
    if (known) return known
    const list: List = { given: new Map(), lastSeq: undefined, isPaging: false }
    this.#lists.set(wire, list)
    return list
  }
}

const userOf = (wire: Wire): UserId => wire.identity!.userId

/** What is shown of a chat, written a second time. */
export function fieldsOf({ status, messageCount, seen, mentions, closed, mutedUntilMs, archived, ...rest }: Chat): object {
  const isIn = status === 'in'
  const unread = isIn ? messageCount - seen : 0
  return { ...rest, status, messageCount, unread, mentions: isIn ? mentions.length : 0, ...(closed && { closed }), ...(mutedUntilMs > 0 && { mutedUntilMs }), ...(archived && { archived }) }
}
