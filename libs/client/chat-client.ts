import type { ServerFrame } from '#libs/domain/frames.ts'
import { isRoomId, parseRoomId, type RoomId, type UserId } from '#libs/domain/ids.ts'
import { type ChatClient, type ClientEvents, type ClientLimits, type ClientOptions, type ClientState, defaultClientLimits, type NewConversation } from './client-api.ts'
import type { Link } from './core/link.ts'
import { type ServerTime, serverNowMs } from './core/message-id.ts'
import { type OperationAck, OUTSIDE, WATCHED_PRODUCTS_MAX } from './core/operations.ts'
import { Emitter } from './emitter.ts'
import { ChatClientError, toClientError } from './errors.ts'
import { type Inbox, InboxSession } from './inbox.ts'
import { Operations } from './operations.ts'
import { defaultPorts, type OutboxEntry, type Ports } from './ports.ts'
import { type Room, RoomSession } from './room.ts'
import { Sender } from './sender.ts'
import { StandingRequest } from './standing.ts'
import { MemoryOutboxStorage } from './storage.ts'
import { TokenRenewal } from './token-renewal.ts'
import { type ConnectedFrame, Transport } from './transport.ts'

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
  readonly #operations: Operations
  readonly #presence: StandingRequest
  readonly #products: StandingRequest
  readonly #renewal: TokenRenewal
  readonly #inbox: InboxSession
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
    this.#operations = this.#createOperations()
    this.#presence = this.#createStanding()
    this.#products = this.#createStanding()
    this.#inbox = this.#createInbox()
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

  get inbox(): Inbox {
    return this.#inbox
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
    if (this.#isOnline()) room.start(false)
    else room.reset()
    return room
  }

  createConversation({ participants, ...rest }: NewConversation): Promise<OperationAck> {
    return this.#operations.ask({ type: 'createConversation', ...rest, participants: participants as readonly UserId[] })
  }

  acceptInvitation(roomId: string): Promise<OperationAck> {
    return this.#operations.ask({ type: 'acceptInvitation', roomId: parseRoom(roomId) })
  }

  setPresence(status: 'online' | 'away', options: { readonly hideLastSeen?: boolean } = {}): void {
    this.#presence.set({ type: 'setPresence', status, ...options })
  }

  watchProducts(productIds: readonly string[]): void {
    const distinct = [...new Set(productIds)]
    if (distinct.length > WATCHED_PRODUCTS_MAX || !distinct.every(isRoomId)) throw new ChatClientError('invalid_request', { detail: `at most ${WATCHED_PRODUCTS_MAX} product ids` })
    this.#products.set({ type: 'watchProducts', productIds: distinct })
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
      this.#operations.close()
    }
    await this.#inbox.close()
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
      onOwnAck: (ack, entry) => this.#rooms.get(ack.roomId)?.onOwnMessage(ack, this.#userId!, entry),
      onNotJoined: (roomId) => this.#rooms.get(roomId)?.onNotJoined(),
      onAcked: (ack) => this.#events.emit('acked', ack),
      onFailed: (failed) => this.#events.emit('failed', failed),
      onError: (error) => this.#events.emit('error', error),
    })
  }

  #createOperations(): Operations {
    const { operationsMax, contentLengthMax } = this.#limits
    return new Operations({
      ports: this.#ports,
      operationsMax,
      contentLengthMax,
      request: (request, onReply) => this.#transport.request(request, onReply),
      serverNowMs: () => this.#serverNowMs(),
      isOnline: () => this.#isOnline(),
      isLive: (roomId) => this.#rooms.get(roomId)?.phase === 'live',
      onOwnAck: (ack) => (ack.userSeq === undefined ? this.#rooms.get(ack.roomId)?.onAck(ack) : this.#inbox.onAck(ack)),
      onNotJoined: (roomId) => this.#rooms.get(roomId)?.onNotJoined(),
      onError: (error) => this.#events.emit('error', error),
    })
  }

  #createStanding(): StandingRequest {
    return new StandingRequest({
      ports: this.#ports,
      isOnline: () => this.#isOnline(),
      request: (request, onReply) => this.#transport.request(request, onReply),
      onError: (error) => this.#events.emit('error', error),
    })
  }

  #createInbox(): InboxSession {
    return new InboxSession({
      ports: this.#ports,
      storage: this.#options.inboxStorage,
      request: (request, onReply) => this.#transport.request(request, onReply),
      ask: (request) => this.#operations.ask(request),
      isOnline: () => this.#isOnline(),
      userId: () => this.#userId,
      onError: (error) => this.#events.emit('error', error),
      onThrown: (err) => this.#throwLater(err),
    })
  }

  #createRoom(roomId: RoomId, since: number): RoomSession {
    return new RoomSession({
      ports: this.#ports,
      roomId,
      since,
      request: (request, onReply) => this.#transport.request(request, onReply),
      tell: (request) => this.#transport.tell(request),
      send: (id, content, extras) => this.#sender.send(id, content, extras),
      ask: (request) => this.#operations.ask(request),
      userId: () => this.#userId,
      onLive: (id) => {
        this.#sender.flush(id)
        this.#operations.flush(id)
      },
      onDelivered: (frame) => this.#sender.onDelivered(frame),
      onLost: (id, code) => {
        this.#sender.failRoom(id, code)
        this.#operations.failRoom(id, code)
      },
      onLeave: (id) => {
        this.#rooms.delete(id)
        this.#operations.failRoom(id, 'room_left')
      },
      onError: (error) => this.#events.emit('error', error),
      onThrown: (err) => this.#throwLater(err),
    })
  }

  #onOnline({ userId, serverTimeMs, expiresAtMs }: ConnectedFrame): void {
    this.#userId = userId
    this.#onServerTime(serverTimeMs)
    this.#renewal.start(expiresAtMs)
    this.#sender.onOnline(userId)
    this.#operations.onOnline(userId)
    for (const room of this.#rooms.values()) if (room.phase !== 'left') room.start(room.roomId === this.#orderId)
    this.#presence.tell()
    this.#products.tell()
    // First: what an earlier try has changed is then known from the pages.
    this.#inbox.onOnline()
    this.#operations.flush(OUTSIDE)
  }

  #onOffline(): void {
    this.#renewal.stop()
    for (const room of this.#rooms.values()) room.onDisconnected()
    this.#sender.onOffline()
    this.#operations.onOffline()
    this.#inbox.onOffline()
    this.#presence.onOffline()
    this.#products.onOffline()
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
      case 'typing':
        this.#rooms.get(frame.roomId)?.onTyping(frame.userId, frame.on)
        return
      case 'presence':
        this.#rooms.get(frame.roomId)?.onPresence(frame.users)
        return
      case 'inboxPage':
        this.#inbox.onPage(frame.chats)
        return
      case 'synced':
        this.#inbox.onSynced(frame.userSeq, frame.totals)
        return
      case 'roomAdded':
      case 'roomRemoved':
      case 'unreadChanged':
      case 'roomRead':
      case 'chatChanged':
        this.#inbox.onChange(frame)
        return
      case 'cardUpdated':
        this.#events.emit('cardUpdated', { productId: frame.productId, product: frame.product })
        return
      case 'heartbeat':
        this.#onServerTime(frame.serverTimeMs)
        for (const [roomId, room] of this.#rooms) room.onHead(headOf(frame.heads, roomId))
        if (frame.userSeq !== undefined) this.#inbox.onHead(frame.userSeq)
        return
      case 'error':
        this.#events.emit('error', new ChatClientError(frame.code, { retriable: frame.retriable, detail: frame.message }))
    }
  }

  #isOnline(): boolean {
    return this.#transport.link.phase === 'online'
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
