import { contentRefusal } from '#libs/domain/decide.ts'
import { ChatError, errorCatalogue } from '#libs/domain/errors.ts'
import type { AckFrame, ClientFrame, RequestId } from '#libs/domain/frames.ts'
import { type ClientMessageId, parseClientMessageId, type RoomId } from '#libs/domain/ids.ts'
import type { RoomCommand } from '#libs/domain/inputs.ts'
import type { RoomLimits } from '#libs/domain/limits.ts'
import type { Entry, OriginalAck, RoomEvent } from '#libs/domain/room.ts'
import type { Decision } from '#libs/streams/avro-shapes.ts'
import type { Connection } from './connection.ts'
import { errorFrame, errorFrameOf } from './frames.ts'
import { type PendingCommand, PendingCommands } from './pending-commands.ts'

export type CommandsOptions = {
  /** Resolves when the command is durable in the log. @throws ChatError `unavailable`: it may be there all the same */
  readonly publish: (command: RoomCommand) => Promise<void>
  readonly newId: () => string
  readonly newSalt: () => string
  /** UUIDv7 of now, for clients that send none. */
  readonly newClientMessageId: () => ClientMessageId
  readonly nowMs: () => number
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

  constructor(options: CommandsOptions) {
    this.#options = options
  }

  get pending(): number {
    return this.#pending.size
  }

  /** Sends off a message; its ack comes through the log. @throws ChatError for what is refused here already */
  sendMessage(connection: Connection, frame: ClientFrame & { type: 'sendMessage' }): void {
    const { limits, newId, newSalt, newClientMessageId, nowMs, publish } = this.#options
    const roomId = roomOf(connection, frame.roomId)
    if (connection.speaker.role === 'admin') throw new ChatError('admin_is_read_only')
    if (!connection.subscriptions.has(roomId)) throw new ChatError('not_joined')
    const refusal = contentRefusal(frame.message, limits.room)
    if (refusal) throw new ChatError(refusal)
    const clientMessageId = frame.clientMessageId === undefined ? newClientMessageId() : parseClientMessageId(frame.clientMessageId)
    if (connection.pending >= limits.pendingPerSocketMax) throw new ChatError('too_many_pending', undefined, { retryAfterMs: 500 })
    const commandId = newId()
    this.#pending.add({ commandId, connection, requestId: frame.id, roomId, clientMessageId, sentMs: nowMs() })
    const { userId: senderId } = connection.speaker
    publish({ type: 'sendMessage', roomId, commandId, senderId, clientMessageId, content: frame.message, salt: newSalt() }).catch((err: unknown) => {
      const command = this.#pending.take(commandId)
      if (command) this.#refuse(command, err)
    })
  }

  /** The ack of `event`, if a command of this edge asked for it and wants one. */
  takeOwnAck(event: RoomEvent, { commandId }: Decision): { connection: Connection; frame: string } | undefined {
    if (event.type !== 'messageSent' || commandId === undefined) return undefined
    const command = this.#pending.take(commandId)
    if (!command) return undefined
    this.#options.onAck?.(this.#options.nowMs() - command.sentMs)
    if (command.requestId === undefined) return undefined
    const { messageId, seq, messageIndex, timestampMs } = event
    return { connection: command.connection, frame: ackText(command, { messageId, seq, messageIndex, timestampMs }) }
  }

  /** Answers what the events of a decision have not answered: refusals, repeats, and events of rooms not followed here. */
  onReply(decision: Decision): void {
    const command = decision.commandId === undefined ? undefined : this.#pending.take(decision.commandId)
    if (!command) return
    let answered = false
    for (const entry of decision.entries) answered = this.#answer(command, entry) || answered
    // A newer room-state may answer in words that this node does not know.
    if (!answered) this.#refuse(command, new ChatError('outcome_unknown'))
  }

  /** Tells those who have waited too long that the outcome is unknown. */
  expire(): void {
    const { nowMs, limits } = this.#options
    for (const command of this.#pending.takeOlderThan(nowMs() - limits.answerTimeoutMs)) this.#refuse(command, new ChatError('outcome_unknown'))
  }

  forget(connection: Connection): void {
    this.#pending.dropOf(connection)
  }

  /** False where the entry is no answer. */
  #answer(command: PendingCommand, entry: Entry): boolean {
    const { connection, requestId, roomId, clientMessageId } = command
    switch (entry.type) {
      case 'refused':
        connection.send(errorFrame(requestId, entry.code, errorCatalogue[entry.code]?.message ?? entry.code, { roomId, clientMessageId, retryAfterMs: entry.retryAfterMs }))
        return true
      case 'repeated': {
        if (requestId === undefined) return true
        const text = ackText(command, entry.ack, true)
        const subscription = connection.subscriptions.get(roomId)
        if (subscription) subscription.holdRepeat(entry.ack.seq, text)
        else connection.sendText(text)
        return true
      }
      case 'messageSent':
        if (requestId !== undefined) connection.sendText(ackText(command, entry))
        return true
      default:
        return false
    }
  }

  #refuse({ connection, requestId, roomId, clientMessageId }: PendingCommand, err: unknown): void {
    connection.send(errorFrameOf(requestId, err, { roomId, clientMessageId }))
  }
}

export function roomOf(connection: Connection, roomId: RoomId | undefined): RoomId {
  const room = roomId ?? connection.defaultRoom
  if (room === undefined) throw new ChatError('malformed_frame', 'roomId is needed on this socket')
  return room
}

function ackText({ requestId, roomId, clientMessageId }: PendingCommand, { messageId, seq, messageIndex, timestampMs }: OriginalAck, repeated = false): string {
  const ack: AckFrame = {
    ...(requestId !== undefined && { id: requestId satisfies RequestId }),
    type: 'ack',
    roomId,
    seq,
    messageId,
    messageIndex,
    clientMessageId: clientMessageId as ClientMessageId,
    timestamp: timestampMs,
    ...(repeated && { repeated: true }),
  }
  return JSON.stringify(ack)
}
