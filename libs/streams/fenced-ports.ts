import type { Checkpoint } from './avro-shapes.ts'
import type { InRecord, OutRecord } from './record.ts'

/** One partition of the fenced log. */
export type FencedLog = {
  /** A new appender: nothing that an earlier one left on its way shares its connection. */
  openAppender(): Promise<LogAppender>
  /**
   * Reads the records of offsets `from` … `upTo`, in order.
   * @throws ChatError `input_position_lost` where the log no longer holds `from`
   */
  read(from: bigint, upTo: bigint, onRecords: (records: readonly InRecord[]) => Promise<void>, signal: AbortSignal): Promise<void>
}

export type LogAppender = {
  /**
   * Appends all or nothing, durable on all in-sync replicas; returns the offset of the first record.
   * @throws ChatError `append_unknown`: they may be in the log, now or later. The appender is of no use any more.
   */
  append(records: readonly OutRecord[]): Promise<bigint>
  close(): Promise<void>
}

/** One partition of the compacted snapshot topic. */
export type SnapshotLog = {
  /** Fences every writer that was opened before, of any process. */
  openWriter(): Promise<SnapshotWriter>
  /** Reads what is committed from the start up to `upTo`; ends when an offset at or above it was seen. */
  read(upTo: bigint, onRecords: (records: readonly InRecord[]) => Promise<void>, signal: AbortSignal): Promise<void>
}

export type SnapshotWriter = {
  /**
   * Commits all records in one transaction; returns the offset of the first.
   * @throws any failure means: fenced, or unknown. The writer is of no use any more.
   */
  commit(records: readonly OutRecord[]): Promise<bigint>
  close(): Promise<void>
}

export type InputRecord = InRecord & { readonly topic: string }

export type TaskInputs = {
  /**
   * Delivers each input's records, contiguous from its position (0 where none is given).
   * @throws ChatError `input_position_lost` where a topic no longer holds its position
   */
  open(positions: ReadonlyMap<string, bigint>, sink: (topic: string, records: readonly InRecord[]) => void): Promise<void>
  /** Backpressure: while held nothing more is delivered. */
  hold(on: boolean): void
  close(): void
}

/** What a task decides, apart from how its records become durable. One for each takeover: it begins with nothing. */
export type Processor<Prepared> = {
  /** Makes sure that `restore` or `replay` of these records can decode at once. */
  learn(records: readonly InRecord[]): Promise<void>
  /** Takes one snapshot record, in offset order; returns the checkpoint, if it is that. */
  restore(record: InRecord): Checkpoint | undefined
  /** Folds a valid record of the log; what it changes is dirty. */
  replay(record: InRecord): void
  /** Decodes inputs; dead-letters, durably, what cannot be. May fail as a whole: it is called again. */
  prepare(records: readonly InputRecord[]): Promise<readonly Prepared[]>
  /**
   * One input, one output record; changes the state as if that were durable.
   * @throws ChatError `ownership_lost` where snapshots turn out to be missing
   */
  process(input: Prepared, nowMs: number): OutRecord
  marker(ownerId: string, nonce: string): OutRecord
  sentinel(nonce: string): OutRecord
  /** Everything dirty, which is then clean, and the checkpoint. */
  snapshot(checkpoint: Checkpoint, nowMs: number): readonly OutRecord[]
  isDirty(): boolean
}

export type TaskClock = {
  nowMs(): number
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}
