import { ChatError } from '#libs/domain/errors.ts'
import { newId, systemClock } from '#libs/runtime/clock.ts'
import { PendingCommands } from './core/pending-commands.ts'

export type AnsweredCommandsOptions<Command> = {
  /** Resolves when the command is durable in its log. @throws ChatError `unavailable`: it may be there all the same */
  readonly publish: (command: Command, traceId: string) => Promise<void>
  /** Whether answers in the log would be seen now. */
  readonly isListening: () => boolean
  /** Commands at once in this process: `unavailable` above. */
  readonly pendingMax: number
  /** Without an answer in the log after this, the outcome is unknown to the client. */
  readonly answerTimeoutMs: number
  readonly onOutcome: (outcome: string, tookMs: number) => void
}

/** What an answer in a log has of its command. */
type Answered = { readonly commandId: string | undefined }

/** How long a stop waits for the answers that are due. */
const STOP_WAIT_MS = 2_000

/** A command goes into one log, and its answer comes back through another. */
export class AnsweredCommands<Command, Answer extends Answered> {
  readonly #options: AnsweredCommandsOptions<Command>
  readonly #pending = new PendingCommands<Answer>()
  readonly #timer: NodeJS.Timeout
  #isStopped = false

  constructor(options: AnsweredCommandsOptions<Command>) {
    this.#options = options
    this.#timer = setInterval(() => this.#expire(systemClock.nowMs() - options.answerTimeoutMs), 250).unref()
  }

  get pending(): number {
    return this.#pending.size
  }

  /**
   * What `read` makes of the answer.
   * @throws ChatError what `read` throws; `unavailable`; `outcome_unknown`: to be asked again
   */
  async ask<Told>(commandOf: (commandId: string) => Command, traceId: string, read: (answer: Answer) => Told): Promise<Told> {
    const sentMs = systemClock.nowMs()
    const ended = (outcome: string) => this.#options.onOutcome(outcome, systemClock.nowMs() - sentMs)
    try {
      const told = read(await this.#answered(commandOf, traceId, sentMs))
      ended('ok')
      return told
    } catch (err) {
      ended(err instanceof ChatError ? err.code : 'internal')
      throw err
    }
  }

  /** The answers of this process in the log, in whatever order. */
  onReply(answer: Answer): void {
    if (answer.commandId !== undefined) this.#pending.take(answer.commandId)?.resolve(answer)
  }

  /** Nothing new is taken; what is under way gets a little time. */
  stop(): void {
    this.#isStopped = true
    clearInterval(this.#timer)
    setTimeout(() => this.#expire(Number.MAX_SAFE_INTEGER), STOP_WAIT_MS).unref()
  }

  async #answered(commandOf: (commandId: string) => Command, traceId: string, sentMs: number): Promise<Answer> {
    const { publish, isListening, pendingMax } = this.#options
    if (this.#isStopped) throw new ChatError('shutting_down')
    if (!isListening()) throw new ChatError('unavailable', 'the log')
    if (this.#pending.size >= pendingMax) throw new ChatError('unavailable', 'too many commands wait for an answer')
    const commandId = newId()
    const { promise, resolve, reject } = Promise.withResolvers<Answer>()
    // Before it is sent: the answer may be faster than the acknowledgement of the send.
    this.#pending.add({ commandId, sentMs, resolve, reject })
    publish(commandOf(commandId), traceId).catch((err: unknown) => {
      this.#pending.take(commandId)?.reject(err instanceof ChatError ? err : new ChatError('unavailable', undefined, { cause: err }))
    })
    return promise
  }

  #expire(sentMs: number): void {
    for (const { reject } of this.#pending.takeUntil(sentMs)) reject(new ChatError('outcome_unknown'))
  }
}
