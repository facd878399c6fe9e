import type { Clock } from '#libs/runtime/clock.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import { retryDelayMs } from '#libs/runtime/retry.ts'
import type { OrderEventSink } from './core/order-event-sink.ts'
import { healthy, mayGiveBack, mayPublish, mayReceive, nextHealth, type SinkHealth, type SinkSignal } from './core/sink-health.ts'

export type SinkGateDeps = {
  readonly sink: Pick<OrderEventSink, 'probe'>
  readonly clock: Clock
  readonly logger: Logger
  /** Messages received and not yet settled. */
  readonly inHand: () => number
  readonly onPhase: (phase: SinkHealth['phase']) => void
}

const POLL_MS = 100
/** The last message in hand stays this much longer; SQS shows any message again 12 hours after its receipt. */
const HOLD_LAST_MS = 10 * 3_600_000

/** Holds receiving and publishing back while Kafka takes nothing (core/sink-health.ts), and finds out when it does again. */
export class SinkGate {
  readonly #deps: SinkGateDeps
  readonly #closed = new AbortController()
  #health: SinkHealth = healthy
  #probing: Promise<void> | undefined

  constructor(deps: SinkGateDeps) {
    this.#deps = deps
    deps.onPhase(healthy.phase)
  }

  report(signal: SinkSignal, err?: unknown): void {
    const before = this.#health
    this.#health = nextHealth(before, signal)
    if (this.#health === before) return
    const { phase } = this.#health
    if (phase === before.phase) return
    this.#deps.onPhase(phase)
    if (phase === 'down') this.#deps.logger.warn({ err }, 'Kafka takes nothing: no messages are received until it does')
    if (phase === 'up') this.#deps.logger.info('Kafka takes records again')
    if (phase === 'down') this.#probing ??= this.#probe()
  }

  /**
   * Holds a message until it may be published.
   * @returns false where it should go back to the queue: `stopping` aborted, or `holdMs` passed (the last message in hand
   * may have to stay longer)
   */
  async mayPublish(holdMs: number, stopping: AbortSignal): Promise<boolean> {
    const { clock, inHand } = this.#deps
    const untilMs = clock.nowMs() + holdMs
    const lastMs = untilMs + HOLD_LAST_MS
    while (!mayPublish(this.#health)) {
      const nowMs = clock.nowMs()
      if (stopping.aborted || nowMs >= lastMs || (nowMs >= untilMs && mayGiveBack(this.#health, inHand()))) return false
      await clock.sleep(POLL_MS)
    }
    return true
  }

  /** Rejects when `stopping` aborts. */
  async mayReceive(stopping: AbortSignal): Promise<void> {
    const { clock, inHand } = this.#deps
    while (!mayReceive(this.#health, inHand())) await clock.sleep(POLL_MS, stopping)
  }

  async close(): Promise<void> {
    this.#closed.abort(new Error('closed'))
    await this.#probing
  }

  async #probe(): Promise<void> {
    const { sink, clock, logger } = this.#deps
    const { signal } = this.#closed
    for (let attempt = 0; this.#health.phase === 'down' && !signal.aborted; attempt++) {
      await clock.sleep(retryDelayMs(this.#health.failures - 1 + attempt), signal).catch(() => undefined)
      if (signal.aborted) break
      try {
        await sink.probe()
        this.report('probed')
      } catch (err) {
        this.report('probeFailed')
        logger.debug({ err }, 'Kafka does not answer')
      }
    }
    this.#probing = undefined
  }
}
