import { ChatError } from '#libs/domain/errors.ts'
import { type Checkpoint, type Decision, decisionFromAvro } from '#libs/streams/avro-shapes.ts'
import { BatchedTask, type BatchedTaskOptions } from '#libs/streams/batched-task.ts'
import type { PartitionTask } from '#libs/streams/partition-tasks.ts'
import { type LearningCodec, readByRule, type ReadPosition } from '#libs/streams/read-by-rule.ts'
import { headerText, NO_EPOCH } from '#libs/streams/reader-rule.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { headerNames } from '#libs/streams/topics.ts'
import { concernsMembership, concernsUsers, FanOut, type FanOutDeps, HEADS_EVERY_MS, type TracedUpdate } from './fan-out.ts'

type OnRecords = (records: readonly InRecord[]) => Promise<void>

export type FanOutTaskOptions = Pick<BatchedTaskOptions, 'log' | 'sleep' | 'retryDelayMs' | 'batchRecordsMax' | 'onRetry'> & {
  readonly roomEvents: LearningCodec
  readonly roomState: LearningCodec
  /** Reads all committed snapshots of the partition that there are when it ends, more or less. */
  readonly readSnapshots: (onRecords: OnRecords, signal: AbortSignal) => Promise<void>
  /** Reads the log's records `from` … `upTo`. */
  readonly readLog: (from: bigint, upTo: bigint, onRecords: OnRecords, signal: AbortSignal) => Promise<void>
  /** Where the one before has stopped; undefined: nobody has begun. */
  readonly readPosition: () => Promise<ReadPosition | undefined>
  /** The first offset that the log still holds. */
  readonly logBegin: () => Promise<bigint>
  /** Resolves when all are durable; the updates of one user become so in order, or not at all. */
  readonly send: (updates: readonly TracedUpdate[]) => Promise<void>
  readonly onUnknownRoom: FanOutDeps['onUnknownRoom']
  readonly headsOnlyAbove?: number
  readonly nowMs: () => number
  readonly observer: { applied(records: number, tookMs: number): void; restored(tookMs: number): void }
}

/**
 * Fans out one partition of the log, at least once: whatever goes wrong, it restores who is in and reads again from where
 * all was told. A second one that does the same does no harm: for each user in each room both send the same in the same order,
 * from a position below which all was told, and the feed takes what is new.
 */
export class FanOutTask implements PartitionTask {
  readonly #options: FanOutTaskOptions
  readonly #task: BatchedTask
  readonly #stopping = new AbortController()
  #fanOut: FanOut<ReadPosition> | undefined
  /** All below was read. */
  #read: ReadPosition | undefined
  /** All below was told, and acknowledged: moved between batches alone. */
  #told: ReadPosition | undefined

  constructor(options: FanOutTaskOptions) {
    this.#options = options
    this.#task = new BatchedTask({
      ...options,
      begin: () => this.#begin(),
      apply: (batch) => this.#apply(batch),
      // Where nothing else comes, nobody else tells the heads.
      idleMs: () => (this.#fanOut?.deferredSince === undefined ? undefined : HEADS_EVERY_MS / 4),
    })
  }

  /** All below was told; undefined before it is known. */
  get position(): ReadPosition | undefined {
    return this.#told
  }

  run(): Promise<void> {
    return this.#task.run()
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new ChatError('shutting_down'))
    await this.#task.stop()
    // What is not told now is read again by the next one.
    await this.#tell((fanOut) => fanOut.heads(this.#options.nowMs(), { all: true })).catch((err: unknown) => this.#options.onRetry(err, 0))
  }

  async #begin(): Promise<bigint> {
    const { readPosition, logBegin, nowMs, observer } = this.#options
    const startedMs = nowMs()
    const from = this.position ?? (await readPosition()) ?? { nextOffset: await logBegin(), ownerEpoch: NO_EPOCH, lastSources: new Map() }
    this.#fanOut = undefined
    this.#fanOut = await this.#restore(from)
    this.#read = from
    this.#told = from
    observer.restored(nowMs() - startedMs)
    return from.nextOffset
  }

  async #restore(from: ReadPosition): Promise<FanOut<ReadPosition>> {
    const { roomState, readSnapshots, readLog, onUnknownRoom, headsOnlyAbove } = this.#options
    const { signal } = this.#stopping
    const fanOut = new FanOut<ReadPosition>({ decodeState: (bytes) => roomState.decode(bytes), onUnknownRoom, ...(headsOnlyAbove !== undefined && { headsOnlyAbove }) })
    let checkpoint: Checkpoint | undefined
    await readSnapshots(async (records) => {
      await this.#learn(records)
      for (const record of records) checkpoint = fanOut.restore(record) ?? checkpoint
    }, signal)
    const { nextOffset, ownerEpoch, inputs } = checkpoint ?? { nextOffset: 0n, ownerEpoch: NO_EPOCH, inputs: new Map<string, bigint>() }
    if (nextOffset < from.nextOffset) {
      const lastSources = new Map([...inputs].map(([topic, next]) => [topic, next - 1n]))
      await this.#readDecisions({ nextOffset, ownerEpoch, lastSources }, from.nextOffset, (decision) => fanOut.fold(decision), readLog)
    } else if (nextOffset > from.nextOffset) await this.#readDecisions(from, nextOffset, (decision) => fanOut.addGone(decision), readLog)
    return fanOut
  }

  async #learn(records: readonly InRecord[]): Promise<void> {
    try {
      for (const { value } of records) if (value) await this.#options.roomState.learn(value)
    } catch (err) {
      throw new ChatError('unavailable', 'the schema registry', { cause: err })
    }
  }

  /** Those that say who is in. */
  async #readDecisions(from: ReadPosition, end: bigint, onDecision: (decision: Decision) => void, readLog: FanOutTaskOptions['readLog']): Promise<void> {
    let at = from
    const options = { codec: this.#options.roomEvents, decidedOf: decisionFromAvro, concerns: concernsMembership }
    await readLog(
      from.nextOffset,
      end - 1n,
      async (records) => {
        if (records.length === 0) return
        const { after, read } = await readByRule(options, at, records)
        at = after
        for (const { decided } of read) onDecision(decided)
      },
      this.#stopping.signal,
    )
  }

  async #apply(batch: readonly InRecord[]): Promise<boolean> {
    const { roomEvents, nowMs, observer } = this.#options
    const startedMs = nowMs()
    if (batch.length > 0) {
      const before = this.#read!
      const { after, read } = await readByRule({ codec: roomEvents, decidedOf: decisionFromAvro, concerns: concernsUsers }, before, batch)
      const records = read.map(({ record, decided }) => ({ offset: record.offset, decision: decided, traceparent: headerText(record.headers, headerNames.traceparent) }))
      await this.#tell((fanOut) => fanOut.updates(records, before), after)
      observer.applied(batch.length, nowMs() - startedMs)
    }
    await this.#tell((fanOut) => fanOut.heads(nowMs()))
    return true
  }

  /** Where it fails, what was in the making is worth nothing: who is in is restored, and all that may not be told is read again. */
  async #tell(portions: (fanOut: FanOut<ReadPosition>) => Iterable<readonly TracedUpdate[]>, after = this.#read): Promise<void> {
    const fanOut = this.#fanOut
    if (!fanOut) return
    this.#fanOut = undefined
    for (const updates of portions(fanOut)) await this.#options.send(updates)
    this.#fanOut = fanOut
    this.#read = after
    this.#told = fanOut.deferredSince ?? after
  }
}
