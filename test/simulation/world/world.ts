import { Heap } from './heap.ts'
import { Process } from './process.ts'
import { Random } from './random.ts'
import { Trace } from './trace.ts'

/** What did not hold, and where. */
export type Violation = { readonly invariant: string; readonly message: string; readonly atMs: number }

type Event = { atMs: number; tie: number; readonly label: string; readonly owner: Process | undefined; readonly runsCode: boolean; run: (() => void) | undefined }

export const START_MS = 1_790_000_000_000
/** More in one run means that it goes in a circle. */
const EVENTS_MAX = 200_000

/**
 * Time, and all that is under way. Everything that crosses a process's border (a request, its answer, a record, a frame,
 * a timer) is an event with a label; the seed decides when each happens, and so the order of all. Between two events every
 * promise that can settle has settled.
 */
export class World {
  readonly random: Random
  readonly trace: Trace
  readonly processes = new Set<Process>()
  /** No more faults: what is under way comes to its end. */
  calm = false
  violation: Violation | undefined
  #timeMs = START_MS
  readonly #events = new Heap<Event>((a, b) => a.atMs < b.atMs || (a.atMs === b.atMs && a.tie < b.tie))
  #jumpedMs = 0

  constructor(seed: number, keepTrace = false) {
    this.random = new Random(seed)
    this.trace = new Trace(keepTrace)
  }

  /** Whole ms since 1970, as a true clock gives. */
  get nowMs(): number {
    return Math.floor(this.#timeMs)
  }

  /** ms since the start, without the days that were skipped. */
  get elapsedMs(): number {
    return this.#timeMs - START_MS - this.#jumpedMs
  }

  process(name: string, skewMs = 0): Process {
    const process = new Process(this, name, skewMs)
    this.processes.add(process)
    return process
  }

  /** Something at a server: touches no process. Returns what calls it off. */
  serve(delayMs: number, label: string, run: () => void): () => void {
    return this.#push(delayMs, label, run, undefined, false)
  }

  /** Something that the scenario does, which may start or stop processes. */
  act(delayMs: number, label: string, run: () => void): () => void {
    return this.#push(delayMs, label, run, undefined, true)
  }

  /** Something that a process hears: later where it is paused, never where it has crashed. */
  hear(owner: Process, delayMs: number, label: string, run: () => void): () => void {
    return this.#push(delayMs, label, run, owner, true)
  }

  /** The first failure ends the run. */
  fail(invariant: string, message: string): void {
    this.violation ??= { invariant, message, atMs: this.nowMs }
  }

  note(line: string): void {
    this.trace.add(`${this.#stamp()} · ${line}`)
  }

  /** Lets `ms` pass, or as much as it takes until `done`. False: it was not done in time, or something has failed. */
  async run(ms: number, done: () => boolean = () => false): Promise<boolean> {
    const endMs = this.#timeMs + ms
    await settle()
    for (let checks = 0; !this.violation; checks++) {
      if (checks % 8 === 0 && done()) return true
      const next = this.#events.peek()
      if (!next || next.atMs > endMs) {
        this.#timeMs = endMs
        return done()
      }
      this.#events.pop()
      if (!this.#happen(next)) continue
      if (next.runsCode) await settle()
      if (this.trace.events > EVENTS_MAX) this.fail('liveness', `more than ${EVENTS_MAX} events`)
    }
    return false
  }

  /** Days in which nothing happens. */
  skip(ms: number): void {
    this.note(`${ms / 86_400_000} days pass`)
    const events: Event[] = []
    for (let event = this.#events.pop(); event; event = this.#events.pop()) events.push(event)
    for (const event of events) this.#events.push({ ...event, atMs: event.atMs + ms })
    for (const process of this.processes) process.pausedUntilMs += ms
    this.#timeMs += ms
    this.#jumpedMs += ms
  }

  #push(delayMs: number, label: string, run: () => void, owner: Process | undefined, runsCode: boolean): () => void {
    const event: Event = { atMs: this.#timeMs + Math.max(0, delayMs), tie: this.random.next(), label, owner, runsCode, run }
    this.#events.push(event)
    return () => {
      event.run = undefined
    }
  }

  #happen(event: Event): boolean {
    const { owner, run } = event
    if (!run || (owner && !owner.alive)) return false
    if (owner && owner.pausedUntilMs > event.atMs) {
      event.atMs = owner.pausedUntilMs
      event.tie = this.random.next()
      this.#events.push(event)
      return false
    }
    this.#timeMs = Math.max(this.#timeMs, event.atMs)
    this.trace.add(owner ? `${this.#stamp()} ${owner.name}: ${event.label}` : `${this.#stamp()} ${event.label}`)
    run()
    return true
  }

  #stamp(): string {
    return (this.#timeMs - START_MS).toFixed(3)
  }
}

/** Every promise that waits for no event has run to its end when an immediate runs: Node empties the microtasks first. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
