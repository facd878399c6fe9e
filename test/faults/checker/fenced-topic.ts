import { Consumer } from '@platformatic/kafka'
import avro from 'avsc'

export type TopicCounts = { readonly records: number; readonly markers: number; readonly voids: number }

export type TopicLogOptions = {
  readonly brokers: readonly string[]
  readonly registryUrl: string
  /** Without and with the prefix. */
  readonly name: string
  readonly topic: string
  /** Topics whose records must each have exactly one effect. */
  readonly inputs: readonly { readonly name: string; readonly topic: string }[]
}

type Partition = { epoch: bigint; next: bigint; readonly applied: Map<string, bigint> }

/**
 * A fenced log as somebody reads it who knows our documents and none of our code: another Kafka client, Avro by avsc with
 * schemas from the registry, and the reader's rule of docs/architecture.md written once more.
 */
export abstract class FencedTopic {
  readonly violations: string[] = []
  readonly #options: TopicLogOptions
  readonly #partitions = new Map<number, Partition>()
  readonly #schemas = new Map<number, avro.Type>()
  #records = 0
  #markers = 0
  #voids = 0

  constructor(options: TopicLogOptions) {
    this.#options = options
  }

  get counts(): TopicCounts {
    return { records: this.#records, markers: this.#markers, voids: this.#voids }
  }

  /** The next valid record, decoded. */
  protected abstract fold(partition: number, offset: bigint, record: any): void

  /** Next offset and epoch of each partition, as far as it was read. */
  get positions(): ReadonlyMap<number, { readonly next: bigint; readonly epoch: bigint }> {
    return this.#partitions
  }

  /** Reads on to the end that the topic has now. */
  async catchUp(): Promise<void> {
    const consumer = this.#consumer()
    try {
      const ends = (await consumer.listOffsets({ topics: [this.#options.topic] })).get(this.#options.topic)!
      const open = new Set(ends.flatMap((end, p) => (this.#partition(p).next < end ? [p] : [])))
      if (open.size === 0) return
      const offsets = ends.map((_, partition) => ({ topic: this.#options.topic, partition, offset: this.#partition(partition).next }))
      const stream = await consumer.consume({ topics: [this.#options.topic], mode: 'manual', offsets, autocommit: false, maxWaitTime: 100 })
      for await (const { partition, offset, headers, value } of stream) {
        await this.#take(partition, offset, headers, value)
        if (offset + 1n >= ends[partition]!) open.delete(partition)
        if (open.size === 0) break
      }
    } finally {
      await consumer.close(true)
    }
  }

  /** One input, one record: after quiet, every input has been applied. */
  async checkInputs(): Promise<string[]> {
    const consumer = this.#consumer()
    try {
      const missing: string[] = []
      for (const { name, topic } of this.#options.inputs) {
        const ends = (await consumer.listOffsets({ topics: [topic] })).get(topic)!
        for (const [p, end] of ends.entries()) {
          const applied = this.#partition(p).applied.get(name) ?? 0n
          if (applied !== end) missing.push(`${name}[${p}] ends at ${end}, but its effects in the log end at ${applied}`)
        }
      }
      return missing
    } finally {
      await consumer.close(true)
    }
  }

  #consumer(): Consumer {
    return new Consumer({ clientId: 'fault-checker', groupId: `fault-checker-${crypto.randomUUID()}`, bootstrapBrokers: [...this.#options.brokers], retries: 20, retryDelay: 250 })
  }

  #partition(p: number): Partition {
    let partition = this.#partitions.get(p)
    if (!partition) this.#partitions.set(p, (partition = { epoch: -1n, next: 0n, applied: new Map() }))
    return partition
  }

  async #take(p: number, offset: bigint, headers: ReadonlyMap<Buffer, Buffer>, value: Buffer): Promise<void> {
    const partition = this.#partition(p)
    if (offset !== partition.next) this.violations.push(`${this.#options.name}[${p}]: offset ${offset} comes where ${partition.next} was due`)
    partition.next = offset + 1n
    this.#records++
    const text = new Map([...headers].map(([name, header]) => [name.toString(), header.toString()]))
    if (text.get('event-type') === 'ownershipMarker') {
      this.#markers++
      partition.epoch = offset
    } else if (partition.epoch < 0n || text.get('owner-epoch') !== partition.epoch.toString()) {
      this.#voids++
    } else {
      this.#applySource(p, partition, offset, text.get('source'))
      this.fold(p, offset, await this.#decode(value))
    }
  }

  /** An input topic is dense, so its effects must be 0, 1, 2, … without a hole. */
  #applySource(p: number, partition: Partition, offset: bigint, source: string | undefined): void {
    const [, name, at] = /^(.+):(\d+)$/.exec(source ?? '') ?? []
    if (name === undefined) {
      this.violations.push(`${this.#options.name}[${p}]@${offset} names no source`)
      return
    }
    const due = partition.applied.get(name) ?? 0n
    if (BigInt(at!) !== due) this.violations.push(`${this.#options.name}[${p}]@${offset} is the effect of ${name}:${at}, where ${name}:${due} was due`)
    partition.applied.set(name, BigInt(at!) + 1n)
  }

  /** Confluent wire format: a zero byte, the schema's id, Avro binary. */
  async #decode(value: Buffer): Promise<unknown> {
    const id = value.readUInt32BE(1)
    let schema = this.#schemas.get(id)
    if (!schema) {
      const answer = await fetch(`${this.#options.registryUrl}/schemas/ids/${id}`)
      schema = avro.Type.forSchema(JSON.parse(((await answer.json()) as { schema: string }).schema), { wrapUnions: true })
      this.#schemas.set(id, schema)
    }
    return schema.fromBuffer(value.subarray(5))
  }
}
