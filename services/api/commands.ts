import { v7 as uuidV7 } from 'uuid'
import { ChatError } from '#libs/domain/errors.ts'
import { type ClientMessageId, parseClientMessageId, type RoomId, type UserId } from '#libs/domain/ids.ts'
import type { RoomCommand, RoomCommandBody } from '#libs/domain/inputs.ts'
import { newId, systemClock } from '#libs/runtime/clock.ts'
import type { Decision } from '#libs/streams/avro-shapes.ts'
import { answerOf, type CommandAnswer } from './core/command-answer.ts'
import { PendingCommands } from './core/pending-commands.ts'

export type CommandsOptions = {
  /** Resolves when the command is durable in the log. @throws ChatError `unavailable`: it may be there all the same */
  readonly publish: (command: RoomCommand, traceId: string) => Promise<void>
  /** Whether answers in the log would be seen now. */
  readonly isListening: () => boolean
  /** Commands at once in this process: `unavailable` above. */
  readonly pendingMax: number
  /** Without an answer in the log after this, the outcome is unknown to the client. */
  readonly answerTimeoutMs: number
  readonly onOutcome: (outcome: string, tookMs: number) => void
}

export type Asked = {
  readonly roomId: RoomId
  readonly senderId: UserId
  readonly clientMessageId: ClientMessageId
  readonly traceId: string
}

/** As its sender named it, or a new one: then a retry may double what it does. @throws ChatError `invalid_client_message_id` */
export const clientMessageIdOr = (given: string | undefined): ClientMessageId =>
  given === undefined ? (uuidV7() as ClientMessageId) : parseClientMessageId(given)

/** How long a stop waits for the answers that are due. */
const STOP_WAIT_MS = 2_000

/** Writing: a command goes into the log, and its answer comes back through the log. */
export class Commands {
  readonly #options: CommandsOptions
  readonly #pending = new PendingCommands()
  readonly #timer: NodeJS.Timeout
  #isStopped = false

  constructor(options: CommandsOptions) {
    this.#options = options
    this.#timer = setInterval(() => this.#expire(systemClock.nowMs() - options.answerTimeoutMs), 250).unref()
  }

  get pending(): number {
    return this.#pending.size
  }

  /** @throws ChatError the log's refusal; `unavailable`; `outcome_unknown`, to be repeated under the same clientMessageId */
  async run(asked: Asked, body: RoomCommandBody): Promise<CommandAnswer> {
    const sentMs = systemClock.nowMs()
    const ended = (outcome: string) => this.#options.onOutcome(outcome, systemClock.nowMs() - sentMs)
    try {
      const answer = answerOf({ roomId: asked.roomId, type: body.type }, await this.#decided(asked, body, sentMs))
      ended('ok')
      return answer
    } catch (err) {
      ended(err instanceof ChatError ? err.code : 'internal')
      throw err
    }
  }

  /** The answers of this process in the log, in whatever order. */
  onReply(decision: Decision): void {
    if (decision.commandId !== undefined) this.#pending.take(decision.commandId)?.resolve(decision)
  }

  /** Nothing new is taken; what is under way gets a little time. */
  stop(): void {
    this.#isStopped = true
    clearInterval(this.#timer)
    setTimeout(() => this.#expire(Number.MAX_SAFE_INTEGER), STOP_WAIT_MS).unref()
  }

  async #decided({ traceId, ...asked }: Asked, body: RoomCommandBody, sentMs: number): Promise<Decision> {
    const { publish, isListening, pendingMax } = this.#options
    if (this.#isStopped) throw new ChatError('shutting_down')
    if (!isListening()) throw new ChatError('unavailable', 'the log')
    if (this.#pending.size >= pendingMax) throw new ChatError('unavailable', 'too many commands wait for an answer')
    const commandId = newId()
    const { promise, resolve, reject } = Promise.withResolvers<Decision>()
    // Before it is sent: the answer may be faster than the acknowledgement of the send.
    this.#pending.add({ commandId, sentMs, resolve, reject })
    publish({ ...asked, ...body, commandId } as RoomCommand, traceId).catch((err: unknown) => {
      this.#pending.take(commandId)?.reject(err instanceof ChatError ? err : new ChatError('unavailable', undefined, { cause: err }))
    })
    return promise
  }

  #expire(sentMs: number): void {
    for (const { reject } of this.#pending.takeUntil(sentMs)) reject(new ChatError('outcome_unknown'))
  }
}
