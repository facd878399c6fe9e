import { Kafka, logLevel, Partitioners, type Producer } from 'kafkajs'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Isolated, type Stack, useStack } from '../support/stack.ts'

let stack: Stack
let own: Isolated

beforeAll(async () => {
  stack = await useStack()
  own = await stack.isolate('stack faults')
})

afterAll(async () => {
  await own?.cleanup()
})

const kafka = (): Kafka => new Kafka({ clientId: 'fault-test', brokers: stack.kafkaBrokers, logLevel: logLevel.NOTHING, retry: { initialRetryTime: 100, retries: 20, maxRetryTime: 1_000 } })

async function withProducer<T>(work: (producer: Producer) => Promise<T>): Promise<T> {
  const producer = kafka().producer({ createPartitioner: Partitioners.JavaCompatiblePartitioner })
  await producer.connect()
  try {
    return await work(producer)
  } finally {
    await producer.disconnect()
  }
}

async function endOffsets(topic: string): Promise<string[]> {
  const admin = kafka().admin()
  await admin.connect()
  const offsets = await admin.fetchTopicOffsets(topic)
  await admin.disconnect()
  return offsets.sort((a, b) => a.partition - b.partition).map(({ high }) => high)
}

test('with one of three brokers killed, writes go on and nothing acknowledged is lost', async () => {
  expect(stack.brokers).toBe(3)
  const topic = `${own.topicPrefix}survivor`
  const admin = kafka().admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: 3, replicationFactor: 3 }], waitForLeaders: true })
  await admin.disconnect()
  const send = (): Promise<unknown> => withProducer(async (producer) => {
    for (const partition of [0, 1, 2]) await producer.send({ topic, acks: -1, messages: [{ partition, value: 'x' }] })
  })
  await send()
  await stack.control.kill('kafka-2')
  await send()
  await stack.control.start('kafka-2')
  await send()
  expect(await endOffsets(topic)).toEqual(['3', '3', '3'])
}, 180_000)

test('a restarted broker comes back with its data', async () => {
  const topic = `${own.topicPrefix}restart`
  const admin = kafka().admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: 1, replicationFactor: 3 }], waitForLeaders: true })
  await admin.disconnect()
  await withProducer((producer) => producer.send({ topic, acks: -1, messages: [{ value: 'x' }] }))
  for (const id of [1, 2, 3] as const) await stack.control.restartBroker(id)
  await withProducer((producer) => producer.send({ topic, acks: -1, messages: [{ value: 'y' }] }))
  expect(await endOffsets(topic)).toEqual(['2'])
}, 180_000)

test('Postgres that was stopped, or killed, comes back on its port with what was committed', async () => {
  const query = async (sql: string): Promise<unknown[]> => {
    const client = new pg.Client({ connectionString: own.postgresUrl })
    await client.connect()
    try {
      return (await client.query(sql)).rows
    } finally {
      await client.end()
    }
  }
  await query('CREATE TABLE kept (id int)')
  await stack.control.stopPostgres()
  await expect(query('SELECT 1')).rejects.toThrow(/ECONNREFUSED/)
  await stack.control.startPostgres()
  await query('INSERT INTO kept VALUES (1)')
  await stack.control.kill('postgres')
  await stack.control.startPostgres()
  expect(await query('SELECT id FROM kept')).toEqual([{ id: 1 }])
})

test('what one file leaves stopped, the next one finds running', async () => {
  await stack.control.stop('redis')
  await stack.control.kill('elasticmq')
  const again = await useStack()
  const isolated = await again.isolate('after a fault')
  await isolated.cleanup()
})
