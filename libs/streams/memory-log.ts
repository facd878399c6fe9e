import { ChatError } from '#libs/domain/errors.ts'
import type { FencedLog, LogAppender, SnapshotLog, SnapshotWriter, TaskClock, TaskInputs } from './fenced-ports.ts'
import type { InRecord, OutRecord } from './record.ts'

/** The same numbers in [0, 1) for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let a = seed >>> 0
  return () => {
    a = (a + 0x6d2b79f5) >>> 0
    let t = Math.imul(a ^ (a >>> 15), a | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

type Due = { readonly atMs: number; readonly order: number; readonly work: () => void; cancelled: boolean }

/** Time that only moves when a test says so. Between any two events every promise that can settle has settled. */
export class VirtualTime implements TaskClock {
  #nowMs: number
  #order = 0
  #due: Due[] = []

  constructor(nowMs = 1_700_000_000_000) {
    this.#nowMs = nowMs
  }

  /** Whole ms, as a real clock gives. */
  nowMs(): number {
    return Math.floor(this.#nowMs)
  }

  /** Runs `work` in `delayMs`; returns what cancels it. */
  at(delayMs: number, work: () => void): () => void {
    const due: Due = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, work, cancelled: false }
    let i = this.#due.length
    while (i > 0 && this.#due[i - 1]!.atMs > due.atMs) i--
    this.#due.splice(i, 0, due)
    return () => {
      due.cancelled = true
    }
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const cancel = this.at(ms, resolve)
      signal?.addEventListener('abort', () => (cancel(), reject(signal.reason)), { once: true })
    })
  }

  /** Lets promises settle; no time passes. */
  settle(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve))
  }

  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms
    await this.settle()
    for (let next = this.#due[0]; next && next.atMs <= endMs; next = this.#due[0]) {
      this.#due.shift()
      if (next.cancelled) continue
      this.#nowMs = Math.max(this.#nowMs, next.atMs)
      next.work()
      await this.settle()
    }
    this.#nowMs = endMs
  }

  /** Passes time until `done()`. @throws where that is not so after `ms` */
  async until(done: () => boolean, ms = 60_000): Promise<void> {
    const endMs = this.#nowMs + ms
    await this.settle()
    while (!done()) {
      if (this.#nowMs >= endMs) throw new Error(`still waiting after ${ms} ms`)
      const next = this.#due.find((due) => !due.cancelled)
      await this.advance(next ? Math.max(0, next.atMs - this.#nowMs) : ms)
    }
  }
}

/** What becomes of an append: applied and told; applied, but nobody is told; lands later; never lands. */
export type AppendFate = 'ok' | 'applied_unknown' | 'delayed' | 'lost'
export type CommitFate = 'ok' | 'applied_unknown' | 'lost'

export type Faults = {
  append(machine: string, records: readonly OutRecord[]): AppendFate
  commit(machine: string, records: readonly OutRecord[]): CommitFate
  /** Of a message, one way. */
  latencyMs(): number
  landAfterMs(): number
  /** Records that one fetch brings. */
  fetchRecords(): number
  /** Whether compaction has removed this superseded record already. */
  compacted(): boolean
}

export const noFaults: Faults = {
  append: () => 'ok',
  commit: () => 'ok',
  latencyMs: () => 1,
  landAfterMs: () => 50,
  fetchRecords: () => 100,
  compacted: () => false,
}

/** What arrived at the servers, in order. */
export type Arrival = { readonly kind: 'openWriter' | 'append' | 'commit' | 'readLog' | 'readSnapshots' | 'openInputs'; readonly machine: string; readonly keys: readonly (string | null)[] }

const asText = (headers: OutRecord['headers']): InRecord['headers'] => Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Buffer.from(value)]))

/** The servers' side of one partition: the log, the compacted snapshots, the inputs. */
export class MemoryPartition {
  readonly time: VirtualTime
  readonly faults: Faults
  readonly log: InRecord[] = []
  /** Committed records; control records and aborted ones leave holes in the offsets. */
  readonly snapshots: InRecord[] = []
  readonly inputs = new Map<string, InRecord[]>()
  readonly arrivals: Arrival[] = []
  /** Called after each commit. */
  onCommitted: () => void = () => {}
  /** The first offset that retention has left, of the log and of the inputs. */
  lowOffset = 0n
  #snapshotEnd = 0n
  #generation = 0
  readonly #machines: Machine[] = []

  constructor(time: VirtualTime, faults: Partial<Faults> = {}) {
    this.time = time
    this.faults = { ...noFaults, ...faults }
  }

  machine(name: string, skewMs = 0): Machine {
    const machine = new Machine(this, name, skewMs)
    this.#machines.push(machine)
    return machine
  }

  append(records: readonly OutRecord[]): bigint {
    const base = BigInt(this.log.length)
    for (const { key, value, headers } of records) this.log.push({ offset: BigInt(this.log.length), key, value, headers: asText(headers), timestampMs: this.time.nowMs() })
    return base
  }

  addInput(topic: string, key: string, value: Buffer | null, headers: OutRecord['headers'] = {}): void {
    const records = this.inputs.get(topic) ?? []
    this.inputs.set(topic, records)
    records.push({ offset: BigInt(records.length), key, value, headers: asText(headers), timestampMs: this.time.nowMs() })
    for (const machine of this.#machines) machine.pump()
  }

  /** A new generation of the transactional producer: commits of all earlier ones fail from here on. */
  fence(): number {
    return ++this.#generation
  }

  commit(generation: number, records: readonly OutRecord[], lost: boolean): bigint {
    if (generation !== this.#generation) throw new Error('INVALID_PRODUCER_EPOCH')
    const first = this.#snapshotEnd
    if (!lost) records.forEach(({ key, value }, i) => this.snapshots.push({ offset: first + BigInt(i), key, value, headers: {}, timestampMs: this.time.nowMs() }))
    // The commit or abort marker takes an offset, too.
    this.#snapshotEnd += BigInt(records.length) + 1n
    if (!lost) this.onCommitted()
    return first
  }

  /** The next records from `from` on that compaction has left, and where to go on. */
  fetchSnapshots(from: bigint): { records: InRecord[]; next: bigint } {
    const rest = this.snapshots.filter((r) => r.offset >= from)
    const taken = rest.slice(0, this.faults.fetchRecords())
    const isSuperseded = ({ key, offset }: InRecord) => rest.some((later) => later.key === key && later.offset > offset)
    const records = taken.filter((r) => !(isSuperseded(r) && this.faults.compacted()))
    return { records, next: taken.length < rest.length ? taken.at(-1)!.offset + 1n : this.#snapshotEnd }
  }
}

type Feed = { readonly topic: string; readonly sink: (topic: string, records: readonly InRecord[]) => void; next: bigint; closed: boolean; busy: boolean }

/** A process and its connections: may be paused, and crash. Everything it asks for takes time. */
export class Machine {
  readonly name: string
  readonly clock: TaskClock
  readonly fencedLog: FencedLog
  readonly snapshotLog: SnapshotLog
  readonly taskInputs: TaskInputs
  alive = true
  pausedUntilMs = 0
  held = false
  readonly holds: boolean[] = []
  readonly #partition: MemoryPartition
  #feeds: Feed[] = []

  constructor(partition: MemoryPartition, name: string, skewMs: number) {
    this.name = name
    this.#partition = partition
    this.clock = { nowMs: () => partition.time.nowMs() + skewMs, sleep: (ms, signal) => this.#sleep(ms, signal) }
    this.fencedLog = { openAppender: () => this.#call(() => this.#appender()), read: (from, upTo, onRecords, signal) => this.#readLog(from, upTo, onRecords, signal) }
    this.snapshotLog = { openWriter: () => this.#call(() => this.#writer()), read: (upTo, onRecords, signal) => this.#readSnapshots(upTo, onRecords, signal) }
    this.taskInputs = { open: (positions, sink) => this.#openInputs(positions, sink), hold: (on) => this.#hold(on), close: () => this.#closeInputs() }
  }

  /** Nothing of it runs any more; what it has sent may still arrive. */
  crash(): void {
    this.alive = false
    this.#closeInputs()
  }

  pump(): void {
    for (const feed of this.#feeds) this.#pumpFeed(feed)
  }

  #arrived(kind: Arrival['kind'], records: readonly OutRecord[] = []): void {
    this.#partition.arrivals.push({ kind, machine: this.name, keys: records.map((r) => r.key) })
  }

  /** Runs `work` here after `delayMs`; later where this process is paused; never where it has crashed. */
  #hear(delayMs: number, work: () => void): void {
    const { time } = this.#partition
    time.at(delayMs, () => {
      if (!this.alive) return
      if (this.pausedUntilMs > time.nowMs()) this.#hear(this.pausedUntilMs - time.nowMs(), work)
      else work()
    })
  }

  #call<T>(serve: () => T): Promise<T> {
    const { time, faults } = this.#partition
    return new Promise((resolve, reject) => {
      time.at(faults.latencyMs(), () => {
        try {
          const answer = serve()
          this.#hear(faults.latencyMs(), () => resolve(answer))
        } catch (err) {
          this.#hear(faults.latencyMs(), () => reject(err))
        }
      })
    })
  }

  #sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
      this.#hear(ms, resolve)
    })
  }

  #appender(): LogAppender {
    const partition = this.#partition
    const { faults, time } = partition
    let state: 'usable' | 'in flight' | 'spoilt' | 'closed' = 'usable'
    const unknown = (fate: AppendFate): never => {
      throw new ChatError('append_unknown', fate)
    }
    const serve = (records: readonly OutRecord[], fate: AppendFate): bigint => {
      this.#arrived('append', records)
      if (fate === 'delayed') time.at(faults.landAfterMs(), () => partition.append(records))
      const base = fate === 'ok' || fate === 'applied_unknown' ? partition.append(records) : -1n
      return fate === 'ok' ? base : unknown(fate)
    }
    return {
      append: async (records) => {
        if (state !== 'usable') throw new Error(`an appender that is ${state} was used`)
        state = 'in flight'
        const fate = faults.append(this.name, records)
        try {
          const base = await this.#call(() => serve(records, fate))
          state = 'usable'
          return base
        } catch (err) {
          state = 'spoilt'
          throw err
        }
      },
      close: async () => {
        state = 'closed'
      },
    }
  }

  #writer(): SnapshotWriter {
    const partition = this.#partition
    this.#arrived('openWriter')
    const generation = partition.fence()
    let usable = true
    const serve = (records: readonly OutRecord[], fate: CommitFate): bigint => {
      this.#arrived('commit', records)
      const first = partition.commit(generation, records, fate === 'lost')
      if (fate !== 'ok') throw new Error(`a transaction was ${fate}`)
      return first
    }
    return {
      commit: async (records) => {
        if (!usable) throw new ChatError('log_corrupt', 'a writer was used after its failure, or twice at a time')
        usable = false
        const fate = partition.faults.commit(this.name, records)
        const first = await this.#call(() => serve(records, fate))
        usable = true
        return first
      },
      close: async () => {
        usable = false
      },
    }
  }

  async #readLog(from: bigint, upTo: bigint, onRecords: (records: readonly InRecord[]) => Promise<void>, signal: AbortSignal): Promise<void> {
    const partition = this.#partition
    if (from < partition.lowOffset) throw new ChatError('input_position_lost')
    for (let next = from; next <= upTo; ) {
      const end = Math.min(Number(upTo) + 1, Number(next) + partition.faults.fetchRecords())
      const records = await this.#call(() => (this.#arrived('readLog'), partition.log.slice(Number(next), end)))
      signal.throwIfAborted()
      if (records.length === 0) throw new ChatError('unavailable', 'the read has stalled')
      await onRecords(records)
      next = records.at(-1)!.offset + 1n
    }
  }

  async #readSnapshots(upTo: bigint, onRecords: (records: readonly InRecord[]) => Promise<void>, signal: AbortSignal): Promise<void> {
    for (let from = 0n; from <= upTo; ) {
      const { records, next } = await this.#call(() => (this.#arrived('readSnapshots'), this.#partition.fetchSnapshots(from)))
      signal.throwIfAborted()
      if (next <= from) throw new ChatError('unavailable', 'the read has stalled')
      await onRecords(records.filter((r) => r.offset <= upTo))
      from = next
    }
  }

  async #openInputs(positions: ReadonlyMap<string, bigint>, sink: Feed['sink']): Promise<void> {
    const partition = this.#partition
    await this.#call(() => this.#arrived('openInputs'))
    for (const [topic, records] of partition.inputs) {
      const next = positions.get(topic) ?? 0n
      if (next < partition.lowOffset || next > BigInt(records.length)) throw new ChatError('input_position_lost', `${topic}:${next}`)
      this.#feeds.push({ topic, sink, next, closed: false, busy: false })
    }
    this.pump()
  }

  #pumpFeed(feed: Feed): void {
    const { inputs, faults } = this.#partition
    if (feed.closed || feed.busy || this.held || feed.next >= BigInt(inputs.get(feed.topic)!.length)) return
    feed.busy = true
    this.#hear(faults.latencyMs(), () => {
      feed.busy = false
      if (feed.closed || this.held) return
      const records = inputs.get(feed.topic)!.slice(Number(feed.next), Number(feed.next) + faults.fetchRecords())
      feed.next += BigInt(records.length)
      feed.sink(feed.topic, records)
      this.#pumpFeed(feed)
    })
  }

  #hold(on: boolean): void {
    this.holds.push(on)
    this.held = on
    this.pump()
  }

  #closeInputs(): void {
    for (const feed of this.#feeds) feed.closed = true
    this.#feeds = []
    this.held = false
  }
}
