import { closeCodes, type CloseName, closeReason } from '#libs/domain/close-codes.ts'
import { type ErrorCode, errorCatalogue } from '#libs/domain/errors.ts'
import type { AckFrame, ClientFrame, NewMessageFrame, RoomEventFrame, RoomUpdatedFrame } from '#libs/domain/frames.ts'
import { type ClientMessageId, type MessageId, messageIdOf, type RoomId, type UserId } from '#libs/domain/ids.ts'
import { InboxModel } from './inbox-model.ts'
import { type Change, changeOf, shownAt } from './room-model.ts'

/** What carries one connection: a real socket or a piece of memory. */
export type Wire = { send(text: string): void; close(code: number, reason: string): void }
export type Refusal = { readonly code: ErrorCode; readonly retryAfterMs?: number }

type Room = {
  readonly events: RoomEventFrame[]
  readonly acks: Map<string, AckFrame>
  messages: number
  readonly receipts: Map<string, { readonly delivered: number; readonly seen: number }>
  /** Of who came later: the first seq that is shown to him. */
  readonly visibleFrom: Map<string, number>
}
type Verdict = Refusal | 'loseReply' | undefined

/** A connection as the server sees it. */
export class ServerConnection {
  readonly userId: UserId
  readonly wire: Wire
  /** The last seq that was handed to it, by room. */
  readonly joined = new Map<string, number>()
  readonly received: ClientFrame[] = []

  constructor(userId: UserId, wire: Wire) {
    this.userId = userId
    this.wire = wire
  }

  send(frame: object): void {
    this.wire.send(JSON.stringify(frame))
  }

  close(name: CloseName, retryAfterMs?: number): void {
    this.wire.close(closeCodes[name].code, closeReason(name, retryAfterMs))
  }
}

/**
 * A server that speaks the frames of chat.v1 as far as a client can tell: rooms with a gapless log, dedupe by
 * clientMessageId, acks in the place of events for the sender's own connection, replay on join. Faults are hooks.
 * A token is `<userId>` or `<userId>/<expiresAtMs>`.
 */
export class ServerModel {
  readonly rooms = new Map<string, Room>()
  readonly connections = new Set<ServerConnection>()
  readonly inbox = new InboxModel(this.connections, () => this.nowMs(), (frame) => this.onPush(frame))
  /** Every sendMessage that came, whatever became of it. */
  readonly sends: (ClientFrame & { type: 'sendMessage' })[] = []
  readonly joins: (ClientFrame & { type: 'join' })[] = []
  /** Every other request, in order. */
  readonly asked: ClientFrame[] = []
  heartbeatMs = 25_000
  nowMs: () => number
  /** Decides about a request before it is worked on. */
  onRequest: (frame: ClientFrame) => Verdict = () => undefined
  /** False: this push does not reach the connection, though the server believes so. */
  onPush: (frame: { readonly type: string }) => boolean = () => true

  constructor(nowMs: () => number) {
    this.nowMs = nowMs
  }

  open(token: string, wire: Wire, first?: { readonly roomId: string; readonly since: number }): ServerConnection {
    const [userId, expiresAtMs] = token.split('/')
    const connection = new ServerConnection(userId as UserId, wire)
    this.connections.add(connection)
    const serverTimeMs = this.nowMs()
    connection.send({ type: 'connected', connectionId: 'c', userId, serverTimeMs, heartbeatMs: this.heartbeatMs, expiresAtMs: Number(expiresAtMs ?? serverTimeMs + 86_400_000) })
    if (first) this.#join(connection, first.roomId, first.since, {})
    return connection
  }

  closed(connection: ServerConnection): void {
    this.connections.delete(connection)
    this.inbox.closed(connection)
  }

  receive(connection: ServerConnection, text: string): void {
    const frame = JSON.parse(text) as ClientFrame
    connection.received.push(frame)
    if (frame.type === 'sendMessage') this.sends.push(frame)
    else if (frame.type === 'join') this.joins.push(frame)
    else this.asked.push(frame)
    const verdict = this.onRequest(frame)
    const id = frame.id === undefined ? {} : { id: frame.id }
    if (verdict !== undefined && verdict !== 'loseReply') this.#refuse(connection, id, verdict)
    else this.#work(connection, frame, verdict === 'loseReply' ? 'lost' : id)
  }

  append(roomId: string, senderId: string, content: string): NewMessageFrame {
    return this.#append(roomId, senderId as UserId, content, `0190a000-0000-7000-8000-${String(this.room(roomId).events.length).padStart(12, '0')}` as ClientMessageId)
  }

  /** An event that is no message, as somebody else's request or the order's life would make it. */
  update(roomId: string, body: object): RoomUpdatedFrame {
    return this.#update(roomId, body)
  }

  /** To everybody who has joined the room. */
  broadcast(roomId: string, frame: object): void {
    for (const connection of this.connections) if (connection.joined.has(roomId)) connection.send(frame)
  }

  room(roomId: string): Room {
    const room = this.rooms.get(roomId) ?? { events: [], acks: new Map(), messages: 0, receipts: new Map(), visibleFrom: new Map() }
    this.rooms.set(roomId, room)
    return room
  }

  heartbeat(): void {
    for (const connection of this.connections) {
      const heads = Object.fromEntries([...connection.joined.keys()].map((roomId) => [roomId, this.room(roomId).events.length]))
      const userSeq = this.inbox.headOf(connection)
      connection.send({ type: 'heartbeat', serverTimeMs: this.nowMs(), heads, ...(userSeq !== undefined && { userSeq }) })
    }
  }

  #work(connection: ServerConnection, frame: ClientFrame, id: object | 'lost'): void {
    const reply = (fields: object) => id !== 'lost' && connection.send({ ...id, ...fields })
    switch (frame.type) {
      case 'join':
        if (id !== 'lost') this.#join(connection, frame.roomId, frame.since ?? 0, id)
        return
      case 'leave':
        connection.joined.delete(frame.roomId!)
        reply({ type: 'ack', roomId: frame.roomId })
        return
      case 'authenticate':
        reply({ type: 'ack', expiresAtMs: Number(frame.token.split('/')[1]) })
        return
      case 'ping':
        reply({ type: 'ack', serverTimeMs: this.nowMs() })
        return
      case 'sendMessage':
        this.#sendMessage(connection, frame, id)
        return
      case 'typing':
        for (const other of this.connections) if (other !== connection && other.joined.has(frame.roomId!)) other.send({ type: 'typing', roomId: frame.roomId, userId: connection.userId, on: frame.on })
        return
      case 'setPresence':
      case 'watchProducts':
        reply({ type: 'ack' })
        return
      case 'sync':
        if (!this.inbox.sync(connection, frame.cursor ?? 0, id)) this.#refuse(connection, id === 'lost' ? {} : id, { code: 'invalid_request' })
        return
      case 'setChat':
        if (!this.inbox.setChat(connection, frame, id)) this.#refuse(connection, id === 'lost' ? {} : id, { code: 'chat_not_found' })
        return
      case 'createConversation': {
        const roomId = `made-${frame.clientId ?? frame.participants[0]}`
        const { events } = this.room(roomId)
        const isNew = events.length === 0
        if (isNew) this.#update(roomId, { event: 'roomOpened', participants: [] })
        reply({ type: 'ack', roomId, seq: events.length, ...(isNew ? { event: events[0] } : { unchanged: true }) })
        return
      }
      default:
        this.#operate(connection, frame, id)
    }
  }

  #operate(connection: ServerConnection, frame: Change, id: object | 'lost'): void {
    const { roomId = '' } = frame
    const room = this.room(roomId)
    const reply = (fields: object) => id !== 'lost' && connection.send({ ...id, type: 'ack', roomId, ...fields })
    const refuse = (code: ErrorCode) => this.#refuse(connection, id === 'lost' ? {} : id, { code })
    if (frame.type !== 'acceptInvitation' && !connection.joined.has(roomId)) return refuse('not_joined')
    const clientMessageId = 'clientMessageId' in frame ? frame.clientMessageId : undefined
    const known = clientMessageId === undefined ? undefined : room.acks.get(`${connection.userId} ${clientMessageId}`)
    if (known) return void reply({ ...known, repeated: true })
    const body = changeOf(room, connection.userId, frame)
    if (body === 'unchanged') return void reply({ unchanged: true, seq: room.events.length })
    if (typeof body === 'string') return refuse(body)
    this.#update(roomId, body, { connection, id, clientMessageId })
    if (frame.type === 'removeParticipant' && frame.userId === connection.userId) {
      connection.joined.delete(roomId)
      connection.send({ type: 'left', roomId, code: 'not_a_participant' })
    }
  }

  #update(roomId: string, body: object, own?: { readonly connection: ServerConnection; readonly id: object | 'lost'; readonly clientMessageId: string | undefined }): RoomUpdatedFrame {
    const room = this.room(roomId)
    const event = { type: 'roomUpdated', roomId, seq: room.events.length + 1, timestamp: this.nowMs(), ...body } as RoomUpdatedFrame
    if (event.event === 'receiptMoved') room.receipts.set(event.userId, event)
    room.events.push(event)
    const { connection, id, clientMessageId } = own ?? {}
    const ack = { type: 'ack', roomId, seq: event.seq, timestamp: event.timestamp, ...(clientMessageId !== undefined && { clientMessageId }) } as AckFrame
    if (connection && clientMessageId !== undefined) room.acks.set(`${connection.userId} ${clientMessageId}`, ack)
    this.#spread(event, connection, id !== 'lost' && { ...id, ...ack, event })
    // Of a room that is not joined there.
    if (connection && id !== 'lost' && !connection.joined.has(roomId)) connection.send({ ...id, ...ack, event })
    return event
  }

  #join(connection: ServerConnection, roomId: string, since: number, id: object): void {
    const { events, messages, receipts, visibleFrom: firsts } = this.room(roomId)
    if (since > events.length) return this.#refuse(connection, id, { code: 'invalid_request' })
    const visibleFrom = firsts.get(connection.userId)
    const from = Math.max(since, (visibleFrom ?? 1) - 1)
    connection.joined.set(roomId, from)
    const shown = { messageCount: messages, readOnly: false, participants: [], kind: 'group', receipts: [...receipts].map(([userId, receipt]) => ({ ...receipt, userId })) }
    connection.send({ ...id, type: 'joined', roomId, since: from, headSeq: events.length, ...shown, ...(visibleFrom !== undefined && { visibleFrom }) })
    for (const event of events.slice(from)) this.#push(connection, event, shownAt(events, event))
    connection.send({ type: 'caughtUp', roomId, seq: events.length })
  }

  #sendMessage(connection: ServerConnection, frame: ClientFrame & { type: 'sendMessage' }, id: object | 'lost'): void {
    const { roomId = '', message, clientMessageId = '', id: _, type: __, ...extras } = frame
    const room = this.room(roomId)
    if (!connection.joined.has(roomId)) return this.#refuse(connection, id === 'lost' ? {} : id, { code: 'not_joined' })
    const known = room.acks.get(`${connection.userId} ${clientMessageId}`)
    if (known) {
      if (id !== 'lost') connection.send({ ...id, ...known, repeated: true })
      return
    }
    const root = extras.replyTo && room.events.find((event) => event.type === 'newMessage' && event.messageId === extras.replyTo)
    if (extras.replyTo && !root) return this.#refuse(connection, id === 'lost' ? {} : id, { code: 'message_not_found' })
    this.#append(roomId, connection.userId, message, clientMessageId as ClientMessageId, { connection, id, extras: { ...extras, ...(root && { replyToSeq: root.seq }) } })
  }

  #append(roomId: string, senderId: UserId, content: string, clientMessageId: ClientMessageId, own?: { readonly connection: ServerConnection; readonly id: object | 'lost'; readonly extras: { readonly replyToSeq?: number } }): NewMessageFrame {
    const room = this.room(roomId)
    const seq = room.events.length + 1
    const messageId: MessageId = messageIdOf(roomId as RoomId, senderId, clientMessageId)
    const place = { roomId: roomId as RoomId, seq, messageId, clientMessageId, messageIndex: ++room.messages, timestamp: this.nowMs() }
    const event: NewMessageFrame = { type: 'newMessage', ...place, senderId, content, ...own?.extras }
    const ack: AckFrame = { type: 'ack', ...place }
    const replyToSeq = own?.extras.replyToSeq
    room.events.push(event)
    // Who writes has seen up to his own message.
    room.receipts.set(senderId, { delivered: event.messageIndex, seen: event.messageIndex })
    room.acks.set(`${senderId} ${clientMessageId}`, ack)
    this.#spread(event, own?.connection, own?.id !== 'lost' && { ...own?.id, ...ack, ...(replyToSeq !== undefined && { replyToSeq }) })
    return event
  }

  /** `ack` takes the event's place on the connection that asked. */
  #spread(event: RoomEventFrame, asker: ServerConnection | undefined, ack: object | false): void {
    for (const connection of this.connections) if (connection.joined.has(event.roomId)) this.#push(connection, event, connection === asker ? ack : event)
  }

  #push(connection: ServerConnection, event: RoomEventFrame, frame: object | false): void {
    connection.joined.set(event.roomId, event.seq)
    if (frame && this.onPush(event)) connection.send(frame)
  }

  #refuse(connection: ServerConnection, id: object, { code, retryAfterMs }: Refusal): void {
    const { retriable, message } = errorCatalogue[code]
    connection.send({ ...id, type: 'error', code, message, retriable, ...(retryAfterMs !== undefined && { retryAfterMs }) })
  }
}
