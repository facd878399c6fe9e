import { createRequire } from 'node:module'
import { systemClock } from '#libs/runtime/clock.ts'

type RequestQueue = {
  readonly pending: readonly unknown[]
  readonly throttledUntil: number
  throttleCheckTimeoutId: NodeJS.Timeout | null
  checkPendingRequests(): void
}

/** Where a request waits although nothing is throttled, its turn comes with the next response; this is the safety net. */
const CHECK_PENDING_MS = 10

/**
 * kafkajs 2.2.4 sets a timer of 1 ms on every connection that has ever had an answer, again and again, also while no
 * request waits: a thousand wake-ups a second in every idle process (mended after 2.2.4, never released). Replaced by
 * the same check, set only while requests wait.
 */
export function tameIdleConnections(): void {
  const RequestQueue = createRequire(import.meta.url)('kafkajs/src/network/requestQueue') as { readonly prototype: RequestQueue & { scheduleCheckPendingRequests(): void } }
  RequestQueue.prototype.scheduleCheckPendingRequests = function (this: RequestQueue) {
    if (this.pending.length === 0 || this.throttleCheckTimeoutId) return
    const throttledMs = this.throttledUntil - systemClock.nowMs()
    this.throttleCheckTimeoutId = setTimeout(
      () => {
        this.throttleCheckTimeoutId = null
        this.checkPendingRequests()
      },
      throttledMs > 0 ? throttledMs : CHECK_PENDING_MS,
    )
  }
}
