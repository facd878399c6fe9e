import { setTimeout as pause } from 'node:timers/promises'
import { Consumer } from '@platformatic/kafka'
import { Kafka, logLevel } from 'kafkajs'
import { kafkaProxies, stallAll } from '../harness/network.ts'
import type { FaultContext } from '../harness/round.ts'

const REQUEST_TIMEOUT_MS = 1_000
const SENDS = 400
const SEND_EVERY_MS = 5

/**
 * The positive control of `stalled-answers`: the same fault takes messages from a plain kafkajs producer with
 * `idempotent: true` and several sends at once, although it said that they were written. Held: it does lose.
 */
export async function control(context: FaultContext): Promise<void> {
  const { world, say, times, figures, violated } = context
  const ports = world.stack.kafkaBrokers.map((broker) => Number(broker.split(':')[1]))
  const proxies = await kafkaProxies(ports)
  const admin = new Kafka({ clientId: 'control', brokers: world.stack.kafkaBrokers, logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  try {
    for (let i = 0; i < times; i++) {
      const topic = `${world.system.names.topicPrefix}control-${i}`
      await admin.createTopics({ topics: [{ topic, numPartitions: 1, replicationFactor: 3 }], waitForLeaders: true })
      const acked = await sendThroughStall(context, topic, proxies)
      const written = new Set(await readAll(world.stack.kafkaBrokers, topic))
      const lost = acked.filter((text) => !written.has(text))
      say(`plain idempotent kafkajs: ${acked.length} of ${SENDS} acked, of which ${lost.length} are not in the topic`)
      figures['acked by plain kafkajs'] = (figures['acked by plain kafkajs'] ?? 0) + acked.length
      figures['of them lost'] = (figures['of them lost'] ?? 0) + lost.length
      figures['tries that lost'] = (figures['tries that lost'] ?? 0) + Number(lost.length > 0)
    }
    if (!figures['of them lost']) violated('plain kafkajs lost nothing: the stall is not the fault that it should be')
  } finally {
    await admin.disconnect()
    await Promise.all(proxies.map((proxy) => proxy.close()))
  }
}

/** @returns what the producer said was written */
async function sendThroughStall({ random }: FaultContext, topic: string, proxies: Awaited<ReturnType<typeof kafkaProxies>>): Promise<string[]> {
  const kafka = new Kafka({
    clientId: 'plain',
    brokers: proxies.map(({ port }) => `127.0.0.1:${port}`),
    requestTimeout: REQUEST_TIMEOUT_MS,
    enforceRequestTimeout: true,
    logLevel: logLevel.NOTHING,
    retry: { retries: 10, initialRetryTime: 100, maxRetryTime: 1_000 },
  })
  const producer = kafka.producer({ idempotent: true, allowAutoTopicCreation: false })
  await producer.connect()
  try {
    const acked: string[] = []
    const sends: Promise<unknown>[] = []
    const stalling = pause(300 + random() * 300).then(async () => {
      const stall = stallAll(proxies, { direction: 'down' })
      await pause(REQUEST_TIMEOUT_MS + 300 + random() * 500)
      stall.release()
    })
    for (let n = 0; n < SENDS; n++) {
      const text = `message ${n}`
      sends.push(producer.send({ topic, acks: -1, messages: [{ value: text }] }).then(() => acked.push(text)).catch(() => {}))
      await pause(SEND_EVERY_MS)
    }
    await Promise.all([...sends, stalling])
    return acked
  } finally {
    await producer.disconnect()
  }
}

async function readAll(brokers: readonly string[], topic: string): Promise<string[]> {
  const consumer = new Consumer({ clientId: 'control-checker', groupId: `control-${crypto.randomUUID()}`, bootstrapBrokers: [...brokers] })
  try {
    const [end = 0n] = (await consumer.listOffsets({ topics: [topic] })).get(topic) ?? []
    const texts: string[] = []
    if (end === 0n) return texts
    const stream = await consumer.consume({ topics: [topic], mode: 'earliest', autocommit: false, maxWaitTime: 100 })
    for await (const { offset, value } of stream) {
      texts.push(value.toString())
      if (offset + 1n >= end) break
    }
    return texts
  } finally {
    await consumer.close(true)
  }
}
