import { ChatError, hasCode } from '#libs/domain/errors.ts'
import { type Decision, decisionFromAvro } from '#libs/streams/avro-shapes.ts'
import { ReaderRule, sourceOf } from '#libs/streams/reader-rule.ts'
import type { InRecord } from '#libs/streams/record.ts'
import type { MessageStore, Position } from './message-store.ts'
import { type Applied, type Rows, rowsOf } from './rows.ts'

export type PersisterTaskOptions = {
  readonly partition: number
  readonly store: MessageStore
  readonly log: {
    /** @throws ChatError `input_position_lost` where the log no longer holds `from` */
    open(from: bigint, sink: (records: readonly InRecord[]) => void): Promise<void>
    hold(on: boolean): void
    close(): void
  }
  readonly codec: { decode(bytes: Buffer): unknown; learn(bytes: Buffer): Promise<void> | undefined }
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>
  readonly retryDelayMs: (attempt: number) => number
  readonly limits: { readonly batchRecordsMax: number; readonly queueHighMark: number; readonly queueLowMark: number }
  readonly observer: { applied(records: number, events: number, tookMs: number): void; behind(err: unknown, delayMs: number): void; moved(): void }
  readonly nowMs: () => number
}

/**
 * Brings one partition of the log into Postgres, in order, each valid record exactly once. Others may do the same at the
 * same time (a zombie that lost the partition): the compare-and-set of the position lets one of them through, and the
 * others read the position again.
 */
export class PersisterTask {
  readonly #options: PersisterTaskOptions
  readonly #stopping = new AbortController()
  #running: Promise<void> | undefined
  #queue: InRecord[] = []
  #held = false
  #wake: (() => void) | undefined
  #position: Position | undefined

  constructor(options: PersisterTaskOptions) {
    this.#options = options
  }

  /** What is in Postgres for certain; undefined before it was first read. */
  get position(): Position | undefined {
    return this.#position
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
    const { log, observer, retryDelayMs, sleep } = this.#options
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        await this.#follow(() => {
          attempt = 0
        })
      } catch (err) {
        if (signal.aborted) return
        if (!hasCode(err, 'unavailable')) throw err
        const delayMs = retryDelayMs(attempt)
        observer.behind(err, delayMs)
        await sleep(delayMs, signal).catch(() => {
          // Stopped meanwhile: the loop ends.
        })
      } finally {
        log.close()
        this.#queue = []
      }
    }
  }

  /** From the stored position until somebody else has moved it, or a failure. */
  async #follow(onProgress: () => void): Promise<void> {
    const { partition, store, log, observer } = this.#options
    let position = await store.readPosition(partition)
    this.#position = position
    this.#held = false
    await log.open(position.nextOffset, (records) => this.#enqueue(records))
    while (!this.#stopping.signal.aborted) {
      if (this.#queue.length === 0) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
        continue
      }
      const startedMs = this.#options.nowMs()
      const batch = this.#queue.slice(0, this.#options.limits.batchRecordsMax)
      const { after, rows } = await this.#read(position, batch)
      if (!(await store.apply(partition, position, after, rows))) {
        observer.moved()
        return
      }
      position = after
      this.#position = after
      this.#queue.splice(0, batch.length)
      this.#holdIfFull()
      onProgress()
      observer.applied(batch.length, rows.events.length, this.#options.nowMs() - startedMs)
    }
  }

  /** Applies the reader's rule and decodes what is valid. */
  async #read(before: Position, batch: readonly InRecord[]): Promise<{ after: Position; rows: Rows }> {
    const rule = new ReaderRule(before.ownerEpoch, before.lastSources)
    const lastSources = new Map(before.lastSources)
    const applied: Applied[] = []
    for (const record of batch) {
      if (rule.judge(record.offset, record.headers) !== 'valid') continue
      const decision = await this.#decode(record)
      if (decision) applied.push({ offset: record.offset, decision })
      const source = sourceOf(record.headers)
      if (source) lastSources.set(source.topic, source.offset)
    }
    return { after: { nextOffset: batch.at(-1)!.offset + 1n, ownerEpoch: rule.epoch, lastSources }, rows: rowsOf(applied) }
  }

  async #decode({ value, offset }: InRecord): Promise<Decision | undefined> {
    if (value === null) throw new ChatError('log_corrupt', `offset ${offset} has no value`)
    try {
      await this.#options.codec.learn(value)
    } catch (err) {
      throw new ChatError('unavailable', 'the schema registry', { cause: err })
    }
    return decisionFromAvro(this.#options.codec.decode(value))
  }

  #enqueue(records: readonly InRecord[]): void {
    this.#queue.push(...records)
    this.#holdIfFull()
    this.#wake?.()
  }

  #holdIfFull(): void {
    const { queueHighMark, queueLowMark } = this.#options.limits
    const full = this.#held ? this.#queue.length > queueLowMark : this.#queue.length >= queueHighMark
    if (full === this.#held) return
    this.#held = full
    this.#options.log.hold(full)
  }
}
