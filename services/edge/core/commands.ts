import { ChatError, errorCatalogue } from '#libs/domain/errors.ts'
import type { ClientFrame } from '#libs/domain/frames.ts'
import { type ClientMessageId, parseClientMessageId, type RoomId, type UserId } from '#libs/domain/ids.ts'
import type { RoomCommand, RoomCommandBody } from '#libs/domain/inputs.ts'
import type { RoomLimits } from '#libs/domain/limits.ts'
import { type Entry, isRoomEvent, type RoomEvent } from '#libs/domain/room.ts'
import type { Decision } from '#libs/streams/avro-shapes.ts'
import { ackOf, repeatedAckOf, unchangedAckOf } from './acks.ts'
import { bodyOf, type DurableFrame, inOwnSpelling, needsNoJoin, roomOf, roomOfRequest, targetOf } from './command-bodies.ts'
import type { Connection } from './connection.ts'
import { errorFrame, errorFrameOf } from './frames.ts'
import type { Lookups } from './lookups.ts'
import { type Mark, Marks } from './marks.ts'
import { type Asker, type PendingCommand, PendingCommands } from './pending-commands.ts'
import type { EdgeClock } from './ports.ts'
import { type RoomView, visibleFrom } from './room-view.ts'

/** Of one user in one room: at most one command in this time. */
const MARKS_GATHERED_MS = 250

export type CommandsOptions = {
  /** Resolves when the command is durable in the log. @throws ChatError `unavailable`: it may be there all the same */
  readonly publish: (command: RoomCommand) => Promise<void>
  readonly lookups: Pick<Lookups, 'messageSeq' | 'settings' | 'hasConversationsMax'>
  /** Of a room that somebody here has joined. */
  readonly viewOf: (roomId: RoomId) => RoomView | undefined
  /** Has answers about a room heard that nobody here need have joined, until what it gives is called. */
  readonly follow: (roomId: RoomId) => Promise<() => void>
  readonly newId: () => string
  readonly newSalt: () => string
  /** UUIDv7 of now, for clients that send none. */
  readonly newClientMessageId: () => ClientMessageId
  readonly clock: EdgeClock
  readonly limits: {
    readonly room: RoomLimits
    readonly pendingPerSocketMax: number
    /** Without an answer in the log after this, the outcome is unknown to the client. */
    readonly answerTimeoutMs: number
  }
  readonly onAck?: (tookMs: number) => void
}

/** What participants ask for, on its way into the log and back as acks: each request is answered exactly once. */
export class Commands {
  readonly #options: CommandsOptions
  readonly #pending = new PendingCommands()
  readonly #marks: Marks

  constructor(options: CommandsOptions) {
    this.#options = options
    const { clock, lookups } = options
    this.#marks = new Marks({
      clock,
      gatherMs: MARKS_GATHERED_MS,
      isHidden: async (userId) => (await lookups.settings(userId)).hideReceipts,
      publish: (mark) => this.#publishMark(mark),
    })
  }

  get pending(): number {
    return this.#pending.size
  }

  /**
   * Sends off what becomes an event; its ack comes through the log. In its socket's turn, so that what one sender asks for
   * reaches the log in his order. @throws ChatError for what is refused here already
   */
  async request(connection: Connection, asked: DurableFrame): Promise<void> {
    const frame = inOwnSpelling(asked)
    const { limits, newSalt, newClientMessageId } = this.#options
    const { userId: senderId } = connection.speaker
    const roomId = roomOfRequest(connection, frame)
    this.#checkRights(connection, roomId, needsNoJoin(frame))
    let body = bodyOf(frame, { roomId, senderId, limits: limits.room, newSalt })
    const given = 'clientMessageId' in frame ? frame.clientMessageId : undefined
    const clientMessageId = given === undefined ? newClientMessageId() : parseClientMessageId(given)
    this.#checkPending(connection)
    if (hasTarget(body)) body = await this.#withSeq(connection, roomId, body)
    if (frame.type === 'createConversation' && (await this.#options.lookups.hasConversationsMax(senderId, roomId))) {
      throw new ChatError('too_many_rooms', 'as many conversations as one may make')
    }
    const release = needsNoJoin(frame) ? await this.#options.follow(roomId) : undefined
    this.#send(roomId, senderId, body, {
      clientMessageId,
      askers: [{ connection, requestId: frame.id }],
      // A conversation has its own id, which its creator repeats.
      toldId: frame.type === 'createConversation' ? undefined : clientMessageId,
      messageId: targetOf(frame),
      release,
    })
  }

  /** Takes a mark, which goes into the log with others. @throws ChatError for what is refused here already */
  mark(connection: Connection, frame: ClientFrame & { readonly type: 'mark' }): void {
    const { id, delivered, seen } = frame
    const roomId = roomOf(connection, frame.roomId)
    this.#checkRights(connection, roomId, false)
    if (delivered === undefined && seen === undefined) throw new ChatError('invalid_request', 'delivered or seen is needed')
    const view = this.#options.viewOf(roomId)
    const has = view?.receipts.get(connection.speaker.userId)
    // What is so already need not be asked of the log: cursors only go up.
    if (view && has && (delivered ?? 0) <= has.delivered && (seen ?? 0) <= has.seen) {
      if (id !== undefined) after(connection, roomId, view.headSeq, unchangedAckOf({ roomId }, id, view.headSeq))
      return
    }
    if (id !== undefined) this.#checkPending(connection)
    this.#marks.add(connection, roomId, frame)
  }

  /** The ack of `event`, if it is the one that answers a command of this edge, and somebody wants one. */
  takeOwnAck(event: RoomEvent, { commandId, entries }: Decision): { connection: Connection; frame: string } | undefined {
    if (commandId === undefined || lastEvent(entries)?.seq !== event.seq) return undefined
    const command = this.#take(commandId)
    if (!command) return undefined
    const [first, ...others] = wanting(command)
    // One ack on each socket stands for the event, and only one can: the others come behind it.
    for (const { connection, requestId } of others) after(connection, command.roomId, event.seq, unchangedAckOf(command, requestId, event.seq))
    return first && { connection: first.connection, frame: ackOf(command, first.requestId, event) }
  }

  /** Answers what the events of a decision have not answered: refusals, repeats, and events of rooms not followed here. */
  onReply(decision: Decision): void {
    const command = decision.commandId === undefined ? undefined : this.#take(decision.commandId)
    if (!command) return
    const event = lastEvent(decision.entries)
    if (event) return this.#answerEvent(command, event)
    const isAnswered = decision.entries.some((entry) => this.#answer(command, entry))
    // A newer room-state may answer in words that this node does not know.
    if (!isAnswered) this.#refuse(command, new ChatError('outcome_unknown'))
  }

  /** Tells those who have waited too long that the outcome is unknown. */
  expire(): void {
    const { clock, limits } = this.#options
    for (const command of this.#pending.takeOlderThan(clock.nowMs() - limits.answerTimeoutMs)) this.#refuse(command, new ChatError('outcome_unknown'))
  }

  /** A socket has closed. What it has asked for is done all the same. */
  forget(connection: Connection): void {
    this.#marks.forget(connection)
    this.#pending.dropOf(connection)
  }

  #checkRights(connection: Connection, roomId: RoomId, isOutside: boolean): void {
    const { role } = connection.speaker
    if (role === 'admin') throw new ChatError('admin_is_read_only')
    // What they do as such goes by the api.
    if (role === 'moderator') throw new ChatError('not_allowed')
    if (!isOutside && !connection.subscriptions.has(roomId)) throw new ChatError('not_joined')
  }

  #checkPending({ pending }: Connection): void {
    if (pending >= this.#options.limits.pendingPerSocketMax) throw new ChatError('too_many_pending', undefined, { retryAfterMs: 500 })
  }

  /** Where the history has the message that it is about; a recent one the log finds by itself. */
  async #withSeq(connection: Connection, roomId: RoomId, body: Targeted): Promise<RoomCommandBody> {
    const messageId = body.type === 'sendMessage' ? body.replyTo! : body.messageId
    const seq = await this.#options.lookups.messageSeq(roomId, messageId)
    if (seq === undefined) return body
    const view = this.#options.viewOf(roomId)
    // From before he came: for him there is no such message.
    if (view && seq < visibleFrom(view, connection.speaker)) throw new ChatError('message_not_found')
    return body.type === 'sendMessage' ? { ...body, replyToSeq: seq } : { ...body, messageSeq: seq }
  }

  #publishMark({ userId, roomId, delivered, seen, hidden, askers }: Mark): void {
    const body: RoomCommandBody = { type: 'mark', ...(delivered !== undefined && { delivered }), ...(seen !== undefined && { seen }), ...(hidden && { hidden }) }
    this.#send(roomId, userId, body, { clientMessageId: this.#options.newClientMessageId(), askers })
  }

  #send(roomId: RoomId, senderId: UserId, body: RoomCommandBody, { clientMessageId, askers, toldId, messageId, release }: Sending): void {
    const { newId, clock, publish } = this.#options
    const commandId = newId()
    this.#pending.add({ commandId, type: body.type, askers, roomId, clientMessageId: toldId, messageId, sentMs: clock.nowMs(), release })
    publish({ ...body, roomId, commandId, senderId, clientMessageId }).catch((err: unknown) => {
      const command = this.#pending.take(commandId)
      if (command) this.#refuse(command, err)
    })
  }

  #take(commandId: string): PendingCommand | undefined {
    const command = this.#pending.take(commandId)
    if (command) this.#options.onAck?.(this.#options.clock.nowMs() - command.sentMs)
    return command
  }

  /** The event's frame was not given out by `takeOwnAck`: the room is not followed, or its view was ahead. */
  #answerEvent(command: PendingCommand, event: RoomEvent): void {
    const { roomId } = command
    const [first, ...others] = wanting(command)
    for (const { connection, requestId } of others) after(connection, roomId, event.seq, unchangedAckOf(command, requestId, event.seq))
    if (!first) return
    const text = ackOf(command, first.requestId, event)
    const subscription = first.connection.subscriptions.get(roomId)
    if (subscription) subscription.holdAck(event.seq, text)
    else first.connection.sendText(text)
  }

  /** False where the entry is no answer. */
  #answer(command: PendingCommand, entry: Entry): boolean {
    const { roomId, clientMessageId, askers } = command
    switch (entry.type) {
      case 'refused':
        for (const { connection, requestId } of askers) {
          connection.send(errorFrame(requestId, entry.code, errorCatalogue[entry.code]?.message ?? entry.code, { roomId, clientMessageId, retryAfterMs: entry.retryAfterMs }))
        }
        return true
      case 'repeated':
        for (const { connection, requestId } of wanting(command)) after(connection, roomId, entry.ack.seq, repeatedAckOf(command, requestId, entry.ack))
        return true
      case 'unchanged':
        for (const { connection, requestId } of wanting(command)) after(connection, roomId, entry.headSeq, unchangedAckOf(command, requestId, entry.headSeq))
        return true
      default:
        return false
    }
  }

  #refuse({ askers, roomId, clientMessageId }: PendingCommand, err: unknown): void {
    for (const { connection, requestId } of askers) connection.send(errorFrameOf(requestId, err, { roomId, clientMessageId }))
  }
}

type Targeted = RoomCommandBody & { readonly type: 'sendMessage' | 'react' | 'reportMessage' }

type Sending = {
  readonly clientMessageId: ClientMessageId
  readonly askers: readonly Asker[]
  /** Told back, so that it can be repeated. */
  readonly toldId?: ClientMessageId | undefined
  readonly messageId?: PendingCommand['messageId']
  readonly release?: (() => void) | undefined
}

const hasTarget = (body: RoomCommandBody): body is Targeted => body.type === 'react' || body.type === 'reportMessage' || (body.type === 'sendMessage' && body.replyTo !== undefined)

const lastEvent = (entries: readonly Entry[]): RoomEvent | undefined => entries.findLast(isRoomEvent)

const wanting = ({ askers }: PendingCommand) => askers.flatMap(({ connection, requestId }) => (requestId === undefined ? [] : [{ connection, requestId }]))

/** An answer that tells of `seq` comes behind its event, where that is on its way to the same socket. */
function after(connection: Connection, roomId: RoomId, seq: number, text: string): void {
  const subscription = connection.subscriptions.get(roomId)
  if (subscription) subscription.holdRepeat(seq, text)
  else connection.sendText(text)
}
