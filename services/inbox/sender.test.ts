import { expect, test } from 'vitest'
import { ChatError } from '#libs/domain/errors.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { partitionOf } from '#libs/streams/murmur2.ts'
import type { OutRecord } from '#libs/streams/record.ts'
import type { TracedUpdate } from './core/fan-out.ts'
import { sendUpdates } from './sender.ts'

const PARTITIONS = 4
const update = (userId: string, roomSeq: number): TracedUpdate => ({ userId: userId as UserId, roomId: 'r' as RoomId, roomSeq, timestampMs: 1, change: { type: 'seen', seen: roomSeq } })

/** Each append waits until it is let go; keeps what was appended. */
function producerOf() {
  const appends: { partition: number; records: readonly OutRecord[]; done: PromiseWithResolvers<bigint> }[] = []
  const append = (_topic: string, partition: number, records: readonly OutRecord[]) => {
    const done = Promise.withResolvers<bigint>()
    appends.push({ partition, records, done })
    return done.promise
  }
  return { appends, append }
}
const settle = () => new Promise((resolve) => setImmediate(resolve))
/** Of so many bytes that three go into one append. */
const encode = () => Buffer.alloc(40 * 1024)

test('what does not fit into one append of a partition waits for the one before; other partitions do not', async () => {
  const producer = producerOf()
  const other = ['b', 'c', 'd', 'e', 'f'].find((id) => partitionOf(id, PARTITIONS) !== partitionOf('a', PARTITIONS))!
  const sent = sendUpdates({ producer, encode, partitions: PARTITIONS }, [...[1, 2, 3, 4].map((seq) => update('a', seq)), { ...update(other, 1), traceparent: 't' }])
  await settle()
  expect(producer.appends.map(({ partition, records }) => [partition, records.length])).toEqual([[partitionOf('a', PARTITIONS), 3], [partitionOf(other, PARTITIONS), 1]])
  expect(producer.appends[1]!.records[0]!.headers).toEqual({ 'event-type': 'seen', traceparent: 't' })
  producer.appends[0]!.done.resolve(0n)
  await settle()
  expect(producer.appends.map(({ records }) => records.length)).toEqual([3, 1, 1])
  for (const { done } of producer.appends) done.resolve(0n)
  await sent
})

test('a failure is told once nothing is on its way, and what would come behind it is not sent', async () => {
  const producer = producerOf()
  const other = ['b', 'c', 'd', 'e', 'f'].find((id) => partitionOf(id, PARTITIONS) !== partitionOf('a', PARTITIONS))!
  let failure: unknown
  const sent = sendUpdates({ producer, encode, partitions: PARTITIONS }, [...[1, 2, 3, 4].map((seq) => update('a', seq)), update(other, 1)]).catch((err: unknown) => (failure = err))
  await settle()
  producer.appends[0]!.done.reject(new ChatError('unavailable'))
  await settle()
  expect([failure, producer.appends.length]).toEqual([undefined, 2])
  producer.appends[1]!.done.resolve(0n)
  await sent
  expect(failure).toMatchObject({ code: 'unavailable' })
})
