import { ChatError } from '#libs/domain/errors.ts'
import type { RoomId } from '#libs/domain/ids.ts'
import { isRoomEvent, type RoomEvent } from '#libs/domain/room.ts'
import { type Decision, decisionFromAvro } from '#libs/streams/avro-shapes.ts'
import { headerText, ReaderRule } from '#libs/streams/reader-rule.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { headerNames } from '#libs/streams/topics.ts'
import { type BufferLimits, PartitionBuffer } from './partition-buffer.ts'
import type { EdgeClock, LogPosition, RecordCodec } from './ports.ts'
import { advance, emptyView, type RoomView } from './room-view.ts'
import type { Subscription } from './subscription.ts'

/** A room that somebody on this edge has joined, or just has. */
export type FollowedRoom = {
  readonly roomId: RoomId
  readonly partition: FollowedPartition
  view: RoomView
  /** The offset up to which Postgres had the room when it was read: the view is as of there, also where the tail is behind. */
  readonly knownTo: bigint
  readonly subscriptions: Set<Subscription>
  /** When the last one left, or when it was opened. */
  idleSinceMs: number
}

export type PartitionEvents = {
  /** A room's next event, `room.view` being at it already. */
  onEvent(room: FollowedRoom, event: RoomEvent, decision: Decision): void
  /** A decision for a command of this edge, after its events, in a room that is followed or not. */
  onReply(decision: Decision): void
  /** The log cannot be read on: it contradicts itself. */
  onCorrupt(err: unknown): void
  /** Something that is waited for cannot be reached. */
  onTrouble(err: unknown): void
}

export type PartitionDeps = {
  readonly edgeId: string
  readonly codec: RecordCodec
  readonly clock: EdgeClock
  readonly events: PartitionEvents
  readonly bufferLimits: BufferLimits
}

/**
 * One partition of the log as this edge follows it: applies the reader's rule, keeps the tail that Postgres may not
 * have, and feeds the followed rooms in log order.
 */
export class FollowedPartition {
  readonly partition: number
  readonly rooms = new Map<RoomId, FollowedRoom>()
  readonly buffer: PartitionBuffer
  lastUsedMs: number
  /** Under way, and answers that are waited for: at the end of one this partition must still be followed. */
  admissions = 0
  readonly #deps: PartitionDeps
  readonly #rule: ReaderRule
  /** The next offset to be handled. */
  #position: bigint
  #persistedTo: bigint
  #feeding: Promise<void> = Promise.resolve()
  #waiters: { readonly offset: bigint; readonly resolve: () => void }[] = []

  constructor(partition: number, start: LogPosition, deps: PartitionDeps) {
    this.partition = partition
    this.#deps = deps
    this.#rule = new ReaderRule(start.ownerEpoch)
    this.#position = start.nextOffset
    this.#persistedTo = start.nextOffset
    this.buffer = new PartitionBuffer(start.nextOffset, deps.bufferLimits)
    this.lastUsedMs = deps.clock.nowMs()
  }

  get position(): bigint {
    return this.#position
  }

  /** Postgres has everything below, and perhaps more. */
  get persistedTo(): bigint {
    return this.#persistedTo
  }

  persisted(nextOffset: bigint): void {
    if (nextOffset > this.#persistedTo) this.#persistedTo = nextOffset
  }

  /** Takes the next records of the partition. */
  receive(records: readonly InRecord[]): void {
    this.#feeding = this.#feeding.then(() => this.#feed(records)).catch((err: unknown) => this.#deps.events.onCorrupt(err))
  }

  /** Resolves when everything below `offset` was handled. @throws ChatError `unavailable` after `timeoutMs` */
  async reach(offset: bigint, timeoutMs: number): Promise<void> {
    if (this.#position >= offset) return
    const { promise: reached, resolve } = Promise.withResolvers<void>()
    const waiter = { offset, resolve }
    this.#waiters.push(waiter)
    const waiting = new AbortController()
    const timeout = this.#deps.clock.sleep(timeoutMs, waiting.signal).then(
      () => {
        throw new ChatError('unavailable', `the log was not read up to ${offset} in time`)
      },
      () => {
        // Reached in time.
      },
    )
    try {
      await Promise.race([reached, timeout])
    } finally {
      waiting.abort()
      this.#waiters = this.#waiters.filter((w) => w !== waiter)
    }
  }

  /** A room's view: `base` as Postgres had it, and what the buffer knows above; undefined if neither has the room. */
  viewOf(roomId: RoomId, base: RoomView | undefined): RoomView | undefined {
    let view = base ?? emptyView
    for (const event of this.bufferedEvents(roomId)) if (event.seq === view.headSeq + 1) view = advance(view, event)
    return view.headSeq === 0 ? undefined : view
  }

  *bufferedEvents(roomId: RoomId): Generator<RoomEvent> {
    for (const record of this.buffer.ofRoom(roomId)) {
      for (const entry of this.#decode(record)?.entries ?? []) if (isRoomEvent(entry)) yield entry
    }
  }

  async #feed(records: readonly InRecord[]): Promise<void> {
    for (const record of records) {
      if (record.value) await this.#learn(record.value)
      this.#handle(record)
    }
    if (this.#waiters.length === 0) return
    const reached = this.#waiters.filter(({ offset }) => offset <= this.#position)
    this.#waiters = this.#waiters.filter(({ offset }) => offset > this.#position)
    for (const { resolve } of reached) resolve()
  }

  /** A schema that is new to this process: nothing goes on before the registry has told it. */
  async #learn(value: Buffer): Promise<void> {
    for (let delayMs = 100; ; delayMs = Math.min(delayMs * 2, 5_000)) {
      try {
        const learning = this.#deps.codec.learn(value)
        if (learning) await learning
        return
      } catch (err) {
        this.#deps.events.onTrouble(err)
        await this.#deps.clock.sleep(delayMs)
      }
    }
  }

  #handle(record: InRecord): void {
    const verdict = this.#rule.judge(record.offset, record.headers)
    this.#position = record.offset + 1n
    if (verdict !== 'valid') return
    this.buffer.push(record)
    const room = this.rooms.get(record.key as RoomId)
    const isReply = headerText(record.headers, headerNames.replyTo) === this.#deps.edgeId
    if (!room && !isReply) return
    const decision = this.#decode(record)
    if (!decision) return
    if (room) this.#advanceRoom(room, decision)
    if (isReply) this.#deps.events.onReply(decision)
  }

  #advanceRoom(room: FollowedRoom, decision: Decision): void {
    for (const entry of decision.entries) {
      // At or below the head: the view came from a Postgres that was ahead of us.
      if (!isRoomEvent(entry) || entry.seq <= room.view.headSeq) continue
      if (entry.seq !== room.view.headSeq + 1) {
        throw new ChatError('log_corrupt', `room ${room.roomId} goes from seq ${room.view.headSeq} to ${entry.seq}`)
      }
      room.view = advance(room.view, entry)
      this.#deps.events.onEvent(room, entry, decision)
    }
  }

  #decode({ value }: InRecord): Decision | undefined {
    return value === null ? undefined : decisionFromAvro(this.#deps.codec.decode(value))
  }
}
