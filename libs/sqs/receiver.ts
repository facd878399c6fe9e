import type { Clock } from '#libs/runtime/clock.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import { retryDelayMs } from '#libs/runtime/retry.ts'
import { Coalescer } from './coalescer.ts'
import { Leases } from './leases.ts'
import { type QueueMessage, SQS_BATCH_MAX, type SqsQueue, type VisibilityChange } from './queue.ts'

export type ReceiverConfig = {
  /** Long polls at the same time, at most. An idle queue is asked by one. */
  readonly receivers: number
  /** A stop waits for the running long polls: keep this well below its deadline. */
  readonly waitS: number
  readonly visibilityTimeoutS: number
  /** Messages received and not yet settled, at most; at least one batch (10). */
  readonly inWorkMax: number
}

/** What becomes of a message. Calls after the first for the same message do nothing. */
export type Settle = {
  /** Its effect is durable: delete it. */
  remove(message: QueueMessage): void
  /** Show it again, to whoever asks, after `delayS`; at once where the receiver is stopping. */
  release(message: QueueMessage, delayS: number): void
}

export type ReceiverHooks = {
  readonly onReceived?: (messages: number) => void
  readonly onReceiveFailed?: () => void
  /** `false`: it will be shown again, which is harmless. */
  readonly onRemoved?: (worked: boolean) => void
  readonly onReleased?: () => void
}

export type ReceiverDeps = ReceiverHooks & {
  readonly queue: Pick<SqsQueue, 'receive' | 'remove' | 'changeVisibility'>
  readonly clock: Clock
  readonly logger: Logger
  readonly config: ReceiverConfig
  /** Settles each message of the batch. What it has not settled when it returns or throws is released. */
  readonly handle: (batch: readonly QueueMessage[], settle: Settle, stopping: AbortSignal) => Promise<void>
  /** Asked before every receive; resolves when there may be one. Rejects when `stopping` aborts. */
  readonly admit: (stopping: AbortSignal) => Promise<void>
}

const LINGER_MS = 10
const SETTLE_ATTEMPTS_MAX = 4
const SETTLE_RETRY_MS = 250
/** For what a failing handler leaves behind. */
const UNSETTLED_DELAY_S = 10

/**
 * Receives from a queue with long polls, keeps what is in work hidden, and settles it in batches. A message is in
 * work from its receipt until it has been deleted or released; with `inWorkMax` of them no more are received.
 */
export class SqsReceiver {
  readonly #deps: ReceiverDeps
  readonly #leases: Leases
  readonly #removals: Coalescer<QueueMessage>
  readonly #releases: Coalescer<VisibilityChange>
  readonly #stopping = new AbortController()
  readonly #polling = new AbortController()
  readonly #closed = new AbortController()
  #keeping: Promise<void> | undefined
  #receiving: readonly Promise<void>[] = []
  readonly #handling = new Set<Promise<void>>()
  /** Places that running receives may fill. */
  #reserved = 0
  readonly #parked: (() => void)[] = []
  #roomMade = Promise.withResolvers<void>()

  constructor(deps: ReceiverDeps) {
    const { queue, clock, logger, config } = deps
    this.#deps = deps
    this.#leases = new Leases({ queue, clock, logger, visibilityTimeoutS: config.visibilityTimeoutS })
    const settling = { clock, lingerMs: LINGER_MS, attemptsMax: SETTLE_ATTEMPTS_MAX, retryMs: SETTLE_RETRY_MS }
    this.#removals = new Coalescer({ ...settling, work: (messages) => this.#removeBatch(messages) })
    this.#releases = new Coalescer({ ...settling, work: (changes) => this.#releaseBatch(changes) })
  }

  get inWork(): number {
    return this.#leases.size
  }

  /** Begins to receive. */
  start(): void {
    this.#keeping = this.#leases.keep(this.#closed.signal)
    this.#receiving = Array.from({ length: this.#deps.config.receivers }, (_, i) => this.#receiveUntilStopped(i === 0))
  }

  /**
   * Stops receiving, gives what is in work up to `deadlineMs` to end, and releases the rest to be shown again at once.
   * Running long polls are waited for: one that is cut off goes on at the server, and takes a message with it into
   * nowhere until the visibility timeout. Only the deadline cuts them off.
   */
  async close(deadlineMs: number): Promise<void> {
    const { clock } = this.#deps
    const deadline = clock.sleep(deadlineMs)
    this.#stopping.abort(new Error('the receiver is stopping'))
    this.#wake()
    this.#unpark()
    const received = Promise.all(this.#receiving)
    await Promise.race([received, deadline])
    this.#polling.abort(new Error('the receiver is stopping'))
    await received
    const handled = Promise.all([...this.#handling]).then(() => Promise.all([this.#removals.drained(), this.#releases.drained()]))
    await Promise.race([handled, deadline])
    for (const message of this.#leases.messages()) this.#release(message, 0)
    await Promise.race([this.#releases.drained(), clock.sleep(SETTLE_RETRY_MS * SETTLE_ATTEMPTS_MAX)])
    this.#closed.abort(new Error('the receiver is closed'))
    await this.#keeping
  }

  async #receiveUntilStopped(isFirst: boolean): Promise<void> {
    const stopping = this.#stopping.signal
    for (let failures = 0; !stopping.aborted; ) {
      try {
        const messages = await this.#receiveOnce(stopping)
        failures = 0
        if (messages.length > 0) this.#work(messages)
        // Where there was one message there may be more: another receiver helps, until one of them finds nothing.
        if (messages.length > 0) this.#unpark()
        else if (!isFirst) await this.#park(stopping)
      } catch (err) {
        if (stopping.aborted) return
        this.#deps.onReceiveFailed?.()
        const delayMs = retryDelayMs(failures++)
        this.#deps.logger.warn({ err, delayMs: Math.round(delayMs) }, 'receiving from SQS has failed')
        await this.#deps.clock.sleep(delayMs, stopping).catch(() => undefined)
      }
    }
  }

  async #receiveOnce(stopping: AbortSignal): Promise<readonly QueueMessage[]> {
    const { queue, config, admit } = this.#deps
    await this.#reserve(stopping)
    try {
      await admit(stopping)
      const { waitS, visibilityTimeoutS } = config
      const messages = await queue.receive({ max: SQS_BATCH_MAX, waitS, visibilityTimeoutS, signal: this.#polling.signal })
      for (const message of messages) this.#leases.add(message)
      return messages
    } finally {
      this.#reserved -= SQS_BATCH_MAX
      this.#wake()
    }
  }

  async #reserve(stopping: AbortSignal): Promise<void> {
    while (this.#leases.size + this.#reserved + SQS_BATCH_MAX > this.#deps.config.inWorkMax) {
      await this.#roomMade.promise
      stopping.throwIfAborted()
    }
    this.#reserved += SQS_BATCH_MAX
  }

  async #park(stopping: AbortSignal): Promise<void> {
    if (stopping.aborted) return
    await new Promise<void>((resolve) => this.#parked.push(resolve))
  }

  #unpark(): void {
    const [first, ...others] = this.#parked.splice(0)
    first?.()
    if (this.#stopping.signal.aborted) for (const resolve of others) resolve()
    else this.#parked.push(...others)
  }

  #wake(): void {
    this.#roomMade.resolve()
    this.#roomMade = Promise.withResolvers()
  }

  #work(messages: readonly QueueMessage[]): void {
    this.#deps.onReceived?.(messages.length)
    const settled = new Set<QueueMessage>()
    const once = (message: QueueMessage, then: () => void) => {
      if (settled.has(message)) return
      settled.add(message)
      then()
    }
    const settle: Settle = {
      remove: (message) => once(message, () => this.#remove(message)),
      release: (message, delayS) => once(message, () => this.#release(message, delayS)),
    }
    const handling = this.#deps
      .handle(messages, settle, this.#stopping.signal)
      .catch((err: unknown) => this.#deps.logger.error({ err }, 'handling a batch has failed'))
      .then(() => {
        for (const message of messages) settle.release(message, UNSETTLED_DELAY_S)
        this.#handling.delete(handling)
      })
    this.#handling.add(handling)
  }

  #remove(message: QueueMessage): void {
    void this.#removals.add(message).then((worked) => {
      this.#forget(message)
      this.#deps.onRemoved?.(worked)
      if (!worked) this.#deps.logger.warn({ sqsMessageId: message.messageId }, 'a message could not be deleted: SQS will show it again')
    })
  }

  #release(message: QueueMessage, delayS: number): void {
    const visibilityTimeoutS = this.#stopping.signal.aborted ? 0 : delayS
    // Not renewed any more: where the release fails, the visibility timeout shows it again.
    this.#forget(message)
    this.#deps.onReleased?.()
    void this.#releases.add({ receiptHandle: message.receiptHandle, visibilityTimeoutS })
  }

  #forget(message: QueueMessage): void {
    this.#leases.delete(message)
    this.#wake()
  }

  async #removeBatch(messages: readonly QueueMessage[]): Promise<readonly QueueMessage[]> {
    const failed = new Set(await this.#deps.queue.remove(messages.map((message) => message.receiptHandle)))
    return messages.filter((message) => failed.has(message.receiptHandle))
  }

  async #releaseBatch(changes: readonly VisibilityChange[]): Promise<readonly VisibilityChange[]> {
    const failed = new Set(await this.#deps.queue.changeVisibility(changes))
    return changes.filter((change) => failed.has(change.receiptHandle))
  }
}
