import type { AckFrame, ErrorFrame, JoinedFrame, PresenceFields, ReplyFrame, RoomEventFrame } from '#libs/domain/frames.ts'
import type { MessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import type { Metadata, ReportReason } from '#libs/domain/room.ts'
import { retryDelayMs } from './core/backoff.ts'
import { type MessageExtras, ownMessageFrame } from './core/extras.ts'
import type { OperationAck, OperationRequest } from './core/operations.ts'
import { newCursor, onRoomInput, type RoomCursor, type RoomInput, type RoomOutcome, type RoomPhase, startJoining } from './core/room-cursor.ts'
import { Emitter } from './emitter.ts'
import { ChatClientError, type ClientErrorCode } from './errors.ts'
import type { OutboxEntry, Ports } from './ports.ts'
import { Receipts } from './receipts.ts'
import type { Request } from './requests.ts'
import type { MessageAck, SentMessage } from './sender.ts'
import { Timer } from './timer.ts'
import { Typing } from './typing.ts'

export type RoomEvents = {
  /** Each event of the room from `since + 1` on: in order of `seq`, without a hole, each exactly once, own messages too. */
  event: RoomEventFrame
  /** After every join, also the ones after a reconnect: who is in the room, its head, whether it is read-only. */
  joined: JoinedFrame
  /** Everything that was there at the join has been given: what follows is live. */
  caughtUp: { readonly seq: number }
  /** The room was lost; it is not joined again unless the app does. Its waiting messages fail with the same code. */
  left: { readonly code: ClientErrorCode; readonly message?: string }
  /** `room.unread` has changed. */
  unread: { readonly unread: number }
  /** Somebody began to type, or ended: said so, or was not heard of for 5 s. Not durable. */
  typing: { readonly userId: UserId; readonly on: boolean }
  /** Of people of this room: all at each join, then who changes. Not durable. */
  presence: { readonly users: readonly PresenceFields[] }
}

/** A room as the app holds it. It keeps no history: the app does, and gives `lastSeq` back as `since` next time. */
export type Room = {
  readonly roomId: RoomId
  /** The last seq that was given to the app as an `event` (or that lies before what this user is shown of the room). */
  readonly lastSeq: number
  readonly phase: RoomPhase
  /** The room's messages minus the messageIndex up to which this user has seen them. 0 before the first join. */
  readonly unread: number
  /** By a moderator: nobody can write for now. */
  readonly frozen: boolean
  /** Listeners set right after `join()` miss nothing. @returns takes the listener off again */
  on<K extends keyof RoomEvents>(name: K, listener: (value: RoomEvents[K]) => void): () => void
  /**
   * Puts a message into the outbox; it is sent as soon as it is its turn, and again under the same clientMessageId until
   * it is answered. Messages of a room are sent one after another, so their order is kept whatever happens.
   * @throws ChatClientError `outbox_full`, `content_too_long`, `invalid_attachment`, `invalid_request`, `room_left`, `client_closed`
   */
  send(content: string, extras?: MessageExtras): SentMessage
  /**
   * These are sent in the order of asking once the room is live, one at a time, and again under the same id until they
   * are acknowledged (the promise resolves; the event has been given before) or refused for good (it rejects with a
   * ChatClientError). They wait in memory alone: `client_closed` ends them.
   */
  edit(messageId: string, text: string): Promise<OperationAck>
  delete(messageId: string): Promise<OperationAck>
  /** `on: false` takes it back. */
  react(messageId: string, emoji: string, on?: boolean): Promise<OperationAck>
  /** Of a group, by its owners; of somebody who is in: changes his role. */
  addParticipant(userId: string, role?: 'owner' | 'member' | 'observer'): Promise<OperationAck>
  /** Oneself: leaves the conversation for good (`leave()` only stops following it). */
  removeParticipant(userId: string): Promise<OperationAck>
  change(change: { readonly name?: string; readonly metadata?: Metadata }): Promise<OperationAck>
  inviteMediator(userId: string): Promise<OperationAck>
  /** Needs no live room: who is invited cannot join before. Afterwards `client.join()` can. */
  acceptInvitation(): Promise<OperationAck>
  resolveDispute(note?: string): Promise<OperationAck>
  /** To the moderators. Nobody else in the room is told. */
  reportMessage(messageId: string, reason: ReportReason, note?: string): Promise<OperationAck>
  /**
   * Up to which messageIndex this user has seen all, or this device has it: of messages that this room has given; what is above the last
   * of them counts as that one. Told at most four times a second, until the server knows.
   */
  markSeen(messageIndex: number): void
  markDelivered(messageIndex: number): void
  /** That this user types; it is said again while it lasts, until `typing(false)` or the next `send`. */
  typing(on: boolean): void
  /** Leaves. Messages that wait stay in the outbox until the room is joined again. */
  leave(): void
}

export type RoomSessionOptions = {
  readonly ports: Pick<Ports, 'clock' | 'random'>
  readonly roomId: RoomId
  readonly since: number
  readonly request: (request: Request, onReply: (reply: ReplyFrame) => void) => void
  /** Without a reply. */
  readonly tell: (request: Request) => void
  readonly send: (roomId: RoomId, content: string, extras?: MessageExtras) => SentMessage
  readonly ask: (request: OperationRequest) => Promise<OperationAck>
  readonly userId: () => UserId | undefined
  readonly onLive: (roomId: RoomId) => void
  readonly onDelivered: (frame: RoomEventFrame) => void
  readonly onLost: (roomId: RoomId, code: ClientErrorCode) => void
  readonly onLeave: (roomId: RoomId) => void
  readonly onError: (error: ChatClientError) => void
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
  readonly #receipts: Receipts
  readonly #typing: Typing
  #cursor: RoomCursor
  #joinRefusals = 0
  #frozen = false

  constructor(options: RoomSessionOptions) {
    this.#options = options
    this.roomId = options.roomId
    this.#events = new Emitter(options.onThrown)
    this.#joinTimer = new Timer(options.ports.clock)
    this.#cursor = newCursor(options.since)
    const { ports, roomId, request, tell, userId, onError } = options
    const isLive = () => this.phase === 'live'
    this.#typing = new Typing({ ports, roomId, isLive, tell, onTyping: (typing) => this.#events.emit('typing', typing) })
    this.#receipts = new Receipts({
      ports,
      roomId,
      request,
      userId,
      isLive,
      onUnread: (unread) => this.#events.emit('unread', { unread }),
      onOwnAck: (ack) => this.onAck(ack),
      onNotJoined: () => this.onNotJoined(),
      onError,
    })
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

  get frozen(): boolean {
    return this.#frozen
  }

  get unread(): number {
    return this.#receipts.unread
  }

  send(content: string, extras?: MessageExtras): SentMessage {
    if (this.phase === 'left') throw new ChatClientError('room_left')
    const sent = this.#options.send(this.roomId, content, extras)
    this.#typing.set(false)
    return sent
  }

  edit(messageId: string, text: string): Promise<OperationAck> {
    return this.#ask({ type: 'editMessage', roomId: this.roomId, messageId: messageId as MessageId, message: text })
  }

  delete(messageId: string): Promise<OperationAck> {
    return this.#ask({ type: 'deleteMessage', roomId: this.roomId, messageId: messageId as MessageId })
  }

  react(messageId: string, emoji: string, on = true): Promise<OperationAck> {
    return this.#ask({ type: 'react', roomId: this.roomId, messageId: messageId as MessageId, emoji, on })
  }

  addParticipant(userId: string, role?: 'owner' | 'member' | 'observer'): Promise<OperationAck> {
    return this.#ask({ type: 'addParticipant', roomId: this.roomId, userId: userId as UserId, ...(role && { role }) })
  }

  removeParticipant(userId: string): Promise<OperationAck> {
    return this.#ask({ type: 'removeParticipant', roomId: this.roomId, userId: userId as UserId })
  }

  change({ name, metadata }: { readonly name?: string; readonly metadata?: Metadata }): Promise<OperationAck> {
    return this.#ask({ type: 'changeRoom', roomId: this.roomId, ...(name !== undefined && { name }), ...(metadata && { metadata }) })
  }

  inviteMediator(userId: string): Promise<OperationAck> {
    return this.#ask({ type: 'inviteMediator', roomId: this.roomId, userId: userId as UserId })
  }

  acceptInvitation(): Promise<OperationAck> {
    return this.#options.ask({ type: 'acceptInvitation', roomId: this.roomId })
  }

  resolveDispute(note?: string): Promise<OperationAck> {
    return this.#ask({ type: 'resolveDispute', roomId: this.roomId, ...(note !== undefined && { note }) })
  }

  reportMessage(messageId: string, reason: ReportReason, note?: string): Promise<OperationAck> {
    return this.#ask({ type: 'reportMessage', roomId: this.roomId, messageId: messageId as MessageId, reason, ...(note !== undefined && { note }) })
  }

  markSeen(messageIndex: number): void {
    this.#receipts.mark({ seen: messageIndex })
  }

  markDelivered(messageIndex: number): void {
    this.#receipts.mark({ delivered: messageIndex })
  }

  typing(on: boolean): void {
    if (this.phase !== 'left') this.#typing.set(on)
  }

  leave(): void {
    if (this.phase === 'left') return
    this.#typing.set(false)
    if (this.phase !== 'away') this.#options.request({ type: 'leave', roomId: this.roomId }, () => {})
    this.#end()
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

  /** `entry` is undefined where the outbox does not have the message any more: then the event has to be fetched. */
  onOwnMessage(ack: MessageAck, senderId: UserId, entry: OutboxEntry | undefined): void {
    const frame = entry && ownMessageFrame(ack, senderId, entry.content, entry.extras)
    if (this.#apply({ type: 'ownAck', seq: ack.seq, repeated: ack.repeated || !frame }) === 'deliver') this.#deliver(frame!)
  }

  /** Of any other request: its event stands in the log's order where the ack does. One that made no event stands nowhere. */
  onAck({ seq, event, unchanged }: Pick<AckFrame, 'seq' | 'event'> & { readonly unchanged?: boolean }): void {
    if (unchanged || seq === undefined) return
    if (this.#apply({ type: 'ownAck', seq, repeated: event?.seq !== seq }) === 'deliver') this.#deliver(event!)
  }

  onTyping(userId: UserId, on: boolean): void {
    if (this.phase === 'live' || this.phase === 'replaying') this.#typing.heard(userId, on)
  }

  onPresence(users: readonly PresenceFields[]): void {
    if (this.phase !== 'left') this.#events.emit('presence', { users })
  }

  onJoined(frame: JoinedFrame): void {
    if (this.phase !== 'joining') return
    this.#joinTimer.stop()
    this.#joinRefusals = 0
    this.#apply({ type: 'joined', since: frame.since, visibleFrom: frame.visibleFrom })
    this.#receipts.onJoined(frame)
    this.#frozen = frame.frozen === true
    this.#events.emit('joined', frame)
  }

  onCaughtUp(seq: number): void {
    if (this.#apply({ type: 'caughtUp', seq }) !== 'live') return
    this.#events.emit('caughtUp', { seq })
    this.#options.onLive(this.roomId)
    this.#receipts.flush()
    this.#typing.onLive()
  }

  onHead(seq: number | undefined): void {
    this.#apply({ type: 'head', seq })
  }

  onNotJoined(): void {
    this.#apply({ type: 'notJoined' })
  }

  onDisconnected(): void {
    this.#joinTimer.stop()
    this.#receipts.onDisconnected()
    this.#typing.onDisconnected()
    this.#apply({ type: 'disconnected' })
  }

  onLost(code: ClientErrorCode, message?: string): void {
    if (this.phase === 'left') return
    this.#end()
    this.#options.onLost(this.roomId, code)
    this.#events.emit('left', { code, ...(message !== undefined && { message }) })
  }

  #ask(request: OperationRequest): Promise<OperationAck> {
    if (this.phase !== 'left') return this.#options.ask(request)
    const refused = Promise.reject(new ChatClientError('room_left'))
    // As with every other request the app may ignore how it ended.
    refused.catch(() => {})
    return refused
  }

  #end(): void {
    this.#joinTimer.stop()
    this.#apply({ type: 'left' })
    this.#receipts.onDisconnected()
    this.#typing.end()
  }

  #apply(input: RoomInput): RoomOutcome {
    const { cursor, outcome } = onRoomInput(this.#cursor, input)
    this.#cursor = cursor
    if (outcome === 'join') this.#joinAgain(cursor.fruitlessJoins)
    return outcome
  }

  #deliver(frame: RoomEventFrame): void {
    this.#receipts.onEvent(frame)
    // Who has said it types no more.
    if (frame.type === 'newMessage') this.#typing.heard(frame.senderId, false)
    else if (frame.event === 'roomFrozen') this.#frozen = frame.on
    this.#events.emit('event', frame)
    this.#receipts.announce()
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
