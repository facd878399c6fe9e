import { setTimeout as pause } from 'node:timers/promises'
import type { Rooms } from '../systems/system.ts'
import { monotonicMs } from './messages.ts'
import { RemoteGenerator } from './remote.ts'
import { type Load, scheduleOf } from './schedule.ts'

export type PlayOptions = Omit<Load, 'rooms'> & {
  /** Of each message's text. */
  readonly bytes?: number
  /** How long what is still under way is waited for. */
  readonly settleS?: number
}

/** One run of load. Of each message, in the order in which they were due. */
export type Run = {
  readonly rate: number
  readonly startMs: number
  readonly dueMs: Float64Array
  readonly room: Uint32Array
  /** From the time that the message was *due* to its receipt at the other end; NaN: it did not come. */
  readonly latencyMs: Float64Array
  readonly ackMs: Float64Array
  /** How late the generator itself was. */
  readonly latenessMs: Float64Array
  readonly delivered: number
  readonly duplicates: number
  readonly troubles: readonly string[]
  readonly receivedBytes: number
}

/** The generator's side: one process that sends and one that receives, the same for every system. */
export class Pair {
  readonly sender = new RemoteGenerator()
  readonly receiver = new RemoteGenerator()
  #rooms = 0
  #run = 0

  async connect({ senders, receivers }: Rooms, atOnce = 25): Promise<void> {
    this.#rooms = senders.links.length
    const ends = await Promise.all([this.receiver.connect({ ...receivers, atOnce }), this.sender.connect({ ...senders, atOnce })])
    const failures = ends.flatMap((end) => end.failures)
    if (failures.length > 0) throw new Error(`could not be opened: ${failures.join('; ')}`)
  }

  async play({ rate, seconds, seed, bytes = 120, settleS = 10 }: PlayOptions): Promise<Run> {
    const run = ++this.#run
    const load = { rate, seconds, seed, rooms: this.#rooms }
    const { dueMs, room } = scheduleOf(load)
    const total = dueMs.length
    await this.receiver.expect(run, total)
    const startMs = monotonicMs() + 100
    const { sentMs } = await this.sender.play({ run, load, bytes, startMs })
    await this.#settle(total, settleS)
    const [heard, told] = [await this.receiver.collect(), await this.sender.collect()]
    return {
      rate,
      startMs,
      dueMs,
      room,
      latencyMs: heard.arrivedMs.map((ms, n) => ms - startMs - dueMs[n]!),
      ackMs: told.ackedMs.map((ms, n) => ms - startMs - dueMs[n]!),
      latenessMs: sentMs.map((ms, n) => ms - startMs - dueMs[n]!),
      delivered: heard.arrivedMs.reduce((sum, ms) => sum + (Number.isNaN(ms) ? 0 : 1), 0),
      duplicates: heard.duplicates,
      troubles: [...heard.troubles, ...told.troubles],
      receivedBytes: heard.receivedBytes + told.receivedBytes,
    }
  }

  async disconnect(): Promise<void> {
    await Promise.all([this.sender.disconnect(), this.receiver.disconnect()])
  }

  async end(): Promise<void> {
    await Promise.all([this.sender.end(), this.receiver.end()])
  }

  /** Until all has come, or nothing comes any more. */
  async #settle(total: number, settleS: number): Promise<void> {
    let [seen, stillMs] = [-1, 0]
    for (const step = 20; stillMs < settleS * 1_000; ) {
      const { received } = await this.receiver.progress()
      if (received >= total) return
      stillMs = received > seen ? 0 : stillMs + step
      seen = received
      await pause(step)
    }
  }
}
