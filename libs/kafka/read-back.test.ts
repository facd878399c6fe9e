import { expect, test } from 'vitest'
import type { InRecord } from '#libs/streams/record.ts'
import type { PositionedConsumer, RecordSink } from './positioned-consumer.ts'
import { readCompacted } from './read-back.ts'
import type { OffsetsAdmin } from './topics-admin.ts'

const recordAt = (offset: bigint): InRecord => ({ offset, key: `k${offset}`, value: Buffer.from('v'), headers: {}, timestampMs: 0 })

/** Hands on all at once, up to where a fetch is full. */
function readerOf(fullAt: bigint) {
  let next = 0n
  const reader = {
    open(_topic: string, _partition: number, from: bigint, sink: RecordSink) {
      next = fullAt
      const records = Array.from({ length: Number(fullAt - from) }, (_, i) => recordAt(from + BigInt(i)))
      queueMicrotask(() => sink(records, fullAt))
    },
    position: () => next,
    hold() {},
    closePartition() {},
  }
  return reader as unknown as PositionedConsumer
}

test('of transactions that come meanwhile all is handed on, or nothing, and each record once', async () => {
  // Three rounds; the fourth end is that of a transaction of which the last fetch has brought the begin alone.
  const ends = [4n, 6n, 8n, 12n]
  const offsets = { range: async () => ({ low: 0n, high: ends.shift()! }) } as unknown as OffsetsAdmin
  const read: bigint[] = []
  const onRecords = async (records: readonly InRecord[]) => void read.push(...records.map(({ offset }) => offset))
  await readCompacted({ reader: readerOf(10n), offsets }, { topic: 'room-state', partition: 0, onRecords, signal: new AbortController().signal })
  expect(read).toEqual([0n, 1n, 2n, 3n, 4n, 5n, 6n, 7n])
})
