import { Kafka, logLevel } from 'kafkajs'
import { type TopicName, topics } from '#libs/streams/topics.ts'
import type { System } from '../support/system.ts'

export type DeadLetter = { readonly body: string; readonly headers: Readonly<Record<string, string>> }

/** Reads order-events.dlq, or another one, from its start until it has held `count` letters, in no particular order. */
export async function readDeadLetters({ stack, names }: System, count: number, timeoutMs = 30_000, name: TopicName = topics.orderEventsDlq.name): Promise<DeadLetter[]> {
  const topic = `${names.topicPrefix}${name}`
  const consumer = new Kafka({ clientId: 'dead-letters', brokers: stack.kafkaBrokers, logLevel: logLevel.NOTHING }).consumer({ groupId: `${topic}-${crypto.randomUUID()}`, maxWaitTimeInMs: 100 })
  const letters: DeadLetter[] = []
  const all = Promise.withResolvers<void>()
  const timer = setTimeout(() => all.reject(new Error(`${letters.length} of ${count} dead letters: ${JSON.stringify(letters)}`)), timeoutMs)
  try {
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    await consumer.run({
      autoCommit: false,
      eachMessage: async ({ message }) => {
        const headers = Object.entries(message.headers ?? {}).map(([name, value]) => [name, String(value)])
        letters.push({ body: message.value!.toString(), headers: Object.fromEntries(headers) })
        if (letters.length >= count) all.resolve()
      },
    })
    await all.promise
    return letters
  } finally {
    clearTimeout(timer)
    await consumer.disconnect()
  }
}
