export type Backoff = { readonly delayMsMin: number; readonly delayMsMax: number }

export const defaultBackoff: Backoff = { delayMsMin: 250, delayMsMax: 30_000 }

/** A server that asks for more than this is taken for mistaken. */
const RETRY_AFTER_MS_MAX = 3_600_000

/**
 * How long to wait before the next try: exponential with full jitter, between `delayMsMin` and `delayMsMax`, and never
 * sooner than `retryAfterMs` after now (the jitter comes on top, or all clients of a node would come back at once).
 * `failures`: how many in a row came before this one. `random`: in [0, 1).
 */
export function retryDelayMs(failures: number, random: number, options: { readonly retryAfterMs?: number | undefined; readonly backoff?: Backoff } = {}): number {
  const { retryAfterMs = 0, backoff = defaultBackoff } = options
  const { delayMsMin, delayMsMax } = backoff
  const ceilingMs = Math.min(delayMsMin * 2 ** Math.min(failures + 1, 30), delayMsMax)
  if (retryAfterMs > 0) return Math.min(retryAfterMs, RETRY_AFTER_MS_MAX) + random * ceilingMs
  return delayMsMin + random * (ceilingMs - delayMsMin)
}
