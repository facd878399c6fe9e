import type { Rows } from './rows.ts'

/** Where a partition's history stands: everything below `nextOffset` is in Postgres. */
export type Position = {
  readonly nextOffset: bigint
  /** The owner epoch in force at `nextOffset`. */
  readonly ownerEpoch: bigint
  /** Last applied offset of each input topic. */
  readonly lastSources: ReadonlyMap<string, bigint>
}

export type MessageStore = {
  /** Makes the partition's row if there is none: position 0, epoch -1. */
  readPosition(partition: number): Promise<Position>
  /**
   * Writes `rows` and moves the position from `before` to `after` in one transaction, whose first statement is the
   * compare-and-set of the position. False: another persister has been there, and nothing was written.
   * @throws ChatError `duplicate_row` for an event that is there already: the log is wrong; `unavailable`: the outcome
   *   may be unknown, read the position again
   */
  apply(partition: number, before: Position, after: Position, rows: Rows): Promise<boolean>
}
