import pino from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { BatchingProducer } from '#libs/kafka/batching-producer.ts'
import { createKafkaClient, type KafkaClient, kafkaConfigFromEnv } from '#libs/kafka/client.ts'
import { SharedAppends } from '#libs/kafka/fenced-log.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import { withRetry } from '#libs/runtime/retry.ts'
import { ensureTopics, OffsetsAdmin } from '#libs/kafka/topics-admin.ts'
import { BATCH_BYTES_MAX, topics } from '#libs/streams/topics.ts'
import { type Isolated, useStack } from '../support/stack.ts'

const topic = topics.roomEvents.name
const record = (text: string) => ({ key: 'room', value: Buffer.from(text), headers: {} })
const tooLarge = record('x'.repeat(BATCH_BYTES_MAX * 3))

let isolated: Isolated
let kafka: KafkaClient
let offsets: OffsetsAdmin

beforeAll(async () => {
  const stack = await useStack()
  isolated = await stack.isolate('kafka-appends')
  const env = {
    KAFKA_BROKERS: stack.kafkaBrokers.join(','),
    KAFKA_TOPIC_PREFIX: isolated.topicPrefix,
    KAFKA_PARTITIONS: '3',
    KAFKA_REPLICATION_FACTOR: String(stack.brokers),
  }
  kafka = createKafkaClient(kafkaConfigFromEnv(env), 'appends-test', pino({ level: 'silent' }))
  await ensureTopics(kafka)
  offsets = new OffsetsAdmin(kafka)
  // A broker may hear a moment later than its controller that it leads a new partition.
  const first = new BatchingProducer(kafka)
  for (const partition of [0, 1, 2]) await withRetry(() => first.append(topic, partition, [record('first')]), { clock: systemClock, signal: AbortSignal.timeout(20_000) })
  await first.close()
})

const highs = async () => (await offsets.ranges(topic)).map(({ high }) => high)

afterAll(async () => {
  await offsets?.close()
  await isolated?.cleanup()
})

test('appends of several partitions that go together each get the offset of their own first record', async () => {
  const appends = new SharedAppends(kafka, offsets)
  const [zero, one] = await Promise.all([appends.openAppender(topic, 0), appends.openAppender(topic, 1)])
  const before = await highs()
  expect(await Promise.all([zero.append([record('a'), record('b')]), one.append([record('c')])])).toEqual([before[0], before[1]])
  expect(await Promise.all([zero.append([record('d')]), one.append([record('e'), record('f')])])).toEqual([before[0]! + 2n, before[1]! + 1n])
  expect(await highs()).toEqual([before[0]! + 3n, before[1]! + 3n, before[2]])
  await appends.close()
})

test('a request that fails leaves every partition in it in doubt, and the next one goes through', async () => {
  const appends = new SharedAppends(kafka, offsets)
  const [zero, two] = await Promise.all([appends.openAppender(topic, 0), appends.openAppender(topic, 2)])
  // The first to go takes the small one along; the broker refuses what is above max.message.bytes.
  const outcomes = await Promise.allSettled([two.append([record('small')]), zero.append([tooLarge])])
  expect(outcomes[1]).toMatchObject({ status: 'rejected', reason: { code: 'append_unknown' } })
  const again = await appends.openAppender(topic, 0)
  const { high } = await offsets.range(topic, 0)
  expect(await again.append([record('g')])).toBe(high)
  await appends.close()
})

test('records of one partition keep their order through the batches of a producer, whatever comes in between', async () => {
  const producer = new BatchingProducer(kafka)
  const before = (await offsets.range(topic, 2)).high
  const appended: Promise<{ offset: bigint }>[] = []
  for (let i = 0; i < 200; i++) {
    appended.push(producer.send(topic, { ...record(`${i}`), partition: 2 }))
    if (i % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
  }
  expect((await Promise.all(appended)).map(({ offset }) => offset - before)).toEqual(Array.from({ length: 200 }, (_, i) => BigInt(i)))
  await producer.close()
})
