import { randomBytes, randomUUID } from 'node:crypto'

/** Time and randomness come only from here, so that a test can hold both. */
export type Clock = {
  /** ms since 1970 */
  nowMs(): number
  /** Rejects when `signal` aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const onAbort = () => {
        clearTimeout(timer)
        reject(signal!.reason)
      }
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      }, ms)
      signal?.addEventListener('abort', onAbort, { once: true })
    }),
}

export const newId = (): string => randomUUID()
/** 16 random bytes, base64url. */
export const newSalt = (): string => randomBytes(16).toString('base64url')
/** In [0, 1). */
export const random = (): number => Math.random()
