import type { ClientFrame, ReplyFrame, RequestId } from '#libs/domain/frames.ts'
import type { ClientClock } from './ports.ts'

/** A request without its id. */
export type Request = ClientFrame extends infer F ? (F extends ClientFrame ? Omit<F, 'id'> : never) : never

/** Requests of the present socket that wait for their one reply. */
export class Requests {
  readonly #waiting = new Map<RequestId, { readonly onReply: (reply: ReplyFrame) => void; readonly timer: unknown }>()
  readonly #clock: ClientClock
  readonly #timeoutMs: number
  readonly #onTimeout: () => void
  #lastId = 0

  constructor(clock: ClientClock, timeoutMs: number, onTimeout: () => void) {
    this.#clock = clock
    this.#timeoutMs = timeoutMs
    this.#onTimeout = onTimeout
  }

  /** @returns the id for the frame. `onReply` is called once, or never if the socket goes first. */
  open(onReply: (reply: ReplyFrame) => void, timeoutMs = this.#timeoutMs): number {
    const id = ++this.#lastId
    this.#waiting.set(id, { onReply, timer: this.#clock.setTimeout(this.#onTimeout, timeoutMs) })
    return id
  }

  /** False for a reply that nobody waits for. */
  reply(frame: ReplyFrame): boolean {
    const waiting = frame.id === undefined ? undefined : this.#waiting.get(frame.id)
    if (!waiting) return false
    this.#waiting.delete(frame.id!)
    this.#clock.clearTimeout(waiting.timer)
    waiting.onReply(frame)
    return true
  }

  clear(): void {
    for (const { timer } of this.#waiting.values()) this.#clock.clearTimeout(timer)
    this.#waiting.clear()
  }
}
