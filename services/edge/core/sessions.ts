import { ChatError } from '#libs/domain/errors.ts'
import type { ClientFrame, RequestId } from '#libs/domain/frames.ts'
import type { RoomId } from '#libs/domain/ids.ts'
import { roomOf } from './command-bodies.ts'
import type { Commands } from './commands.ts'
import { type ClientSocket, Connection, type Speaker } from './connection.ts'
import { errorFrameOf } from './frames.ts'
import type { Inbox } from './inbox.ts'
import type { Realtime, RealtimeFrame } from './ports.ts'
import { parseRequest } from './requests.ts'
import type { Rooms } from './rooms.ts'

export type SessionsOptions = {
  readonly rooms: Rooms
  readonly commands: Commands
  /** @throws ChatError for a token that is not valid */
  readonly verify: (token: string) => Promise<Speaker>
  /** Rejects with `rate_limited` when a request of this connection exceeds its own or its user's rate. */
  readonly consume: (connection: Connection) => Promise<void>
  /** Without it, what is not durable is refused. */
  readonly realtime?: Realtime | undefined
  /** Without it, users' own lists are refused. */
  readonly inbox?: Pick<Inbox, 'sync' | 'setChat' | 'headOf' | 'forget'> | undefined
  readonly onOpened: (connection: Connection) => void
  readonly onClosed: (connection: Connection) => void
  readonly onError: (err: unknown, connection: Connection) => void
  readonly newId: () => string
  readonly nowMs: () => number
  readonly random: () => number
  readonly limits: SessionLimits
}

export type SessionLimits = {
  readonly heartbeatMs: number
  readonly frameBytesMax: number
  /** A request that takes longer costs its socket. */
  readonly requestTimeoutMs: number
  /** Requests of one socket that wait for their turn. */
  readonly queuedPerSocketMax: number
  /** Malformed frames, and refused floods, after which a socket is closed. */
  readonly malformedMax: number
  readonly refusalsMax: number
}

/** The open sockets of this edge: from the upgrade to the close. */
export class Sessions {
  readonly #options: SessionsOptions
  readonly #connections = new Set<Connection>()

  constructor(options: SessionsOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#connections.size
  }

  get connections(): ReadonlySet<Connection> {
    return this.#connections
  }

  open(id: string, socket: ClientSocket, speaker: Speaker, first?: { readonly roomId: RoomId; readonly since: number }): Connection {
    const { nowMs, random, limits, onOpened } = this.#options
    const { heartbeatMs } = limits
    // Spread over the interval, so that sockets that came together do not beat together.
    const connection = new Connection({ id, socket, speaker, defaultRoom: first?.roomId, nextHeartbeatMs: nowMs() + heartbeatMs * (0.5 + random() / 2) })
    this.#connections.add(connection)
    onOpened(connection)
    this.#options.realtime?.opened(connection)
    const { userId, expiresAtMs } = speaker
    connection.send({ type: 'connected', connectionId: id, userId, serverTimeMs: nowMs(), heartbeatMs, expiresAtMs })
    if (first) this.#inTurn(connection, undefined, 'join', () => this.#joinFirst(connection, first))
    return connection
  }

  receive(connection: Connection, text: string): void {
    const { limits } = this.#options
    const parsed = parseRequest(text)
    if (!parsed.ok) {
      this.refuseMalformed(connection, parsed.id, parsed.error)
      return
    }
    const { frame } = parsed
    if (connection.queued >= limits.queuedPerSocketMax) {
      connection.send(errorFrameOf(frame.id, new ChatError('too_many_pending', undefined, { retryAfterMs: 500 })))
      this.#countRefusal(connection)
      return
    }
    this.#inTurn(connection, frame.id, frame.type, () => this.#handle(connection, frame))
  }

  refuseMalformed(connection: Connection, id: RequestId | undefined, error: ChatError): void {
    connection.send(errorFrameOf(id, error))
    if (++connection.malformed >= this.#options.limits.malformedMax) connection.close('malformed_frame')
  }

  closed(connection: Connection): void {
    connection.onClosed()
    this.#connections.delete(connection)
    this.#options.commands.forget(connection)
    this.#options.rooms.leaveAll(connection)
    this.#options.inbox?.forget(connection)
    this.#options.realtime?.closed(connection)
    this.#options.onClosed(connection)
  }

  /** Once a second: heartbeats that are due, tokens that have expired. */
  tick(): void {
    const nowMs = this.#options.nowMs()
    for (const connection of this.#connections) {
      const { busy } = connection
      if (connection.speaker.expiresAtMs <= nowMs) connection.close('token_expired')
      else if (busy && nowMs - busy.sinceMs > this.#options.limits.requestTimeoutMs) this.#closeStuck(connection, busy.what)
      else if (connection.nextHeartbeatMs <= nowMs) this.#beat(connection, nowMs)
    }
  }

  /** Every wait below has a bound of its own, so this is a bug or a stranger's; a socket without answers helps nobody. */
  #closeStuck(connection: Connection, what: string): void {
    this.#options.onError(new ChatError('internal', `a ${what} has not ended in ${this.#options.limits.requestTimeoutMs} ms`), connection)
    connection.close('internal', 1_000)
  }

  #beat(connection: Connection, nowMs: number): void {
    connection.nextHeartbeatMs = nowMs + this.#options.limits.heartbeatMs
    const userSeq = this.#options.inbox?.headOf(connection)
    connection.send({ type: 'heartbeat', serverTimeMs: nowMs, heads: this.#options.rooms.headsOf(connection), ...(userSeq !== undefined && { userSeq }) })
  }

  #inTurn(connection: Connection, id: RequestId | undefined, what: string, work: () => Promise<void>): void {
    connection.queued++
    connection.tail = connection.tail.then(async () => {
      connection.busy = { what, sinceMs: this.#options.nowMs() }
      try {
        if (!connection.closed) await work()
      } catch (err) {
        this.#fail(connection, id, err)
      } finally {
        connection.queued--
        connection.busy = undefined
      }
    })
  }

  #fail(connection: Connection, id: RequestId | undefined, err: unknown): void {
    connection.send(errorFrameOf(id, err))
    if (err instanceof ChatError) {
      if (err.code === 'rate_limited') this.#countRefusal(connection)
    } else this.#options.onError(err, connection)
  }

  #countRefusal(connection: Connection): void {
    if (++connection.refusals >= this.#options.limits.refusalsMax) connection.close('rate_limited', 5_000)
  }

  async #joinFirst(connection: Connection, { roomId, since }: { readonly roomId: RoomId; readonly since: number }): Promise<void> {
    try {
      await this.#options.rooms.join(connection, roomId, since, undefined)
    } catch (err) {
      // The handshake has admitted just now, so this is trouble of ours, or he was removed in between.
      if (err instanceof ChatError && err.code === 'not_a_participant') connection.close('not_a_participant')
      else connection.close('history_unavailable', 1_000)
    }
  }

  async #handle(connection: Connection, frame: ClientFrame): Promise<void> {
    const { rooms, commands, nowMs } = this.#options
    await this.#options.consume(connection)
    switch (frame.type) {
      case 'join':
        await rooms.join(connection, frame.roomId, frame.since ?? 0, frame.id)
        return
      case 'leave': {
        const roomId = roomOf(connection, frame.roomId)
        if (!rooms.leave(connection, roomId)) throw new ChatError('not_joined')
        this.#ack(connection, frame.id, { roomId })
        return
      }
      case 'authenticate':
        await this.#renew(connection, frame)
        return
      case 'ping':
        this.#ack(connection, frame.id, { serverTimeMs: nowMs() })
        return
      case 'mark':
        commands.mark(connection, frame)
        return
      case 'typing':
      case 'setPresence':
      case 'watchProducts':
        await this.#handleRealtime(connection, frame)
        return
      case 'sync':
      case 'setChat':
        await this.#handleInbox(connection, frame)
        return
      default:
        await commands.request(connection, frame)
    }
  }

  async #handleRealtime(connection: Connection, frame: RealtimeFrame): Promise<void> {
    if (!this.#options.realtime) throw new ChatError('unavailable')
    await this.#options.realtime.handle(connection, frame)
  }

  async #handleInbox(connection: Connection, frame: ClientFrame & { readonly type: 'sync' | 'setChat' }): Promise<void> {
    const { inbox } = this.#options
    if (!inbox) throw new ChatError('unavailable')
    if (frame.type === 'sync') await inbox.sync(connection, frame.cursor ?? 0, frame.id)
    else await inbox.setChat(connection, frame)
  }

  async #renew(connection: Connection, frame: ClientFrame & { type: 'authenticate' }): Promise<void> {
    const speaker = await this.#options.verify(frame.token)
    // Another user, or other rights, is another socket.
    if (speaker.userId !== connection.speaker.userId || speaker.role !== connection.speaker.role) {
      throw new ChatError('token_invalid', 'the new token must be of the same user and role')
    }
    connection.speaker = speaker
    this.#ack(connection, frame.id, { expiresAtMs: speaker.expiresAtMs })
  }

  #ack(connection: Connection, id: RequestId | undefined, fields: object): void {
    if (id !== undefined) connection.send({ id, type: 'ack', ...fields })
  }
}
