import { ChatError, hasCode } from '#libs/domain/errors.ts'
import type { PartitionTask } from './partition-tasks.ts'
import type { InRecord } from './record.ts'

export type BatchedTaskOptions = {
  readonly log: {
    open(from: bigint, sink: (records: readonly InRecord[]) => void): Promise<void>
    hold(on: boolean): void
    close(): void
  }
  /** Where to read from: asked at the start, and again after every failure. */
  readonly begin: () => Promise<bigint>
  /**
   * What a batch is for, position included; records in offset order. False: somebody else has moved the position.
   * @throws ChatError `unavailable`: the same again later, from where `begin` then says
   */
  readonly apply: (batch: readonly InRecord[], signal: AbortSignal) => Promise<boolean>
  /** How long until `apply` is called all the same where nothing comes, with an empty batch; undefined: it is not. */
  readonly idleMs?: () => number | undefined
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>
  readonly retryDelayMs: (attempt: number) => number
  readonly batchRecordsMax: number
  readonly onRetry: (err: unknown, delayMs: number) => void
}

/**
 * Works off one partition in batches, one after the other, for as long as it is assigned. Reads no further ahead than
 * two batches. What is `unavailable` is tried again with growing delays; anything else ends the task.
 */
export class BatchedTask implements PartitionTask {
  readonly #options: BatchedTaskOptions
  readonly #stopping = new AbortController()
  #running: Promise<void> | undefined
  #queue: InRecord[] = []
  #held = false
  #wake: (() => void) | undefined

  constructor(options: BatchedTaskOptions) {
    this.#options = options
  }

  run(): Promise<void> {
    this.#running ??= this.#run()
    return this.#running
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new ChatError('shutting_down'))
    this.#wake?.()
    await this.#running?.catch(() => {
      // Whoever runs the task was told.
    })
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    const { log, onRetry, retryDelayMs, sleep } = this.#options
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        await this.#follow(() => {
          attempt = 0
        })
      } catch (err) {
        if (signal.aborted) return
        if (!hasCode(err, 'unavailable')) throw err
        const delayMs = retryDelayMs(attempt)
        onRetry(err, delayMs)
        await sleep(delayMs, signal).catch(() => {
          // Stopped meanwhile: the loop ends.
        })
      } finally {
        log.close()
        this.#queue = []
      }
    }
  }

  async #follow(onProgress: () => void): Promise<void> {
    const { log, begin, apply, batchRecordsMax } = this.#options
    const { signal } = this.#stopping
    const from = await begin()
    this.#held = false
    await log.open(from, (records) => this.#enqueue(records))
    while (!signal.aborted) {
      if (this.#queue.length === 0 && !(await this.#isIdleOver())) continue
      const batch = this.#queue.slice(0, batchRecordsMax)
      if (!(await apply(batch, signal))) return
      this.#queue.splice(0, batch.length)
      this.#holdIfFull()
      onProgress()
    }
  }

  /** Waits for records, but no longer than `idleMs`. */
  async #isIdleOver(): Promise<boolean> {
    const { idleMs, sleep } = this.#options
    const woken = new Promise<false>((resolve) => {
      this.#wake = () => resolve(false)
    })
    const ms = idleMs?.()
    if (ms === undefined) return woken
    const waiting = new AbortController()
    const over = sleep(ms, waiting.signal).then(
      () => true,
      () => false,
    )
    return Promise.race([woken, over]).finally(() => waiting.abort(new ChatError('shutting_down')))
  }

  #enqueue(records: readonly InRecord[]): void {
    this.#queue.push(...records)
    this.#holdIfFull()
    this.#wake?.()
  }

  #holdIfFull(): void {
    const { batchRecordsMax, log } = this.#options
    const full = this.#held ? this.#queue.length > batchRecordsMax : this.#queue.length >= batchRecordsMax * 2
    if (full === this.#held) return
    this.#held = full
    log.hold(full)
  }
}
