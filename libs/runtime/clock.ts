import { randomFillSync, randomUUID } from 'node:crypto'

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
export const randomHex = (bytes: number): string => randomBytes(bytes).toString('hex')
/** In [0, 1). */
export const random = (): number => Math.random()

/** Asked for in bulk: a call into the system's generator costs the same for many bytes as for few. */
const pool = Buffer.alloc(4_096)
let used = pool.length

/** Valid until the next call. */
function randomBytes(count: number): Buffer {
  if (used + count > pool.length) {
    randomFillSync(pool)
    used = 0
  }
  used += count
  return pool.subarray(used - count, used)
}
