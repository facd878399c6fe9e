import { Kafka, logLevel } from 'kafkajs'
import { pino } from 'pino'
import { AvroCodecs } from '#libs/kafka/avro.ts'
import { createKafkaClient, kafkaConfigFromEnv } from '#libs/kafka/client.ts'
import { isRoomEvent, type RoomEvent } from '#libs/domain/room.ts'
import { decisionFromAvro } from '#libs/streams/avro-shapes.ts'
import { ReaderRule } from '#libs/streams/reader-rule.ts'
import { topics } from '#libs/streams/topics.ts'
import type { System } from './system.ts'

/** Every room's durable events as the topic has them, by the reader's rule from the start of each partition. */
export async function readRoomsFromTopic({ stack, names }: System): Promise<Map<string, RoomEvent[]>> {
  const env = { KAFKA_BROKERS: stack.kafkaBrokers.join(','), KAFKA_TOPIC_PREFIX: names.topicPrefix }
  const client = createKafkaClient(kafkaConfigFromEnv(env), 'read-log', pino({ level: 'silent' }))
  const codec = await new AvroCodecs({ url: stack.schemaRegistryUrl, auth: undefined }, client).forTopic(topics.roomEvents)
  const rules = new Map<number, ReaderRule>()
  const rooms = new Map<string, RoomEvent[]>()
  await readWhole(stack.kafkaBrokers, client.named(topics.roomEvents.name), async (partition, offset, headers, value) => {
    const rule = rules.get(partition) ?? new ReaderRule()
    rules.set(partition, rule)
    if (rule.judge(offset, headers) !== 'valid') return
    await codec.learn(value)
    const decision = decisionFromAvro(codec.decode(value))
    for (const entry of decision?.entries ?? []) {
      if (isRoomEvent(entry)) rooms.set(decision!.roomId, [...(rooms.get(decision!.roomId) ?? []), entry])
    }
  })
  return rooms
}

type OnRecord = (partition: number, offset: bigint, headers: NonNullable<import('kafkajs').KafkaMessage['headers']>, value: Buffer) => Promise<void>

/** Everything that a topic holds now, each partition in order. */
async function readWhole(brokers: string[], topic: string, onRecord: OnRecord): Promise<void> {
  const kafka = new Kafka({ clientId: 'read-log', brokers, logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()
  const open = new Map((await admin.fetchTopicOffsets(topic)).filter((p) => p.high !== p.low).map((p) => [p.partition, BigInt(p.high)]))
  await admin.disconnect()
  if (open.size === 0) return
  const consumer = kafka.consumer({ groupId: `${topic}-check-${crypto.randomUUID()}`, maxWaitTimeInMs: 100 })
  const done = Promise.withResolvers<void>()
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => {
      await onRecord(partition, BigInt(message.offset), message.headers ?? {}, message.value!)
      if (BigInt(message.offset) + 1n >= (open.get(partition) ?? 0n)) open.delete(partition)
      if (open.size === 0) done.resolve()
    },
  })
  await done.promise
  await consumer.disconnect()
}
