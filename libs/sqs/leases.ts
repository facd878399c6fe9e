import type { Clock } from '#libs/runtime/clock.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import { type QueueMessage, SQS_BATCH_MAX, type SqsQueue } from './queue.ts'

type Lease = { readonly message: QueueMessage; renewedAtMs: number }

export type LeasesDeps = {
  readonly queue: Pick<SqsQueue, 'changeVisibility'>
  readonly clock: Clock
  readonly logger: Logger
  readonly visibilityTimeoutS: number
}

/**
 * The messages in work. Each is hidden from other receivers by its visibility timeout, which is renewed when half of it
 * has passed, for as long as the message is in here. A renewal that fails is tried again before the other half is over;
 * should it never work, the message is shown again elsewhere, which costs a repeat and nothing else.
 */
export class Leases {
  readonly #deps: LeasesDeps
  readonly #leases = new Map<string, Lease>()

  constructor(deps: LeasesDeps) {
    this.#deps = deps
  }

  get size(): number {
    return this.#leases.size
  }

  messages(): readonly QueueMessage[] {
    return [...this.#leases.values()].map((lease) => lease.message)
  }

  add(message: QueueMessage): void {
    this.#leases.set(message.receiptHandle, { message, renewedAtMs: this.#deps.clock.nowMs() })
  }

  has(message: QueueMessage): boolean {
    return this.#leases.has(message.receiptHandle)
  }

  delete(message: QueueMessage): void {
    this.#leases.delete(message.receiptHandle)
  }

  /** Runs until `signal` aborts. */
  async keep(signal: AbortSignal): Promise<void> {
    const { clock, visibilityTimeoutS } = this.#deps
    try {
      for (;;) {
        await clock.sleep((visibilityTimeoutS * 1_000) / 8, signal)
        await this.#renewDue()
      }
    } catch (err) {
      if (!signal.aborted) throw err
    }
  }

  async #renewDue(): Promise<void> {
    const { clock, visibilityTimeoutS } = this.#deps
    const nowMs = clock.nowMs()
    const due = [...this.#leases.values()].filter((lease) => nowMs - lease.renewedAtMs >= (visibilityTimeoutS * 1_000) / 2)
    for (let i = 0; i < due.length; i += SQS_BATCH_MAX) await this.#renew(due.slice(i, i + SQS_BATCH_MAX), nowMs)
  }

  async #renew(leases: readonly Lease[], nowMs: number): Promise<void> {
    const { queue, logger, visibilityTimeoutS } = this.#deps
    const changes = leases.map(({ message }) => ({ receiptHandle: message.receiptHandle, visibilityTimeoutS }))
    try {
      const failed = new Set(await queue.changeVisibility(changes))
      for (const lease of leases) {
        if (!failed.has(lease.message.receiptHandle)) lease.renewedAtMs = nowMs
        // One that was deleted meanwhile fails too.
        else if (this.has(lease.message)) logger.warn({ sqsMessageId: lease.message.messageId }, 'visibility could not be extended')
      }
    } catch (err) {
      logger.warn({ err, messages: leases.length }, 'visibility could not be extended')
    }
  }
}
