import type { QueueMessage, SqsQueue } from '#libs/sqs/queue.ts'
import { abortable } from './abortable.ts'
import type { Process } from './process.ts'
import type { World } from './world.ts'

type Stored = { readonly id: string; readonly body: string; readonly attributes: QueueMessage['attributes']; readonly sentMs: number; visibleAtMs: number; receives: number; handle: string }

/** The redrive policy of the queue. */
const RECEIVES_MAX = 10
const POLL_MS = 250

/** A standard queue: at least once, in no order, shown again when the visibility timeout has passed. */
export class SqsQueueServer {
  readonly messages = new Map<string, Stored>()
  /** What was received too often. */
  readonly deadLetters: Stored[] = []
  downUntilMs = 0
  readonly #world: World
  #sent = 0

  constructor(world: World) {
    this.#world = world
  }

  send(body: string, attributes: QueueMessage['attributes'] = {}): void {
    const id = `sqs-${this.#sent++}`
    const { nowMs } = this.#world
    this.messages.set(id, { id, body, attributes, sentMs: nowMs, visibleAtMs: nowMs, receives: 0, handle: '' })
  }

  queue(process: Process): Pick<SqsQueue, 'receive' | 'remove' | 'changeVisibility'> {
    const ask = <T>(label: string, work: () => T, latencyMs = process.latencyMs()): Promise<T> => {
      const { calm, random } = this.#world
      const fate = !calm && random.chance(0.05) ? random.pick(['unknown', 'lost'] as const) : 'ok'
      return process.call(`sqs ${label}`, () => (this.#refuseWhileDown(), work()), { fate, latencyMs, timeoutError: () => new Error('SQS: no answer') })
    }
    return {
      receive: async ({ max, waitS, visibilityTimeoutS, signal }) => {
        for (const untilMs = this.#world.nowMs + waitS * 1_000; ; ) {
          const found = await abortable(ask('receive', () => this.#receive(max, visibilityTimeoutS)), signal)
          if (found.length > 0 || this.#world.nowMs >= untilMs) return found
          // The server waits for us; a poll in short steps is the same to the receiver.
          await process.clock.sleep(POLL_MS, signal)
        }
      },
      remove: (handles) => ask('delete', () => handles.filter((handle) => !this.#remove(handle))),
      changeVisibility: (changes) => ask('change visibility', () => changes.filter((change) => !this.#show(change.receiptHandle, change.visibilityTimeoutS)).map((change) => change.receiptHandle)),
    }
  }

  #refuseWhileDown(): void {
    if (this.#world.nowMs < this.downUntilMs) throw new Error('SQS is down')
  }

  #receive(max: number, visibilityTimeoutS: number): QueueMessage[] {
    const { random, nowMs, calm } = this.#world
    const found: QueueMessage[] = []
    for (const message of this.messages.values()) {
      if (found.length >= max) break
      // Now and then one is shown to two receivers.
      const isVisible = message.visibleAtMs <= nowMs || (!calm && random.chance(0.02))
      if (!isVisible || (!calm && random.chance(0.2))) continue
      if (++message.receives > RECEIVES_MAX) {
        this.messages.delete(message.id)
        this.deadLetters.push(message)
        continue
      }
      message.visibleAtMs = nowMs + visibilityTimeoutS * 1_000
      message.handle = `${message.id}#${message.receives}`
      found.push({ messageId: message.id, receiptHandle: message.handle, body: message.body, sentTimestampMs: message.sentMs, receiveCount: message.receives, attributes: message.attributes })
    }
    return found
  }

  /** Any handle of a message deletes it, unless it was shown again meanwhile. */
  #remove(handle: string): boolean {
    const message = this.#of(handle)
    if (message) this.messages.delete(message.id)
    return message !== undefined
  }

  #show(handle: string, visibilityTimeoutS: number): boolean {
    const message = this.#of(handle)
    if (message) message.visibleAtMs = this.#world.nowMs + visibilityTimeoutS * 1_000
    return message !== undefined
  }

  #of(handle: string): Stored | undefined {
    const message = this.messages.get(handle.split('#')[0]!)
    return message?.handle === handle ? message : undefined
  }
}
