import { ChatError, hasCode } from '#libs/domain/errors.ts'
import type { Checkpoint } from './avro-shapes.ts'
import { NO_EPOCH, ReaderRule, sourceOf } from './reader-rule.ts'
import type { FencedLog, InputRecord, LogAppender, Processor, SnapshotLog, SnapshotWriter, TaskClock, TaskInputs } from './fenced-ports.ts'
import { type InRecord, type OutRecord, recordBytes } from './record.ts'
import { BATCH_BYTES_MAX, headerNames } from './topics.ts'

export type TaskOptions<Prepared> = {
  readonly ownerId: string
  readonly log: FencedLog
  readonly snapshots: SnapshotLog
  readonly inputs: TaskInputs
  /** In the order in which they are drained. */
  readonly inputTopics: readonly string[]
  readonly createProcessor: () => Processor<Prepared>
  readonly clock: TaskClock
  readonly newNonce: () => string
  readonly retryDelayMs: (attempt: number) => number
  /**
   * Asked before a partition is taken over *again*: rejects where this process cannot prove that it is still the one to
   * do so, or where the signal says that it is to end. Otherwise a zombie that wakes up would take it from its new owner.
   */
  readonly confirmAssigned: (signal: AbortSignal) => Promise<void>
  readonly limits?: Partial<TaskLimits>
  readonly observer?: Partial<TaskObserver>
}

export type TaskLimits = {
  readonly snapshotEveryMs: number
  /** So that a reader without an epoch always finds a marker near. */
  readonly remarkEveryMs: number
  /** Inputs per append. */
  readonly batchInputsMax: number
  /** Queued inputs at which delivery is held, and at which it goes on. */
  readonly queueHighMark: number
  readonly queueLowMark: number
}

export const defaultTaskLimits: TaskLimits = {
  snapshotEveryMs: 5_000,
  remarkEveryMs: 3_600_000,
  batchInputsMax: 500,
  queueHighMark: 2_000,
  queueLowMark: 500,
}

/** A snapshot younger than this is as good as a new one; and the brokers may be busy yet with ending its transaction. */
const FRESH_MS = 1_000

export type TaskObserver = {
  takenOver(epoch: bigint, tookMs: number): void
  appended(inputs: number, bytes: number, tookMs: number): void
  snapshotted(records: number, tookMs: number): void
  lost(err: unknown, delayMs: number): void
}

/** Errors that another takeover would only meet again: an operator has to look. */
const isFatal = (err: unknown): boolean =>
  !(err instanceof ChatError) || hasCode(err, 'log_corrupt') || hasCode(err, 'input_position_lost') || hasCode(err, 'config_invalid')

/**
 * The owner of one partition of the fenced log: takes it over, then turns each input into exactly one output record,
 * in order, exactly once. See docs/architecture.md; the steps have the names of the checked model.
 *
 * It trusts nothing but acknowledged appends whose base offset is the one after its last. On any doubt it throws all it
 * knows away and takes the partition over again, for as long as it is not stopped.
 */
export class FencedTask<Prepared> {
  readonly #options: TaskOptions<Prepared>
  readonly #limits: TaskLimits
  readonly #stopping = new AbortController()
  #running: Promise<void> | undefined
  #tenure: Tenure<Prepared> | undefined

  constructor(options: TaskOptions<Prepared>) {
    this.#options = options
    this.#limits = { ...defaultTaskLimits, ...options.limits }
  }

  /** Settles when the task is stopped; rejects with the error that a new takeover cannot mend. */
  run(): Promise<void> {
    this.#running ??= this.#run()
    return this.#running
  }

  /**
   * Snapshots now, and goes on working: who takes over next has little to replay, and need not wait for it. Resolves
   * when that has succeeded or failed.
   */
  async checkpoint(): Promise<void> {
    await this.#tenure?.checkpoint()
  }

  /** Finishes what is in flight, and lets go. */
  async stop(): Promise<void> {
    this.#stopping.abort(new ChatError('shutting_down'))
    this.#tenure?.wake()
    await this.#running?.catch(() => {
      // Whoever runs the task was told.
    })
  }

  /** The next offset of each input whose effect is durable; undefined before the first takeover has ended. */
  get positions(): ReadonlyMap<string, bigint> | undefined {
    return this.#tenure?.acknowledged
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    for (let attempt = 0; !signal.aborted; attempt++) {
      const tenure = new Tenure(this.#options, this.#limits, signal)
      try {
        if (attempt > 0) await this.#options.confirmAssigned(signal)
        await tenure.takeOver()
        this.#tenure = tenure
        await tenure.work()
      } catch (err) {
        if (signal.aborted) return
        if (isFatal(err)) throw err
        // Not a takeover alone counts as progress: where inputs cannot be read, each would only add a marker.
        if (tenure.hasAppended) attempt = 0
        const delayMs = this.#options.retryDelayMs(attempt)
        this.#options.observer?.lost?.(err, delayMs)
        await tenure.release()
        await this.#options.clock.sleep(delayMs, signal).catch(() => {
          // Stopped meanwhile: the loop ends.
        })
      } finally {
        await tenure.release()
      }
    }
  }
}

/** One takeover and what follows it, until the first doubt. */
class Tenure<Prepared> {
  readonly #options: TaskOptions<Prepared>
  readonly #limits: TaskLimits
  readonly #signal: AbortSignal
  readonly #processor: Processor<Prepared>
  readonly #queues: Map<string, InputRecord[]>
  /** Next offset of each input that is acknowledged as an effect in the log. */
  readonly #acknowledged = new Map<string, bigint>()
  #appender: LogAppender | undefined
  #writer: SnapshotWriter | undefined
  #epoch = NO_EPOCH
  /** Offset of the last acknowledged append. */
  #last = -1n
  #markedMs = 0
  #snapshottedMs = 0
  /** Log offset up to which the last checkpoint stands. */
  #checkpointed = -1n
  #snapshotInFlight: Promise<void> | undefined
  #onCheckpoint: (() => void) | undefined
  #isReleased = false
  #failure: unknown
  #queued = 0
  #held = false
  #wake: (() => void) | undefined

  constructor(options: TaskOptions<Prepared>, limits: TaskLimits, signal: AbortSignal) {
    this.#options = options
    this.#limits = limits
    this.#signal = signal
    this.#processor = options.createProcessor()
    this.#queues = new Map(options.inputTopics.map((topic) => [topic, []]))
  }

  get acknowledged(): ReadonlyMap<string, bigint> {
    return this.#acknowledged
  }

  /** Whether any input's effect became durable. */
  get hasAppended(): boolean {
    return this.#last > this.#epoch
  }

  wake(): void {
    this.#wake?.()
  }

  async takeOver(): Promise<void> {
    const { log, snapshots, ownerId, newNonce, clock, inputs, observer } = this.#options
    const startedMs = clock.nowMs()
    // open: whoever snapshotted before is fenced, before the marker says that we decide.
    this.#writer = await snapshots.openWriter()
    this.#appender = await log.openAppender()
    // marked: the marker's offset is our epoch.
    this.#epoch = await this.#appender.append([this.#processor.marker(ownerId, newNonce())])
    this.#last = this.#epoch
    this.#markedMs = clock.nowMs()
    // ready: only after the marker is acknowledged. No snapshot of an earlier owner can come behind this.
    const sentinelOffset = await this.#commit([this.#processor.sentinel(newNonce())])
    await this.#restore(sentinelOffset)
    this.#snapshottedMs = clock.nowMs()
    await inputs.open(this.#acknowledged, (topic, records) => this.#enqueue(topic, records))
    // The first input may have filled the queue before the second was there to be held.
    if (this.#held) inputs.hold(true)
    observer?.takenOver?.(this.#epoch, clock.nowMs() - startedMs)
  }

  async #restore(sentinelOffset: bigint): Promise<void> {
    const { log, snapshots } = this.#options
    const processor = this.#processor
    let checkpoint: Checkpoint | undefined
    await snapshots.read(
      sentinelOffset,
      async (records) => {
        await processor.learn(records)
        for (const record of records) checkpoint = processor.restore(record) ?? checkpoint
      },
      this.#signal,
    )
    const from = checkpoint?.nextOffset ?? 0n
    if (from > this.#epoch) throw new ChatError('ownership_lost', `a checkpoint at ${from} is above our marker ${this.#epoch}`)
    for (const [topic, next] of checkpoint?.inputs ?? []) this.#acknowledged.set(topic, next)
    const lastSources = new Map([...this.#acknowledged].map(([topic, next]) => [topic, next - 1n]))
    const rule = new ReaderRule(checkpoint?.ownerEpoch ?? NO_EPOCH, lastSources)
    await log.read(
      from,
      this.#epoch,
      async (records) => {
        await processor.learn(records)
        for (const record of records) {
          if (rule.judge(record.offset, record.headers) !== 'valid') continue
          processor.replay(record)
          const source = sourceOf(record.headers)
          if (source) this.#acknowledged.set(source.topic, source.offset + 1n)
        }
      },
      this.#signal,
    )
    this.#checkpointed = from - 1n
  }

  async work(): Promise<void> {
    while (!this.#signal.aborted) {
      if (this.#failure !== undefined) throw this.#failure
      if (this.#queued > 0) await this.#appendBatch()
      if (this.#due(this.#markedMs, this.#limits.remarkEveryMs)) await this.#remark()
      this.#snapshotIfDue()
      if (this.#queued === 0 && this.#failure === undefined && !this.#signal.aborted) await this.#idle()
    }
    // No other one: who takes over at this moment would have to wait for it.
    await this.#snapshotInFlight
  }

  checkpoint(): Promise<void> {
    if (this.#snapshotInFlight) return this.#snapshotInFlight
    if (this.#isReleased || this.#failure !== undefined || !this.#hasNews() || !this.#due(this.#snapshottedMs, FRESH_MS)) return Promise.resolve()
    this.#snapshottedMs = Number.NEGATIVE_INFINITY
    return new Promise((resolve) => {
      this.#onCheckpoint = resolve
      this.wake()
    })
  }

  /** Lets go of everything; failures to do so change nothing. */
  async release(): Promise<void> {
    this.#isReleased = true
    this.#onCheckpoint?.()
    this.#options.inputs.close()
    const [appender, writer] = [this.#appender, this.#writer]
    this.#appender = undefined
    this.#writer = undefined
    await Promise.allSettled([appender?.close(), writer?.close()])
  }

  #enqueue(topic: string, records: readonly InRecord[]): void {
    const queue = this.#queues.get(topic)!
    for (const record of records) queue.push({ ...record, topic })
    this.#queued += records.length
    this.#holdIfFull()
    this.wake()
  }

  #holdIfFull(): void {
    const full = this.#held ? this.#queued > this.#limits.queueLowMark : this.#queued >= this.#limits.queueHighMark
    if (full === this.#held) return
    this.#held = full
    this.#options.inputs.hold(full)
  }

  async #appendBatch(): Promise<void> {
    const { clock, observer } = this.#options
    const inputs = this.#peek()
    const prepared = await this.#processor.prepare(inputs)
    const nowMs = clock.nowMs()
    const records: OutRecord[] = []
    let bytes = 0
    // One output record is far below half a batch, so the sum stays below a whole one.
    for (let i = 0; i < prepared.length && bytes < BATCH_BYTES_MAX / 2; i++) {
      const record = this.#addressed(this.#processor.process(prepared[i]!, nowMs), inputs[i]!)
      bytes += recordBytes(record)
      records.push(record)
    }
    await this.#append(records)
    this.#acknowledge(inputs.slice(0, records.length))
    observer?.appended?.(records.length, bytes, clock.nowMs() - nowMs)
  }

  #acknowledge(inputs: readonly InputRecord[]): void {
    for (const [topic, queue] of this.#queues) {
      const done = inputs.filter((input) => input.topic === topic)
      if (done.length === 0) continue
      queue.splice(0, done.length)
      this.#acknowledged.set(topic, done.at(-1)!.offset + 1n)
    }
    this.#queued -= inputs.length
    this.#holdIfFull()
  }

  #peek(): InputRecord[] {
    const inputs: InputRecord[] = []
    for (const topic of this.#options.inputTopics) {
      inputs.push(...this.#queues.get(topic)!.slice(0, this.#limits.batchInputsMax - inputs.length))
    }
    return inputs
  }

  #addressed(record: OutRecord, { topic, offset }: InputRecord): OutRecord {
    const headers = { ...record.headers, [headerNames.ownerEpoch]: this.#epoch.toString(), [headerNames.source]: `${topic}:${offset}` }
    return { ...record, headers }
  }

  /** The owner is the only writer, so every append must land right behind the last one. */
  async #append(records: readonly OutRecord[]): Promise<bigint> {
    const base = await this.#appender!.append(records)
    if (base <= this.#last) throw new ChatError('log_corrupt', `an append landed at ${base}, but ${this.#last} was acknowledged: the log lost records`)
    if (base !== this.#last + 1n) throw new ChatError('ownership_lost', `an append landed at ${base}, not at ${this.#last + 1n}: somebody else writes`)
    this.#last = base + BigInt(records.length) - 1n
    return base
  }

  async #remark(): Promise<void> {
    const { ownerId, newNonce, clock } = this.#options
    this.#epoch = await this.#append([this.#processor.marker(ownerId, newNonce())])
    this.#markedMs = clock.nowMs()
  }

  #due(sinceMs: number, everyMs: number): boolean {
    return this.#options.clock.nowMs() - sinceMs >= everyMs
  }

  #hasNews(): boolean {
    return this.#last > this.#checkpointed || this.#processor.isDirty()
  }

  #snapshotIfDue(): void {
    // After a failed one the next would call clean what that one has left out.
    if (this.#failure !== undefined || this.#snapshotInFlight || !this.#due(this.#snapshottedMs, this.#limits.snapshotEveryMs) || !this.#hasNews()) return
    this.#snapshotInFlight = this.#snapshot()
      .catch((err: unknown) => {
        this.#failure = err
        this.wake()
      })
      .finally(() => {
        this.#snapshotInFlight = undefined
        this.#onCheckpoint?.()
        this.wake()
      })
  }

  /** Takes the state as it is now, which is called between appends alone: all of it is acknowledged. */
  async #snapshot(): Promise<void> {
    const { clock, observer } = this.#options
    const nowMs = clock.nowMs()
    const nextOffset = this.#last + 1n
    const records = this.#processor.snapshot({ nextOffset, ownerEpoch: this.#epoch, inputs: new Map(this.#acknowledged) }, nowMs)
    this.#snapshottedMs = nowMs
    this.#checkpointed = this.#last
    await this.#commit(records)
    observer?.snapshotted?.(records.length, clock.nowMs() - nowMs)
  }

  /** However it fails, fenced or unknown: only another takeover tells what happened. */
  async #commit(records: readonly OutRecord[]): Promise<bigint> {
    try {
      return await this.#writer!.commit(records)
    } catch (err) {
      throw err instanceof ChatError ? err : new ChatError('ownership_lost', `a snapshot failed: ${(err as Error).message}`, { cause: err })
    }
  }

  async #idle(): Promise<void> {
    const { clock } = this.#options
    const remarkInMs = this.#limits.remarkEveryMs - (clock.nowMs() - this.#markedMs)
    const snapshotInMs = this.#hasNews() && !this.#snapshotInFlight ? this.#limits.snapshotEveryMs - (clock.nowMs() - this.#snapshottedMs) : remarkInMs
    const woken = new AbortController()
    // A reason of our own: the default one is an exception with a stack, made thousands of times a second.
    this.#wake = () => woken.abort('woken')
    await clock.sleep(Math.max(1, Math.min(remarkInMs, snapshotInMs)), woken.signal).catch(() => {
      // Woken: there is something to do.
    })
    this.#wake = undefined
  }
}
