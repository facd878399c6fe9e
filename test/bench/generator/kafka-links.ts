import { partitionOf } from '#libs/streams/murmur2.ts'
import type { ConnectOrder } from './messages.ts'
import { bareKafka, NaturalProducer } from './natural-producer.ts'
import { type Ear, type Links, readStamp } from './protocol.ts'

/** Either end of the raw two hops: all links share one kafkajs client. */
export async function openKafka({ kafka, links }: ConnectOrder, ear: Ear): Promise<Links> {
  const { brokers, topic, role, partitions } = kafka!
  const client = bareKafka(brokers, `bench-${role}`)
  if (role === 'consume') {
    const close = await consumeAll(client, topic, (value) => {
      ear.onBytes(value.length)
      readStamp(value.toString('latin1'), ear.onMessage)
    })
    return { opened: links.length, failures: [], retries: 0, send: () => {}, close }
  }
  const onSent = (messages: readonly { value: unknown }[]) => {
    for (const { value } of messages) readStamp(value as string, ear.onAck)
  }
  const producer = new NaturalProducer(client, topic, onSent, (err) => ear.onTrouble(err.message))
  await producer.connect()
  const partitionOfLink = links.map(({ roomId }) => partitionOf(roomId, partitions))
  return {
    opened: links.length,
    failures: [],
    retries: 0,
    send: (link, _run, _n, text) => producer.push({ key: links[link]!.roomId, value: text, partition: partitionOfLink[link]! }),
    close: () => producer.close(),
  }
}

/** From now on, all partitions, in a group of one that commits nothing. */
export async function consumeAll(client: ReturnType<typeof bareKafka>, topic: string, onValue: (value: Buffer, key: string, partition: number) => void): Promise<() => Promise<void>> {
  const consumer = client.consumer({ groupId: `${topic}-${crypto.randomUUID()}`, maxWaitTimeInMs: 100, minBytes: 1, allowAutoTopicCreation: false })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: false })
  const joined = new Promise<void>((resolve) => consumer.on(consumer.events.FETCH, () => resolve()))
  await consumer.run({
    autoCommit: false,
    partitionsConsumedConcurrently: 64,
    eachBatch: async ({ batch }) => {
      for (const { value, key } of batch.messages) onValue(value!, key?.toString() ?? '', batch.partition)
    },
  })
  await joined
  return () => consumer.disconnect()
}
