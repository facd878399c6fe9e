import type { BatchingProducer } from '#libs/kafka/batching-producer.ts'
import { inboxUpdateToAvro } from '#libs/streams/inbox-shapes.ts'
import { partitionOf } from '#libs/streams/murmur2.ts'
import { type OutRecord, recordBytes } from '#libs/streams/record.ts'
import { headerNames, topics } from '#libs/streams/topics.ts'
import type { TracedUpdate } from './core/fan-out.ts'

/** In one append, which becomes durable as a whole or not at all; far below what a batch may have. */
const APPEND_BYTES_MAX = 128 * 1024

type Deps = {
  readonly producer: Pick<BatchingProducer, 'append'>
  readonly encode: (value: unknown) => Buffer
  readonly partitions: number
}

/**
 * Sends updates; resolves when all are durable. The updates of one user become so in order, or not at all: one that came
 * behind a lost one would make the repeat of that one too late.
 */
export async function sendUpdates({ producer, encode, partitions }: Deps, updates: readonly TracedUpdate[]): Promise<void> {
  const byPartition = new Map<number, OutRecord[]>()
  for (const { traceparent, ...update } of updates) {
    const partition = partitionOf(update.userId, partitions)
    const records = byPartition.get(partition) ?? []
    byPartition.set(partition, records)
    records.push({ key: update.userId, value: encode(inboxUpdateToAvro(update)), headers: { [headerNames.eventType]: update.change.type, ...(traceparent !== undefined && { [headerNames.traceparent]: traceparent }) } })
  }
  const outcomes = await Promise.allSettled([...byPartition].map(([partition, records]) => appendInOrder(producer, partition, records)))
  // Only when nothing is on its way any more.
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
}

async function appendInOrder(producer: Deps['producer'], partition: number, records: readonly OutRecord[]): Promise<void> {
  for (let from = 0; from < records.length; ) {
    let to = from
    for (let bytes = 0; to < records.length && (to === from || bytes + recordBytes(records[to]!) <= APPEND_BYTES_MAX); to++) bytes += recordBytes(records[to]!)
    await producer.append(topics.inboxUpdates.name, partition, records.slice(from, to))
    from = to
  }
}
