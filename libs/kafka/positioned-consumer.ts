import type { Consumer, PartitionAssigner } from 'kafkajs'
import { ChatError } from '#libs/domain/errors.ts'
import type { TopicName } from '#libs/streams/topics.ts'
import { newId, systemClock } from '#libs/runtime/clock.ts'
import type { KafkaClient } from './client.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { toInRecord } from './record.ts'

/** Records of one partition, contiguous from the position that was asked for, in order, each once. */
export type RecordSink = (records: readonly InRecord[], highWatermark: bigint) => void

export type PositionedConsumerOptions = {
  readonly topics: readonly TopicName[]
  /** Default: a group of one under a unique id, which is assigned every partition (kafkajs has no assign()). */
  readonly group?: { readonly id: string; readonly assigner: PartitionAssigner; readonly heartbeatMs?: number }
  /** Fewer and larger fetches for readers whom nobody waits for, quicker ones where somebody does. Default: whatever is there at once, within `fetchWaitMs`. */
  readonly fetch?: { readonly minBytes: number; readonly waitMs: number }
  /** After every (re)join, with what is assigned now. Called before anything of the new generation is read. */
  readonly onAssigned?: (partitions: ReadonlyMap<TopicName, readonly number[]>) => void
  /**
   * The process should end: the consumer has stopped for good, or (ChatError `input_position_lost`) a position is not in
   * its topic any more, or not yet.
   */
  readonly onFailed: (err: Error, topic?: TopicName) => void
}

type Open = {
  readonly topic: TopicName
  readonly partition: number
  readonly sink: RecordSink
  /** The only offset that is accepted next. */
  next: bigint
  /** Why nothing flows; empty: it flows. */
  readonly held: Set<string>
  /** Wrong offsets in a row. */
  strays: number
}

/** More wrong offsets in a row than this are no race of a rejoin. */
const STRAYS_MAX = 20

/**
 * A kafkajs consumer whose positions are ours: it never reads a committed offset, gives a partition's records only from
 * where it was opened, and accepts only the offset that comes next. kafkajs by itself jumps to `latest` after a rejoin
 * without commits and on OFFSET_OUT_OF_RANGE; here such a batch is dropped and the position sought again.
 */
export class PositionedConsumer {
  readonly #kafka: KafkaClient
  readonly #options: PositionedConsumerOptions
  readonly #consumer: Consumer
  readonly #open = new Map<string, Open>()
  #assigned: ReadonlyMap<TopicName, readonly number[]> = new Map()
  #running = false
  #closed = false
  #lastHeardMs = 0
  #collecting: Promise<void> | undefined
  readonly #joined = Promise.withResolvers<void>()
  readonly #confirmations = new Set<{ readonly sinceMs: number; readonly resolve: () => void }>()

  constructor(kafka: KafkaClient, options: PositionedConsumerOptions) {
    const { config } = kafka
    this.#kafka = kafka
    this.#options = options
    this.#consumer = kafka.kafkajs.consumer({
      groupId: kafka.named(options.group?.id ?? `reader-${newId()}`),
      ...(options.group && { partitionAssigners: [options.group.assigner] }),
      sessionTimeout: config.sessionTimeoutMs,
      rebalanceTimeout: Math.max(config.sessionTimeoutMs, 5_000),
      heartbeatInterval: options.group?.heartbeatMs ?? config.heartbeatMs,
      maxWaitTimeInMs: options.fetch?.waitMs ?? config.fetchWaitMs,
      minBytes: options.fetch?.minBytes ?? 1,
      // Also bounds a partition's queue: what was fetched together is handed on together.
      maxBytesPerPartition: 1024 * 1024,
      allowAutoTopicCreation: false,
      // Follows a leader that has moved within seconds.
      metadataMaxAge: 30_000,
      retry: { retries: 5, initialRetryTime: 100, maxRetryTime: 1_000, factor: 0.2, multiplier: 2 },
    })
  }

  /** When a broker last answered anything (heartbeats go on where nothing is open), ms since 1970; 0: never. */
  get lastHeardMs(): number {
    return this.#lastHeardMs
  }

  /** Resolves when the group has let this consumer in for the first time: from then on what is opened flows. */
  get joined(): Promise<void> {
    return this.#joined.promise
  }

  /** Connects, and goes on to join. Throws where no broker can be reached. */
  async start(): Promise<void> {
    const { events } = this.#consumer
    this.#consumer.on(events.GROUP_JOIN, ({ payload }) => this.#onJoin(payload.memberAssignment))
    let heartbeatSentMs = 0
    this.#consumer.on(events.REQUEST, ({ payload }) => {
      this.#lastHeardMs = systemClock.nowMs()
      if (payload.apiName === 'Heartbeat') heartbeatSentMs = payload.sentAt
    })
    // Comes right behind the request that it is about, and only where the coordinator has said yes.
    this.#consumer.on(events.HEARTBEAT, () => this.#onMembershipConfirmed(heartbeatSentMs))
    this.#consumer.on(events.START_BATCH_PROCESS, ({ payload }) => {
      if (payload.batchSize > 0) return
      const topic = this.#kafka.unnamed(payload.topic) as TopicName
      this.#skip(topic, payload.partition, payload.firstOffset as string | null, BigInt(payload.lastOffset))
    })
    // After a crash kafkajs stops and starts again: until it has joined there is nothing that could be paused or sought.
    this.#consumer.on(events.STOP, () => {
      this.#running = false
    })
    this.#consumer.on(events.CRASH, ({ payload }) => {
      if (!payload.restart && !this.#closed) this.#options.onFailed(payload.error)
    })
    await this.#consumer.connect()
    await this.#consumer.subscribe({ topics: this.#options.topics.map((t) => this.#kafka.named(t)) })
    await this.#consumer.run({
      autoCommit: false,
      // Handlers only queue, so they never hold up the fetch of other partitions.
      partitionsConsumedConcurrently: 64,
      eachBatch: async ({ batch }) => {
        const topic = this.#kafka.unnamed(batch.topic) as TopicName
        this.#deliver(topic, batch.partition, batch.messages.map(toInRecord), BigInt(batch.highWatermark), BigInt(batch.lastOffset()), BigInt((batch as unknown as { fetchedOffset: string }).fetchedOffset))
        // kafkajs fetches again when all handlers are done: meanwhile more comes together, and costs no fetch of its own.
        await (this.#collecting ??= this.#collect())
      },
    })
  }

  /** Reads a partition from `position` on into `sink`; replaces what was open there. */
  open(topic: TopicName, partition: number, position: bigint, sink: RecordSink): void {
    const entry: Open = { topic, partition, sink, next: position, held: new Set(), strays: 0 }
    this.#open.set(key(topic, partition), entry)
    this.#apply(entry)
  }

  /**
   * The offset that comes next in an open partition: all below was given to its sink, or is nothing that it would be given
   * (control records, say). Undefined: it is not open.
   */
  position(topic: TopicName, partition: number): bigint | undefined {
    return this.#open.get(key(topic, partition))?.next
  }

  closePartition(topic: TopicName, partition: number): void {
    if (this.#open.delete(key(topic, partition)) && this.#running && this.#isAssigned(topic, partition)) {
      this.#consumer.pause([{ topic: this.#kafka.named(topic), partitions: [partition] }])
    }
  }

  /** Holds a partition back for a reason, or lets go of that reason: it flows while there is none. */
  hold(topic: TopicName, partition: number, reason: string, on: boolean): void {
    const entry = this.#open.get(key(topic, partition))
    if (!entry || entry.held.has(reason) === on) return
    const wasHeld = entry.held.size > 0
    if (on) entry.held.add(reason)
    else entry.held.delete(reason)
    if (entry.held.size > 0 !== wasHeld) this.#apply(entry)
  }

  /**
   * Resolves when the group's coordinator has confirmed this member in its generation, by a heartbeat that was sent
   * after the call. @throws ChatError `ownership_lost` where it does not within `timeoutMs`; the signal's reason
   */
  async confirmMembership(timeoutMs: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const confirmation = { sinceMs: systemClock.nowMs(), resolve }
    this.#confirmations.add(confirmation)
    const onAbort = () => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    const timer = setTimeout(() => reject(new ChatError('ownership_lost', `the group has not confirmed this member in ${timeoutMs} ms`)), timeoutMs)
    try {
      await promise
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      this.#confirmations.delete(confirmation)
    }
  }

  /**
   * For people's lag tools alone: correctness never reads committed offsets. (After its group's coordinator has moved
   * kafkajs goes on asking the old one, so commits may fail until the next rebalance.)
   */
  async commit(positions: readonly { topic: TopicName; partition: number; next: bigint }[]): Promise<void> {
    const mine = positions.filter((p) => this.#isAssigned(p.topic, p.partition))
    if (mine.length === 0 || !this.#running) return
    await this.#consumer.commitOffsets(
      mine.map(({ topic, partition, next }) => ({ topic: this.#kafka.named(topic), partition, offset: next.toString() })),
    )
  }

  /** Leaves the group. Fetches that are under way still come to their sinks. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#consumer.disconnect()
    this.#open.clear()
  }

  async #collect(): Promise<void> {
    const { collectMs } = this.#kafka.config
    if (collectMs > 0) await systemClock.sleep(collectMs)
    this.#collecting = undefined
  }

  #isAssigned(topic: TopicName, partition: number): boolean {
    return this.#assigned.get(topic)?.includes(partition) ?? false
  }

  #onMembershipConfirmed(sentMs: number): void {
    for (const { sinceMs, resolve } of this.#confirmations) if (sentMs >= sinceMs) resolve()
  }

  #onJoin(memberAssignment: Record<string, readonly number[]>): void {
    const assigned = new Map<TopicName, readonly number[]>()
    for (const topic of this.#options.topics) assigned.set(topic, memberAssignment[this.#kafka.named(topic)] ?? [])
    this.#assigned = assigned
    this.#running = true
    // Whatever kafkajs remembers of pauses and positions may be gone after a rejoin or a restart of the consumer.
    for (const [topic, partitions] of assigned) {
      if (partitions.length > 0) this.#consumer.pause([{ topic: this.#kafka.named(topic), partitions: [...partitions] }])
    }
    for (const entry of this.#open.values()) this.#apply(entry)
    this.#options.onAssigned?.(assigned)
    this.#joined.resolve()
  }

  #apply(entry: Open): void {
    if (!this.#running || !this.#isAssigned(entry.topic, entry.partition)) return
    const at = { topic: this.#kafka.named(entry.topic), partition: entry.partition }
    const partitions = [{ topic: at.topic, partitions: [at.partition] }]
    if (entry.held.size > 0) {
      this.#consumer.pause(partitions)
      return
    }
    this.#consumer.seek({ ...at, offset: entry.next.toString() })
    this.#consumer.resume(partitions)
  }

  /**
   * kafkajs moves on by itself, without calling the handler, over what holds no records for us: control records of a
   * transaction, aborted ones, and what compaction has removed.
   */
  #skip(topic: TopicName, partition: number, first: string | null, last: bigint): void {
    const entry = this.#open.get(key(topic, partition))
    if (!entry) return
    if (first === null ? last === entry.next : BigInt(first) >= entry.next) entry.next = last + 1n
  }

  #deliver(topic: TopicName, partition: number, records: readonly InRecord[], high: bigint, last: bigint, fetchedFrom: bigint): void {
    const entry = this.#open.get(key(topic, partition))
    // Closed or held while the batch was on its way: what was not taken is fetched again.
    if (!entry || entry.held.size > 0) return
    if (fetchedFrom !== entry.next || records.length === 0) {
      if (records.length > 0 && ++entry.strays > STRAYS_MAX) {
        this.#options.onFailed(new ChatError('input_position_lost', `${topic}[${partition}]: asked for ${entry.next}, got ${fetchedFrom}`), topic)
        return
      }
      this.#apply(entry)
      return
    }
    entry.strays = 0
    // Behind the last record there may be control records of a transaction.
    entry.next = last + 1n
    entry.sink(records, high)
  }
}

const key = (topic: TopicName, partition: number): string => `${topic}/${partition}`
