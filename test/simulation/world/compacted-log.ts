import { ChatError } from '#libs/domain/errors.ts'
import type { SnapshotLog, SnapshotWriter } from '#libs/streams/fenced-ports.ts'
import type { InRecord, OutRecord } from '#libs/streams/record.ts'
import { abortable } from './abortable.ts'
import type { Kafka } from './kafka.ts'
import type { Process } from './process.ts'
import type { World } from './world.ts'

/** Kafka keeps tombstones for this long (delete.retention.ms). */
const TOMBSTONE_KEPT_MS = 86_400_000
/** Of libs/kafka/read-back.ts. */
const ROUNDS_MAX = 3

const isCheckpoint = ({ key }: InRecord): boolean => key === '~checkpoint' || key === ' checkpoint'

/** One partition of a compacted topic that is written in transactions, by one producer id at a time. */
export class CompactedLog {
  readonly name: string
  /** Committed records that compaction has left; control records and aborted ones are holes in their offsets. */
  records: InRecord[] = []
  readonly #world: World
  readonly #onCommitted: (() => void)[] = []
  #end = 0n
  #generation = 0

  constructor(world: World, name: string) {
    this.#world = world
    this.name = name
  }

  get hasCheckpoint(): boolean {
    return this.records.some(isCheckpoint)
  }

  onCommitted(listener: () => void): void {
    this.#onCommitted.push(listener)
  }

  /** InitProducerId of the transactional id: whoever had it is fenced. */
  fence(): number {
    return ++this.#generation
  }

  commit(generation: number, records: readonly OutRecord[]): bigint {
    if (generation !== this.#generation) throw new Error('INVALID_PRODUCER_EPOCH')
    const first = this.#end
    const timestampMs = this.#world.nowMs
    records.forEach(({ key, value, headers }, i) => this.records.push({ offset: first + BigInt(i), key, value, headers, timestampMs }))
    this.#close(records.length)
    this.#world.note(`${this.name} @${first}: ${records.map((r) => r.key).join(', ')}`)
    for (const listener of this.#onCommitted) listener()
    return first
  }

  /** The records were sent, but never committed. */
  abort(records: readonly OutRecord[]): void {
    this.#close(records.length)
  }

  /** The marker of a commit or an abort takes an offset too. */
  #close(records: number): void {
    this.#end += BigInt(records) + 1n
  }

  /**
   * The cleaner has come up to some offset: below it, what a later record of its key below it has superseded is gone, and
   * old tombstones. It may stop in the middle of a transaction, whose batches may lie in two segments.
   */
  compact(): void {
    const { random, nowMs } = this.#world
    // A transaction's last record is its checkpoint.
    const lasts = this.records.filter(isCheckpoint).slice(-4)
    const end = lasts.length === 0 || random.chance(0.3) ? this.#end : random.pick(lasts).offset
    const below = this.records.filter((record) => record.offset < end)
    const last = new Map(below.map((record) => [record.key, record.offset]))
    const oldMs = nowMs - TOMBSTONE_KEPT_MS
    this.records = this.records.filter(({ key, offset, value, timestampMs }) => offset >= end || (last.get(key) === offset && (value !== null || timestampMs > oldMs)))
  }

  /** The next records, and where to go on. */
  #fetch(from: bigint, upTo: bigint, count: number): { records: InRecord[]; next: bigint } {
    const { random, calm } = this.#world
    // Worst for a reader who has been overtaken.
    const isOvertaken = this.records.some((record) => isCheckpoint(record) && record.offset > upTo)
    if (!calm && random.chance(isOvertaken ? 0.9 : 0.3)) this.compact()
    const rest = this.records.filter((record) => record.offset >= from)
    const records = rest.slice(0, count)
    return { records, next: records.length < rest.length ? records.at(-1)!.offset + 1n : this.#end }
  }

  /** libs/kafka/read-back.ts `readCompacted`: to the end, which others go on writing. */
  async readAll(process: Process, kafka: Kafka, onRecords: (records: readonly InRecord[]) => Promise<void>, signal: AbortSignal): Promise<void> {
    const askEnd = () => process.call(`end of ${this.name}`, () => this.#end, { fate: kafka.askFate() })
    let end = await askEnd()
    for (let from = 0n, round = 0; round < ROUNDS_MAX && from < end; round++) {
      const upTo = end
      while (from < upTo) {
        const begin = from
        const { records, next } = await abortable(process.call(`fetch ${this.name} @${begin}`, () => this.#fetch(begin, upTo, kafka.fetchRecords()), { latencyMs: kafka.takeoverMs(process) }), signal)
        // What is above may be the begin of a transaction without its rest.
        await onRecords(records.filter(({ offset }) => offset < upTo))
        from = next
      }
      from = upTo
      end = await askEnd()
    }
  }

  for(process: Process, kafka: Kafka): SnapshotLog {
    return {
      openWriter: () => process.call(`InitProducerId of ${this.name}`, () => (this.#begun(process, kafka), this.#writer(process, kafka, this.fence())), { fate: kafka.commitFate(), latencyMs: kafka.takeoverMs(process) }),
      read: async (upTo, onRecords, signal) => {
        for (let from = 0n; from <= upTo; ) {
          const latencyMs = kafka.takeoverMs(process)
          const { records, next } = await abortable(process.call(`fetch ${this.name} @${from}`, () => this.#fetch(from, upTo, kafka.fetchRecords()), { latencyMs }), signal)
          if (next <= from) throw new ChatError('unavailable', 'the read has stalled')
          await onRecords(records.filter((record) => record.offset <= upTo))
          from = next
        }
      },
    }
  }

  /** Only where there is something to lose. */
  #begun(process: Process, kafka: Kafka): void {
    if (this.hasCheckpoint) kafka.begun(process)
  }

  #writer(process: Process, kafka: Kafka, generation: number): SnapshotWriter {
    let usable = true
    return {
      commit: async (records) => {
        if (!usable) this.#world.fail('snapshot-writer', `${process.name} uses a snapshot writer after its failure, or twice at a time`)
        usable = false
        const fate = kafka.commitFate()
        if (fate === 'lost') this.abort(records)
        const first = await process.call(`commit to ${this.name}`, () => this.commit(generation, records), { fate, timeoutError: () => new Error('no answer') })
        usable = true
        return first
      },
      close: async () => {
        usable = false
      },
    }
  }
}
