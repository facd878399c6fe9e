import { CompressionTypes, type Producer, type Transaction } from 'kafkajs'
import { ChatError } from '#libs/domain/errors.ts'
import type { FencedLog, LogAppender, SnapshotLog, SnapshotWriter, TaskInputs } from '#libs/streams/fenced-ports.ts'
import { type InRecord, type OutRecord, recordBytes } from '#libs/streams/record.ts'
import { BATCH_BYTES_MAX, type TopicName } from '#libs/streams/topics.ts'
import { BatchingProducer } from './batching-producer.ts'
import type { KafkaClient } from './client.ts'
import type { PositionedConsumer } from './positioned-consumer.ts'
import { readLog, readUpTo } from './read-back.ts'
import { toMessage } from './record.ts'
import type { OffsetsAdmin } from './topics-admin.ts'

export type PartitionDeps = {
  readonly kafka: KafkaClient
  /** A group of one over the topics that are read back. */
  readonly reader: PositionedConsumer
  readonly offsets: OffsetsAdmin
  readonly appends: SharedAppends
}

/** One partition of a topic as the fenced log. */
export function kafkaFencedLog(deps: PartitionDeps, topic: TopicName, partition: number): FencedLog {
  return {
    openAppender: () => deps.appends.openAppender(topic, partition),
    read: (from, upTo, onRecords, signal) => readLog(deps, { topic, partition, from, upTo, onRecords, signal }),
  }
}

/**
 * The appends of this process's partitions, one request at a time to each broker: what the partitions that it leads have
 * to say goes together, since a request costs the same whatever is in it. Where one fails, all in it are in doubt and
 * are taken over again; partitions of other brokers do not notice.
 */
export class SharedAppends {
  readonly #kafka: KafkaClient
  readonly #offsets: OffsetsAdmin
  readonly #byLeader = new Map<number, BatchingProducer>()

  constructor(kafka: KafkaClient, offsets: OffsetsAdmin) {
    this.#kafka = kafka
    this.#offsets = offsets
  }

  async openAppender(topic: TopicName, partition: number): Promise<LogAppender> {
    // A leader that moves later makes one request go to two brokers until the next takeover: slower, not wrong.
    const leader = await this.#offsets.leaderOf(topic, partition)
    const producer = this.#byLeader.get(leader) ?? new BatchingProducer(this.#kafka)
    this.#byLeader.set(leader, producer)
    return {
      async append(records) {
        try {
          return await producer.append(topic, partition, records)
        } catch (err) {
          throw new ChatError('append_unknown', (err as Error).message, { cause: err })
        }
      },
      // A failed request has thrown its connection away already; what follows has a new one.
      close: async () => {},
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#byLeader.values()].map((producer) => producer.close()))
  }
}

/** One partition, one batch; returns its base offset. */
async function sendOne(
  sender: Pick<Transaction, 'send'>,
  kafka: KafkaClient,
  topic: TopicName,
  partition: number,
  records: readonly OutRecord[],
): Promise<bigint> {
  const [answer] = await sender.send({
    topic: kafka.named(topic),
    acks: -1,
    timeout: kafka.config.requestTimeoutMs,
    compression: CompressionTypes.None,
    messages: records.map((record) => toMessage({ ...record, partition })),
  })
  if (answer?.baseOffset === undefined) throw new Error('the broker gave no base offset')
  return BigInt(answer.baseOffset)
}

/** One partition of the compacted topic of snapshots; `transactionalId` must be the same for every owner of it. */
export function kafkaSnapshotLog(deps: PartitionDeps, topic: TopicName, partition: number, transactionalId: string): SnapshotLog {
  return {
    openWriter: () => openSnapshotWriter(deps.kafka, topic, partition, transactionalId),
    async read(upTo, onRecords, signal) {
      const { low } = await deps.offsets.range(topic, partition)
      // What lies above is not ours to read: a later owner's.
      const upToSentinel = (records: readonly InRecord[]) => onRecords(records.filter((r) => r.offset <= upTo))
      await readUpTo(deps.reader, { topic, partition, from: low, upTo, onRecords: upToSentinel, signal })
    },
  }
}

async function openSnapshotWriter(kafka: KafkaClient, topic: TopicName, partition: number, transactionalId: string): Promise<SnapshotWriter> {
  const producer = kafka.kafkajs.producer({
    transactionalId: kafka.named(transactionalId),
    maxInFlightRequests: 1,
    allowAutoTopicCreation: false,
    transactionTimeout: 60_000,
    // A failed send rolls sequences back, so a later one could be taken for a repeat and lost: none is ever retried.
    retry: { retries: 0 },
    createPartitioner: () => () => partition,
  })
  const close = () => disconnect(kafka, producer)
  try {
    await producer.connect()
    // connect() does not fence; the first transaction() initialises the producer id, which does.
    const fence = await producer.transaction()
    await fence.abort()
  } catch (err) {
    await close()
    throw new ChatError('unavailable', `the transaction coordinator: ${(err as Error).message}`, { cause: err })
  }
  return {
    async commit(records) {
      const transaction = await producer.transaction()
      let first: bigint | undefined
      for (const chunk of chunks(records)) {
        const base = await sendOne(transaction, kafka, topic, partition, chunk)
        first ??= base
      }
      await transaction.commit()
      if (first === undefined) throw new ChatError('internal', 'an empty transaction')
      return first
    },
    close,
  }
}

function* chunks(records: readonly OutRecord[]): Generator<OutRecord[]> {
  let chunk: OutRecord[] = []
  let bytes = 0
  for (const record of records) {
    const size = recordBytes(record)
    if (chunk.length > 0 && bytes + size > BATCH_BYTES_MAX) {
      yield chunk
      chunk = []
      bytes = 0
    }
    chunk.push(record)
    bytes += size
  }
  if (chunk.length > 0) yield chunk
}

async function disconnect(kafka: KafkaClient, producer: Producer): Promise<void> {
  await producer.disconnect().catch((err: unknown) => kafka.logger.debug({ err }, 'disconnecting a producer'))
}

/** Input topics of one partition, read by a shared consumer of the processors' group. */
export function kafkaTaskInputs(consumer: PositionedConsumer, offsets: OffsetsAdmin, topics: readonly TopicName[], partition: number): TaskInputs {
  return {
    async open(positions, sink) {
      for (const topic of topics) {
        const position = positions.get(topic) ?? 0n
        const { low, high } = await offsets.range(topic, partition)
        if (position < low || position > high) {
          throw new ChatError('input_position_lost', `${topic}[${partition}] holds ${low} … ${high}, the next input is ${position}`)
        }
        consumer.open(topic, partition, position, (records) => sink(topic, records))
      }
    },
    hold(on) {
      for (const topic of topics) consumer.hold(topic, partition, 'full', on)
    },
    close() {
      for (const topic of topics) consumer.closePartition(topic, partition)
    },
  }
}
