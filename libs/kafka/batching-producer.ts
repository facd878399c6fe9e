import { CompressionTypes, type Producer, type TopicMessages } from 'kafkajs'
import { ChatError } from '#libs/domain/errors.ts'
import { BATCH_BYTES_MAX, type TopicName } from '#libs/streams/topics.ts'
import { partitionOf } from '#libs/streams/murmur2.ts'
import type { KafkaClient } from './client.ts'
import { type OutRecord, recordBytes } from '#libs/streams/record.ts'
import { toMessage } from './record.ts'

export type Appended = {
  readonly partition: number
  /** Offset of this record. */
  readonly offset: bigint
}

type Waiting = {
  readonly topic: TopicName
  readonly record: OutRecord
  readonly partition: number
  readonly bytes: number
  readonly resolve: (appended: Appended) => void
  readonly reject: (err: ChatError) => void
}

export type BatchingProducerOptions = {
  /** Records that may wait; one more is refused with `unavailable`. */
  readonly pendingMax?: number
  readonly onBatch?: (records: number, bytes: number, seconds: number) => void
}

/**
 * Produces with acks from all in-sync replicas, one batch in flight; what comes meanwhile makes up the next one. (With
 * several in flight kafkajs can lose an acknowledged record when a response stalls.) A failed send refuses every
 * record of its batch with `unavailable`: some may be in the log all the same, so receivers must know repeats. The
 * producer inside is then thrown away. Records of one partition keep the order in which they were sent.
 */
export class BatchingProducer {
  readonly #kafka: KafkaClient
  readonly #options: BatchingProducerOptions
  readonly #queue: Waiting[] = []
  #producer: Producer | undefined
  #pump: Promise<void> | undefined
  #closed = false

  constructor(kafka: KafkaClient, options: BatchingProducerOptions = {}) {
    this.#kafka = kafka
    this.#options = options
  }

  /** Connects ahead of the first send. Throws where no broker can be reached. */
  async start(): Promise<void> {
    await this.#connected()
  }

  /** @throws ChatError `unavailable` (the outcome may be unknown); `frame_too_large` for what can never be sent */
  send(topic: TopicName, record: OutRecord): Promise<Appended> {
    const bytes = recordBytes(record)
    const { pendingMax = 20_000 } = this.#options
    if (this.#closed) return Promise.reject(new ChatError('unavailable', 'the producer is closed'))
    if (this.#queue.length >= pendingMax) return Promise.reject(new ChatError('unavailable', `${pendingMax} records wait for Kafka already`))
    // Topics without a key (dead letters) have one partition.
    const partition = record.partition ?? (record.key === null ? 0 : partitionOf(record.key, this.#kafka.config.partitions))
    return new Promise((resolve, reject) => {
      this.#queue.push({ topic, record, partition, bytes, resolve, reject })
      this.#pump ??= this.#run()
    })
  }

  /** Waits for what is queued, then disconnects. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#pump
    await this.#discard()
  }

  async #run(): Promise<void> {
    // Lets everything of this turn of the event loop into the first batch.
    await new Promise(setImmediate)
    while (this.#queue.length > 0) await this.#sendBatch(this.#takeBatch())
    this.#pump = undefined
  }

  #takeBatch(): Waiting[] {
    let bytes = 0
    let count = 0
    // At least one: a record that is larger than the cap must fail by itself, not for ever.
    while (count < this.#queue.length && (count === 0 || bytes + this.#queue[count]!.bytes <= BATCH_BYTES_MAX)) {
      bytes += this.#queue[count]!.bytes
      count++
    }
    return this.#queue.splice(0, count)
  }

  async #sendBatch(batch: readonly Waiting[]): Promise<void> {
    const startedMs = performance.now()
    try {
      const producer = await this.#connected()
      const answers = await producer.sendBatch({
        acks: -1,
        timeout: this.#kafka.config.requestTimeoutMs,
        compression: CompressionTypes.None,
        topicMessages: this.#grouped(batch),
      })
      // kafkajs keeps the order within a partition, so a record's offset is its rank there above the base offset.
      const next = new Map(answers.map((a) => [`${a.topicName}/${a.partition}`, BigInt(a.baseOffset ?? '-1')]))
      for (const waiting of batch) {
        const at = `${this.#kafka.named(waiting.topic)}/${waiting.partition}`
        const offset = next.get(at)
        if (offset === undefined) throw new Error(`no answer for ${at}`)
        next.set(at, offset + 1n)
        waiting.resolve({ partition: waiting.partition, offset })
      }
      this.#options.onBatch?.(batch.length, batch.reduce((sum, w) => sum + w.bytes, 0), (performance.now() - startedMs) / 1_000)
    } catch (err) {
      const refusal = new ChatError('unavailable', `Kafka: ${(err as Error).message}`, { cause: err })
      for (const waiting of batch) waiting.reject(refusal)
      await this.#discard()
    }
  }

  #grouped(batch: readonly Waiting[]): TopicMessages[] {
    const byTopic = new Map<TopicName, TopicMessages>()
    for (const { topic, record, partition } of batch) {
      const group = byTopic.get(topic) ?? { topic: this.#kafka.named(topic), messages: [] }
      group.messages.push(toMessage({ ...record, partition }))
      byTopic.set(topic, group)
    }
    return [...byTopic.values()]
  }

  async #connected(): Promise<Producer> {
    if (this.#producer) return this.#producer
    const producer = newPlainProducer(this.#kafka)
    await producer.connect()
    this.#producer = producer
    return producer
  }

  async #discard(): Promise<void> {
    const producer = this.#producer
    this.#producer = undefined
    await producer?.disconnect().catch((err: unknown) => this.#kafka.logger.debug({ err }, 'disconnecting a discarded producer'))
  }
}

/** No retries and no idempotence of kafkajs' own: whoever sends knows what to do about a failure. */
export function newPlainProducer(kafka: KafkaClient): Producer {
  return kafka.kafkajs.producer({
    idempotent: false,
    maxInFlightRequests: 1,
    allowAutoTopicCreation: false,
    retry: { retries: 0 },
    // Every record carries its partition.
    createPartitioner: () => ({ message }) => message.partition ?? 0,
  })
}
