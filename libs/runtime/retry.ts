import type { Clock } from './clock.ts'
import { random } from './clock.ts'

export type Backoff = { readonly delayMsMin: number; readonly delayMsMax: number }

export const defaultBackoff: Backoff = { delayMsMin: 100, delayMsMax: 5_000 }

/** Exponential, with jitter over the upper half. `attempt` counts from 0. */
export function retryDelayMs(attempt: number, backoff: Backoff = defaultBackoff, rnd: () => number = random): number {
  const ceiling = Math.min(backoff.delayMsMin * 2 ** Math.min(attempt, 30), backoff.delayMsMax)
  return ceiling * (0.5 + rnd() / 2)
}

export type RetryOptions = {
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly backoff?: Backoff
  /** Attempts in all; default: until `signal` aborts. */
  readonly attemptsMax?: number
  /** Whether this failure is worth another attempt; default: all are. */
  readonly shouldRetry?: (err: unknown) => boolean
  readonly onFailure?: (err: unknown, attempt: number, delayMs: number) => void
}

/** Runs `work` until it succeeds. Throws its last error when attempts end, or the signal's reason when that aborts. */
export async function withRetry<T>(work: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { clock, signal, attemptsMax = Number.POSITIVE_INFINITY } = options
  for (let attempt = 0; ; attempt++) {
    signal.throwIfAborted()
    try {
      return await work()
    } catch (err) {
      if (signal.aborted || attempt + 1 >= attemptsMax || options.shouldRetry?.(err) === false) throw err
      const delayMs = retryDelayMs(attempt, options.backoff)
      options.onFailure?.(err, attempt, delayMs)
      await clock.sleep(delayMs, signal)
    }
  }
}
