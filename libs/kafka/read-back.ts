import { ChatError } from '#libs/domain/errors.ts'
import type { InRecord } from '#libs/streams/record.ts'
import type { TopicName } from '#libs/streams/topics.ts'
import type { PositionedConsumer } from './positioned-consumer.ts'
import type { OffsetsAdmin } from './topics-admin.ts'

/** A read that brings nothing for this long is given up; whoever needs it tries again. */
const READ_STALL_MS = 30_000

/** Fetched batches that may wait to be handled; then the next ones wait at the broker, not in our memory. */
const READ_BATCHES_MAX = 8

/** How often the position is looked at where what comes last may be no record. */
const POLL_MS = 10

/** A last portion that others have written while the one before was read. */
const ROUNDS_MAX = 3

type At = {
  readonly topic: TopicName
  readonly partition: number
  readonly onRecords: (records: readonly InRecord[]) => Promise<void>
  readonly signal: AbortSignal
}
type ReadOptions = At & { readonly from: bigint; readonly upTo: bigint }
type Deps = { readonly reader: PositionedConsumer; readonly offsets: OffsetsAdmin }

/**
 * Reads the records of offsets `from` … `upTo` of a topic whose every offset is a record.
 * @throws ChatError `input_position_lost` where it does not hold `from` any more; `unavailable` where nothing comes
 */
export async function readLog({ reader, offsets }: Deps, options: ReadOptions): Promise<void> {
  const { topic, partition, from, upTo, onRecords } = options
  if (from > upTo) return
  const { low } = await offsets.range(topic, partition)
  if (from < low) throw new ChatError('input_position_lost', `${topic}[${partition}] begins at ${low}, the restore needs ${from}`)
  await readUpTo(reader, { ...options, onRecords: (records) => onRecords(records.filter((r) => r.offset <= upTo)) })
}

/** Reads one partition until an offset at or above `upTo` was handled. */
export async function readUpTo(reader: PositionedConsumer, options: ReadOptions): Promise<void> {
  await read(reader, options, (records) => records.at(-1)!.offset >= options.upTo)
}

/**
 * Reads a compacted topic from its begin to the end, which others go on writing: what compaction takes away while this
 * reads was written anew before this ends, so it is met further up, in another round. The end may be no record. Each end is
 * one of committed transactions: nothing above the last is handed on, which may be the begin of one without its rest.
 */
export async function readCompacted({ reader, offsets }: Deps, { topic, partition, onRecords, signal }: At): Promise<void> {
  let { low: from, high: end } = await offsets.range(topic, partition)
  for (let round = 0; round < ROUNDS_MAX && from < end; round++) {
    const upTo = end
    const below = (records: readonly InRecord[]) => onRecords(records.filter(({ offset }) => offset < upTo))
    await read(reader, { topic, partition, from, upTo, onRecords: below, signal }, () => false, () => (reader.position(topic, partition) ?? 0n) >= upTo)
    from = upTo
    end = (await offsets.range(topic, partition)).high
  }
}

async function read(
  reader: PositionedConsumer,
  { topic, partition, from, upTo, onRecords, signal }: ReadOptions,
  isLast: (records: readonly InRecord[]) => boolean,
  isAtEnd: () => boolean = () => false,
): Promise<void> {
  signal.throwIfAborted()
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const onAbort = () => reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  const stalled = setTimeout(() => reject(new ChatError('unavailable', `reading ${topic}[${partition}] from ${from} to ${upTo} has stalled`)), READ_STALL_MS)
  let handled = Promise.resolve()
  let waiting = 0
  const poll = setInterval(() => {
    if (waiting === 0 && isAtEnd()) resolve()
  }, POLL_MS)
  try {
    reader.open(topic, partition, from, (records) => {
      stalled.refresh()
      if (++waiting >= READ_BATCHES_MAX) reader.hold(topic, partition, 'handling', true)
      handled = handled
        .then(() => onRecords(records))
        .then(() => {
          if (--waiting === 0) reader.hold(topic, partition, 'handling', false)
          if (isLast(records)) resolve()
        })
        .catch(reject)
    })
    await promise
  } finally {
    clearTimeout(stalled)
    clearInterval(poll)
    signal.removeEventListener('abort', onAbort)
    reader.closePartition(topic, partition)
  }
}
