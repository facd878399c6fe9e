import type { CloseName } from '#libs/domain/close-codes.ts'
import { decide } from '#libs/domain/decide.ts'
import { ChatError } from '#libs/domain/errors.ts'
import { evolve } from '#libs/domain/evolve.ts'
import type { ClientMessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import type { RoomCommand, RoomCommandBody, RoomInput } from '#libs/domain/inputs.ts'
import { defaultRoomLimits } from '#libs/domain/limits.ts'
import { isRoomEvent, type RoomEvent, type RoomState } from '#libs/domain/room.ts'
import { type Decision, decisionFromAvro, decisionToAvro } from '#libs/streams/avro-shapes.ts'
import { VirtualTime } from '#libs/streams/memory-log.ts'
import { ReaderRule } from '#libs/streams/reader-rule.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { headerNames, OWNERSHIP_MARKER } from '#libs/streams/topics.ts'
import { Commands } from './commands.ts'
import type { ClientSocket, Connection, Speaker } from './connection.ts'
import type { StoredEvent } from './frames.ts'
import { Lookups } from './lookups.ts'
import { MemoryInbox } from './memory-inbox.ts'
import type { History, LogTail, Realtime } from './ports.ts'
import { Rooms, type RoomsLimits } from './rooms.ts'
import { advance, emptyView, type RoomView } from './room-view.ts'
import { Sessions } from './sessions.ts'

export const EDGE = 'edge-1'
export const room = (id: string): RoomId => id as RoomId
export const user = (id: string): UserId => id as UserId

const roomsLimits: RoomsLimits = {
  joinWaitMs: 2_000,
  replayPageEvents: 5,
  replayBufferBytes: 1_000,
  slowBufferBytes: 3_000,
  replayStallMs: 5_000,
  roomsPerSocketMax: 3,
  lingerMs: 60_000,
  buffer: { recordsMax: 1_000, bytesMax: 1_000_000 },
}
const sessionLimits = { requestTimeoutMs: 60_000, heartbeatMs: 25_000, frameBytesMax: 65_536, queuedPerSocketMax: 5, malformedMax: 3, refusalsMax: 3 }

const codec = {
  decode: (bytes: Buffer): unknown => JSON.parse(bytes.toString()),
  learn: () => undefined,
}

/** A socket that keeps its frames. Where it is stuck, what is sent stays in its buffer. */
export class MemorySocket implements ClientSocket {
  readonly frames: any[] = []
  buffered = 0
  stuck = false
  closedWith: CloseName | undefined
  onClose: () => void = () => {}

  send(frame: string): void {
    if (this.closedWith) return
    this.frames.push(JSON.parse(frame))
    if (this.stuck) this.buffered += frame.length
  }

  bufferedBytes(): number {
    return this.buffered
  }

  cork(work: () => void): void {
    work()
  }

  close(name: CloseName): void {
    if (this.closedWith) return
    this.closedWith = name
    this.onClose()
  }

  repliesTo(id: number | string): any[] {
    return this.frames.filter((frame) => frame.id === id)
  }

  ofType(type: string): any[] {
    return this.frames.filter((frame) => frame.type === type)
  }

  /** Seqs in the order in which the client got them: events, and acks that stand for one. */
  seqs(roomId = 'order-1'): number[] {
    const isEvent = ({ type, repeated, unchanged }: any) => type === 'newMessage' || type === 'roomUpdated' || (type === 'ack' && repeated !== true && unchanged !== true)
    return this.frames.filter((frame) => frame.roomId === roomId && frame.seq !== undefined && isEvent(frame)).map((frame) => frame.seq)
  }
}

export type Client = { readonly socket: MemorySocket; readonly connection: Connection; request(frame: object): void }

type Valid = { readonly epoch: bigint; readonly events: readonly { readonly roomId: RoomId; readonly event: RoomEvent }[] }

const noRealtime: Realtime = { handle: () => {}, joined: () => {}, left: () => {}, opened: () => {}, closed: () => {} }

/** As Postgres gives a room's events: of a message its last revision alone, and nothing of what was deleted. */
function asStored(events: readonly RoomEvent[]): StoredEvent[] {
  return events.map((event): StoredEvent => {
    if (event.type !== 'messageSent' && event.type !== 'messageEdited') return event
    const { salt: _, ...envelope } = event
    const deleted = events.some((e) => e.type === 'messageDeleted' && e.messageId === event.messageId)
    const last = events.findLast((e) => e.type === 'messageEdited' && e.messageId === event.messageId) as (RoomEvent & { type: 'messageEdited' }) | undefined
    if (envelope.type === 'messageEdited') return { ...envelope, content: !deleted && last?.seq === event.seq ? event.content : null }
    const { payload, ...message } = envelope
    return {
      ...message,
      content: deleted ? null : (last?.content ?? event.content),
      ...(payload !== undefined && !deleted && { payload }),
      ...(last && { revision: last.revision, contentSeq: last.seq }),
      ...(deleted && { deleted }),
    }
  })
}

/** An edge with a log and a history in memory: nothing is read, persisted or answered until the test says so. */
export class MemoryEdge {
  readonly time = new VirtualTime()
  readonly log: InRecord[] = []
  readonly published: RoomCommand[] = []
  readonly troubles: unknown[] = []
  readonly corrupt: unknown[] = []
  readonly rooms: Rooms
  readonly commands: Commands
  readonly sessions: Sessions
  /** Everybody's own list of chats, with a log of its own. */
  readonly users: MemoryInbox
  /** What the history holds: everything of the log below. */
  persisted = 0
  historyDown = false
  historyMs = 5
  /** Reads of the history under way, and the most that ever were. */
  reads = { now: 0, max: 0 }
  logHealthy = true
  publishFails = false
  rateLimited = false
  readonly hidesReceipts = new Set<UserId>()
  settingsReads = 0
  readonly fullOfConversations = new Set<UserId>()
  #states = new Map<RoomId, RoomState>()
  #epoch = -1
  #ids = 0
  /** By the length of the log that they are in: what is there does not change. */
  readonly #valid = new Map<number, Valid>()
  #tail: { next: number; readonly sink: (records: readonly InRecord[]) => void } | undefined

  constructor(limits: Partial<RoomsLimits> = {}, realtime: Realtime = noRealtime) {
    const { time } = this
    this.rooms = new Rooms({
      edgeId: EDGE,
      partitions: 1,
      history: this.#history(),
      log: this.#logTail(),
      codec,
      clock: time,
      limits: { ...roomsLimits, ...limits },
      takeOwnAck: (event, decision) => this.commands.takeOwnAck(event, decision),
      onReply: (decision) => this.commands.onReply(decision),
      realtime,
      onCorrupt: (err) => this.corrupt.push(err),
      onTrouble: (err) => this.troubles.push(err),
    })
    const history = this.#history()
    this.commands = new Commands({
      lookups: new Lookups({ history, clock: time, onTrouble: (err) => this.troubles.push(err) }),
      viewOf: (roomId) => this.rooms.viewOf(roomId),
      follow: (roomId) => this.rooms.follow(roomId),
      publish: async (command) => {
        if (this.publishFails) throw new ChatError('unavailable')
        this.published.push(command)
      },
      newId: () => `id-${this.#ids++}`,
      newSalt: () => 'salt',
      newClientMessageId: () => this.clientMessageId(),
      clock: time,
      limits: { room: defaultRoomLimits, pendingPerSocketMax: 3, answerTimeoutMs: 10_000 },
    })
    const inboxLimits = { ...roomsLimits, ...limits, pendingPerSocketMax: 3, answerTimeoutMs: 10_000 }
    this.users = new MemoryInbox(time, inboxLimits, { onCorrupt: (err) => this.corrupt.push(err), onTrouble: (err) => this.troubles.push(err) })
    this.sessions = new Sessions({
      rooms: this.rooms,
      inbox: this.users.inbox,
      commands: this.commands,
      verify: async (token) => {
        if (!token.startsWith('{')) throw new ChatError('token_invalid')
        return JSON.parse(token) as Speaker
      },
      consume: async () => {
        if (this.rateLimited) throw new ChatError('rate_limited')
      },
      realtime,
      onOpened: () => {},
      onClosed: () => {},
      onError: (err) => this.troubles.push(err),
      newId: () => `id-${this.#ids++}`,
      nowMs: () => time.nowMs(),
      random: () => 1,
      limits: sessionLimits,
    })
    this.mark()
  }

  clientMessageId(): ClientMessageId {
    const time = this.time.nowMs().toString(16).padStart(12, '0')
    return `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-${(this.#ids++).toString(16).padStart(12, '0')}` as ClientMessageId
  }

  /** The owner of the partition has changed, or marked again. */
  mark(): void {
    this.#epoch = this.log.length
    this.#push(OWNERSHIP_MARKER, Buffer.from('{}'), { [headerNames.eventType]: OWNERSHIP_MARKER })
  }

  /** What the owner of the partition makes of an input. `asVoid`: a former owner does, with an epoch that has passed. */
  decided(input: RoomInput, { asVoid = false, replyTo = EDGE } = {}): Decision {
    const roomId = 'orderId' in input ? input.orderId : input.roomId
    const before = this.#states.get(roomId)
    const entries = decide(before, input, this.time.nowMs(), { ...defaultRoomLimits, messagesPerSecondMax: 1_000, content: { ...defaultRoomLimits.content, duplicatesWindowMs: 0 } })
    const commandId = 'commandId' in input ? input.commandId : undefined
    const decision = { roomId, commandId, entries }
    const headers = { [headerNames.ownerEpoch]: `${asVoid ? this.#epoch - 1 : this.#epoch}`, ...(commandId !== undefined && { [headerNames.replyTo]: replyTo }) }
    this.#push(roomId, Buffer.from(JSON.stringify(decisionToAvro(decision))), headers)
    let state = before
    if (!asVoid) for (const entry of entries) state = evolve(state, roomId, entry)
    if (state) this.#states.set(roomId, state)
    return decision
  }

  accepted(id = 'order-1'): void {
    this.decided({ type: 'orderAccepted', orderId: room(id), eventId: 'e', occurredAtMs: 1, customerId: user('customer'), vendorId: user('vendor') })
  }

  rider(riderId: string, occurredAtMs: number, id = 'order-1'): void {
    this.decided({ type: 'riderAssigned', orderId: room(id), eventId: 'e', occurredAtMs, riderId: user(riderId) })
  }

  /** Somebody elsewhere has asked for it. */
  asked(senderId: string, body: RoomCommandBody, id = 'order-1', clientMessageId = this.clientMessageId()): Decision {
    return this.decided({ ...body, roomId: room(id), commandId: `other-${this.#ids++}`, senderId: user(senderId), clientMessageId }, { replyTo: 'another edge' })
  }

  said(content: string, id = 'order-1', senderId = 'customer'): void {
    this.asked(senderId, { type: 'sendMessage', content, salt: 's' }, id)
  }

  state(id = 'order-1'): RoomState {
    return this.#states.get(room(id))!
  }

  /** All that is valid in the log. */
  eventsOf(id: string): RoomEvent[] {
    return this.#validEvents(this.log.length).events.flatMap(({ roomId, event }) => (roomId === id ? [event] : []))
  }

  /** Answers what the clients have asked for, in order. */
  answer(): void {
    for (const command of this.published.splice(0)) this.decided(command)
  }

  /** The tail of the log brings what it has, at most `count` records. */
  feed(count = Number.POSITIVE_INFINITY): void {
    if (!this.#tail) return
    const records = this.log.slice(this.#tail.next, this.#tail.next + count)
    this.#tail.next += records.length
    if (records.length > 0) this.#tail.sink(records)
  }

  /** The tail keeps up for a while, and whoever answers too. */
  async run(ms = 500, answers = true): Promise<void> {
    for (let i = 0; i < ms; i += 50) {
      if (answers) this.answer()
      if (answers) this.users.answer()
      this.feed()
      this.users.feed()
      await this.time.advance(50)
    }
  }

  async joined(userId: string, roomId = 'order-1', since = 0): Promise<Client> {
    const client = this.connect(userId)
    client.request({ id: 'join', type: 'join', roomId, since })
    await this.run()
    return client
  }

  persist(upTo = this.log.length): void {
    this.persisted = Math.max(this.persisted, Math.min(upTo, this.log.length))
  }

  async feedAll(): Promise<void> {
    this.feed()
    await this.time.advance(20)
  }

  connect(userId: string, options: { role?: Speaker['role']; first?: { roomId: RoomId; since: number }; expiresAtMs?: number } = {}): Client {
    const socket = new MemorySocket()
    const speaker: Speaker = { userId: user(userId), role: options.role ?? 'user', expiresAtMs: options.expiresAtMs ?? this.time.nowMs() + 3_600_000 }
    const connection = this.sessions.open(`c-${this.#ids++}`, socket, speaker, options.first)
    socket.onClose = () => this.sessions.closed(connection)
    return { socket, connection, request: (frame) => this.sessions.receive(connection, JSON.stringify(frame)) }
  }

  #push(key: string, value: Buffer, headers: Record<string, string>): void {
    this.log.push({ offset: BigInt(this.log.length), key, value, headers, timestampMs: this.time.nowMs() })
  }

  #validEvents(upTo: number): Valid {
    const known = this.#valid.get(upTo)
    if (known) return known
    const rule = new ReaderRule()
    const events: { roomId: RoomId; event: RoomEvent }[] = []
    for (const { offset, headers, value } of this.log.slice(0, upTo)) {
      if (rule.judge(offset, headers) !== 'valid') continue
      const { roomId, entries } = decisionFromAvro(JSON.parse(value!.toString()))!
      for (const event of entries) if (isRoomEvent(event)) events.push({ roomId, event })
    }
    const valid = { epoch: rule.epoch, events }
    this.#valid.set(upTo, valid)
    return valid
  }

  /** Reads the history as of one moment, and takes time on both sides of it. */
  async #read<T>(work: () => T): Promise<T> {
    this.reads.max = Math.max(this.reads.max, ++this.reads.now)
    try {
      await this.time.sleep(this.historyMs)
      if (this.historyDown) throw new ChatError('unavailable', 'Postgres')
      const result = work()
      await this.time.sleep(this.historyMs)
      return result
    } finally {
      this.reads.now--
    }
  }

  #history(): History {
    const eventsOf = (roomId: RoomId) => this.#validEvents(this.persisted).events.filter((e) => e.roomId === roomId).map((e) => e.event)
    const viewOf = (roomId: RoomId): RoomView | undefined => {
      const view = eventsOf(roomId).reduce(advance, emptyView)
      return view.headSeq === 0 ? undefined : view
    }
    return {
      position: () => this.#read(() => ({ nextOffset: BigInt(this.persisted), ownerEpoch: this.#validEvents(this.persisted).epoch })),
      nextOffsets: () => this.#read(() => new Map([[0, BigInt(this.persisted)]])),
      room: (_, roomId) => this.#read(() => ({ nextOffset: BigInt(this.persisted), view: viewOf(roomId) })),
      events: (roomId, after, upTo, limit) => this.#read(() => asStored(eventsOf(roomId)).filter((e) => e.seq > after && e.seq <= upTo).slice(0, limit)),
      messageSeq: (roomId, messageId) => this.#read(() => eventsOf(roomId).find((e) => e.type === 'messageSent' && e.messageId === messageId)?.seq),
      settings: (userId) => {
        this.settingsReads++
        return this.#read(() => ({ hideReceipts: this.hidesReceipts.has(userId), hideLastSeen: false }))
      },
      hasConversationsMax: (userId) => this.#read(() => this.fullOfConversations.has(userId)),
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
