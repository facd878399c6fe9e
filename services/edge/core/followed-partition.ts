import { ChatError } from '#libs/domain/errors.ts'
import type { RoomId } from '#libs/domain/ids.ts'
import { isRoomEvent, type RoomEvent } from '#libs/domain/room.ts'
import { type Decision, decisionFromAvro } from '#libs/streams/avro-shapes.ts'
import { headerText } from '#libs/streams/reader-rule.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { headerNames } from '#libs/streams/topics.ts'
import { FollowedLog } from './followed-log.ts'
import type { BufferLimits } from './partition-buffer.ts'
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

/** One partition of room-events: feeds the followed rooms in log order. */
export class FollowedPartition extends FollowedLog {
  readonly rooms = new Map<RoomId, FollowedRoom>()
  readonly #deps: PartitionDeps

  constructor(partition: number, start: LogPosition, deps: PartitionDeps) {
    const { codec, clock, bufferLimits, events } = deps
    super(partition, start, { codec, clock, bufferLimits, onCorrupt: events.onCorrupt, onTrouble: events.onTrouble })
    this.#deps = deps
  }

  get isUsed(): boolean {
    return this.rooms.size > 0
  }

  /** A room's view: `base` as Postgres had it, and what the buffer knows above; undefined if neither has the room. */
  viewOf(roomId: RoomId, base: RoomView | undefined): RoomView | undefined {
    let view = base ?? emptyView
    for (const event of this.bufferedEvents(roomId)) if (event.seq === view.headSeq + 1) view = advance(view, event)
    return view.headSeq === 0 ? undefined : view
  }

  *bufferedEvents(roomId: RoomId): Generator<RoomEvent> {
    for (const record of this.buffer.ofKey(roomId)) {
      for (const entry of this.#decode(record)?.entries ?? []) if (isRoomEvent(entry)) yield entry
    }
  }

  protected take(record: InRecord): void {
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
