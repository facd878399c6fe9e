import type { CloseName } from '#libs/domain/close-codes.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { Subscription } from './subscription.ts'
import { Turns } from './turns.ts'

/** Of one socket, whatever it joins: who joins over and over must not have the history read for each time. */
const HISTORY_READS_AT_ONCE = 4

/** Who speaks on a socket, as the token says. */
export type Speaker = { readonly userId: UserId; readonly role: 'admin' | 'moderator' | 'user'; readonly expiresAtMs: number }

/** One open WebSocket as the rules see it. */
export type ClientSocket = {
  /** Hands a text frame to the network. A socket that has been closed takes it and drops it. */
  send(frame: string): void
  /** Bytes that the network has not taken yet. */
  bufferedBytes(): number
  /** Many sends as one write. */
  cork(work: () => void): void
  close(name: CloseName, retryAfterMs?: number): void
}

export class Connection {
  readonly id: string
  readonly socket: ClientSocket
  speaker: Speaker
  /** Set on a socket of `/chat?orderId=`: the room of requests that name none. */
  readonly defaultRoom: RoomId | undefined
  readonly subscriptions = new Map<RoomId, Subscription>()
  /** Commands on their way. */
  pending = 0
  malformed = 0
  refusals = 0
  nextHeartbeatMs: number
  closed = false
  /** Requests are worked on one after another, so that answers and sends keep their order. */
  tail: Promise<void> = Promise.resolve()
  queued = 0
  /** What is being worked on, and since when. */
  busy: { readonly what: string; readonly sinceMs: number } | undefined
  readonly historyReads = new Turns(HISTORY_READS_AT_ONCE)
  #drained: (() => void)[] | undefined

  constructor(options: { id: string; socket: ClientSocket; speaker: Speaker; defaultRoom: RoomId | undefined; nextHeartbeatMs: number }) {
    this.id = options.id
    this.socket = options.socket
    this.speaker = options.speaker
    this.defaultRoom = options.defaultRoom
    this.nextHeartbeatMs = options.nextHeartbeatMs
  }

  send(frame: object): void {
    if (!this.closed) this.socket.send(JSON.stringify(frame))
  }

  sendText(frame: string): void {
    if (!this.closed) this.socket.send(frame)
  }

  close(name: CloseName, retryAfterMs?: number): void {
    if (!this.closed) this.socket.close(name, retryAfterMs)
  }

  /** Resolves at the next drain, or when the socket has closed. */
  drained(): Promise<void> {
    if (this.closed) return Promise.resolve()
    return new Promise((resolve) => {
      ;(this.#drained ??= []).push(resolve)
    })
  }

  onDrain(): void {
    const drained = this.#drained ?? []
    this.#drained = undefined
    for (const resolve of drained) resolve()
  }

  onClosed(): void {
    this.closed = true
    this.onDrain()
  }
}
