import { v7 as uuidV7 } from 'uuid'
import { ChatSocket, type Frame } from './chat-socket.ts'

export type SeenEvent = { readonly seq: number; readonly kind: string; readonly clientMessageId: string | undefined; readonly messageId: string | undefined }

export type UserOptions = {
  readonly userId: string
  readonly roomId: string
  readonly token: string
  /** Tried one after the other. */
  readonly edgeUrls: readonly string[]
  /** Of acked messages, how many are sent again under their id: 0 … 1. Default: none. */
  readonly repeats?: number
  /** Hears of everything at once. */
  readonly observer?: Partial<UserObserver>
}

export type UserObserver = {
  sent(clientMessageId: string, text: string): void
  /** Something else than a message is asked for. */
  changing(clientMessageId: string, request: object): void
  repeating(clientMessageId: string): void
  acked(ack: Frame): void
  failed(clientMessageId: string, error: Frame): void
  /** An event's frame; of an own message, its ack. */
  saw(frame: Frame, kind: string): void
}

type Waiting = { readonly clientMessageId: string; readonly request: { readonly type: string; readonly message?: string }; readonly acked: PromiseWithResolvers<Frame>; sentAtMs: number }

/** How long an answer may take before the message is sent again under its id. */
const RESEND_AFTER_MS = 3_000
/** Unanswered at once: after a pause a whole backlog would be a flood, refused and cut, again and again. */
const IN_FLIGHT_MAX = 10
/** Begins the request id of a message that is sent again although it was acked. */
const AGAIN = 'again-'

/**
 * A stubborn client in one room, written for tests alone: reconnects with `since` to the next edge, sends each message
 * until it is acked, and keeps what it saw. Whatever the protocol forbids is an anomaly.
 */
export class PersistentUser {
  readonly options: UserOptions
  readonly seen: SeenEvent[] = []
  readonly acks = new Map<string, Frame>()
  readonly anomalies: string[] = []
  /** Times at which something new was seen, ms since 1970. */
  readonly seenAtMs: number[] = []
  readonly #outbox: Waiting[] = []
  /** Sent again although they were acked, and not answered yet. */
  readonly #repeating = new Set<string>()
  readonly #repeatTimers: NodeJS.Timeout[] = []
  #socket: ChatSocket | undefined
  #stopped = false
  #running: Promise<void> | undefined
  #edge = 0

  constructor(options: UserOptions) {
    this.options = options
  }

  get lastSeq(): number {
    return this.seen.at(-1)?.seq ?? 0
  }

  get unacked(): number {
    return this.#outbox.length + this.#repeating.size
  }

  /** Nothing more is sent that was acked before. */
  repeatNoMore(): void {
    for (const timer of this.#repeatTimers.splice(0)) clearTimeout(timer)
  }

  start(firstEdge = 0): void {
    this.#edge = firstEdge
    this.#running = this.#run()
  }

  /** Resolves with the ack, after however many tries. */
  send(text: string): Promise<Frame> {
    const waiting = this.#enqueue({ type: 'sendMessage', message: text })
    this.options.observer?.sent?.(waiting.clientMessageId, text)
    return waiting.acked.promise
  }

  /** Any other request that becomes an event, in the same way. */
  change(request: { readonly type: string }): Promise<Frame> {
    const waiting = this.#enqueue(request)
    this.options.observer?.changing?.(waiting.clientMessageId, request)
    return waiting.acked.promise
  }

  #enqueue(request: Waiting['request']): Waiting {
    const waiting: Waiting = { clientMessageId: uuidV7(), request, acked: Promise.withResolvers(), sentAtMs: 0 }
    this.#outbox.push(waiting)
    return waiting
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.repeatNoMore()
    this.#socket?.terminate()
    await this.#running
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const url = this.options.edgeUrls[this.#edge++ % this.options.edgeUrls.length]!
      try {
        this.#socket = await ChatSocket.connect(url, { token: this.options.token, orderId: this.options.roomId, since: this.lastSeq })
        await this.#serve(this.#socket)
      } catch {
        // The edge is down or not ready: the next one.
      }
      for (const waiting of this.#outbox) waiting.sentAtMs = 0
      // Their answers went with the socket.
      this.#repeating.clear()
      await pause(50 + Math.random() * 100)
    }
  }

  async #serve(socket: ChatSocket): Promise<void> {
    let next = 0
    while (!this.#stopped && !socket.closed) {
      for (; next < socket.frames.length; next++) this.#take(socket.frames[next]!)
      for (const waiting of this.#outbox.slice(0, IN_FLIGHT_MAX)) this.#sendIfDue(socket, waiting)
      await pause(5)
    }
    for (; next < socket.frames.length; next++) this.#take(socket.frames[next]!)
  }

  #sendIfDue(socket: ChatSocket, waiting: Waiting): void {
    if (Date.now() - waiting.sentAtMs < RESEND_AFTER_MS || socket.closed) return
    waiting.sentAtMs = Date.now()
    const { clientMessageId, request } = waiting
    socket.sendRaw(JSON.stringify({ id: clientMessageId, ...request, clientMessageId }))
  }

  #take(frame: Frame): void {
    if (frame.type === 'ack') this.#takeAck(frame)
    else if (frame.type === 'error') this.#takeError(frame)
    else if (frame.type === 'newMessage') this.#see(frame, frame.type)
    else if (frame.type === 'roomUpdated') this.#see(frame, frame['event'] as string)
    else if (frame.type === 'joined' && frame['since'] !== this.lastSeq) this.anomalies.push(`joined from ${frame['since']}, held ${this.lastSeq}`)
  }

  #takeAck(frame: Frame): void {
    // Marks have no id of their own, and several of them one answer.
    const id = (frame['clientMessageId'] ?? frame['id']) as string
    const event = frame['event'] as Frame | undefined
    const isPlaced = frame['repeated'] !== true && frame['unchanged'] !== true
    if (isPlaced && frame['seq'] === this.lastSeq + 1) this.#see(event ?? frame, event ? (event['event'] as string) : 'newMessage')
    else if (isPlaced && (frame['seq'] as number) > this.lastSeq) this.anomalies.push(`ack of seq ${frame['seq']} before ${this.lastSeq + 1}`)
    const before = this.acks.get(id)
    // A mark that is repeated is a new one: by then it may be so already.
    const isSame = before?.['seq'] === frame['seq'] && before?.['messageId'] === frame['messageId']
    if (before && !isSame && frame['clientMessageId'] !== undefined) this.anomalies.push(`two acks of ${id}: ${before['seq']} and ${frame['seq']}`)
    this.acks.set(id, frame)
    this.options.observer?.acked?.(frame)
    this.#repeating.delete(id)
    const at = this.#outbox.findIndex((waiting) => waiting.clientMessageId === id)
    if (at < 0) return
    const [waiting] = this.#outbox.splice(at, 1)
    waiting!.acked.resolve(frame)
    if (frame['clientMessageId'] === undefined || Math.random() >= (this.options.repeats ?? 0)) return
    // Some soon, some when the room has been restored from snapshots meanwhile.
    const timer = setTimeout(() => this.#repeat(waiting!), 500 + Math.random() ** 2 * 15_000)
    this.#repeatTimers.push(timer)
  }

  /** As a client does that has not heard its ack. */
  #repeat({ clientMessageId, request }: Waiting): void {
    if (this.#stopped || !this.#socket || this.#socket.closed) return
    this.options.observer?.repeating?.(clientMessageId)
    this.#repeating.add(clientMessageId)
    this.#socket.sendRaw(JSON.stringify({ id: `${AGAIN}${clientMessageId}`, ...request, clientMessageId }))
  }

  #takeError(frame: Frame): void {
    if (typeof frame['id'] === 'string') this.#repeating.delete(frame['id'].slice(AGAIN.length))
    const at = this.#outbox.findIndex((waiting) => waiting.clientMessageId === frame['id'])
    if (at < 0) return
    if (frame['retriable'] === true) this.#outbox[at]!.sentAtMs = Date.now() - RESEND_AFTER_MS + ((frame['retryAfterMs'] as number | undefined) ?? 300)
    else {
      const [waiting] = this.#outbox.splice(at, 1)
      this.options.observer?.failed?.(waiting!.clientMessageId, frame)
      waiting!.acked.resolve(frame)
    }
  }

  #see(frame: Frame, kind: string): void {
    const seq = frame['seq'] as number
    if (seq !== this.lastSeq + 1) {
      this.anomalies.push(`saw seq ${seq} after ${this.lastSeq}`)
      return
    }
    this.seen.push({ seq, kind, clientMessageId: frame['clientMessageId'] as string | undefined, messageId: frame['messageId'] as string | undefined })
    this.seenAtMs.push(Date.now())
    this.options.observer?.saw?.(frame, kind)
  }
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
