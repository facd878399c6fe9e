// A load generator as a process of its own: takes orders by IPC, one at a time (messages.ts).
import { type Answer, type Collected, type Connected, monotonicMs, type Order, type Played, type PlayOrder, type Progress } from './messages.ts'
import { openKafka } from './kafka-links.ts'
import { type Ear, type Links, textOf } from './protocol.ts'
import { scheduleOf } from './schedule.ts'
import { openSockets } from './web-sockets.ts'

const TROUBLES_KEPT = 3
/** Timers are late by up to a ms; what is due sooner is waited for exactly. */
const TIMER_SLACK_MS = 1.5

const asleep = new Int32Array(new SharedArrayBuffer(4))

class Generator {
  #links: Links | undefined
  #run = -1
  #arrivedMs = new Float64Array(0)
  #ackedMs = new Float64Array(0)
  #received = 0
  #acked = 0
  #duplicates = 0
  #receivedBytes = 0
  #troubles: string[] = []
  #troubleCount = 0

  readonly #ear: Ear = {
    onMessage: (run, n) => {
      if (run !== this.#run) return
      if (!Number.isNaN(this.#arrivedMs[n]!)) this.#duplicates++
      else {
        this.#arrivedMs[n] = monotonicMs()
        this.#received++
      }
    },
    onAck: (run, n) => {
      if (run !== this.#run || !Number.isNaN(this.#ackedMs[n]!)) return
      this.#ackedMs[n] = monotonicMs()
      this.#acked++
    },
    onBytes: (bytes) => {
      this.#receivedBytes += bytes
    },
    onTrouble: (what) => {
      this.#troubleCount++
      if (this.#troubles.length < TROUBLES_KEPT) this.#troubles.push(what.slice(0, 300))
    },
  }

  async follow(order: Order): Promise<unknown> {
    switch (order.do) {
      case 'connect': {
        const startedMs = monotonicMs()
        this.#links = order.protocol === 'kafka' ? await openKafka(order, this.#ear) : await openSockets(order, this.#ear)
        const { opened, retries, failures } = this.#links
        return { opened, tookMs: monotonicMs() - startedMs, retries, failures: failures.slice(0, TROUBLES_KEPT) } satisfies Connected
      }
      case 'expect':
        this.#expect(order.run, order.total)
        return undefined
      case 'play':
        return this.#play(order)
      case 'progress':
        return { received: this.#received, acked: this.#acked } satisfies Progress
      case 'collect':
        return this.#collect()
      case 'disconnect':
        await this.#links?.close()
        this.#links = undefined
        return undefined
    }
  }

  #expect(run: number, total: number): void {
    this.#run = run
    this.#arrivedMs = new Float64Array(total).fill(Number.NaN)
    this.#ackedMs = new Float64Array(total).fill(Number.NaN)
    this.#received = this.#acked = this.#duplicates = this.#receivedBytes = this.#troubleCount = 0
    this.#troubles = []
  }

  /** Open loop: each message at its own time, whatever became of those before it. */
  async #play({ run, load, bytes, startMs }: PlayOrder): Promise<Played> {
    const { dueMs, room } = scheduleOf(load)
    const total = dueMs.length
    this.#expect(run, total)
    const sentMs = new Float64Array(total)
    for (let n = 0; n < total; ) {
      const now = monotonicMs() - startMs
      for (; n < total && dueMs[n]! <= now; n++) {
        this.#links!.send(room[n]!, run, n, textOf(run, n, bytes))
        sentMs[n] = monotonicMs()
      }
      const wait = n < total ? startMs + dueMs[n]! - monotonicMs() : 0
      if (wait > TIMER_SLACK_MS) await new Promise((resolve) => setTimeout(resolve, Math.floor(wait - TIMER_SLACK_MS + 0.5)))
      else {
        if (wait > 0) Atomics.wait(asleep, 0, 0, wait)
        await new Promise(setImmediate)
      }
    }
    return { sentMs }
  }

  #collect(): Collected {
    return {
      arrivedMs: this.#arrivedMs,
      ackedMs: this.#ackedMs,
      duplicates: this.#duplicates,
      troubles: this.#troubles,
      troubleCount: this.#troubleCount,
      receivedBytes: this.#receivedBytes,
    }
  }
}

const generator = new Generator()
process.on('message', (order: Order) => {
  const answer = (a: Answer) => process.send!(a)
  generator.follow(order).then(
    (value) => answer({ ok: true, value }),
    (err: unknown) => answer({ ok: false, error: (err as Error).stack ?? String(err) }),
  )
})
// The harness is gone, however it went.
process.on('disconnect', () => process.exit(0))
// Ctrl-C reaches the whole group; the harness decides what ends when.
process.on('SIGINT', () => {})
