import type { Admin, ITopicConfig } from 'kafkajs'
import { type TopicName, type TopicSpec, topics } from '#libs/streams/topics.ts'
import { ChatError } from '#libs/domain/errors.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import { withRetry } from '#libs/runtime/retry.ts'
import type { KafkaClient } from './client.ts'
import { SharedQuestions } from './shared-questions.ts'

const CREATE_TIMEOUT_MS = 30_000

export type OffsetRange = {
  /** The first offset that the partition still holds. */
  readonly low: bigint
  /** The offset that the next record will get. */
  readonly high: bigint
}

/** Creates what is missing, and refuses topics whose partition count is not ours: keys would land elsewhere. */
export async function ensureTopics(kafka: KafkaClient): Promise<{ created: string[] }> {
  const admin = kafka.kafkajs.admin()
  await admin.connect()
  try {
    const existing = new Set(await admin.listTopics())
    const missing = Object.values(topics).filter((spec) => !existing.has(kafka.named(spec.name)))
    if (missing.length > 0) {
      await admin.createTopics({ topics: missing.map((spec) => topicConfig(kafka, spec)), waitForLeaders: false, timeout: CREATE_TIMEOUT_MS })
    }
    await checkPartitionCounts(kafka, admin)
    return { created: missing.map((spec) => spec.name) }
  } finally {
    await admin.disconnect()
  }
}

function topicConfig(kafka: KafkaClient, spec: TopicSpec): ITopicConfig {
  const { partitions, replicationFactor } = kafka.config
  return {
    topic: kafka.named(spec.name),
    numPartitions: spec.key === null ? 1 : partitions,
    replicationFactor,
    configEntries: [
      { name: 'cleanup.policy', value: spec.cleanup },
      { name: 'min.insync.replicas', value: String(Math.max(1, replicationFactor - 1)) },
      { name: 'unclean.leader.election.enable', value: 'false' },
      { name: 'retention.ms', value: String(spec.retentionMs) },
      // SQS bodies of up to 1 MiB may have to be dead-lettered whole.
      ...(spec.schema === null ? [{ name: 'max.message.bytes', value: String(2 * 1024 * 1024) }] : []),
    ],
  }
}

/**
 * The topics once each partition has a leader: a broker hears of new ones a moment after their creation, and kafkajs' own
 * `waitForLeaders` fails where it has not.
 */
async function untilLed(admin: Admin, names: string[]): Promise<readonly { name: string; partitions: readonly unknown[] }[]> {
  const check = async () => {
    const { topics: found } = await admin.fetchTopicMetadata({ topics: names })
    const leaderless = found.filter(({ partitions }) => partitions.length === 0 || partitions.some(({ leader }) => leader < 0))
    if (leaderless.length > 0) throw new ChatError('unavailable', `no leader yet: ${leaderless.map(({ name }) => name).join(', ')}`)
    return found
  }
  const signal = AbortSignal.timeout(CREATE_TIMEOUT_MS)
  return withRetry(check, { clock: systemClock, signal, backoff: { delayMsMin: 50, delayMsMax: 500 } })
}

async function checkPartitionCounts(kafka: KafkaClient, admin: Admin): Promise<void> {
  const specs = new Map(Object.values(topics).map((spec) => [kafka.named(spec.name), spec]))
  for (const { name, partitions } of await untilLed(admin, [...specs.keys()])) {
    if (specs.get(name)?.key !== null && partitions.length !== kafka.config.partitions) {
      throw new ChatError('config_invalid', `topic ${name} has ${partitions.length} partitions, KAFKA_PARTITIONS says ${kafka.config.partitions}`)
    }
  }
}

/**
 * Asks for offset ranges and leaders of topics. Any number of joins costs one request at a time and 50 a second; an answer
 * is never older than the question.
 */
export class OffsetsAdmin {
  readonly #kafka: KafkaClient
  #admin: Admin | undefined
  readonly #ranges = new SharedQuestions<TopicName, readonly OffsetRange[]>((topic) => this.#asked(topic, (admin) => this.#askRanges(admin, topic)))
  readonly #leaders = new SharedQuestions<TopicName, readonly number[]>((topic) => this.#asked(topic, (admin) => this.#askLeaders(admin, topic)))

  constructor(kafka: KafkaClient) {
    this.#kafka = kafka
  }

  /** By partition number. @throws ChatError `unavailable` */
  ranges(topic: TopicName): Promise<readonly OffsetRange[]> {
    return this.#ranges.ask(topic)
  }

  async range(topic: TopicName, partition: number): Promise<OffsetRange> {
    const range = (await this.ranges(topic))[partition]
    if (!range) throw new ChatError('unavailable', `${topic} has no partition ${partition}`)
    return range
  }

  /** The broker that leads the partition. @throws ChatError `unavailable` */
  async leaderOf(topic: TopicName, partition: number): Promise<number> {
    const leader = (await this.#leaders.ask(topic))[partition] ?? -1
    if (leader < 0) throw new ChatError('unavailable', `${topic}[${partition}] has no leader`)
    return leader
  }

  async close(): Promise<void> {
    const admin = this.#admin
    this.#admin = undefined
    await admin?.disconnect()
  }

  async #connected(): Promise<Admin> {
    if (this.#admin) return this.#admin
    const admin = this.#kafka.kafkajs.admin({ retry: { retries: 1, initialRetryTime: 50, maxRetryTime: 200 } })
    await admin.connect()
    this.#admin = admin
    return admin
  }

  async #asked<Answer>(topic: TopicName, ask: (admin: Admin) => Promise<Answer>): Promise<Answer> {
    try {
      return await ask(await this.#connected())
    } catch (err) {
      // Its connections may be those of a broker that is gone: the next question begins with new ones.
      await this.close()
      throw new ChatError('unavailable', `asking about ${topic}: ${(err as Error).message}`, { cause: err })
    }
  }

  async #askRanges(admin: Admin, topic: TopicName): Promise<readonly OffsetRange[]> {
    const ranges: OffsetRange[] = []
    for (const { partition, low, high } of await admin.fetchTopicOffsets(this.#kafka.named(topic))) {
      ranges[partition] = { low: BigInt(low), high: BigInt(high) }
    }
    return ranges
  }

  async #askLeaders(admin: Admin, topic: TopicName): Promise<readonly number[]> {
    const leaders: number[] = []
    const answer = await admin.fetchTopicMetadata({ topics: [this.#kafka.named(topic)] })
    for (const { partitionId, leader } of answer.topics[0]?.partitions ?? []) leaders[partitionId] = leader
    return leaders
  }
}
