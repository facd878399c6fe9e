import { GetQueueAttributesCommand, ReceiveMessageCommand, type SQSClient } from '@aws-sdk/client-sqs'
import { ConfigResourceTypes, Kafka, type KafkaMessage, logLevel } from 'kafkajs'
import { pino } from 'pino'
import { expect, vi } from 'vitest'
import { AvroCodecs } from '#libs/kafka/avro.ts'
import { createKafkaClient } from '#libs/kafka/client.ts'
import { ensureTopics } from '#libs/kafka/topics-admin.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import { withRetry } from '#libs/runtime/retry.ts'
import type { ProductFields } from '#libs/domain/frames.ts'
import type { OrderEvent } from '#libs/domain/inputs.ts'
import { orderEventFromAvro } from '#libs/streams/avro-shapes.ts'
import { productUpdateFromAvro } from '#libs/streams/product-shape.ts'
import { type TopicSpec, topics } from '#libs/streams/topics.ts'
import { createOrderPublisher, type OrderEventToPublish, type OrderPublisher, type PublishedOrderEvent } from '../../deploy/local/order.ts'
import { sqsBridgeConfigFromEnv } from '../../services/sqs-bridge/config.ts'
import { type SqsBridge, startSqsBridge } from '../../services/sqs-bridge/service.ts'
import { type Isolated, type IsolateOptions, type Stack, sqsClient } from '../support/stack.ts'

export type ReadRecord = { partition: number; key: string | undefined; value: Buffer; headers: Record<string, string> }

export const logger = pino({ level: process.env['TEST_LOG_LEVEL'] ?? 'silent' })

/** One bridge test file's own topics and queue, with what it takes to look into them. */
export class BridgeRig {
  readonly names: Isolated
  readonly env: Record<string, string>
  readonly sqs: SQSClient
  readonly #codecs: AvroCodecs
  readonly #kafka: Kafka
  readonly #publisher: OrderPublisher

  private constructor(stack: Stack, names: Isolated, env: Record<string, string>) {
    this.names = names
    this.env = env
    this.sqs = sqsClient(stack)
    this.#publisher = createOrderPublisher({ env })
    const client = createKafkaClient(sqsBridgeConfigFromEnv(env).kafka, 'bridge-test', logger)
    this.#codecs = new AvroCodecs(sqsBridgeConfigFromEnv(env).registry, client)
    this.#kafka = new Kafka({ clientId: 'bridge-test', brokers: stack.kafkaBrokers, logLevel: logLevel.NOTHING })
  }

  static async make(stack: Stack, name: string, options: IsolateOptions & { replicationFactor?: number } = {}): Promise<BridgeRig> {
    const names = await stack.isolate(name, options)
    const env = {
      KAFKA_BROKERS: stack.kafkaBrokers.join(','),
      KAFKA_TOPIC_PREFIX: names.topicPrefix,
      KAFKA_PARTITIONS: '4',
      KAFKA_REPLICATION_FACTOR: String(options.replicationFactor ?? stack.brokers),
      SCHEMA_REGISTRY_URL: stack.schemaRegistryUrl,
      SQS_QUEUE_URL: names.sqsQueueUrl,
      SQS_ENDPOINT: stack.sqsEndpoint,
      SQS_VISIBILITY_TIMEOUT_S: String(options.visibilityTimeoutSeconds ?? 30),
      SQS_WAIT_TIME_S: '1',
    }
    const rig = new BridgeRig(stack, names, env)
    const client = createKafkaClient(sqsBridgeConfigFromEnv(env).kafka, 'bridge-test', logger)
    // kafkajs' wait for leaders gives up where a broker has not heard of the new topics yet.
    await withRetry(() => ensureTopics(client), { clock: systemClock, signal: AbortSignal.timeout(30_000), attemptsMax: 5 })
    await rig.#codecs.registerAll()
    return rig
  }

  async cleanup(): Promise<void> {
    this.sqs.destroy()
    this.#publisher.close()
    await this.names.cleanup()
  }

  /** Makes the topic refuse writes unless this many replicas are in sync. */
  async requireInSync(spec: TopicSpec, replicas: number): Promise<void> {
    const admin = this.#kafka.admin()
    await admin.connect()
    const configEntries = [{ name: 'min.insync.replicas', value: String(replicas) }]
    await admin.alterConfigs({ validateOnly: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: `${this.names.topicPrefix}${spec.name}`, configEntries }] })
    await admin.disconnect()
  }

  async startBridge(env: Record<string, string> = {}): Promise<SqsBridge> {
    const bridge = await startSqsBridge(sqsBridgeConfigFromEnv({ ...this.env, ...env }), { logger })
    try {
      await vi.waitFor(() => expect(bridge.isReady()).toBe(true), { timeout: 90_000, interval: 20 })
    } catch (err) {
      await bridge.close()
      throw err
    }
    return bridge
  }

  publish(event: OrderEventToPublish): Promise<PublishedOrderEvent> {
    return this.#publisher.publish(event)
  }

  /** Everything that the topic holds now, by partition and offset. */
  async read(spec: TopicSpec): Promise<ReadRecord[]> {
    const topic = `${this.names.topicPrefix}${spec.name}`
    const admin = this.#kafka.admin()
    await admin.connect()
    const ends = await admin.fetchTopicOffsets(topic)
    await admin.disconnect()
    const open = new Map(ends.filter(({ low, high }) => BigInt(high) > BigInt(low)).map(({ partition, high }) => [partition, BigInt(high)]))
    const records: (ReadRecord & { offset: bigint })[] = []
    if (open.size === 0) return records
    const consumer = this.#kafka.consumer({ groupId: `${this.names.topicPrefix}reader-${crypto.randomUUID()}`, maxWaitTimeInMs: 100 })
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    const done = Promise.withResolvers<void>()
    await consumer.run({
      autoCommit: false,
      eachMessage: async ({ partition, message }) => {
        records.push({ partition, offset: BigInt(message.offset), ...contentOf(message) })
        if (BigInt(message.offset) + 1n >= (open.get(partition) ?? 0n)) open.delete(partition)
        if (open.size === 0) done.resolve()
      },
    })
    await done.promise
    await consumer.disconnect()
    return records.toSorted((a, b) => a.partition - b.partition || Number(a.offset - b.offset))
  }

  async readEvents(): Promise<(ReadRecord & { event: OrderEvent })[]> {
    const codec = await this.#codecs.forTopic(topics.orderEvents)
    const records = await this.read(topics.orderEvents)
    return Promise.all(records.map(async (record) => ({ ...record, event: orderEventFromAvro(await codec.decode(record.value)) })))
  }

  async readProducts(): Promise<(ReadRecord & { product: ProductFields })[]> {
    const codec = await this.#codecs.forTopic(topics.productUpdates)
    const records = await this.read(topics.productUpdates)
    return Promise.all(records.map(async (record) => ({ ...record, product: productUpdateFromAvro(await codec.decode(record.value)) })))
  }

  /** Visible and hidden messages of a queue. */
  async queued(queueUrl: string): Promise<number> {
    const AttributeNames = ['ApproximateNumberOfMessages', 'ApproximateNumberOfMessagesNotVisible', 'ApproximateNumberOfMessagesDelayed'] as const
    const { Attributes = {} } = await this.sqs.send(new GetQueueAttributesCommand({ QueueUrl: queueUrl, AttributeNames: [...AttributeNames] }))
    return AttributeNames.reduce((sum, name) => sum + Number(Attributes[name] ?? 0), 0)
  }

  /** Waits until every message was deleted, and says that none went to the queue's own dead letters. */
  async untilDrained(timeoutMs = 20_000): Promise<void> {
    await vi.waitFor(async () => expect(await this.queued(this.names.sqsQueueUrl)).toBe(0), { timeout: timeoutMs, interval: 100 })
    expect(await this.queued(this.names.sqsDeadLetterQueueUrl)).toBe(0)
  }

  /** How often the one visible message was received before, by receiving it once more. */
  async receiveCount(): Promise<number | undefined> {
    const { Messages = [] } = await this.sqs.send(
      new ReceiveMessageCommand({ QueueUrl: this.names.sqsQueueUrl, MessageSystemAttributeNames: ['ApproximateReceiveCount'], VisibilityTimeout: 0, WaitTimeSeconds: 5 }),
    )
    const count = Messages[0]?.Attributes?.ApproximateReceiveCount
    return count === undefined ? undefined : Number(count) - 1
  }
}

function contentOf(message: KafkaMessage): Omit<ReadRecord, 'partition'> {
  const headers = Object.entries(message.headers ?? {}).map(([name, value]) => [name, String(value)])
  return { key: message.key?.toString(), value: message.value ?? Buffer.alloc(0), headers: Object.fromEntries(headers) }
}

export async function metricOf(bridge: SqsBridge, series: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${bridge.metricsPort}/metrics`)).text()
  const line = text.split('\n').find((candidate) => candidate.startsWith(series))
  return line === undefined ? 0 : Number(line.slice(line.lastIndexOf(' ') + 1))
}
