import { ChatError } from '#libs/domain/errors.ts'
import { partitionOf } from '#libs/streams/murmur2.ts'
import type { OutRecord } from '#libs/streams/record.ts'
import { type Kafka, KAFKA_TIMEOUT_MS } from './kafka.ts'
import type { Process } from './process.ts'

type Waiting = { readonly topic: string; readonly record: OutRecord; readonly resolve: () => void; readonly reject: (err: Error) => void }

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
  send(topic: string, record: OutRecord): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ topic, record, resolve, reject })
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
      await Promise.all([...this.#byLog(batch)].map(([log, waiting]) => this.#append(log, waiting)))
      for (const { resolve } of batch) resolve()
    } catch (err) {
      for (const { reject } of batch) reject(err as Error)
    }
  }

  #append(name: string, waiting: readonly Waiting[]): Promise<unknown> {
    const [topic, partition] = name.split('/') as [string, string]
    const log = this.#kafka.log(topic, Number(partition))
    const timeoutError = () => new ChatError('unavailable', 'Kafka: no answer')
    return this.#process.call(`produce to ${name}`, () => log.append(waiting.map(({ record }) => record)), { fate: this.#kafka.appendFate(), timeoutMs: KAFKA_TIMEOUT_MS, timeoutError })
  }

  #byLog(batch: readonly Waiting[]): Map<string, Waiting[]> {
    const logs = new Map<string, Waiting[]>()
    for (const waiting of batch) {
      const { topic, record } = waiting
      const partition = record.partition ?? (record.key === null ? 0 : partitionOf(record.key, this.#kafka.partitions))
      const name = `${topic}/${partition}`
      logs.set(name, [...(logs.get(name) ?? []), waiting])
    }
    return logs
  }
}
