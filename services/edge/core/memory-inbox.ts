import { ChatError } from '#libs/domain/errors.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { type Chat, type ChatCause, type ChatChanged, type InboxCommand, type InboxEntry, newUser, unreadOf, type UserDecision, type UserState } from '#libs/domain/inbox.ts'
import { userDecisionFromAvro, userDecisionToAvro } from '#libs/streams/inbox-shapes.ts'
import type { VirtualTime } from '#libs/streams/memory-log.ts'
import { ReaderRule } from '#libs/streams/reader-rule.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { headerNames, OWNERSHIP_MARKER } from '#libs/streams/topics.ts'
import { Inbox, type InboxLimits } from './inbox.ts'
import type { InboxHistory, LogTail } from './ports.ts'

const EDGE = 'edge-1'
const codec = { decode: (bytes: Buffer): unknown => JSON.parse(bytes.toString()), learn: () => undefined }

const newChat = (roomId: RoomId, nowMs: number): Chat => ({
  roomId,
  roomSeq: 0,
  status: 'in',
  kind: 'order',
  role: 'vendor',
  messageCount: 0,
  seen: 0,
  mentions: [],
  lastActivityMs: nowMs,
  closed: false,
  mutedUntilMs: 0,
  archived: false,
})

type Valid = { readonly epoch: bigint; readonly entries: readonly { readonly userId: UserId; readonly entry: ChatChanged }[] }

/** The one partition of user-events with its history, and an edge's inbox on it: nothing is read, persisted or answered until the test says so. */
export class MemoryInbox {
  readonly log: InRecord[] = []
  readonly published: InboxCommand[] = []
  readonly inbox: Inbox
  /** What the history holds: everything of the log below. */
  persisted = 0
  historyDown = false
  historyMs = 5
  historyReads = 0
  logHealthy = true
  publishFails = false
  /** Whether the tail is open. */
  get isFollowed(): boolean {
    return this.#tail !== undefined
  }
  readonly #time: VirtualTime
  readonly #states = new Map<UserId, UserState>()
  #epoch = -1
  #ids = 0
  /** What is there does not change. */
  readonly #byLength = new Map<number, Valid>()
  #tail: { next: number; readonly sink: (records: readonly InRecord[]) => void } | undefined

  constructor(time: VirtualTime, limits: InboxLimits, { onCorrupt, onTrouble }: { onCorrupt: (err: unknown) => void; onTrouble: (err: unknown) => void }) {
    this.#time = time
    this.inbox = new Inbox({
      edgeId: EDGE,
      partitions: 1,
      history: this.#history(),
      log: this.#logTail(),
      codec,
      clock: time,
      publish: async (command) => {
        if (this.publishFails) throw new ChatError('unavailable')
        this.published.push(command)
      },
      newId: () => `inbox-${this.#ids++}`,
      limits,
      onCorrupt,
      onTrouble,
    })
    this.mark()
  }

  /** The owner of the partition has changed, or marked again. */
  mark(): void {
    this.#epoch = this.log.length
    this.#push(OWNERSHIP_MARKER, {}, { [headerNames.eventType]: OWNERSHIP_MARKER })
  }

  stateOf(userId: string): UserState {
    return this.#states.get(userId as UserId) ?? newUser(userId as UserId)
  }

  /** What the feed makes of an input about one chat. `asVoid`: a former owner does. */
  changed(userId: string, roomId: string, cause: ChatCause, change: Partial<Chat> = {}, { asVoid = false, commandId, replyTo = EDGE }: { asVoid?: boolean; commandId?: string; replyTo?: string } = {}): ChatChanged {
    const before = this.stateOf(userId)
    const was = before.chats.get(roomId as RoomId) ?? newChat(roomId as RoomId, this.#time.nowMs())
    const chat: Chat = { ...was, roomSeq: was.roomSeq + 1, ...change }
    const chats = new Map(before.chats).set(chat.roomId, chat)
    const isIn = [...chats.values()].filter(({ status }) => status === 'in')
    const totals = { unread: isIn.reduce((sum, c) => sum + unreadOf(c), 0), mentions: isIn.reduce((sum, c) => sum + c.mentions.length, 0), chats: isIn.length }
    const entry: ChatChanged = { type: 'chatChanged', userSeq: before.userSeq + 1, timestampMs: this.#time.nowMs(), cause, chat, totals }
    if (!asVoid) this.#states.set(before.userId, { ...before, userSeq: entry.userSeq, totals, chats })
    this.decided({ userId: before.userId, commandId, entries: [entry] }, { asVoid, replyTo })
    return entry
  }

  /** A message of somebody else. */
  said(userId: string, roomId: string): ChatChanged {
    const { messageCount = 0 } = this.stateOf(userId).chats.get(roomId as RoomId) ?? {}
    return this.changed(userId, roomId, 'messages', { messageCount: messageCount + 1 })
  }

  decided(decision: UserDecision, { asVoid = false, replyTo = EDGE }: { asVoid?: boolean; replyTo?: string } = {}): void {
    const epoch = asVoid ? this.#epoch - 1 : this.#epoch
    this.#push(decision.userId, userDecisionToAvro(decision), { [headerNames.ownerEpoch]: `${epoch}`, ...(decision.commandId !== undefined && { [headerNames.replyTo]: replyTo }) })
  }

  /** Of a type that only a newer feed knows; it takes a `userSeq` all the same. */
  unknownChange(userId: string): void {
    const before = this.stateOf(userId)
    this.#states.set(before.userId, { ...before, userSeq: before.userSeq + 1 })
    this.#push(userId, { body: { 'orderchat.UserDecision': { userId, commandId: null, entries: [{ 'orderchat.Unheard': { userSeq: before.userSeq + 1 } }] } } }, { [headerNames.ownerEpoch]: `${this.#epoch}` })
  }

  /** What the feed makes of what was asked. */
  answer(): void {
    for (const { userId, commandId, roomId, type: _, ...wanted } of this.published.splice(0)) {
      const { chats, userSeq } = this.stateOf(userId)
      const chat = chats.get(roomId)
      const answer = (entry: InboxEntry) => this.decided({ userId, commandId, entries: [entry] })
      if (!chat) answer({ type: 'inboxRefused', code: 'chat_not_found' })
      else if (Object.entries(wanted).every(([name, value]) => chat[name as keyof Chat] === value)) answer({ type: 'inboxUnchanged', userSeq })
      else this.changed(userId, roomId, 'set', { ...wanted, roomSeq: chat.roomSeq }, { commandId })
    }
  }

  /** The tail of the log brings what it has, at most `count` records. */
  feed(count = Number.POSITIVE_INFINITY): void {
    if (!this.#tail) return
    const records = this.log.slice(this.#tail.next, this.#tail.next + count)
    this.#tail.next += records.length
    if (records.length > 0) this.#tail.sink(records)
  }

  persist(upTo = this.log.length): void {
    this.persisted = Math.max(this.persisted, Math.min(upTo, this.log.length))
  }

  async run(ms = 500, answers = true): Promise<void> {
    for (let i = 0; i < ms; i += 50) {
      if (answers) this.answer()
      this.feed()
      await this.#time.advance(50)
    }
  }

  #push(key: string, value: object, headers: Record<string, string>): void {
    this.log.push({ offset: BigInt(this.log.length), key, value: Buffer.from(JSON.stringify(value)), headers, timestampMs: this.#time.nowMs() })
  }

  #valid(upTo: number): Valid {
    const known = this.#byLength.get(upTo)
    if (known) return known
    const rule = new ReaderRule()
    const entries: { userId: UserId; entry: ChatChanged }[] = []
    for (const { offset, headers, value } of this.log.slice(0, upTo)) {
      if (rule.judge(offset, headers) !== 'valid') continue
      const { userId, entries: made } = userDecisionFromAvro(JSON.parse(value!.toString()))!
      for (const entry of made) if (entry.type === 'chatChanged') entries.push({ userId, entry })
    }
    const valid = { epoch: rule.epoch, entries }
    this.#byLength.set(upTo, valid)
    return valid
  }

  /** Reads the history as of one moment, and takes time on both sides of it. */
  async #read<T>(work: () => T): Promise<T> {
    this.historyReads++
    await this.#time.sleep(this.historyMs)
    if (this.historyDown) throw new ChatError('unavailable', 'Postgres')
    const result = work()
    await this.#time.sleep(this.historyMs)
    return result
  }

  #history(): InboxHistory {
    return {
      position: () => this.#read(() => ({ nextOffset: BigInt(this.persisted), ownerEpoch: this.#valid(this.persisted).epoch })),
      nextOffsets: () => this.#read(() => new Map([[0, BigInt(this.persisted)]])),
      changes: (_, userId, after, limit) =>
        this.#read(() => {
          const own = this.#valid(this.persisted).entries.flatMap(({ userId: whose, entry }) => (whose === userId ? [entry] : []))
          const chats = new Map<RoomId, ChatChanged>()
          for (const entry of own) {
            chats.delete(entry.chat.roomId)
            chats.set(entry.chat.roomId, entry)
          }
          const last = own.at(-1)
          const changed = [...chats.values()].filter(({ userSeq }) => userSeq > after).slice(0, limit)
          return { nextOffset: BigInt(this.persisted), userSeq: last?.userSeq ?? 0, totals: last?.totals ?? newUser(userId).totals, chats: changed.map(({ userSeq, chat }) => ({ userSeq, chat })) }
        }),
    }
  }

  #logTail(): LogTail {
    return {
      open: (_, from, sink) => {
        this.#tail = { next: Number(from), sink }
      },
      close: () => {
        this.#tail = undefined
      },
      highWatermark: async () => {
        if (!this.logHealthy) throw new ChatError('unavailable', 'Kafka')
        return BigInt(this.log.length)
      },
      isHealthy: () => this.logHealthy,
    }
  }
}
