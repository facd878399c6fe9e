import type { ReadPosition } from '#libs/streams/read-by-rule.ts'

/** Where the rows of one log rest: everything below a partition's position is there. */
export type PartitionStore<Rows> = {
  /** Makes the partition's row if there is none: position 0, epoch -1. */
  readPosition(partition: number): Promise<ReadPosition>
  /**
   * Writes `rows` and moves the position from `before` to `after` in one transaction, whose first statement is the
   * compare-and-set of the position. False: another persister has been there, and nothing was written.
   * @throws ChatError `duplicate_row` for an event that is there already: the log is wrong; `unavailable`: the outcome
   *   may be unknown, read the position again
   */
  apply(partition: number, before: ReadPosition, after: ReadPosition, rows: Rows): Promise<boolean>
}
