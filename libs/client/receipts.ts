import type { AckFrame, JoinedFrame, ReplyFrame, RoomEventFrame } from '#libs/domain/frames.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { retryDelayMs } from './core/backoff.ts'
import { answered, interrupted, joinedWith, type Marks, type MarkState, moved, next, noMarks, refused, sending, unreadOf, wanting, withMessage, withOwnMessage } from './core/marks.ts'
import { ChatClientError } from './errors.ts'
import type { Ports } from './ports.ts'
import type { Request } from './requests.ts'
import { Timer } from './timer.ts'

export type ReceiptsOptions = {
  readonly ports: Pick<Ports, 'clock' | 'random'>
  readonly roomId: RoomId
  readonly request: (request: Request, onReply: (reply: ReplyFrame) => void) => void
  readonly userId: () => UserId | undefined
  readonly isLive: () => boolean
  readonly onUnread: (unread: number) => void
  readonly onOwnAck: (ack: AckFrame) => void
  readonly onNotJoined: () => void
  readonly onError: (error: ChatClientError) => void
}

/** Requests of one room are at least so far apart: what is marked in between goes as one, the highest of it. */
const MARK_EVERY_MS = 250

/** Does for one room what core/marks.ts decides. */
export class Receipts {
  readonly #options: ReceiptsOptions
  readonly #timer: Timer
  #state: MarkState = noMarks
  #notBeforeMs = 0
  #refusals = 0
  #told = 0

  constructor(options: ReceiptsOptions) {
    this.#options = options
    this.#timer = new Timer(options.ports.clock)
  }

  get unread(): number {
    return unreadOf(this.#state)
  }

  /** @throws ChatClientError `invalid_request` for what is no messageIndex */
  mark(marks: Partial<Marks>): void {
    for (const index of [marks.seen, marks.delivered]) {
      if (index !== undefined && (!Number.isSafeInteger(index) || index < 0)) throw new ChatClientError('invalid_request', { detail: 'a messageIndex is a whole number' })
    }
    this.#move(wanting(this.#state, marks))
    this.flush()
  }

  onJoined({ messageCount, receipts = [] }: JoinedFrame): void {
    const userId = this.#options.userId()
    this.#move(joinedWith(this.#state, messageCount, receipts.find((receipt) => receipt.userId === userId)))
  }

  /** Before the app is given it, which may mark it at once; `announce` comes after. */
  onEvent(frame: RoomEventFrame): void {
    if (frame.type === 'newMessage') this.#state = (frame.senderId === this.#options.userId() ? withOwnMessage : withMessage)(this.#state, frame.messageIndex)
    else if (frame.event === 'receiptMoved' && frame.userId === this.#options.userId()) this.#state = moved(this.#state, frame)
  }

  /** Tells the app how many are unread, if that has changed. */
  announce(): void {
    const { unread } = this
    if (unread === this.#told) return
    this.#told = unread
    this.#options.onUnread(unread)
  }

  /** Tells the server what it does not know, if the room is live and it is time. */
  flush(): void {
    const { ports, isLive, roomId, request } = this.#options
    const marks = isLive() ? next(this.#state) : undefined
    if (!marks) return
    const nowMs = ports.clock.monotonicMs()
    if (this.#notBeforeMs > nowMs) return this.#timer.start(this.#notBeforeMs - nowMs, () => this.flush())
    this.#state = sending(this.#state, marks)
    this.#notBeforeMs = nowMs + MARK_EVERY_MS
    request({ type: 'mark', roomId, ...marks }, (reply) => this.#onReply(reply))
  }

  /** Also when the room is left: whoever joins it again is told anew. */
  onDisconnected(): void {
    this.#timer.stop()
    this.#state = interrupted(this.#state)
  }

  #onReply(reply: ReplyFrame): void {
    if (reply.type === 'error') this.#onRefused(reply)
    else {
      this.#refusals = 0
      this.#move(answered(this.#state, 'taken'))
      if (reply.type === 'ack') this.#options.onOwnAck(reply)
    }
    this.flush()
  }

  #onRefused({ code, message, retriable, retryAfterMs }: ReplyFrame & { readonly type: 'error' }): void {
    const { ports, onNotJoined, onError } = this.#options
    if (!retriable && code !== 'not_joined') {
      this.#move(refused(this.#state))
      onError(new ChatClientError(code, { retriable, detail: message }))
      return
    }
    this.#state = answered(this.#state, 'again')
    this.#notBeforeMs = ports.clock.monotonicMs() + retryDelayMs(this.#refusals++, ports.random(), { retryAfterMs })
    if (code === 'not_joined') onNotJoined()
  }

  #move(state: MarkState): void {
    this.#state = state
    this.announce()
  }
}
