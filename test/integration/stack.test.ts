import { SendMessageCommand, ReceiveMessageCommand, GetQueueAttributesCommand, SendMessageBatchCommand, PurgeQueueCommand } from '@aws-sdk/client-sqs'
import { SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry'
import { Redis } from 'ioredis'
import { Kafka, logLevel, Partitioners } from 'kafkajs'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Isolated, sqsClient, type Stack, useStack } from '../support/stack.ts'

let stack: Stack
let own: Isolated

beforeAll(async () => {
  stack = await useStack()
  own = await stack.isolate('stack contract', { maxReceiveCount: 2, visibilityTimeoutSeconds: 1 })
})

afterAll(async () => {
  await own?.cleanup()
})

test('Kafka keeps what is produced and gives it to a consumer group', async () => {
  const kafka = new Kafka({ clientId: 'stack-test', brokers: stack.kafkaBrokers, logLevel: logLevel.NOTHING })
  const topic = `${own.topicPrefix}echo`
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: 3, replicationFactor: stack.brokers }], waitForLeaders: true })
  await admin.disconnect()
  const producer = kafka.producer({ createPartitioner: Partitioners.JavaCompatiblePartitioner })
  await producer.connect()
  await producer.send({ topic, acks: -1, messages: [{ key: 'order-1', value: 'hello' }] })
  await producer.disconnect()

  const consumer = kafka.consumer({ groupId: `${own.topicPrefix}group`, sessionTimeout: 6_000, maxWaitTimeInMs: 200 })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const received = await new Promise<string>((resolve) => {
    void consumer.run({ eachMessage: async ({ message }) => resolve(`${message.key}=${message.value}`) })
  })
  await consumer.disconnect()
  expect(received).toBe('order-1=hello')
})

test('Kafka makes no topic by itself', async () => {
  const kafka = new Kafka({ clientId: 'stack-test', brokers: stack.kafkaBrokers, logLevel: logLevel.NOTHING, retry: { retries: 0 } })
  const producer = kafka.producer({ allowAutoTopicCreation: true, createPartitioner: Partitioners.JavaCompatiblePartitioner })
  await producer.connect()
  await expect(producer.send({ topic: `${own.topicPrefix}absent`, messages: [{ value: 'x' }] })).rejects.toThrow()
  await producer.disconnect()
})

test('the registry stores an Avro schema and decodes with it', async () => {
  const registry = new SchemaRegistry({ host: stack.schemaRegistryUrl })
  const schema = JSON.stringify({ type: 'record', name: 'Greeting', namespace: 'test', fields: [{ name: 'text', type: 'string' }] })
  const { id } = await registry.register({ type: SchemaType.AVRO, schema }, { subject: `${own.topicPrefix}greeting-value` })
  const encoded = await registry.encode(id, { text: 'hi' })
  const stranger = new SchemaRegistry({ host: stack.schemaRegistryUrl })
  expect(await stranger.decode(encoded)).toEqual({ text: 'hi' })
})

test('the registry holds a subject to its compatibility', async () => {
  const subject = `${own.topicPrefix}strict-value`
  const call = (method: string, path: string, body: object): Promise<Response> => fetch(stack.schemaRegistryUrl + path, {
    method,
    headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' },
    body: JSON.stringify(body),
  })
  const withField = (type: string): object => ({ schema: JSON.stringify({ type: 'record', name: 'Strict', fields: [{ name: 'a', type }] }) })
  expect((await call('POST', `/subjects/${subject}/versions`, withField('string'))).status).toBe(200)
  expect((await call('PUT', `/config/${subject}`, { compatibility: 'BACKWARD_TRANSITIVE' })).status).toBe(200)
  expect((await call('POST', `/subjects/${subject}/versions`, withField('int'))).status).toBe(409)
})

test('Postgres gives each file an empty database whose owner is no superuser', async () => {
  const client = new pg.Client({ connectionString: own.postgresUrl })
  await client.connect()
  const tables = await client.query("SELECT count(*)::int AS n FROM information_schema.tables WHERE table_schema = 'public'")
  const role = await client.query('SELECT current_user AS name, rolsuper FROM pg_roles WHERE rolname = current_user')
  const settings = await client.query("SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'max_connections', 'server_encoding') ORDER BY name")
  await client.query('CREATE TABLE t (id int PRIMARY KEY)')
  await client.end()
  expect(tables.rows).toEqual([{ n: 0 }])
  expect(role.rows).toEqual([{ name: 'chat', rolsuper: false }])
  expect(settings.rows.map((row: { setting: string }) => row.setting)).toEqual(['on', '200', 'UTF8'])
})

test('Redis gives each file an empty database', async () => {
  const redis = new Redis(own.redisUrl)
  expect(await redis.dbsize()).toBe(0)
  await redis.set('k', 'v')
  expect(await redis.get('k')).toBe('v')
  redis.disconnect()
})

test('SQS redelivers a message that is not deleted, then moves it to the dead-letter queue', async () => {
  const sqs = sqsClient(stack)
  await sqs.send(new SendMessageCommand({ QueueUrl: own.sqsQueueUrl, MessageBody: 'poison' }))
  const counts: string[] = []
  const untilMs = Date.now() + 20_000
  let dead: string | undefined
  while (dead === undefined && Date.now() < untilMs) {
    const main = await sqs.send(new ReceiveMessageCommand({ QueueUrl: own.sqsQueueUrl, WaitTimeSeconds: 1, MessageSystemAttributeNames: ['ApproximateReceiveCount'] }))
    for (const message of main.Messages ?? []) counts.push(message.Attributes?.ApproximateReceiveCount ?? '')
    const letters = await sqs.send(new ReceiveMessageCommand({ QueueUrl: own.sqsDeadLetterQueueUrl }))
    dead = letters.Messages?.[0]?.Body
  }
  sqs.destroy()
  expect({ counts, dead }).toEqual({ counts: ['1', '2'], dead: 'poison' })
})

test('SQS holds callers to the limits of the real one', async () => {
  const sqs = sqsClient(stack)
  const eleven = Array.from({ length: 11 }, (_, i) => ({ Id: String(i), MessageBody: 'x' }))
  await expect(sqs.send(new SendMessageBatchCommand({ QueueUrl: own.sqsQueueUrl, Entries: eleven }))).rejects.toThrow()
  await expect(sqs.send(new ReceiveMessageCommand({ QueueUrl: own.sqsQueueUrl, WaitTimeSeconds: 21 }))).rejects.toThrow()
  await sqs.send(new PurgeQueueCommand({ QueueUrl: own.sqsQueueUrl }))
  sqs.destroy()
})

test('the queue of the services is there, with its redrive policy', async () => {
  const sqs = sqsClient(stack)
  const { Attributes } = await sqs.send(new GetQueueAttributesCommand({ QueueUrl: stack.sqsQueueUrl, AttributeNames: ['All'] }))
  sqs.destroy()
  expect(JSON.parse(Attributes?.RedrivePolicy ?? '{}')).toMatchObject({ maxReceiveCount: 10, deadLetterTargetArn: expect.stringMatching(/order-events-dlq$/) })
})
