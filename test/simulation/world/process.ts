import { ChatError } from '#libs/domain/errors.ts'
import type { World } from './world.ts'

/**
 * What becomes of a request. ok: answered. unknown: done, but the answer never comes. late: not done in time, but later,
 * when the asker has given up. lost: never done.
 */
export type Fate = 'ok' | 'unknown' | 'late' | 'lost'

export type CallOptions = {
  readonly fate?: Fate
  readonly latencyMs?: number
  /** What the asker gets where no answer comes. */
  readonly timeoutMs?: number
  readonly timeoutError?: () => Error
}

const LATE_MS = 9_000

/** One incarnation of a part: it may be paused, and crash. Everything that it asks of the world takes time. */
export class Process {
  readonly name: string
  readonly world: World
  alive = true
  pausedUntilMs = 0
  readonly clock: { nowMs(): number; sleep(ms: number, signal?: AbortSignal): Promise<void> }
  readonly #skewMs: number
  readonly #onEnd: (() => void)[] = []
  readonly #onPause: (() => void)[] = []

  constructor(world: World, name: string, skewMs: number) {
    this.world = world
    this.name = name
    this.#skewMs = skewMs
    this.clock = { nowMs: () => world.nowMs + skewMs, sleep: (ms, signal) => this.#sleep(ms, signal) }
  }

  get isPaused(): boolean {
    return this.alive && this.pausedUntilMs > this.world.nowMs
  }

  get skewMs(): number {
    return this.#skewMs
  }

  /** Nothing of it runs any more. What it has sent may still arrive. */
  crash(): void {
    if (!this.alive) return
    this.world.note(`${this.name} ends`)
    this.alive = false
    this.world.processes.delete(this)
    for (const listener of this.#onEnd) listener()
  }

  pause(ms: number): void {
    this.world.note(`${this.name} is paused for ${Math.round(ms)} ms`)
    this.pausedUntilMs = this.world.nowMs + ms
    for (const listener of this.#onPause) listener()
  }

  wake(): void {
    this.pausedUntilMs = 0
  }

  onEnd(listener: () => void): void {
    this.#onEnd.push(listener)
  }

  onPause(listener: () => void): void {
    this.#onPause.push(listener)
  }

  /** A message, one way: mostly quick; now and then it is overtaken by a lot. */
  latencyMs(): number {
    const { random, calm } = this.world
    return random.next() * (random.chance(0.05) && !calm ? 300 : 4)
  }

  hear(delayMs: number, label: string, run: () => void): () => void {
    return this.world.hear(this, delayMs, label, run)
  }

  /** Whole ms, and at least one, as in Node: time that has a finer grain than the clock could stand still. */
  timer(ms: number, run: () => void): () => void {
    return this.hear(Math.max(1, Math.trunc(ms)), 'timer', run)
  }

  every(ms: number, label: string, work: () => void): void {
    this.hear(ms, label, () => {
      work()
      this.every(ms, label, work)
    })
  }

  /** Asks a server. Of a process that has crashed meanwhile the request may still arrive, or not. */
  call<T>(label: string, serve: () => T, options: CallOptions = {}): Promise<T> {
    const { world } = this
    const { fate = 'ok', latencyMs = this.latencyMs(), timeoutMs = 1_000, timeoutError = () => new ChatError('unavailable', `${label}: no answer`) } = options
    return new Promise((resolve, reject) => {
      if (fate !== 'ok') this.hear(timeoutMs, `${label}: given up (${fate})`, () => reject(timeoutError()))
      if (fate === 'lost') return
      world.serve(fate === 'late' ? timeoutMs + world.random.next() * LATE_MS : latencyMs, `${this.name} → ${label}`, () => {
        if (!this.alive && world.random.chance(0.5)) return
        try {
          const answer = serve()
          if (fate === 'ok') this.hear(this.latencyMs(), `${label}: answer`, () => resolve(answer))
        } catch (err) {
          if (fate === 'ok') this.hear(this.latencyMs(), `${label}: refused`, () => reject(err))
        }
      })
    })
  }

  #sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const onAbort = () => {
        callOff()
        reject(signal!.reason)
      }
      const callOff = this.timer(ms, () => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      })
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }
}
