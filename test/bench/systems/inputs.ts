import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import { v7 as uuidV7 } from 'uuid'
import type { ClientMessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import { AvroCodecs, registryConfigFromEnv } from '#libs/kafka/avro.ts'
import { BatchingProducer } from '#libs/kafka/batching-producer.ts'
import { createKafkaClient, kafkaConfigFromEnv } from '#libs/kafka/client.ts'
import { commandToAvro, orderEventToAvro } from '#libs/streams/avro-shapes.ts'
import { type TopicSpec, topics } from '#libs/streams/topics.ts'

type Env = Readonly<Record<string, string>>

/** Of the room of an order. */
export const customerOf = (orderId: string): string => `c-${orderId}`
export const vendorOf = (orderId: string): string => `v-${orderId}`
export const riderOf = (orderId: string): string => `r-${orderId}`

/** Orders as the bridge would write them, each with its customer and vendor. */
export function acceptOrders(env: Env, orderIds: readonly string[]): Promise<void> {
  return produce(env, topics.orderEvents, orderIds, (orderId) => [
    orderEventToAvro({
      type: 'orderAccepted',
      orderId: orderId as RoomId,
      eventId: randomUUID(),
      occurredAtMs: Date.now(),
      customerId: customerOf(orderId) as UserId,
      vendorId: vendorOf(orderId) as UserId,
    }),
  ])
}

/** A third person into the rooms of orders that are accepted. */
export function assignRiders(env: Env, orderIds: readonly string[]): Promise<void> {
  return produce(env, topics.orderEvents, orderIds, (orderId) => [
    orderEventToAvro({ type: 'riderAssigned', orderId: orderId as RoomId, eventId: randomUUID(), occurredAtMs: Date.now(), riderId: riderOf(orderId) as UserId }),
  ])
}

/** Messages of the customers as an edge would write them, with nobody who waits for an answer. */
export function sendMessages(env: Env, orderIds: readonly string[], perRoom: number, bytes = 120): Promise<void> {
  return produce(env, topics.chatCommands, orderIds, (orderId) =>
    Array.from({ length: perRoom }, (_, i) =>
      commandToAvro({
        type: 'sendMessage',
        roomId: orderId as RoomId,
        commandId: randomUUID(),
        senderId: customerOf(orderId) as UserId,
        clientMessageId: uuidV7() as ClientMessageId,
        content: `${i} `.padEnd(bytes, 'abcdefghij klmnopqrst '),
        salt: randomUUID(),
      }),
    ),
  )
}

/** A command whose schema nobody has: whoever decodes it must ask the registry. */
export async function sendUnknownSchema(env: Env, orderId: string, schemaId: number): Promise<void> {
  const value = Buffer.alloc(16)
  value.writeUInt32BE(schemaId, 1)
  await withProducer(env, ({ producer }) => producer.send(topics.chatCommands.name, { key: orderId, value, headers: {} }))
}

function produce(env: Env, topic: TopicSpec, keys: readonly string[], valuesOf: (key: string) => readonly object[]): Promise<void> {
  return withProducer(env, async ({ producer, codecs }) => {
    const codec = await codecs.forTopic(topic)
    const CHUNK = 5_000
    for (let from = 0; from < keys.length; from += CHUNK) {
      const chunk = keys.slice(from, from + CHUNK)
      await Promise.all(chunk.flatMap((key) => valuesOf(key).map((value) => producer.send(topic.name as never, { key, value: codec.encode(value), headers: {} }))))
    }
  })
}

async function withProducer(env: Env, work: (tools: { producer: BatchingProducer; codecs: AvroCodecs }) => Promise<unknown>): Promise<void> {
  const kafka = createKafkaClient(kafkaConfigFromEnv(env), 'bench-inputs', pino({ level: 'silent' }))
  const producer = new BatchingProducer(kafka, { pendingMax: Number.POSITIVE_INFINITY })
  try {
    await work({ producer, codecs: new AvroCodecs(registryConfigFromEnv(env), kafka) })
  } finally {
    await producer.close()
  }
}
