import type { AckFrame, ErrorFrame, JoinedFrame, NewMessageFrame, ReplyFrame, RoomEventFrame } from '#libs/domain/frames.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { retryDelayMs } from './core/backoff.ts'
import { newCursor, onRoomInput, type RoomCursor, type RoomInput, type RoomOutcome, type RoomPhase, startJoining } from './core/room-cursor.ts'
import { Emitter } from './emitter.ts'
import { ChatClientError, type ClientErrorCode } from './errors.ts'
import type { Ports } from './ports.ts'
import type { Request } from './requests.ts'
import type { MessageAck, SentMessage } from './sender.ts'
import { Timer } from './timer.ts'

export type RoomEvents = {
  /** Each event of the room from `since + 1` on: in order of `seq`, without a hole, each exactly once, own messages too. */
  event: RoomEventFrame
  /** After every join, also the ones after a reconnect: who is in the room, its head, whether it is read-only. */
  joined: JoinedFrame
  /** Everything that was there at the join has been given: what follows is live. */
  caughtUp: { readonly seq: number }
  /** The room was lost; it is not joined again unless the app does. Its waiting messages fail with the same code. */
  left: { readonly code: ClientErrorCode; readonly message?: string }
}

/** A room as the app holds it. It keeps no history: the app does, and gives `lastSeq` back as `since` next time. */
export type Room = {
  readonly roomId: RoomId
  /** The last seq that was given to the app as an `event`. */
  readonly lastSeq: number
  readonly phase: RoomPhase
  /** Listeners set right after `join()` miss nothing. @returns takes the listener off again */
  on<K extends keyof RoomEvents>(name: K, listener: (value: RoomEvents[K]) => void): () => void
  /**
   * Puts a message into the outbox; it is sent as soon as it is its turn, and again under the same clientMessageId until
   * it is answered. Messages of a room are sent one after another, so their order is kept whatever happens.
   * @throws ChatClientError `outbox_full`, `content_too_long`, `room_left`, `client_closed`
   */
  send(content: string): SentMessage
  /** Leaves. Messages that wait stay in the outbox until the room is joined again. */
  leave(): void
}

export type RoomSessionOptions = {
  readonly ports: Pick<Ports, 'clock' | 'random'>
  readonly roomId: RoomId
  readonly since: number
  readonly request: (request: Request, onReply: (reply: ReplyFrame) => void) => void
  readonly send: (roomId: RoomId, content: string) => SentMessage
  readonly onLive: (roomId: RoomId) => void
  readonly onDelivered: (frame: RoomEventFrame) => void
  readonly onLost: (roomId: RoomId, code: ClientErrorCode) => void
  readonly onLeave: (roomId: RoomId) => void
  readonly onThrown: (err: unknown) => void
}

/** So long a one-room socket may take to join its room by itself before the client asks. */
const IMPLICIT_JOIN_MS = 10_000

/** Does for one room what core/room-cursor.ts decides. */
export class RoomSession implements Room {
  readonly roomId: RoomId
  readonly #options: RoomSessionOptions
  readonly #events: Emitter<RoomEvents>
  readonly #joinTimer: Timer
  #cursor: RoomCursor
  #joinRefusals = 0

  constructor(options: RoomSessionOptions) {
    this.#options = options
    this.roomId = options.roomId
    this.#events = new Emitter(options.onThrown)
    this.#joinTimer = new Timer(options.ports.clock)
    this.#cursor = newCursor(options.since)
  }

  get lastSeq(): number {
    return this.#cursor.lastSeq
  }

  get phase(): RoomPhase {
    return this.#cursor.phase
  }

  on<K extends keyof RoomEvents>(name: K, listener: (value: RoomEvents[K]) => void): () => void {
    return this.#events.on(name, listener)
  }

  send(content: string): SentMessage {
    if (this.phase === 'left') throw new ChatClientError('room_left')
    return this.#options.send(this.roomId, content)
  }

  leave(): void {
    if (this.phase === 'left') return
    if (this.phase !== 'away') this.#options.request({ type: 'leave', roomId: this.roomId }, () => {})
    this.#joinTimer.stop()
    this.#apply({ type: 'left' })
    this.#options.onLeave(this.roomId)
  }

  /** The socket is up, or the app wants a room that was lost. `implicit`: the server joins by itself. */
  start(implicit: boolean): void {
    this.#cursor = startJoining(this.#cursor)
    this.#joinRefusals = 0
    if (implicit) this.#joinTimer.start(IMPLICIT_JOIN_MS, () => this.#join())
    else this.#join()
  }

  /** For a room that was lost and is wanted again while there is no connection. */
  reset(): void {
    this.#cursor = newCursor(this.lastSeq)
  }

  onEvent(frame: RoomEventFrame): void {
    if (this.#apply({ type: 'event', seq: frame.seq }) === 'deliver') this.#deliver(frame)
  }

  /** `content` is undefined where the outbox does not have the message any more: then the event has to be fetched. */
  onOwnAck(ack: MessageAck, senderId: UserId, content: string | undefined): void {
    const { roomId, seq, messageId, clientMessageId, messageIndex, timestamp } = ack
    const outcome = this.#apply({ type: 'ownAck', seq, repeated: ack.repeated || content === undefined })
    if (outcome !== 'deliver' || content === undefined) return
    const frame: NewMessageFrame = { type: 'newMessage', roomId, seq, messageId, clientMessageId, senderId, messageIndex, content, timestamp }
    this.#deliver(frame)
  }

  onJoined(frame: JoinedFrame): void {
    if (this.phase !== 'joining') return
    this.#joinTimer.stop()
    this.#joinRefusals = 0
    this.#apply({ type: 'joined', since: frame.since })
    this.#events.emit('joined', frame)
  }

  onCaughtUp(seq: number): void {
    if (this.#apply({ type: 'caughtUp', seq }) !== 'live') return
    this.#events.emit('caughtUp', { seq })
    this.#options.onLive(this.roomId)
  }

  onHead(seq: number | undefined): void {
    this.#apply({ type: 'head', seq })
  }

  onNotJoined(): void {
    this.#apply({ type: 'notJoined' })
  }

  onDisconnected(): void {
    this.#joinTimer.stop()
    this.#apply({ type: 'disconnected' })
  }

  onLost(code: ClientErrorCode, message?: string): void {
    if (this.phase === 'left') return
    this.#joinTimer.stop()
    this.#apply({ type: 'left' })
    this.#options.onLost(this.roomId, code)
    this.#events.emit('left', { code, ...(message !== undefined && { message }) })
  }

  #apply(input: RoomInput): RoomOutcome {
    const { cursor, outcome } = onRoomInput(this.#cursor, input)
    this.#cursor = cursor
    if (outcome === 'join') this.#joinAgain(cursor.fruitlessJoins)
    return outcome
  }

  #deliver(frame: RoomEventFrame): void {
    this.#events.emit('event', frame)
    this.#options.onDelivered(frame)
  }

  /** The first time at once; if joining does not help, ever slower. */
  #joinAgain(fruitlessJoins: number): void {
    if (fruitlessJoins <= 1) this.#join()
    else this.#joinTimer.start(retryDelayMs(fruitlessJoins - 2, this.#options.ports.random()), () => this.#join())
  }

  #join(): void {
    this.#joinTimer.stop()
    this.#options.request({ type: 'join', roomId: this.roomId, since: this.lastSeq }, (reply) => this.#onJoinReply(reply))
  }

  #onJoinReply(reply: ReplyFrame | AckFrame): void {
    if (reply.type === 'joined') this.onJoined(reply)
    else if (reply.type === 'error') this.#onJoinRefused(reply)
  }

  #onJoinRefused({ code, message, retriable, retryAfterMs }: ErrorFrame): void {
    if (this.phase !== 'joining') return
    if (!retriable) {
      this.onLost(code, message)
      return
    }
    const delayMs = retryDelayMs(this.#joinRefusals++, this.#options.ports.random(), { retryAfterMs })
    this.#joinTimer.start(delayMs, () => this.#join())
  }
}
