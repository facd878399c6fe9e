import { ChatError } from '#libs/domain/errors.ts'
import type { RoomId } from '#libs/domain/ids.ts'
import type { UserDecision } from '#libs/domain/inbox.ts'
import type { AvroCodec } from '#libs/kafka/avro.ts'
import type { KafkaClient } from '#libs/kafka/client.ts'
import { PositionedConsumer } from '#libs/kafka/positioned-consumer.ts'
import type { Pool } from '#libs/postgres/pool.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import { retryDelayMs } from '#libs/runtime/retry.ts'
import { type Decision, decisionFromAvro } from '#libs/streams/avro-shapes.ts'
import { BatchedTask, type BatchedTaskOptions } from '#libs/streams/batched-task.ts'
import { userDecisionFromAvro } from '#libs/streams/inbox-shapes.ts'
import type { PartitionTask } from '#libs/streams/partition-tasks.ts'
import { headerText } from '#libs/streams/reader-rule.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { headerNames, OWNERSHIP_MARKER } from '#libs/streams/topics.ts'
import { PersisterTask, type PersisterTaskOptions } from '../../services/message-persister/core/persister-task.ts'
import { type Applied, type Rows, rowsOf } from '../../services/message-persister/core/rows.ts'
import { type UserRows, userRowsOf } from '../../services/message-persister/core/user-rows.ts'
import { readProducts } from '../../services/message-persister/products-batch.ts'
import { createProductStore } from '../../services/message-persister/products-store.ts'
import { createMessageStore } from '../../services/message-persister/store.ts'
import { concernsTables } from '../../services/message-persister/user-events.ts'
import { createUserStore } from '../../services/message-persister/user-store.ts'
import { type RebuiltTopic, rebuiltTopics } from './tables.ts'

/** One partition of one topic, as it was when the rebuild began. */
export type Span = {
  readonly topic: RebuiltTopic
  readonly partition: number
  /** The first offset that the log still holds. */
  readonly low: bigint
}
export type Until = ReadonlyMap<string, bigint>
export const spanKey = ({ topic, partition }: { readonly topic: string; readonly partition: number }): string => `${topic}[${partition}]`

/** A partition that gives nothing for so long, while there must be more, is not waited for any longer. */
const SILENCE_MAX_MS = 120_000
const JOIN_MAX_MS = 60_000
const LOOK_EVERY_MS = 100
const BATCH_RECORDS_MAX = 2_000

type Lane = Span & {
  readonly until: bigint
  readonly task: PartitionTask
  /** What is in the new database for certain. */
  position(): bigint
  /** Behind what was handed to the task; undefined: nothing yet. */
  delivered: bigint | undefined
  /** The log was read up to `until`. */
  isRead: boolean
}

/**
 * Brings topics into an empty database by the persister's own code, up to given offsets, in a group of readers of its own:
 * no position of the live system is read or moved.
 */
export class Replay {
  readonly #kafka: KafkaClient
  readonly #codecs: ReadonlyMap<RebuiltTopic, AvroCodec>
  readonly #pool: Pool
  /** Rooms whose first event is in what is left of the log, by partition whose start is gone. */
  readonly #known = new Map<number, Set<RoomId>>()
  /** The first marker of each fenced partition, from which on its records count. */
  readonly #firstMarkers = new Map<string, bigint>()
  #skippedEntries = 0

  constructor(kafka: KafkaClient, codecs: ReadonlyMap<RebuiltTopic, AvroCodec>, pool: Pool) {
    this.#kafka = kafka
    this.#codecs = codecs
    this.#pool = pool
  }

  /** Records about rooms that began before what is left of the log. */
  get skipped(): number {
    return this.#skippedEntries
  }

  /** From where on a partition whose start is gone was taken; its end where no owner has marked it since. */
  firstCounted(span: Span, until: bigint): bigint {
    return span.low === 0n ? 0n : (this.#firstMarkers.get(spanKey(span)) ?? until)
  }

  /** Reads on, from where the database is, to `until`. @throws what ended a partition, or the signal's reason */
  async run(spans: readonly Span[], until: Until, note: (text: string) => void, signal: AbortSignal): Promise<void> {
    const failed = Promise.withResolvers<never>()
    failed.promise.catch(() => {})
    const consumer = new PositionedConsumer(this.#kafka, { topics: [...rebuiltTopics], fetch: { minBytes: 1, waitMs: 200 }, onFailed: (err) => failed.reject(err) })
    const lanes = spans.filter((span) => until.get(spanKey(span))! > span.low).map((span) => this.#lane(span, until.get(spanKey(span))!, consumer))
    if (lanes.length === 0) return
    const joining = new AbortController()
    try {
      await consumer.start()
      await Promise.race([consumer.joined, failed.promise, notJoined(AbortSignal.any([signal, joining.signal]))])
      joining.abort()
      for (const { task } of lanes) task.run().catch((err: unknown) => failed.reject(err))
      await Promise.race([untilDone(lanes, note, signal), failed.promise])
    } finally {
      joining.abort()
      await Promise.all(lanes.map(({ task }) => task.stop()))
      await consumer.close()
    }
  }

  #lane(span: Span, until: bigint, consumer: PositionedConsumer): Lane {
    const log = this.#boundedLog(span, until, consumer, () => lane)
    const common = { log, sleep: systemClock.sleep, retryDelayMs: (attempt: number) => retryDelayMs(attempt), batchRecordsMax: BATCH_RECORDS_MAX }
    const lane: Lane = { ...span, until, ...this.#task(span, common), delivered: undefined, isRead: false }
    return lane
  }

  #task(span: Span, common: Common): Pick<Lane, 'task' | 'position'> {
    switch (span.topic) {
      case 'room-events':
        return this.#fencedTask(span, this.#roomsLog(span), common)
      case 'user-events':
        return this.#fencedTask(span, this.#usersLog(span), common)
      case 'product-updates':
        return this.#productsTask(span, common)
    }
  }

  /** Gives what is below `until`, and no more. */
  #boundedLog({ topic, partition, low }: Span, until: bigint, consumer: PositionedConsumer, laneOf: () => Lane): BatchedTaskOptions['log'] {
    return {
      open: async (from, sink) => {
        const lane = laneOf()
        if (from >= until) {
          lane.isRead = true
          return
        }
        consumer.open(topic, partition, from < low ? low : from, (records) => {
          const wanted = records.filter(({ offset }) => offset < until)
          this.#noteMarker(lane, wanted)
          if (wanted.length > 0) {
            lane.delivered = wanted.at(-1)!.offset + 1n
            sink(wanted)
          }
          if (records.at(-1)!.offset + 1n < until) return
          lane.isRead = true
          consumer.closePartition(topic, partition)
        })
      },
      hold: (on) => consumer.hold(topic, partition, 'full', on),
      close: () => consumer.closePartition(topic, partition),
    }
  }

  #noteMarker(lane: Lane, records: readonly InRecord[]): void {
    if (lane.low === 0n || this.#firstMarkers.has(spanKey(lane))) return
    const marker = records.find(({ headers }) => headerText(headers, headerNames.eventType) === OWNERSHIP_MARKER)
    if (marker) this.#firstMarkers.set(spanKey(lane), marker.offset)
  }

  #fencedTask<Decided, Rows>(span: Span, log: FencedLog<Decided, Rows>, common: Common) {
    const codec = this.#codecs.get(span.topic)!
    const task = new PersisterTask({ ...common, ...log, partition: span.partition, codec, nowMs: systemClock.nowMs, observer })
    return { task, position: () => task.position?.nextOffset ?? 0n }
  }

  #roomsLog({ topic, partition, low }: Span): FencedLog<Decision, Rows> {
    return {
      store: createMessageStore(this.#pool, topic),
      decidedOf: decisionFromAvro,
      rowsOf: (applied) => rowsOf(low === 0n ? applied : this.#complete(partition, applied)),
    }
  }

  #usersLog({ topic }: Span): FencedLog<UserDecision, UserRows> {
    return { store: createUserStore(this.#pool, topic), decidedOf: userDecisionFromAvro, concerns: concernsTables, rowsOf: userRowsOf }
  }

  /** Only of rooms that are whole in what is left of the log: of the others nothing could be compared. */
  #complete(partition: number, applied: readonly Applied[]): Applied[] {
    const known = this.#known.get(partition) ?? new Set()
    this.#known.set(partition, known)
    return applied.filter(({ decision }) => {
      if (decision.entries.some(({ type }) => type === 'roomOpened')) known.add(decision.roomId)
      if (known.has(decision.roomId)) return true
      this.#skippedEntries++
      return false
    })
  }

  #productsTask({ topic, partition }: Span, common: Common) {
    const store = createProductStore(this.#pool)
    const codec = this.#codecs.get(topic)!
    let position = 0n
    const task = new BatchedTask({
      ...common,
      begin: async () => {
        position = await store.readPosition(partition)
        return position
      },
      apply: async (batch) => {
        const { products } = await readProducts(codec, batch)
        const next = batch.at(-1)!.offset + 1n
        const moved = await store.apply(partition, position, next, products)
        if (moved) position = next
        return moved
      },
      onRetry: () => {},
    })
    return { task, position: () => position }
  }
}

/** What a log is to the persister. */
type FencedLog<Decided, Rows> = Pick<PersisterTaskOptions<Decided, Rows>, 'store' | 'decidedOf' | 'concerns' | 'rowsOf'>
type Common = Pick<BatchedTaskOptions, 'log' | 'sleep' | 'retryDelayMs' | 'batchRecordsMax'>

const observer = {
  applied: () => {},
  behind: () => {},
  moved: () => {
    throw new ChatError('duplicate_row', 'somebody else writes to the new database')
  },
}

async function notJoined(signal: AbortSignal): Promise<never> {
  await systemClock.sleep(JOIN_MAX_MS, signal)
  throw new ChatError('unavailable', `Kafka has let no reader in for ${JOIN_MAX_MS / 1_000} s`)
}

async function untilDone(lanes: readonly Lane[], note: (text: string) => void, signal: AbortSignal): Promise<void> {
  const total = lanes.reduce((sum, { until, low }) => sum + (until - low), 0n)
  const isDone = (lane: Lane) => lane.isRead && (lane.delivered === undefined || lane.position() >= lane.delivered)
  let [before, sinceMs] = [-1n, systemClock.nowMs()]
  while (!lanes.every(isDone)) {
    signal.throwIfAborted()
    await systemClock.sleep(LOOK_EVERY_MS, signal)
    const done = lanes.reduce((sum, lane) => sum + (lane.position() > lane.low ? lane.position() - lane.low : 0n), 0n)
    note(`${done} of ${total} records`)
    if (done !== before) [before, sinceMs] = [done, systemClock.nowMs()]
    else if (systemClock.nowMs() - sinceMs > SILENCE_MAX_MS) {
      const waiting = lanes.filter((lane) => !isDone(lane)).map((lane) => `${spanKey(lane)} at ${lane.position()} of ${lane.until}`)
      throw new ChatError('unavailable', `nothing came for ${SILENCE_MAX_MS / 1_000} s: ${waiting.join(', ')}`)
    }
  }
}
