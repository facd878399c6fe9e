import type { ServerFrame } from '#libs/domain/frames.ts'
import { parseRoomId, type RoomId, type UserId } from '#libs/domain/ids.ts'
import type { Link, LinkReason } from './core/link.ts'
import { type ServerTime, serverNowMs } from './core/message-id.ts'
import { Emitter } from './emitter.ts'
import { ChatClientError, toClientError } from './errors.ts'
import { defaultPorts, type OutboxEntry, type OutboxStorage, type Ports, type TokenProvider } from './ports.ts'
import { type Room, RoomSession } from './room.ts'
import { type FailedMessage, type MessageAck, Sender } from './sender.ts'
import { MemoryOutboxStorage } from './storage.ts'
import { TokenRenewal } from './token-renewal.ts'
import { type ConnectedFrame, Transport } from './transport.ts'

export type ClientOptions = {
  /** `ws://host/ws/chat`; with `orderId`: `ws://host/chat`. */
  readonly url: string
  readonly token: TokenProvider
  /** Makes each socket that of one room: the load balancer can route by it, and joining costs no round trip. */
  readonly orderId?: string
  /** Default: in memory, gone with the client. */
  readonly storage?: OutboxStorage
  readonly ports?: Partial<Ports>
  readonly limits?: Partial<ClientLimits>
}

export type ClientLimits = {
  /** Messages that wait, all rooms together: `outbox_full` above. */
  readonly outboxEntriesMax: number
  /** UTF-16 units of a message: `content_too_long` above. The server's own limit (4,000 characters) lies below. */
  readonly contentLengthMax: number
  /** `too_many_rooms` above. */
  readonly roomsMax: number
  readonly connectTimeoutMs: number
  readonly requestTimeoutMs: number
}

export const defaultClientLimits: ClientLimits = {
  outboxEntriesMax: 1_000,
  contentLengthMax: 8_000,
  roomsMax: 1_000,
  connectTimeoutMs: 15_000,
  requestTimeoutMs: 30_000,
}

/** offline: tries again in `retryInMs` by itself. closed: does not; `connect()` does. */
export type ClientState =
  | { readonly state: 'connecting' | 'online' }
  | { readonly state: 'offline'; readonly reason: LinkReason; readonly retryInMs: number }
  | { readonly state: 'closed'; readonly reason?: LinkReason }

export type ClientEvents = {
  state: ClientState
  /** A message is durable; also for those that an earlier client left in the storage. */
  acked: MessageAck
  /** A message has failed for good and is out of the outbox. */
  failed: FailedMessage
  /** Something went wrong that the client copes with, or that belongs to no request: for logs. */
  error: ChatClientError
}

export type ChatClient = {
  readonly state: ClientState
  /** Whom the token speaks for, once connected. */
  readonly userId: UserId | undefined
  on<K extends keyof ClientEvents>(name: K, listener: (value: ClientEvents[K]) => void): () => void
  /** Connects and stays connected. Resolves when first online; rejects when that ends for good. May be ignored. */
  connect(): Promise<void>
  /**
   * The room's handle; joined now, or as soon as there is a connection, and again after every reconnect. `since`: the
   * last seq that the app holds (default 0: everything). The same room gives the same handle, and `since` then means nothing.
   * @throws ChatClientError `invalid_room_id`, `invalid_request`, `too_many_rooms`, `client_closed`
   */
  join(roomId: string, options?: { readonly since?: number }): Room
  /** Messages that wait, each room's in the order of sending. */
  pending(roomId?: string): OutboxEntry[]
  /** To be called when the device wakes or the network comes back: tries at once, or checks that the socket lives. */
  wake(): void
  /** For good. Messages that wait stay in the storage; their `done` rejects with `client_closed`. */
  close(): Promise<void>
}

/** @throws TypeError for a URL that is not ws: or wss: */
export const createChatClient = (options: ClientOptions): ChatClient => new Client(options)

class Client implements ChatClient {
  readonly #options: ClientOptions
  readonly #limits: ClientLimits
  readonly #ports: Ports
  readonly #events: Emitter<ClientEvents>
  readonly #rooms = new Map<RoomId, RoomSession>()
  readonly #transport: Transport
  readonly #sender: Sender
  readonly #renewal: TokenRenewal
  readonly #orderId: RoomId | undefined
  #serverTime: ServerTime | undefined
  #userId: UserId | undefined
  #closed = false

  constructor(options: ClientOptions) {
    if (!/^wss?:\/\//.test(options.url)) throw new TypeError(`not a ws: or wss: URL: ${options.url}`)
    this.#options = options
    this.#limits = { ...defaultClientLimits, ...options.limits }
    this.#ports = { ...defaultPorts(), ...options.ports }
    this.#events = new Emitter((err) => this.#throwLater(err))
    this.#transport = this.#createTransport()
    this.#sender = this.#createSender()
    this.#renewal = new TokenRenewal({
      ports: this.#ports,
      token: options.token,
      request: (request, onReply) => this.#transport.request(request, onReply),
      serverNowMs: () => this.#serverNowMs(),
      onError: (error) => this.#events.emit('error', error),
    })
    this.#orderId = options.orderId === undefined ? undefined : parseRoom(options.orderId)
  }

  get state(): ClientState {
    return this.#stateOf(this.#transport.link)
  }

  get userId(): UserId | undefined {
    return this.#userId
  }

  on<K extends keyof ClientEvents>(name: K, listener: (value: ClientEvents[K]) => void): () => void {
    return this.#events.on(name, listener)
  }

  connect(): Promise<void> {
    if (this.#closed) return Promise.reject(new ChatClientError('client_closed'))
    if (this.#orderId !== undefined && !this.#rooms.has(this.#orderId)) this.join(this.#orderId)
    const firstOnline = this.#sender.loaded.then(() => {
      if (this.#closed) throw new ChatClientError('client_closed')
      const online = this.#onlineOrClosed()
      this.#transport.connect()
      return online
    })
    firstOnline.catch(() => {})
    return firstOnline
  }

  join(roomId: string, { since = 0 }: { readonly since?: number } = {}): Room {
    if (this.#closed) throw new ChatClientError('client_closed')
    if (!Number.isSafeInteger(since) || since < 0) throw new ChatClientError('invalid_request', { detail: 'since is a seq, or 0' })
    const id = parseRoom(roomId)
    const known = this.#rooms.get(id)
    if (known && known.phase !== 'left') return known
    if (!known && this.#rooms.size >= this.#limits.roomsMax) throw new ChatClientError('too_many_rooms')
    const room = known ?? this.#createRoom(id, since)
    this.#rooms.set(id, room)
    if (this.#transport.link.phase === 'online') room.start(false)
    else room.reset()
    return room
  }

  pending(roomId?: string): OutboxEntry[] {
    return this.#sender.pending(roomId as RoomId | undefined)
  }

  wake(): void {
    this.#transport.wake()
  }

  async close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true
      this.#transport.close({ code: 'client_closed' })
    }
    await this.#sender.close()
  }

  #createTransport(): Transport {
    const { url, token } = this.#options
    const { connectTimeoutMs, requestTimeoutMs } = this.#limits
    return new Transport({
      ports: this.#ports,
      url: () => this.#urlOf(url),
      token,
      connectTimeoutMs,
      requestTimeoutMs,
      onLink: (link) => this.#events.emit('state', this.#stateOf(link)),
      onOnline: (connected) => this.#onOnline(connected),
      onFrame: (frame) => this.#onFrame(frame),
      onOffline: () => this.#onOffline(),
      onError: (error) => this.#events.emit('error', error),
    })
  }

  #createSender(): Sender {
    const { outboxEntriesMax, contentLengthMax } = this.#limits
    return new Sender({
      ports: this.#ports,
      storage: this.#options.storage ?? new MemoryOutboxStorage(),
      entriesMax: outboxEntriesMax,
      contentLengthMax,
      request: (request, onReply) => this.#transport.request(request, onReply),
      serverNowMs: () => this.#serverNowMs(),
      isLive: (roomId) => this.#rooms.get(roomId)?.phase === 'live',
      onOwnAck: (ack, content) => this.#rooms.get(ack.roomId)?.onOwnAck(ack, this.#userId!, content),
      onNotJoined: (roomId) => this.#rooms.get(roomId)?.onNotJoined(),
      onAcked: (ack) => this.#events.emit('acked', ack),
      onFailed: (failed) => this.#events.emit('failed', failed),
      onError: (error) => this.#events.emit('error', error),
    })
  }

  #createRoom(roomId: RoomId, since: number): RoomSession {
    return new RoomSession({
      ports: this.#ports,
      roomId,
      since,
      request: (request, onReply) => this.#transport.request(request, onReply),
      send: (id, content) => this.#sender.send(id, content),
      onLive: (id) => this.#sender.flush(id),
      onDelivered: (frame) => this.#sender.onDelivered(frame),
      onLost: (id, code) => this.#sender.failRoom(id, code),
      onLeave: (id) => this.#rooms.delete(id),
      onThrown: (err) => this.#throwLater(err),
    })
  }

  #onOnline({ userId, serverTimeMs, expiresAtMs }: ConnectedFrame): void {
    this.#userId = userId
    this.#onServerTime(serverTimeMs)
    this.#renewal.start(expiresAtMs)
    this.#sender.onOnline(userId)
    for (const room of this.#rooms.values()) if (room.phase !== 'left') room.start(room.roomId === this.#orderId)
  }

  #onOffline(): void {
    this.#renewal.stop()
    for (const room of this.#rooms.values()) room.onDisconnected()
    this.#sender.onOffline()
  }

  #onFrame(frame: ServerFrame): void {
    switch (frame.type) {
      case 'newMessage':
      case 'roomUpdated':
        this.#rooms.get(frame.roomId)?.onEvent(frame)
        return
      case 'joined':
        this.#rooms.get(frame.roomId)?.onJoined(frame)
        return
      case 'caughtUp':
        this.#rooms.get(frame.roomId)?.onCaughtUp(frame.seq)
        return
      case 'left':
        this.#rooms.get(frame.roomId)?.onLost(frame.code)
        return
      case 'heartbeat':
        this.#onServerTime(frame.serverTimeMs)
        for (const [roomId, room] of this.#rooms) room.onHead(headOf(frame.heads, roomId))
        return
      case 'error':
        this.#events.emit('error', new ChatClientError(frame.code, { retriable: frame.retriable, detail: frame.message }))
    }
  }

  #onServerTime(serverTimeMs: number): void {
    this.#serverTime = { serverTimeMs, atMonotonicMs: this.#ports.clock.monotonicMs() }
  }

  #serverNowMs(): number {
    const { clock } = this.#ports
    return serverNowMs(this.#serverTime, { nowMs: clock.nowMs(), monotonicMs: clock.monotonicMs() })
  }

  #urlOf(url: string): string {
    if (this.#orderId === undefined) return url
    const since = this.#rooms.get(this.#orderId)?.lastSeq ?? 0
    return `${url}${url.includes('?') ? '&' : '?'}orderId=${encodeURIComponent(this.#orderId)}&since=${since}`
  }

  #stateOf({ phase, reason, retryAtMs = 0 }: Link): ClientState {
    switch (phase) {
      case 'online':
        return { state: 'online' }
      case 'connecting':
      case 'probing':
        return { state: 'connecting' }
      case 'offline':
        return { state: 'offline', reason: reason!, retryInMs: Math.max(0, retryAtMs - this.#ports.clock.monotonicMs()) }
      case 'closed':
        return { state: 'closed', ...(reason && { reason }) }
    }
  }

  #onlineOrClosed(): Promise<void> {
    if (this.state.state === 'online') return Promise.resolve()
    return new Promise((resolve, reject) => {
      const off = this.on('state', (state) => {
        if (state.state !== 'online' && state.state !== 'closed') return
        off()
        if (state.state === 'closed') reject(new ChatClientError(state.reason?.code ?? 'client_closed'))
        else resolve()
      })
    })
  }

  /** As the DOM does: a listener's mistake is the app's to see, but does not stop what called it. */
  #throwLater(err: unknown): void {
    this.#ports.clock.setTimeout(() => {
      throw err
    }, 0)
  }
}

function parseRoom(raw: string): RoomId {
  try {
    return parseRoomId(raw)
  } catch (err) {
    throw toClientError(err, 'bad_frame')
  }
}

function headOf(heads: Readonly<Record<string, number>>, roomId: RoomId): number | undefined {
  const head: unknown = Object.hasOwn(heads, roomId) ? heads[roomId] : undefined
  return Number.isSafeInteger(head) ? (head as number) : undefined
}
