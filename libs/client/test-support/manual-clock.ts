import type { ClientClock } from '../ports.ts'

type Due = { readonly atMs: number; readonly run: () => void }

/** Time that moves only when told to. Timers fire in the order of their time, then of their setting. */
export class ManualClock implements ClientClock {
  #monotonicMs = 0
  #lastTimer = 0
  readonly #timers = new Map<number, Due>()
  readonly #startMs: number

  constructor(startMs = 1_800_000_000_000) {
    this.#startMs = startMs
  }

  nowMs(): number {
    return this.#startMs + this.#monotonicMs
  }

  monotonicMs(): number {
    return this.#monotonicMs
  }

  setTimeout(run: () => void, delayMs: number): number {
    const timer = ++this.#lastTimer
    this.#timers.set(timer, { atMs: this.#monotonicMs + delayMs, run })
    return timer
  }

  clearTimeout(timer: unknown): void {
    this.#timers.delete(timer as number)
  }

  get timers(): number {
    return this.#timers.size
  }

  /** Runs the next timer, if it is due by `untilMs`, and moves to its time. */
  runNext(untilMs = Number.POSITIVE_INFINITY): boolean {
    let next: [number, Due] | undefined
    for (const timer of this.#timers) if (!next || timer[1].atMs < next[1].atMs) next = timer
    if (!next || next[1].atMs > untilMs) return false
    this.#timers.delete(next[0])
    this.#monotonicMs = Math.max(this.#monotonicMs, next[1].atMs)
    next[1].run()
    return true
  }

  /** Moves on by `ms`, running what becomes due; promises get a chance to settle in between. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#monotonicMs + ms
    await settled()
    while (this.runNext(untilMs)) await settled()
    this.#monotonicMs = untilMs
  }
}

/** Lets promises that wait for nothing outside run to their end. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 12; i++) await Promise.resolve()
}
