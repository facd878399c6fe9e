import { ChatError } from '#libs/domain/errors.ts'
import type { TaskInputs } from '#libs/streams/fenced-ports.ts'
import type { InRecord } from '#libs/streams/record.ts'
import type { Kafka, Log } from './kafka.ts'
import type { Process } from './process.ts'

type Sink = (records: readonly InRecord[]) => void
type Feed = { readonly log: Log; readonly sink: Sink; next: number; readonly held: Set<string>; fetching: boolean; closed: boolean; waiting: boolean }

/**
 * The records of partitions from positions that the process gives, contiguous, each once: what PositionedConsumer makes of
 * kafkajs. It flows only for what the group has assigned.
 */
export class SimConsumer {
  readonly #process: Process
  readonly #kafka: Kafka
  readonly #onFailed: (err: unknown) => void
  readonly #feeds = new Map<string, Feed>()
  /** undefined: a group of one, which has everything. */
  #assigned: readonly number[] | undefined
  lastHeardMs = 0

  constructor(process: Process, kafka: Kafka, options: { readonly inGroup: boolean; readonly onFailed: (err: unknown) => void }) {
    this.#process = process
    this.#kafka = kafka
    this.#onFailed = options.onFailed
    if (options.inGroup) this.#assigned = []
  }

  assign(partitions: readonly number[]): void {
    this.#assigned = partitions
    for (const feed of this.#feeds.values()) this.#pump(feed)
  }

  open(topic: string, partition: number, from: bigint, sink: Sink): void {
    this.close(topic, partition)
    const feed: Feed = { log: this.#kafka.log(topic, partition), sink, next: Number(from), held: new Set(), fetching: false, closed: false, waiting: false }
    this.#feeds.set(`${topic}/${partition}`, feed)
    this.#pump(feed)
  }

  hold(topic: string, partition: number, reason: string, on: boolean): void {
    const feed = this.#feeds.get(`${topic}/${partition}`)
    if (!feed) return
    if (on) feed.held.add(reason)
    else feed.held.delete(reason)
    this.#pump(feed)
  }

  close(topic: string, partition: number): void {
    const feed = this.#feeds.get(`${topic}/${partition}`)
    if (feed) feed.closed = true
    this.#feeds.delete(`${topic}/${partition}`)
  }

  /** The next offset that it will hand on. */
  next(topic: string, partition: number): number | undefined {
    return this.#feeds.get(`${topic}/${partition}`)?.next
  }

  taskInputs(inputTopics: readonly string[], partition: number): TaskInputs {
    return {
      open: async (positions, sink) => {
        for (const topic of inputTopics) {
          const position = positions.get(topic) ?? 0n
          const { low, high } = await this.#kafka.range(this.#process, topic, partition)
          if (position < low || position > high) throw new ChatError('input_position_lost', `${topic}/${partition} holds ${low} … ${high}, the next input is ${position}`)
          this.open(topic, partition, position, (records) => sink(topic, records))
        }
      },
      hold: (on) => {
        for (const topic of inputTopics) this.hold(topic, partition, 'full', on)
      },
      close: () => {
        for (const topic of inputTopics) this.close(topic, partition)
      },
    }
  }

  #flows(feed: Feed): boolean {
    const partition = Number(feed.log.name.split('/')[1])
    return !feed.closed && feed.held.size === 0 && (this.#assigned?.includes(partition) ?? true)
  }

  #pump(feed: Feed): void {
    if (feed.fetching || !this.#flows(feed)) return
    if (feed.next >= feed.log.high) {
      if (feed.waiting) return
      feed.waiting = true
      feed.log.whenAppended(() => {
        feed.waiting = false
        this.#pump(feed)
      })
      return
    }
    feed.fetching = true
    this.#process.hear(this.#kafka.fetchMs(this.#process), `fetched ${feed.log.name} @${feed.next}`, () => {
      feed.fetching = false
      this.lastHeardMs = this.#process.world.nowMs
      // What was not taken is fetched again.
      if (this.#flows(feed)) this.#deliver(feed)
      this.#pump(feed)
    })
  }

  #deliver(feed: Feed): void {
    if (feed.next < feed.log.low) {
      this.#onFailed(new ChatError('input_position_lost', `${feed.log.name} begins at ${feed.log.low}, asked for ${feed.next}`))
      return
    }
    const records = feed.log.records.slice(feed.next, feed.next + this.#kafka.fetchRecords())
    feed.next += records.length
    feed.sink(records)
  }
}
