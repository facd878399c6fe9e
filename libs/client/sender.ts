import type { ReplyFrame, RoomEventFrame } from '#libs/domain/frames.ts'
import type { ClientMessageId, MessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import { extrasRefusal, type KeptExtras, type MessageExtras, normalExtras } from './core/extras.ts'
import { newClientMessageId } from './core/message-id.ts'
import { emptyOutbox, enqueued, entriesOf, findItem, interrupted, nextOf, type Outbox, putOff, removed, sent, stored } from './core/outbox.ts'
import { ChatClientError, type ClientErrorCode, toClientError } from './errors.ts'
import type { OutboxEntry, OutboxStorage, Ports } from './ports.ts'
import type { Request } from './requests.ts'
import { isOutboxEntry } from './storage.ts'
import { Timer } from './timer.ts'

/** What the server said when the message had become durable; the same again for every repeat. */
export type MessageAck = {
  readonly roomId: RoomId
  readonly clientMessageId: ClientMessageId
  readonly messageId: MessageId
  readonly seq: number
  readonly messageIndex: number
  readonly timestamp: number
  /** Of a message in a thread: where its first one is. Not of a repeat. */
  readonly replyToSeq?: number
  /** True where an earlier try had arrived: the other fields are the original ones. */
  readonly repeated: boolean
}

export type SentMessage = {
  readonly clientMessageId: ClientMessageId
  /** Resolves when the message is durable; rejects with a ChatClientError when it has failed for good. May be ignored. */
  readonly done: Promise<MessageAck>
}

export type FailedMessage = { readonly roomId: RoomId; readonly clientMessageId: ClientMessageId; readonly content: string; readonly extras?: KeptExtras; readonly error: ChatClientError }

export type SenderOptions = {
  readonly ports: Pick<Ports, 'clock' | 'random' | 'randomBytes'>
  readonly storage: OutboxStorage
  readonly entriesMax: number
  readonly contentLengthMax: number
  readonly request: (request: Request, onReply: (reply: ReplyFrame) => void) => void
  readonly serverNowMs: () => number
  readonly isLive: (roomId: RoomId) => boolean
  /** Comes before `onAcked`, so that the app has the event when it hears that its message is through. */
  readonly onOwnAck: (ack: MessageAck, entry: OutboxEntry | undefined) => void
  readonly onNotJoined: (roomId: RoomId) => void
  readonly onAcked: (ack: MessageAck) => void
  readonly onFailed: (failed: FailedMessage) => void
  readonly onError: (error: ChatClientError) => void
}

type Watcher = { readonly resolve: (ack: MessageAck) => void; readonly reject: (error: ChatClientError) => void }
type Draft = Omit<OutboxEntry, 'position'>

/** Does what core/outbox.ts decides: stores, sends, retries under the same id, and tells how each message ended. */
export class Sender {
  readonly #options: SenderOptions
  readonly #watchers = new Map<ClientMessageId, Watcher>()
  readonly #timers = new Map<RoomId, Timer>()
  /** Written before the storage was read: they come after what it holds. */
  #early: Draft[] | undefined = []
  #outbox: Outbox<OutboxEntry> = emptyOutbox
  #lastPosition = 0
  #userId: UserId | undefined
  #closed = false
  readonly #loading: Promise<void>
  /** Storage calls run one after another, so that a delete never overtakes its put. */
  #storageTail: Promise<void> = Promise.resolve()

  constructor(options: SenderOptions) {
    this.#options = options
    this.#loading = this.#load()
  }

  /** Resolves when what an earlier client left has been read; nothing is sent before. */
  get loaded(): Promise<void> {
    return this.#loading
  }

  async #load(): Promise<void> {
    let left: OutboxEntry[] = []
    try {
      left = (await this.#options.storage.load()).filter(isOutboxEntry).sort((a, b) => a.position - b.position)
    } catch (err) {
      this.#options.onError(toClientError(err, 'storage_failed'))
    }
    for (const entry of left) this.#outbox = enqueued(this.#outbox, entry, true)
    this.#lastPosition = left.at(-1)?.position ?? 0
    const early = this.#early ?? []
    this.#early = undefined
    for (const draft of early) this.#enqueue(draft)
  }

  send(roomId: RoomId, content: string, given: MessageExtras = {}): SentMessage {
    const { entriesMax, contentLengthMax, serverNowMs, ports } = this.#options
    if (this.#closed) throw new ChatClientError('client_closed')
    // What is longer would be refused for ever, or worse: cut the connection at every try.
    if (content.length > contentLengthMax) throw new ChatClientError('content_too_long')
    const refusal = extrasRefusal(given)
    if (refusal) throw new ChatClientError(refusal)
    const extras = normalExtras(given)
    if (this.#outbox.size + (this.#early?.length ?? 0) >= entriesMax) throw new ChatClientError('outbox_full')
    const clientMessageId = newClientMessageId(serverNowMs(), ports.randomBytes(16))
    const done = new Promise<MessageAck>((resolve, reject) => this.#watchers.set(clientMessageId, { resolve, reject }))
    // The app may ignore it: failures are told as events too.
    done.catch(() => {})
    const draft: Draft = { clientMessageId, roomId, content, ...(extras && { extras }), ...(this.#userId !== undefined && { senderId: this.#userId }) }
    if (this.#early) this.#early.push(draft)
    else this.#enqueue(draft)
    return { clientMessageId, done }
  }

  pending(roomId?: RoomId): OutboxEntry[] {
    const early = (this.#early ?? []).filter((draft) => roomId === undefined || draft.roomId === roomId)
    return [...entriesOf(this.#outbox, roomId), ...early.map((draft, i) => ({ ...draft, position: this.#lastPosition + 1 + i }))]
  }

  /** Sends what is due of a room, if it is live. */
  flush(roomId: RoomId): void {
    if (this.#closed || !this.#options.isLive(roomId)) return
    const next = nextOf(this.#outbox, roomId, this.#options.ports.clock.monotonicMs())
    if (!next) return
    if ('send' in next) this.#send(next.send)
    else this.#timerOf(roomId).start(next.waitMs, () => this.flush(roomId))
  }

  onOnline(userId: UserId): void {
    this.#userId = userId
    for (const entry of entriesOf(this.#outbox)) {
      if (entry.senderId !== undefined && entry.senderId !== userId) this.#fail(entry, new ChatClientError('sender_changed'))
    }
  }

  onOffline(): void {
    for (const timer of this.#timers.values()) timer.stop()
    this.#outbox = interrupted(this.#outbox)
  }

  /** An own message that comes back as an event is durable, whatever became of its ack. */
  onDelivered(frame: RoomEventFrame): void {
    if (frame.type !== 'newMessage' || frame.senderId !== this.#userId) return
    const { roomId, clientMessageId, messageId, seq, messageIndex, timestamp, replyToSeq } = frame
    this.#settle({ roomId, clientMessageId, messageId, seq, messageIndex, timestamp, ...(replyToSeq !== undefined && { replyToSeq }), repeated: false })
  }

  failRoom(roomId: RoomId, code: ClientErrorCode): void {
    for (const entry of entriesOf(this.#outbox, roomId)) this.#fail(entry, new ChatClientError(code))
  }

  /** Stops. What waits stays in the storage. Resolves when the storage has been told everything. */
  async close(): Promise<void> {
    this.#closed = true
    this.onOffline()
    for (const { reject } of this.#watchers.values()) reject(new ChatClientError('client_closed'))
    this.#watchers.clear()
    await this.#loading
    await this.#storageTail
  }

  #enqueue(draft: Draft): void {
    const entry: OutboxEntry = { ...draft, position: ++this.#lastPosition }
    this.#outbox = enqueued(this.#outbox, entry, false)
    this.#store(async () => {
      try {
        await this.#options.storage.put(entry)
      } finally {
        // A storage that fails makes the promise weaker (nothing survives a restart), not void.
        this.#outbox = stored(this.#outbox, entry)
        this.flush(entry.roomId)
      }
    })
  }

  #send(entry: OutboxEntry): void {
    const { roomId, clientMessageId, content, extras } = entry
    this.#outbox = sent(this.#outbox, entry)
    this.#options.request({ type: 'sendMessage', roomId, clientMessageId, message: content, ...extras }, (reply) => this.#onReply(entry, reply))
  }

  #onReply(entry: OutboxEntry, reply: ReplyFrame): void {
    const { roomId, clientMessageId } = entry
    if (reply.type === 'error') this.#onRefused(entry, reply)
    else if (reply.type === 'ack' && Number.isSafeInteger(reply.seq) && reply.messageId !== undefined) {
      const { seq = 0, messageId, messageIndex = 0, timestamp = 0, replyToSeq, repeated = false } = reply
      const ack: MessageAck = { roomId, clientMessageId, messageId, seq, messageIndex, timestamp, ...(replyToSeq !== undefined && { replyToSeq }), repeated }
      this.#options.onOwnAck(ack, findItem(this.#outbox, roomId, clientMessageId)?.entry)
      this.#settle(ack)
    } else {
      this.#options.onError(new ChatClientError('bad_frame', { detail: 'an ack without seq or messageId' }))
      this.#putOff(entry, undefined)
    }
    this.flush(roomId)
  }

  #onRefused(entry: OutboxEntry, refusal: ReplyFrame & { type: 'error' }): void {
    const { code, retriable, retryAfterMs } = refusal
    if (code === 'not_joined') {
      // The server lost our join, or took it for lost: the message is as good as before.
      this.#putOff(entry, undefined)
      this.#options.onNotJoined(entry.roomId)
    } else if (retriable) this.#putOff(entry, retryAfterMs)
    else this.#fail(entry, new ChatClientError(code, { retriable, cause: refusal.message }))
  }

  #putOff(entry: OutboxEntry, retryAfterMs: number | undefined): void {
    const { clock, random } = this.#options.ports
    this.#outbox = putOff(this.#outbox, entry, retryAfterMs, clock.monotonicMs(), random())
  }

  /** Nothing if the message has ended already. */
  #settle(ack: MessageAck): void {
    if (!this.#remove(ack.roomId, ack.clientMessageId)) return
    this.#take(ack.clientMessageId)?.resolve(ack)
    this.#options.onAcked(ack)
    this.flush(ack.roomId)
  }

  #fail({ roomId, clientMessageId, content, extras }: OutboxEntry, error: ChatClientError): void {
    if (!this.#remove(roomId, clientMessageId)) return
    this.#take(clientMessageId)?.reject(error)
    this.#options.onFailed({ roomId, clientMessageId, content, ...(extras && { extras }), error })
  }

  #remove(roomId: RoomId, id: ClientMessageId): boolean {
    if (!findItem(this.#outbox, roomId, id)) return false
    this.#outbox = removed(this.#outbox, roomId, id)
    this.#store(() => this.#options.storage.delete(id))
    return true
  }

  #take(id: ClientMessageId): Watcher | undefined {
    const watcher = this.#watchers.get(id)
    this.#watchers.delete(id)
    return watcher
  }

  #store(work: () => Promise<void>): void {
    this.#storageTail = this.#storageTail.then(work).catch((err: unknown) => this.#options.onError(toClientError(err, 'storage_failed')))
  }

  #timerOf(roomId: RoomId): Timer {
    const timer = this.#timers.get(roomId) ?? new Timer(this.#options.ports.clock)
    this.#timers.set(roomId, timer)
    return timer
  }
}
