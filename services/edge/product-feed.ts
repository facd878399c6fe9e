import { ChatError, hasCode } from '#libs/domain/errors.ts'
import type { ProductFields } from '#libs/domain/frames.ts'
import type { AvroCodec } from '#libs/kafka/avro.ts'
import type { PositionedConsumer } from '#libs/kafka/positioned-consumer.ts'
import type { OffsetsAdmin } from '#libs/kafka/topics-admin.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import { partitionOf } from '#libs/streams/murmur2.ts'
import { productUpdateFromAvro } from '#libs/streams/product-shape.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { topics } from '#libs/streams/topics.ts'

const topic = topics.productUpdates.name
/** However far the history is behind: more than this is not read again for a card. */
const BACKLOG_MAX = 50_000n
const LINGER_MS = 60_000
const LEARN_AGAIN_MS = 1_000

export type ProductFeedOptions = {
  readonly consumer: Pick<PositionedConsumer, 'open' | 'closePartition'>
  readonly offsets: Pick<OffsetsAdmin, 'range'>
  readonly codec: AvroCodec
  readonly partitions: number
  /** Every update below this offset is in the history. */
  readonly position: (partition: number) => Promise<bigint>
  readonly onUpdate: (product: ProductFields) => void
  readonly logger: Logger
}

/**
 * The updates of the products that somebody on this node shows. Only their partitions are read, from where the history
 * is, so that nothing lies between a card from there and the first update; where nobody watches, reading costs nothing.
 */
export class ProductFeed {
  readonly #options: ProductFeedOptions
  readonly #following = new Map<number, Promise<void>>()
  readonly #usedMs = new Map<number, number>()
  #reading: Promise<void> = Promise.resolve()
  #closed = false

  constructor(options: ProductFeedOptions) {
    this.#options = options
  }

  /** Resolves when updates of the product come. @throws ChatError `unavailable`, `history_unavailable` */
  follow(productId: string): Promise<void> {
    const partition = partitionOf(productId, this.#options.partitions)
    this.#usedMs.set(partition, systemClock.nowMs())
    let following = this.#following.get(partition)
    if (!following) {
      following = this.#open(partition)
      this.#following.set(partition, following)
      following.catch(() => this.#following.delete(partition))
    }
    return following
  }

  /** Lets go of partitions of which nobody has watched anything for a while. */
  sweep(watched: Iterable<string>): void {
    if (this.#following.size === 0) return
    const nowMs = systemClock.nowMs()
    for (const productId of watched) this.#usedMs.set(partitionOf(productId, this.#options.partitions), nowMs)
    for (const partition of [...this.#following.keys()]) {
      if (this.#usedMs.get(partition)! > nowMs - LINGER_MS) continue
      this.#options.consumer.closePartition(topic, partition)
      this.#following.delete(partition)
      this.#usedMs.delete(partition)
    }
  }

  close(): void {
    this.#closed = true
  }

  async #open(partition: number): Promise<void> {
    const { consumer, offsets, position } = this.#options
    const stored = await position(partition).catch((err: unknown) => {
      throw hasCode(err, 'unavailable') ? new ChatError('history_unavailable', undefined, { cause: err }) : err
    })
    const { low, high } = await offsets.range(topic, partition)
    const oldest = high - BACKLOG_MAX > low ? high - BACKLOG_MAX : low
    // A history that is ahead of what a broker says of its end: then the end is soon there.
    const from = stored < oldest ? oldest : stored < high ? stored : high
    consumer.open(topic, partition, from, (records) => {
      this.#reading = this.#reading.then(() => this.#take(records))
    })
  }

  async #take(records: readonly InRecord[]): Promise<void> {
    for (const record of records) {
      // A tombstone: there is nothing to show instead.
      if (!record.value) continue
      try {
        await this.#learn(record.value)
        this.#options.onUpdate(productUpdateFromAvro(this.#options.codec.decode(record.value)))
      } catch (err) {
        this.#options.logger.warn({ err, productId: record.key }, 'an update of a product cannot be read')
      }
    }
  }

  /** A schema that is new to this process: nothing goes on before the registry has told it. */
  async #learn(value: Buffer): Promise<void> {
    while (!this.#closed) {
      try {
        const learning = this.#options.codec.learn(value)
        if (learning) await learning
        return
      } catch (err) {
        this.#options.logger.warn({ err }, 'waiting for a schema')
        await systemClock.sleep(LEARN_AGAIN_MS)
      }
    }
  }
}
