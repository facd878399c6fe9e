import { BatchedTask, type BatchedTaskOptions } from '#libs/streams/batched-task.ts'
import type { PartitionTask } from '#libs/streams/partition-tasks.ts'
import { readByRule, type ReadOptions, type ReadPosition } from '#libs/streams/read-by-rule.ts'
import type { InRecord } from '#libs/streams/record.ts'
import type { PartitionStore } from './partition-store.ts'

/** One valid record of the log, decoded. */
export type AppliedRecord<Decided> = { readonly offset: bigint; readonly decision: Decided }

export type PersisterTaskOptions<Decided, Rows> = ReadOptions<Decided> &
  Pick<BatchedTaskOptions, 'log' | 'sleep' | 'retryDelayMs' | 'batchRecordsMax'> & {
    readonly partition: number
    readonly store: PartitionStore<Rows>
    readonly rowsOf: (applied: readonly AppliedRecord<Decided>[]) => Rows
    readonly observer: { applied(records: number, rows: Rows, tookMs: number): void; behind(err: unknown, delayMs: number): void; moved(): void }
    readonly nowMs: () => number
  }

/**
 * Brings one partition of a fenced log into Postgres, in order, each valid record exactly once. Others may do the same at
 * the same time (a zombie that lost the partition): the compare-and-set of the position lets one of them through, and the
 * others read the position again.
 */
export class PersisterTask<Decided, Rows> implements PartitionTask {
  readonly #options: PersisterTaskOptions<Decided, Rows>
  readonly #task: BatchedTask
  #position: ReadPosition | undefined

  constructor(options: PersisterTaskOptions<Decided, Rows>) {
    const { observer } = options
    this.#options = options
    this.#task = new BatchedTask({
      ...options,
      begin: () => this.#begin(),
      apply: (batch) => this.#apply(batch),
      onRetry: (err, delayMs) => observer.behind(err, delayMs),
    })
  }

  /** What is in Postgres for certain; undefined before it was first read. */
  get position(): ReadPosition | undefined {
    return this.#position
  }

  run(): Promise<void> {
    return this.#task.run()
  }

  stop(): Promise<void> {
    return this.#task.stop()
  }

  async #begin(): Promise<bigint> {
    const { partition, store } = this.#options
    this.#position = await store.readPosition(partition)
    return this.#position.nextOffset
  }

  async #apply(batch: readonly InRecord[]): Promise<boolean> {
    const { partition, store, rowsOf, observer, nowMs } = this.#options
    const startedMs = nowMs()
    const position = this.#position!
    const { after, read } = await readByRule(this.#options, position, batch)
    const rows = rowsOf(read.map(({ record, decided }) => ({ offset: record.offset, decision: decided })))
    if (!(await store.apply(partition, position, after, rows))) {
      observer.moved()
      return false
    }
    this.#position = after
    observer.applied(batch.length, rows, nowMs() - startedMs)
    return true
  }
}
