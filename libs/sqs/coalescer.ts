import type { Clock } from '#libs/runtime/clock.ts'
import { SQS_BATCH_MAX } from './queue.ts'

export type CoalescerOptions<T> = {
  readonly clock: Clock
  /** How long the first of a batch waits for others. */
  readonly lingerMs: number
  readonly attemptsMax: number
  /** Between attempts, times the attempt's number. */
  readonly retryMs: number
  /** Does one batch. @returns the items that failed; a throw counts for all of them */
  readonly work: (items: readonly T[]) => Promise<readonly T[]>
}

/**
 * Collects single items into calls of up to ten. Items that fail are tried again a bounded number of times, with others
 * or alone. It sends batches side by side; nothing here depends on their order.
 */
export class Coalescer<T> {
  readonly #options: CoalescerOptions<T>
  #waiting: Item<T>[] = []
  #lingering: Promise<void> | undefined
  readonly #flights = new Set<Promise<void>>()

  constructor(options: CoalescerOptions<T>) {
    this.#options = options
  }

  /** Resolves with whether it worked in the end; never rejects. */
  add(value: T): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>()
    this.#enqueue({ value, attempt: 1, resolve })
    return promise
  }

  /** Resolves when everything that was added before has been settled. */
  async drained(): Promise<void> {
    while (this.#waiting.length > 0 || this.#flights.size > 0) {
      await Promise.all([this.#lingering, ...this.#flights])
    }
  }

  #enqueue(item: Item<T>): void {
    this.#waiting.push(item)
    if (this.#waiting.length >= SQS_BATCH_MAX) this.#flush()
    else this.#lingering ??= this.#linger()
  }

  async #linger(): Promise<void> {
    await this.#options.clock.sleep(this.#options.lingerMs)
    this.#lingering = undefined
    this.#flush()
  }

  #flush(): void {
    const batch = this.#waiting.splice(0, SQS_BATCH_MAX)
    if (batch.length === 0) return
    const flight = this.#fly(batch).finally(() => this.#flights.delete(flight))
    this.#flights.add(flight)
  }

  async #fly(batch: readonly Item<T>[]): Promise<void> {
    const { clock, attemptsMax, retryMs, work } = this.#options
    const values = batch.map((item) => item.value)
    const failed = new Set(await work(values).catch(() => values))
    const again: Item<T>[] = []
    for (const item of batch) {
      if (!failed.has(item.value)) item.resolve(true)
      else if (item.attempt >= attemptsMax) item.resolve(false)
      else again.push({ ...item, attempt: item.attempt + 1 })
    }
    if (again.length === 0) return
    await clock.sleep(retryMs * (again[0]!.attempt - 1))
    for (const item of again) this.#enqueue(item)
  }
}

type Item<T> = { readonly value: T; readonly attempt: number; readonly resolve: (worked: boolean) => void }
