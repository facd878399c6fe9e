import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { Ports } from './ports.ts'
import type { Request } from './requests.ts'
import { Timer } from './timer.ts'

export type TypingOptions = {
  readonly ports: Pick<Ports, 'clock'>
  readonly roomId: RoomId
  readonly isLive: () => boolean
  readonly tell: (request: Request) => void
  /** Only when it changes. */
  readonly onTyping: (typing: { readonly userId: UserId; readonly on: boolean }) => void
}

/** What is said holds for 5 s: said again in time while it lasts, and forgotten when it is not heard again. */
const SAY_AGAIN_MS = 3_000
const HEARD_FOR_MS = 5_000

/** Who types in one room: this user, as the app says, and the others, as the server does. Nothing of it is durable. */
export class Typing {
  readonly #options: TypingOptions
  readonly #sayAgain: Timer
  readonly #forget: Timer
  /** Until when, by the monotonic clock. */
  readonly #others = new Map<UserId, number>()
  #on = false

  constructor(options: TypingOptions) {
    this.#options = options
    this.#sayAgain = new Timer(options.ports.clock)
    this.#forget = new Timer(options.ports.clock)
  }

  set(on: boolean): void {
    if (on === this.#on) return
    this.#on = on
    if (on) return this.onLive()
    this.#sayAgain.stop()
    this.#say(false)
  }

  /** The room is (again) live. */
  onLive(): void {
    if (!this.#on || !this.#options.isLive()) return
    this.#say(true)
    this.#sayAgain.start(SAY_AGAIN_MS, () => this.onLive())
  }

  /** Of others nothing is known any more; one's own goes on when the room is live again. */
  onDisconnected(): void {
    this.#sayAgain.stop()
    this.#forget.stop()
    for (const userId of [...this.#others.keys()]) this.heard(userId, false)
  }

  /** The room was left or lost. */
  end(): void {
    this.#on = false
    this.onDisconnected()
  }

  heard(userId: UserId, on: boolean): void {
    const known = this.#others.has(userId)
    if (on) this.#others.set(userId, this.#options.ports.clock.monotonicMs() + HEARD_FOR_MS)
    else this.#others.delete(userId)
    if (on !== known) this.#options.onTyping({ userId, on })
    this.#watch()
  }

  #watch(): void {
    this.#forget.stop()
    if (this.#others.size === 0) return
    const { clock } = this.#options.ports
    this.#forget.start(Math.min(...this.#others.values()) - clock.monotonicMs(), () => {
      const nowMs = clock.monotonicMs()
      for (const [userId, untilMs] of [...this.#others]) if (untilMs <= nowMs) this.heard(userId, false)
    })
  }

  #say(on: boolean): void {
    const { tell, roomId, isLive } = this.#options
    if (isLive()) tell({ type: 'typing', roomId, on })
  }
}
