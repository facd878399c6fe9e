import { ChatError } from '#libs/domain/errors.ts'
import type { FencedLog, LogAppender } from '#libs/streams/fenced-ports.ts'
import type { InRecord, OutRecord } from '#libs/streams/record.ts'
import { topics } from '#libs/streams/topics.ts'
import { CompactedLog } from './compacted-log.ts'
import { abortable } from './abortable.ts'
import { SESSION_TIMEOUT_MS } from './group.ts'
import type { Fate, Process } from './process.ts'
import type { World } from './world.ts'

/** A log that its owners fence, and where they keep their snapshots. */
export type Fenced = { readonly log: string; readonly snapshots: string }
export const ofRooms: Fenced = { log: topics.roomEvents.name, snapshots: topics.roomState.name }
export const ofUsers: Fenced = { log: topics.userEvents.name, snapshots: topics.inboxState.name }

/** How often a broker misbehaves; nothing while the world is calm. */
export type KafkaFaults = {
  readonly appendFails: number
  readonly commitFails: number
  readonly fetchStalls: number
  readonly askFails: number
  /** Steps of a takeover that take seconds, so that takeovers overlap. */
  readonly slowTakeovers: number
  /** Takeovers in whose midst the process is paused for longer than its session. */
  readonly takerPauses: number
}

/** One partition of a topic that keeps everything until retention takes it. An offset is an index. */
export class Log {
  readonly name: string
  readonly records: InRecord[] = []
  /** The first offset that retention has left. */
  low = 0
  readonly #onAppended: ((records: readonly InRecord[]) => void)[] = []
  #waiting: (() => void)[] = []
  readonly #world: World

  constructor(world: World, name: string) {
    this.#world = world
    this.name = name
  }

  get high(): number {
    return this.records.length
  }

  /** Durable and visible at once: what is not yet on all in-sync replicas counts as still under way. */
  append(records: readonly OutRecord[]): bigint {
    const base = this.records.length
    const timestampMs = this.#world.nowMs
    const landed = records.map(({ key, value, headers }, i): InRecord => ({ offset: BigInt(base + i), key, value, headers, timestampMs }))
    this.records.push(...landed)
    this.#world.note(`${this.name} @${base} … ${this.records.length - 1}: ${landed.map(({ key, headers, value }) => `${key} ${headers['event-type'] ?? ''} ${headers['owner-epoch'] ?? ''} ${headers['source'] ?? ''} ${value?.length}`).join(', ')}`)
    for (const listener of this.#onAppended) listener(landed)
    for (const wake of this.#waiting.splice(0)) wake()
    return BigInt(base)
  }

  onAppended(listener: (records: readonly InRecord[]) => void): void {
    this.#onAppended.push(listener)
  }

  /** Called once, at the next append. */
  whenAppended(wake: () => void): void {
    this.#waiting.push(wake)
  }

  expire(beforeMs: number, readUpTo: number): void {
    while (this.low < readUpTo && this.records[this.low]!.timestampMs < beforeMs) this.low++
  }
}

/** How long a takeover waits for records that do not come. */
const READ_STALL_MS = 30_000
export const KAFKA_TIMEOUT_MS = 1_000

/** Topics by partition, as the brokers hold them. */
export class Kafka {
  readonly world: World
  readonly partitions: number
  readonly faults: KafkaFaults
  readonly #logs = new Map<string, Log>()
  readonly #snapshots = new Map<string, CompactedLog>()
  /** Until then nothing comes from what these processes fetch. */
  readonly #stalledUntilMs = new WeakMap<Process, number>()

  constructor(world: World, partitions: number, faults: KafkaFaults) {
    this.world = world
    this.partitions = partitions
    this.faults = faults
  }

  log(topic: string, partition: number): Log {
    const name = `${topic}/${partition}`
    const log = this.#logs.get(name) ?? new Log(this.world, name)
    this.#logs.set(name, log)
    return log
  }

  snapshots({ snapshots }: Fenced, partition: number): CompactedLog {
    const name = `${snapshots}/${partition}`
    const log = this.#snapshots.get(name) ?? new CompactedLog(this.world, name)
    this.#snapshots.set(name, log)
    return log
  }

  /** The fate of an append of a client that never retries by itself. */
  appendFate(): Fate {
    return this.#fate(this.faults.appendFails, ['unknown', 'late', 'late', 'lost'])
  }

  commitFate(): Fate {
    return this.#fate(this.faults.commitFails, ['unknown', 'late', 'lost'])
  }

  /** A question that changes nothing. */
  askFate(): Fate {
    return this.#fate(this.faults.askFails, ['lost'])
  }

  #fate(probability: number, fates: readonly Fate[]): Fate {
    const { calm, random } = this.world
    return !calm && random.chance(probability) ? random.pick(fates) : 'ok'
  }

  stall(process: Process, ms: number): void {
    this.#stalledUntilMs.set(process, this.world.nowMs + ms)
  }

  /** How long until a fetch brings something. */
  fetchMs(process: Process): number {
    const { random, calm, nowMs } = this.world
    const stalledMs = calm ? 0 : Math.max(0, (this.#stalledUntilMs.get(process) ?? 0) - nowMs)
    return stalledMs + random.next() * (!calm && random.chance(this.faults.fetchStalls) ? 2_000 : 5)
  }

  /** One step of a takeover. */
  takeoverMs(process: Process): number {
    const { random, calm } = this.world
    return this.fetchMs(process) + (!calm && random.chance(this.faults.slowTakeovers) ? random.next() * 6_000 : 0)
  }

  /** Who has just begun a takeover may be a zombie before it has ended. */
  begun(process: Process): void {
    const { random, calm } = this.world
    if (calm || !random.chance(this.faults.takerPauses)) return
    this.world.act(random.next() * 15, `${process.name} freezes in mid-takeover`, () => {
      if (process.alive && !process.isPaused) process.pause(SESSION_TIMEOUT_MS + random.between(100, 4_000))
    })
  }

  fetchRecords(): number {
    const { random } = this.world
    return random.chance(0.3) ? random.int(1, 3) : 50
  }

  /** Compaction as of now. */
  compact(): void {
    for (const log of this.#snapshots.values()) log.compact()
  }

  /** Retention as of now. Days in which nothing ran must not cost what would have been read in them. */
  expire(topic: string, partition: number, retentionMs: number, readUpTo: number): void {
    this.log(topic, partition).expire(this.world.nowMs - retentionMs, readUpTo)
  }

  range(process: Process, topic: string, partition: number): Promise<{ readonly low: bigint; readonly high: bigint }> {
    const log = this.log(topic, partition)
    return process.call(`range of ${log.name}`, () => ({ low: BigInt(log.low), high: BigInt(log.high) }), { fate: this.askFate() })
  }

  fencedLog(process: Process, fenced: Fenced, partition: number): FencedLog {
    const log = this.log(fenced.log, partition)
    return {
      openAppender: () => process.call(`connect for ${log.name}`, () => this.#connected(process, fenced, partition), { fate: this.askFate() }),
      read: async (from, upTo, onRecords, signal) => {
        const { low } = await this.range(process, fenced.log, partition)
        if (from < low) throw new ChatError('input_position_lost', `${log.name} begins at ${low}, the restore needs ${from}`)
        for (let next = Number(from); next <= Number(upTo); ) {
          const latencyMs = this.takeoverMs(process)
          if (latencyMs > READ_STALL_MS) throw new ChatError('unavailable', 'the read has stalled')
          const end = Math.min(Number(upTo) + 1, next + this.fetchRecords())
          const records = await abortable(process.call(`fetch ${log.name} @${next}`, () => log.records.slice(next, end), { latencyMs }), signal)
          await onRecords(records)
          next += records.length
        }
      },
    }
  }

  #connected(process: Process, fenced: Fenced, partition: number): LogAppender {
    if (this.snapshots(fenced, partition).hasCheckpoint) this.begun(process)
    return this.#appender(process, this.log(fenced.log, partition))
  }

  #appender(process: Process, log: Log): LogAppender {
    let state: 'usable' | 'in flight' | 'of no use' = 'usable'
    return {
      append: async (records) => {
        if (state !== 'usable') this.world.fail('appender', `${process.name} uses an appender that is ${state}`)
        state = 'in flight'
        const timeoutError = () => new ChatError('append_unknown', 'no answer')
        try {
          const base = await process.call(`append to ${log.name}`, () => log.append(records), { fate: this.appendFate(), timeoutMs: KAFKA_TIMEOUT_MS, timeoutError })
          state = 'usable'
          return base
        } catch (err) {
          state = 'of no use'
          throw err
        }
      },
      close: async () => {
        state = 'of no use'
      },
    }
  }
}
