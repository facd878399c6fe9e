import type { InRecord } from '#libs/streams/record.ts'
import { OWNERSHIP_MARKER } from '#libs/streams/topics.ts'
import type { Kafka } from '../world/kafka.ts'
import type { World } from '../world/world.ts'

type TruePartition = { epoch: number; readonly epochs: number[]; readonly nextInput: Map<string, number>; readonly positions: ReadonlyMap<string, number>[] }

/** What each valid record of a fenced log is the effect of. */
export type Source = { readonly topic: string; readonly offset: number }

/** One fenced log by the reader's rule, which is written here a second time: each valid record once, as it lands. */
export class ValidLog {
  readonly #world: World
  readonly #topic: string
  readonly #partitions: readonly TruePartition[]
  readonly #onValid: (partition: number, record: InRecord, source: Source) => void

  constructor(world: World, kafka: Kafka, topic: string, inputTopics: readonly string[], onValid: (partition: number, record: InRecord, source: Source) => void) {
    this.#world = world
    this.#topic = topic
    this.#onValid = onValid
    this.#partitions = Array.from({ length: kafka.partitions }, () => ({ epoch: -1, epochs: [], nextInput: new Map(inputTopics.map((input) => [input, 0])), positions: [] }))
    this.#partitions.forEach((_, p) => {
      kafka.log(topic, p).onAppended((records) => {
        for (const record of records) this.#take(p, record)
      })
    })
  }

  /** The epoch in force behind `offset`. */
  epochBelow(partition: number, offset: number): number {
    return offset === 0 ? -1 : this.#partitions[partition]!.epochs[offset - 1]!
  }

  /** The next input of each topic, as of `offset` of the log. */
  inputsBelow(partition: number, offset: number): ReadonlyMap<string, number> {
    return offset === 0 ? new Map() : this.#partitions[partition]!.positions[offset - 1]!
  }

  nextInput(partition: number, topic: string): number {
    return this.#partitions[partition]!.nextInput.get(topic)!
  }

  #take(partition: number, record: InRecord): void {
    const at = this.#partitions[partition]!
    const { headers } = record
    if (headers['event-type'] === OWNERSHIP_MARKER) at.epoch = Number(record.offset)
    else if (at.epoch >= 0 && headers['owner-epoch'] === `${at.epoch}`) this.#takeValid(partition, at, record)
    at.epochs.push(at.epoch)
    at.positions.push(new Map(at.nextInput))
  }

  #takeValid(partition: number, at: TruePartition, record: InRecord): void {
    const [topic, source] = `${record.headers['source']}`.split(':') as [string, string]
    const due = at.nextInput.get(topic)
    if (Number(source) !== due) this.#world.fail('inputs-once', `${this.#topic}/${partition} @${record.offset} applies ${topic}:${source} where ${due} was due`)
    at.nextInput.set(topic, Number(source) + 1)
    this.#onValid(partition, record, { topic, offset: Number(source) })
  }
}
