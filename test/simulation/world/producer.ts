import { ChatError } from '#libs/domain/errors.ts'
import { partitionOf } from '#libs/streams/murmur2.ts'
import type { OutRecord } from '#libs/streams/record.ts'
import { type Kafka, KAFKA_TIMEOUT_MS } from './kafka.ts'
import type { Process } from './process.ts'

/** Records that go together. */
type Waiting = { readonly log: string; readonly records: readonly OutRecord[]; readonly resolve: (base: bigint) => void; readonly reject: (err: Error) => void }

/**
 * One batch in flight, what comes meanwhile makes up the next, and no retry: what BatchingProducer promises. A failed batch
 * refuses all its records, though some may be in the log, or land later.
 */
export class SimProducer {
  readonly #process: Process
  readonly #kafka: Kafka
  #queue: Waiting[] = []
  #sending = false

  constructor(process: Process, kafka: Kafka) {
    this.#process = process
    this.#kafka = kafka
  }

  /** @throws ChatError `unavailable`: the outcome may be unknown */
  async send(topic: string, record: OutRecord): Promise<void> {
    await this.append(topic, record.partition ?? (record.key === null ? 0 : partitionOf(record.key, this.#kafka.partitions)), [record])
  }

  /** All of them next to each other, or none. */
  append(topic: string, partition: number, records: readonly OutRecord[]): Promise<bigint> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ log: `${topic}/${partition}`, records, resolve, reject })
      void this.#pump()
    })
  }

  async #pump(): Promise<void> {
    if (this.#sending) return
    this.#sending = true
    while (this.#queue.length > 0) await this.#sendBatch(this.#queue.splice(0))
    this.#sending = false
  }

  async #sendBatch(batch: readonly Waiting[]): Promise<void> {
    try {
      const bases = new Map(await Promise.all([...Map.groupBy(batch, ({ log }) => log)].map(async ([log, waiting]) => [log, await this.#append(log, waiting)] as const)))
      for (const { log, resolve } of batch) resolve(bases.get(log)!)
    } catch (err) {
      for (const { reject } of batch) reject(err as Error)
    }
  }

  #append(name: string, waiting: readonly Waiting[]): Promise<bigint> {
    const [topic, partition] = name.split('/') as [string, string]
    const log = this.#kafka.log(topic, Number(partition))
    const timeoutError = () => new ChatError('unavailable', 'Kafka: no answer')
    return this.#process.call(`produce to ${name}`, () => log.append(waiting.flatMap(({ records }) => records)), { fate: this.#kafka.appendFate(), timeoutMs: KAFKA_TIMEOUT_MS, timeoutError })
  }
}
