import { ChatError } from '#libs/domain/errors.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import { random } from '#libs/runtime/clock.ts'
import { HeadWaiters, type Waiter, type WaitOutcome } from './core/head-waiters.ts'
import type { WaitersConfig } from './config.ts'

/** The heads, among these rooms, that are above the seq at the same place of `afters`. */
export type ReadHeads = (
  roomIds: readonly RoomId[],
  afters: readonly number[],
) => Promise<Iterable<{ readonly roomId: RoomId; readonly headSeq: number }>>

export type Wait = {
  readonly roomId: RoomId
  readonly userId: UserId
  readonly after: number
  readonly timeoutMs: number
  /** Aborts when the client has gone. */
  readonly signal: AbortSignal
}

/** After a failed read of the heads all waiters are sent away at once; they should not all come back at once. */
const RETRY_MS = { min: 1_000, spread: 4_000 } as const

/** Long polls: however many wait, Postgres gets one query per tick, and none while nobody waits. */
export class HeadWatch {
  readonly #waiters: HeadWaiters
  readonly #config: WaitersConfig
  readonly #readHeads: ReadHeads
  readonly #logger: Logger
  #timer: NodeJS.Timeout | undefined
  #isReading = false
  #isStopped = false

  constructor(config: WaitersConfig, readHeads: ReadHeads, logger: Logger) {
    this.#waiters = new HeadWaiters(config)
    this.#config = config
    this.#readHeads = readHeads
    this.#logger = logger
  }

  get size(): number {
    return this.#waiters.size
  }

  /**
   * Resolves once the room's head is above `after`, or the time is over, or the client gone, or the process stopping.
   * @throws ChatError `unavailable` and `too_many_connections` above the bounds; `history_unavailable` where the heads cannot be read
   */
  async wait({ roomId, userId, after, timeoutMs, signal }: Wait): Promise<WaitOutcome> {
    if (this.#isStopped) return 'stopped'
    if (signal.aborted) return 'aborted'
    const settled = Promise.withResolvers<WaitOutcome>()
    const waiter: Waiter = { roomId, userId, after, settle: settled.resolve, fail: settled.reject }
    const added = this.#waiters.add(waiter)
    if (added === 'full') throw new ChatError('unavailable', 'too many long polls', { retryAfterMs: retryAfterMs() })
    if (added === 'user_full') throw new ChatError('too_many_connections', undefined, { retryAfterMs: retryAfterMs() })
    const end = (outcome: WaitOutcome) => {
      if (this.#waiters.remove(waiter)) settled.resolve(outcome)
    }
    const onAbort = () => end('aborted')
    const timeout = setTimeout(end, timeoutMs, 'timeout')
    signal.addEventListener('abort', onAbort, { once: true })
    this.#schedule()
    try {
      return await settled.promise
    } finally {
      clearTimeout(timeout)
      signal.removeEventListener('abort', onAbort)
    }
  }

  /** Everyone who waits is answered now; who comes later is not kept waiting. */
  stop(): void {
    this.#isStopped = true
    clearTimeout(this.#timer)
    for (const waiter of this.#waiters.takeAll()) waiter.settle('stopped')
  }

  #schedule(): void {
    if (this.#timer || this.#isReading || this.#isStopped || this.#waiters.size === 0) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      void this.#tick()
    }, this.#config.tickMs)
  }

  async #tick(): Promise<void> {
    if (this.#waiters.size === 0) return
    const { roomIds, afters } = this.#waiters.asked()
    this.#isReading = true
    try {
      this.#waiters.moved(await this.#readHeads(roomIds, afters))
    } catch (err) {
      this.#logger.warn({ err, waiters: this.#waiters.size }, 'the heads of awaited rooms cannot be read')
      for (const waiter of this.#waiters.takeAll()) {
        waiter.fail(new ChatError('history_unavailable', undefined, { cause: err, retryAfterMs: retryAfterMs() }))
      }
    } finally {
      this.#isReading = false
      this.#schedule()
    }
  }
}

const retryAfterMs = (): number => RETRY_MS.min + Math.floor(random() * RETRY_MS.spread)
