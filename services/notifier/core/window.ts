import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { Chat, ChatChanged, InboxTotals, UserDecision } from '#libs/domain/inbox.ts'
import type { ReadPosition } from '#libs/streams/read-by-rule.ts'

/** The last that is known of a user's chat, and of the user. */
export type Known = { readonly chat: Chat; readonly userSeq: number; readonly totals: InboxTotals }

/** A change that may have to be told, once it is old enough. */
export type Due = { readonly userId: UserId; readonly event: ChatChanged; readonly isNew: boolean }

export type Taken = {
  readonly due: readonly Due[]
  /** Everything before is done with them; undefined: nothing was taken. */
  readonly after: ReadPosition | undefined
}

type Item = {
  readonly after: ReadPosition
  readonly dueMs: number
  readonly userId: UserId | undefined
  readonly changes: readonly { readonly event: ChatChanged; readonly isNew: boolean }[]
}

type Held<T> = { value: T; uses: number }
type KnownChat = Pick<Known, 'chat' | 'userSeq'>
type KnownUser = Pick<Known, 'userSeq' | 'totals'>

const TELLING: ReadonlySet<string> = new Set(['messages', 'invited'])
/** Where nothing is known from before: a last message that is older than its event by more was known before. */
const UNKNOWN_AGE_MAX_MS = 600_000

export type WindowOptions = {
  readonly graceMs: number
  /** Chats of which it is remembered which message was the last. */
  readonly rememberedMax: number
}

/**
 * The end of one partition's log that is not old enough to be judged. Records leave it in order; while they are in it, what
 * comes behind them can still say that there is nothing to tell. An event is due `graceMs` after its own time, or after it
 * came where its clock is ahead: one that comes late is due at once.
 */
export class Window {
  readonly #options: WindowOptions
  #items: Item[] = []
  readonly #chats = new Map<string, Held<KnownChat>>()
  readonly #users = new Map<UserId, Held<KnownUser>>()
  /** Chat -> seq of its last message. The longest unused go first. */
  readonly #lastSeqs = new Map<string, number>()

  constructor(options: WindowOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#items.length
  }

  /** ms until the next is due, 0 at least; undefined: it is empty. */
  waitMs(nowMs: number): number | undefined {
    const first = this.#items[0]
    return first && Math.max(0, first.dueMs - nowMs)
  }

  /** @param decision undefined: the record says nothing of users */
  add(after: ReadPosition, decision: UserDecision | undefined, nowMs: number): void {
    const events = (decision?.entries ?? []).filter((entry): entry is ChatChanged => entry.type === 'chatChanged')
    const userId = decision?.userId
    const changes = events.map((event) => ({ event, isNew: this.#learn(userId!, event) }))
    const times = events.filter(({ cause }) => TELLING.has(cause)).map(({ timestampMs }) => timestampMs)
    const dueMs = times.length === 0 ? 0 : Math.min(nowMs, Math.max(...times)) + this.#options.graceMs
    this.#items.push({ after, dueMs, userId, changes })
  }

  /** What is due before anything that is not, in order. `judge` sees what is known now, before it is forgotten. */
  take<T>(nowMs: number, limit: number, judge: (taken: Taken) => T): T {
    let count = 0
    while (count < this.#items.length && count < limit && this.#items[count]!.dueMs <= nowMs) count++
    const items = this.#items.slice(0, count)
    const due = items.flatMap(({ userId, changes }) => changes.filter(({ event }) => TELLING.has(event.cause)).map((change) => ({ userId: userId!, ...change })))
    const judged = judge({ due, after: items.at(-1)?.after })
    this.#items = this.#items.slice(count)
    for (const { userId, changes } of items) for (const { event } of changes) this.#forget(userId!, event)
    return judged
  }

  /** Of a chat with an event in the window. */
  known(userId: UserId, roomId: RoomId): Known {
    const { chat } = this.#chats.get(keyOf(userId, roomId))!.value
    return { chat, ...this.#users.get(userId)!.value }
  }

  /** Whether its last message was not the last one before. */
  #learn(userId: UserId, event: ChatChanged): boolean {
    const { chat, userSeq, totals } = event
    const key = keyOf(userId, chat.roomId)
    hold(this.#chats, key, { chat, userSeq })
    hold(this.#users, userId, { userSeq, totals })
    if (!chat.last) return false
    const before = this.#lastSeqs.get(key)
    this.#lastSeqs.delete(key)
    this.#lastSeqs.set(key, chat.last.seq)
    if (this.#lastSeqs.size > this.#options.rememberedMax) this.#lastSeqs.delete(this.#lastSeqs.keys().next().value!)
    return before === undefined ? event.timestampMs - chat.last.timestampMs <= UNKNOWN_AGE_MAX_MS : chat.last.seq > before
  }

  #forget(userId: UserId, { chat }: ChatChanged): void {
    letGo(this.#chats, keyOf(userId, chat.roomId))
    letGo(this.#users, userId)
  }
}

// Neither has a space.
const keyOf = (userId: UserId, roomId: RoomId): string => `${userId} ${roomId}`

function hold<K, T>(held: Map<K, Held<T>>, key: K, value: T): void {
  const entry = held.get(key)
  if (entry) Object.assign(entry, { value, uses: entry.uses + 1 })
  else held.set(key, { value, uses: 1 })
}

function letGo<K>(held: Map<K, Held<unknown>>, key: K): void {
  const entry = held.get(key)!
  if (--entry.uses === 0) held.delete(key)
}
