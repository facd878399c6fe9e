import type { RoomId } from '#libs/domain/ids.ts'
import type { Connection } from './connection.ts'

/**
 * One room on one socket: what the client holds and whether it is fed live. Events go out in order of `seq`, each
 * exactly once: `offer` takes only the next one.
 */
export class Subscription {
  readonly roomId: RoomId
  readonly connection: Connection
  /** The last seq that was handed to this socket. */
  lastSeq: number
  /** replaying: a reader brings it up to the head; live: it is at the head; ended: left, removed or closed. */
  mode: 'replaying' | 'live' | 'ended' = 'replaying'
  /** Own acks that must not overtake the replay, by seq. Only while there are any: there may be very many subscriptions. */
  #heldAcks: Map<number, string> | undefined
  /** Acks of repeats, told when the replay has reached their seq. */
  #heldRepeats: { readonly seq: number; readonly frame: string }[] | undefined

  constructor(connection: Connection, roomId: RoomId, since: number) {
    this.connection = connection
    this.roomId = roomId
    this.lastSeq = since
  }

  /** Hands on the event of `seq`; an own ack, where there is one, takes the frame's place. True if it was the next one. */
  offer(seq: number, frame: () => string, ownAck?: string): boolean {
    if (this.mode === 'ended' || seq !== this.lastSeq + 1) return false
    this.lastSeq = seq
    const ack = ownAck ?? this.#heldAcks?.get(seq)
    if (this.#heldAcks?.delete(seq) && this.#heldAcks.size === 0) this.#heldAcks = undefined
    this.connection.sendText(ack ?? frame())
    this.#releaseRepeats()
    return true
  }

  /** The ack of an own message that the replay will come by; at once where it has already. */
  holdAck(seq: number, frame: string): void {
    if (seq <= this.lastSeq) this.connection.sendText(frame)
    else (this.#heldAcks ??= new Map()).set(seq, frame)
  }

  /** The ack of a repeat: not before its message itself. */
  holdRepeat(seq: number, frame: string): void {
    if (seq <= this.lastSeq) this.connection.sendText(frame)
    else (this.#heldRepeats ??= []).push({ seq, frame })
  }

  /** Acks that still wait are due now: nothing more will be replayed. */
  end(): void {
    this.mode = 'ended'
    for (const frame of this.#heldAcks?.values() ?? []) this.connection.sendText(frame)
    for (const { frame } of this.#heldRepeats ?? []) this.connection.sendText(frame)
    this.#heldAcks = undefined
    this.#heldRepeats = undefined
  }

  #releaseRepeats(): void {
    if (!this.#heldRepeats) return
    const due = this.#heldRepeats.filter(({ seq }) => seq <= this.lastSeq)
    const later = this.#heldRepeats.filter(({ seq }) => seq > this.lastSeq)
    this.#heldRepeats = later.length > 0 ? later : undefined
    for (const { frame } of due) this.connection.sendText(frame)
  }
}
