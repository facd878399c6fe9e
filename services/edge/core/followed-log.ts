import { ChatError } from '#libs/domain/errors.ts'
import { ReaderRule } from '#libs/streams/reader-rule.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { type BufferLimits, PartitionBuffer } from './partition-buffer.ts'
import type { EdgeClock, LogPosition, RecordCodec } from './ports.ts'

export type FollowedLogDeps = {
  readonly codec: RecordCodec
  readonly clock: EdgeClock
  readonly bufferLimits: BufferLimits
  /** The log cannot be read on: it contradicts itself. */
  readonly onCorrupt: (err: unknown) => void
  /** Something that is waited for cannot be reached. */
  readonly onTrouble: (err: unknown) => void
}

/** One partition of a fenced log as this edge follows it: applies the reader's rule and keeps the tail that Postgres may not have. */
export abstract class FollowedLog {
  readonly partition: number
  readonly buffer: PartitionBuffer
  lastUsedMs: number
  /** Under way, and answers that are waited for: at the end of one this partition must still be followed. */
  admissions = 0
  readonly #deps: FollowedLogDeps
  readonly #rule: ReaderRule
  /** The next offset to be handled. */
  #position: bigint
  #persistedTo: bigint
  #feeding: Promise<void> = Promise.resolve()
  #waiters: { readonly offset: bigint; readonly resolve: () => void }[] = []

  constructor(partition: number, start: LogPosition, deps: FollowedLogDeps) {
    this.partition = partition
    this.#deps = deps
    this.#rule = new ReaderRule(start.ownerEpoch)
    this.#position = start.nextOffset
    this.#persistedTo = start.nextOffset
    this.buffer = new PartitionBuffer(start.nextOffset, deps.bufferLimits)
    this.lastUsedMs = deps.clock.nowMs()
  }

  /** Whether somebody here needs what comes. */
  abstract get isUsed(): boolean

  /** The next valid record, which the buffer has already. @throws ChatError `log_corrupt` */
  protected abstract take(record: InRecord): void

  get position(): bigint {
    return this.#position
  }

  /** Postgres has everything below, and perhaps more. */
  get persistedTo(): bigint {
    return this.#persistedTo
  }

  persisted(nextOffset: bigint): void {
    if (nextOffset > this.#persistedTo) this.#persistedTo = nextOffset
  }

  /** Drops from the buffer what Postgres has. */
  prune(nextOffset: bigint): void {
    this.persisted(nextOffset)
    // Above our own position there is nothing to drop, and the floor must not overtake what we have read.
    this.buffer.prune(nextOffset < this.#position ? nextOffset : this.#position)
  }

  /** Takes the next records of the partition. */
  receive(records: readonly InRecord[]): void {
    this.#feeding = this.#feeding.then(() => this.#feed(records)).catch((err: unknown) => this.#deps.onCorrupt(err))
  }

  /** Resolves when everything below `offset` was handled. @throws ChatError `unavailable` after `timeoutMs` */
  async reach(offset: bigint, timeoutMs: number): Promise<void> {
    if (this.#position >= offset) return
    const { promise: reached, resolve } = Promise.withResolvers<void>()
    const waiter = { offset, resolve }
    this.#waiters.push(waiter)
    const waiting = new AbortController()
    const timeout = this.#deps.clock.sleep(timeoutMs, waiting.signal).then(
      () => {
        throw new ChatError('unavailable', `the log was not read up to ${offset} in time`)
      },
      () => {
        // Reached in time.
      },
    )
    try {
      await Promise.race([reached, timeout])
    } finally {
      waiting.abort()
      this.#waiters = this.#waiters.filter((w) => w !== waiter)
    }
  }

  async #feed(records: readonly InRecord[]): Promise<void> {
    for (const record of records) {
      if (record.value) await this.#learn(record.value)
      const verdict = this.#rule.judge(record.offset, record.headers)
      this.#position = record.offset + 1n
      if (verdict !== 'valid') continue
      this.buffer.push(record)
      this.take(record)
    }
    if (this.#waiters.length === 0) return
    const reached = this.#waiters.filter(({ offset }) => offset <= this.#position)
    this.#waiters = this.#waiters.filter(({ offset }) => offset > this.#position)
    for (const { resolve } of reached) resolve()
  }

  /** A schema that is new to this process: nothing goes on before the registry has told it. */
  async #learn(value: Buffer): Promise<void> {
    for (let delayMs = 100; ; delayMs = Math.min(delayMs * 2, 5_000)) {
      try {
        const learning = this.#deps.codec.learn(value)
        if (learning) await learning
        return
      } catch (err) {
        this.#deps.onTrouble(err)
        await this.#deps.clock.sleep(delayMs)
      }
    }
  }
}
