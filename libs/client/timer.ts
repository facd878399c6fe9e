import { type ClientClock, TIMER_MS_MAX } from './ports.ts'

/** One timer that can be set again and stopped; at most one run is ever due. */
export class Timer {
  readonly #clock: ClientClock
  #timer: unknown

  constructor(clock: ClientClock) {
    this.#clock = clock
  }

  /** Delays above what an engine can hold fire early, at `TIMER_MS_MAX`. */
  start(delayMs: number, run: () => void): void {
    this.stop()
    this.#timer = this.#clock.setTimeout(
      () => {
        this.#timer = undefined
        run()
      },
      Math.min(Math.max(0, delayMs), TIMER_MS_MAX),
    )
  }

  stop(): void {
    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer)
    this.#timer = undefined
  }
}
