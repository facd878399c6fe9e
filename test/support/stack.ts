import { randomBytes } from 'node:crypto'
import { CreateQueueCommand, DeleteQueueCommand, GetQueueAttributesCommand, SQSClient } from '@aws-sdk/client-sqs'
import { Redis } from 'ioredis'
import { Kafka, logLevel } from 'kafkajs'
import pg from 'pg'
import { inject } from 'vitest'
import { SQS_MAX_RECEIVE_COUNT, type StackEndpoints } from '../../deploy/local/config.ts'
import type {} from './global-setup.ts'
import { askStackHost, type StackHostAddress } from './stack-host.ts'
import type { ServerName } from './stack-provider.ts'

export type { ServerName } from './stack-provider.ts'

/** Names and places that only one test file uses. */
export type Isolated = {
  /** Begins the name of every topic, consumer group and schema subject of this file. */
  topicPrefix: string
  /** A fresh, empty database. */
  postgresUrl: string
  /** A Redis database of its own. */
  redisUrl: string
  /** For those who would rather share database 0. */
  redisKeyPrefix: string
  /** A standard queue whose redrive policy leads to `sqsDeadLetterQueueUrl` after `maxReceiveCount` receipts. */
  sqsQueueUrl: string
  sqsDeadLetterQueueUrl: string
  /** Deletes topics, database, keys and queues. */
  cleanup(): Promise<void>
}

export type IsolateOptions = { maxReceiveCount?: number; visibilityTimeoutSeconds?: number }

/** Faults, for the project `faults`, in which one file runs at a time. A stopped server is started again for the next file. */
export type StackControl = {
  stop(server: ServerName): Promise<void>
  kill(server: ServerName): Promise<void>
  start(server: ServerName): Promise<void>
  stopPostgres(): Promise<void>
  startPostgres(): Promise<void>
  /** Stops the broker, waits until it is gone, starts it and waits until the cluster knows it again. */
  restartBroker(id?: 1 | 2 | 3): Promise<void>
}

export type Stack = StackEndpoints & {
  /** Kafka brokers, and so the replication factor that topics can have. */
  brokers: number
  isolate(name: string, options?: IsolateOptions): Promise<Isolated>
  control: StackControl
}

/** The stack of this vitest run, whole and ready. Call it in `beforeAll`. */
export function useStack(): Promise<Stack> {
  return stackAt(inject('stackHost'), inject('stackBrokers'))
}

/** The stack of a host that is not vitest's: see own-stack.ts. */
export async function stackAt(host: StackHostAddress, brokers: number): Promise<Stack> {
  const { endpoints } = await askStackHost(host, { do: 'ensure', brokers })
  if (!endpoints) throw new Error('the stack host gave no endpoints')
  const send = async (action: 'stop' | 'kill' | 'start', server: ServerName): Promise<void> => {
    await askStackHost(host, { do: action, server })
  }
  return {
    ...endpoints,
    brokers,
    isolate: (name, options) => isolate(host, endpoints, name, options),
    control: {
      stop: (server) => send('stop', server),
      kill: (server) => send('kill', server),
      start: (server) => send('start', server),
      stopPostgres: () => send('stop', 'postgres'),
      startPostgres: () => send('start', 'postgres'),
      restartBroker: async (id = 1) => {
        await send('stop', `kafka-${id}`)
        await send('start', `kafka-${id}`)
      },
    },
  }
}

async function isolate(host: StackHostAddress, endpoints: StackEndpoints, name: string, options: IsolateOptions = {}): Promise<Isolated> {
  const id = `${name.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-').slice(0, 30)}-${randomBytes(3).toString('hex')}`
  const database = `t_${id.replaceAll('-', '_')}`
  const { redisDatabase = 0 } = await askStackHost(host, { do: 'takeRedisDatabase' })
  const redisUrl = `${endpoints.redisUrl}/${redisDatabase}`
  await onPostgres(endpoints, `CREATE DATABASE ${database} OWNER chat`)
  await flushRedis(redisUrl)
  const queues = await createQueues(endpoints, id, options)
  const postgresUrl = new URL(endpoints.postgresUrl)
  postgresUrl.pathname = `/${database}`
  return {
    topicPrefix: `${id}.`,
    postgresUrl: postgresUrl.href,
    redisUrl,
    redisKeyPrefix: `${id}:`,
    ...queues,
    cleanup: async () => {
      await deleteTopics(endpoints, `${id}.`)
      await deleteQueues(endpoints, [queues.sqsQueueUrl, queues.sqsDeadLetterQueueUrl])
      await flushRedis(redisUrl)
      await onPostgres(endpoints, `DROP DATABASE IF EXISTS ${database} WITH (FORCE)`)
    },
  }
}

/** An SQS client for the local queue server, which takes any credentials. */
export function sqsClient(endpoints: Pick<StackEndpoints, 'sqsEndpoint'>): SQSClient {
  const credentials = { accessKeyId: 'local', secretAccessKey: 'local' }
  return new SQSClient({ endpoint: endpoints.sqsEndpoint, region: 'us-east-1', credentials })
}

async function createQueues(endpoints: StackEndpoints, id: string, options: IsolateOptions): Promise<Pick<Isolated, 'sqsQueueUrl' | 'sqsDeadLetterQueueUrl'>> {
  const client = sqsClient(endpoints)
  try {
    const { QueueUrl: dead = '' } = await client.send(new CreateQueueCommand({ QueueName: `${id}-dlq` }))
    const { Attributes } = await client.send(new GetQueueAttributesCommand({ QueueUrl: dead, AttributeNames: ['QueueArn'] }))
    const maxReceiveCount = options.maxReceiveCount ?? SQS_MAX_RECEIVE_COUNT
    const { QueueUrl: main = '' } = await client.send(new CreateQueueCommand({
      QueueName: id,
      Attributes: {
        VisibilityTimeout: String(options.visibilityTimeoutSeconds ?? 30),
        RedrivePolicy: JSON.stringify({ deadLetterTargetArn: Attributes?.QueueArn, maxReceiveCount }),
      },
    }))
    return { sqsQueueUrl: main, sqsDeadLetterQueueUrl: dead }
  } finally {
    client.destroy()
  }
}

async function deleteQueues(endpoints: StackEndpoints, urls: readonly string[]): Promise<void> {
  const client = sqsClient(endpoints)
  try {
    for (const QueueUrl of urls) await client.send(new DeleteQueueCommand({ QueueUrl }))
  } finally {
    client.destroy()
  }
}

async function deleteTopics(endpoints: StackEndpoints, prefix: string): Promise<void> {
  const admin = new Kafka({ clientId: 'test-cleanup', brokers: endpoints.kafkaBrokers, logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  try {
    const topics = (await admin.listTopics()).filter((topic) => topic.startsWith(prefix))
    if (topics.length > 0) await admin.deleteTopics({ topics })
  } finally {
    await admin.disconnect()
  }
}

async function onPostgres(endpoints: StackEndpoints, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: endpoints.postgresAdminUrl })
  await client.connect()
  try {
    await client.query(sql)
  } finally {
    await client.end()
  }
}

async function flushRedis(url: string): Promise<void> {
  const client = new Redis(url)
  try {
    await client.flushdb()
  } finally {
    client.disconnect()
  }
}
