import { closeCodes, type CloseName, closeReason } from '#libs/domain/close-codes.ts'
import { type ErrorCode, errorCatalogue } from '#libs/domain/errors.ts'
import type { AckFrame, ClientFrame, NewMessageFrame, RoomEventFrame } from '#libs/domain/frames.ts'
import { type ClientMessageId, type MessageId, messageIdOf, type RoomId, type UserId } from '#libs/domain/ids.ts'

/** What carries one connection: a real socket or a piece of memory. */
export type Wire = { send(text: string): void; close(code: number, reason: string): void }
export type Refusal = { readonly code: ErrorCode; readonly retryAfterMs?: number }

type Room = { readonly events: RoomEventFrame[]; readonly acks: Map<string, AckFrame>; messages: number }
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
  /** Every sendMessage that came, whatever became of it. */
  readonly sends: (ClientFrame & { type: 'sendMessage' })[] = []
  readonly joins: (ClientFrame & { type: 'join' })[] = []
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
  }

  receive(connection: ServerConnection, text: string): void {
    const frame = JSON.parse(text) as ClientFrame
    connection.received.push(frame)
    if (frame.type === 'sendMessage') this.sends.push(frame)
    if (frame.type === 'join') this.joins.push(frame)
    const verdict = this.onRequest(frame)
    const id = frame.id === undefined ? {} : { id: frame.id }
    if (verdict !== undefined && verdict !== 'loseReply') this.#refuse(connection, id, verdict)
    else this.#work(connection, frame, verdict === 'loseReply' ? 'lost' : id)
  }

  append(roomId: string, senderId: string, content: string): NewMessageFrame {
    return this.#append(roomId, senderId as UserId, content, `0190a000-0000-7000-8000-${String(this.room(roomId).events.length).padStart(12, '0')}` as ClientMessageId)
  }

  room(roomId: string): Room {
    const room = this.rooms.get(roomId) ?? { events: [], acks: new Map(), messages: 0 }
    this.rooms.set(roomId, room)
    return room
  }

  heartbeat(): void {
    for (const connection of this.connections) {
      const heads = Object.fromEntries([...connection.joined.keys()].map((roomId) => [roomId, this.room(roomId).events.length]))
      connection.send({ type: 'heartbeat', serverTimeMs: this.nowMs(), heads })
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
    }
  }

  #join(connection: ServerConnection, roomId: string, since: number, id: object): void {
    const { events, messages } = this.room(roomId)
    if (since > events.length) return this.#refuse(connection, id, { code: 'invalid_request' })
    connection.joined.set(roomId, since)
    connection.send({ ...id, type: 'joined', roomId, since, headSeq: events.length, messageCount: messages, readOnly: false, participants: [] })
    for (const event of events.slice(since)) this.#push(connection, event, event)
    connection.send({ type: 'caughtUp', roomId, seq: events.length })
  }

  #sendMessage(connection: ServerConnection, frame: ClientFrame & { type: 'sendMessage' }, id: object | 'lost'): void {
    const { roomId = '', message, clientMessageId = '' } = frame
    const room = this.room(roomId)
    if (!connection.joined.has(roomId)) return this.#refuse(connection, id === 'lost' ? {} : id, { code: 'not_joined' })
    const known = room.acks.get(`${connection.userId} ${clientMessageId}`)
    if (known) {
      if (id !== 'lost') connection.send({ ...id, ...known, repeated: true })
      return
    }
    this.#append(roomId, connection.userId, message, clientMessageId as ClientMessageId, { connection, id })
  }

  #append(roomId: string, senderId: UserId, content: string, clientMessageId: ClientMessageId, own?: { readonly connection: ServerConnection; readonly id: object | 'lost' }): NewMessageFrame {
    const room = this.room(roomId)
    const seq = room.events.length + 1
    const messageId: MessageId = messageIdOf(roomId as RoomId, senderId, clientMessageId)
    const place = { roomId: roomId as RoomId, seq, messageId, clientMessageId, messageIndex: ++room.messages, timestamp: this.nowMs() }
    const event: NewMessageFrame = { type: 'newMessage', ...place, senderId, content }
    const ack: AckFrame = { type: 'ack', ...place }
    room.events.push(event)
    room.acks.set(`${senderId} ${clientMessageId}`, ack)
    for (const connection of this.connections) {
      const last = connection.joined.get(roomId)
      if (last !== undefined) this.#push(connection, event, connection === own?.connection ? own.id !== 'lost' && { ...own.id, ...ack } : event)
    }
    return event
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
