import { CompressionTypes, type Producer, type TopicMessages } from 'kafkajs'
import { ChatError } from '#libs/domain/errors.ts'
import { BATCH_BYTES_MAX, type TopicName } from '#libs/streams/topics.ts'
import { partitionOf } from '#libs/streams/murmur2.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import type { KafkaClient } from './client.ts'
import { type OutRecord, recordBytes } from '#libs/streams/record.ts'
import { toMessage } from './record.ts'

export type Appended = {
  readonly partition: number
  /** Offset of this record. */
  readonly offset: bigint
}

/** Records of one partition that go together or not at all. */
type Waiting = {
  readonly topic: TopicName
  readonly partition: number
  readonly records: readonly OutRecord[]
  readonly bytes: number
  readonly resolve: (baseOffset: bigint) => void
  readonly reject: (err: ChatError) => void
}

export type BatchingProducerOptions = {
  /** Records that may wait; one more is refused with `unavailable`. */
  readonly pendingMax?: number
  readonly onBatch?: (records: number, bytes: number, seconds: number) => void
}

/** A batch of this size gains nothing by waiting for more. */
const ENOUGH_BYTES = 64 * 1024

/**
 * Produces with acks from all in-sync replicas, one batch in flight; what comes meanwhile makes up the next one. (With
 * several in flight kafkajs can lose an acknowledged record when a response stalls.) A batch begins at least
 * `KAFKA_COLLECT_MS` after the one before: each costs this process and the brokers the same whatever is in it, and the
 * first after a silence waits for nothing. A failed send refuses every record of its batch with `unavailable`: some may
 * be in the log all the same, so receivers must know repeats. The producer inside is then thrown away. Records of one
 * partition keep the order in which they were sent.
 */
export class BatchingProducer {
  readonly #kafka: KafkaClient
  readonly #options: BatchingProducerOptions
  #queue: Waiting[] = []
  #pending = 0
  #producer: Producer | undefined
  #pump: Promise<void> | undefined
  #begunMs = 0
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
  async send(topic: TopicName, record: OutRecord): Promise<Appended> {
    // Topics without a key (dead letters) have one partition.
    const partition = record.partition ?? (record.key === null ? 0 : partitionOf(record.key, this.#kafka.config.partitions))
    return { partition, offset: await this.append(topic, partition, [record]) }
  }

  /** All of them in one batch, next to each other; resolves with the offset of the first. Throws as `send` does. */
  append(topic: TopicName, partition: number, records: readonly OutRecord[]): Promise<bigint> {
    const { pendingMax = 20_000 } = this.#options
    if (this.#closed) return Promise.reject(new ChatError('unavailable', 'the producer is closed'))
    if (this.#pending >= pendingMax) return Promise.reject(new ChatError('unavailable', `${pendingMax} records wait for Kafka already`))
    const bytes = records.reduce((sum, record) => sum + recordBytes(record), 0)
    return new Promise((resolve, reject) => {
      this.#queue.push({ topic, partition, records, bytes, resolve, reject })
      this.#pending += records.length
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
    while (this.#queue.length > 0) {
      const waitMs = this.#begunMs + this.#kafka.config.collectMs - performance.now()
      if (waitMs > 0 && !this.#closed && this.#queue.reduce((sum, { bytes }) => sum + bytes, 0) < ENOUGH_BYTES) await systemClock.sleep(waitMs)
      this.#begunMs = performance.now()
      await this.#sendBatch(this.#takeBatch())
    }
    this.#pump = undefined
  }

  #takeBatch(): Waiting[] {
    let bytes = 0
    let count = 0
    // At least one: what is larger than the cap must fail by itself, not for ever.
    while (count < this.#queue.length && (count === 0 || bytes + this.#queue[count]!.bytes <= BATCH_BYTES_MAX)) {
      bytes += this.#queue[count]!.bytes
      this.#pending -= this.#queue[count]!.records.length
      count++
    }
    const batch = this.#queue.slice(0, count)
    this.#queue = this.#queue.slice(count)
    return batch
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
        if (offset === undefined || offset < 0n) throw new Error(`no answer for ${at}`)
        next.set(at, offset + BigInt(waiting.records.length))
        waiting.resolve(offset)
      }
      const sum = (of: (waiting: Waiting) => number) => batch.reduce((total, waiting) => total + of(waiting), 0)
      this.#options.onBatch?.(sum((w) => w.records.length), sum((w) => w.bytes), (performance.now() - startedMs) / 1_000)
    } catch (err) {
      const refusal = new ChatError('unavailable', `Kafka: ${(err as Error).message}`, { cause: err })
      for (const waiting of batch) waiting.reject(refusal)
      await this.#discard()
    }
  }

  #grouped(batch: readonly Waiting[]): TopicMessages[] {
    const byTopic = new Map<TopicName, TopicMessages>()
    for (const { topic, partition, records } of batch) {
      const group = byTopic.get(topic) ?? { topic: this.#kafka.named(topic), messages: [] }
      for (const record of records) group.messages.push(toMessage({ ...record, partition }))
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
function newPlainProducer(kafka: KafkaClient): Producer {
  return kafka.kafkajs.producer({
    idempotent: false,
    maxInFlightRequests: 1,
    allowAutoTopicCreation: false,
    retry: { retries: 0 },
    // Every record carries its partition.
    createPartitioner: () => ({ message }) => message.partition ?? 0,
  })
}
