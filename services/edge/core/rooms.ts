import { ChatError } from '#libs/domain/errors.ts'
import type { RequestId } from '#libs/domain/frames.ts'
import type { RoomId } from '#libs/domain/ids.ts'
import type { RoomEvent } from '#libs/domain/room.ts'
import type { Decision } from '#libs/streams/avro-shapes.ts'
import { partitionOf } from '#libs/streams/murmur2.ts'
import type { BufferLimits } from './partition-buffer.ts'
import type { Connection, Speaker } from './connection.ts'
import { FollowedPartition, type FollowedRoom } from './followed-partition.ts'
import { Following, fromHistory } from './following.ts'
import { encoderOf, joinedFrame } from './frames.ts'
import type { EdgeClock, History, LogPosition, LogTail, Realtime, RecordCodec } from './ports.ts'
import { replay, type ReplayLimits } from './replay.ts'
import { isStaff, type RoomView, visibleFrom } from './room-view.ts'
import { Subscription } from './subscription.ts'

export type RoomsLimits = ReplayLimits & {
  /** How long a join may wait for the log before it is refused as retriable. */
  readonly joinWaitMs: number
  /** Bytes that a socket may have waiting before it is closed as slow. */
  readonly slowBufferBytes: number
  readonly roomsPerSocketMax: number
  /** How long rooms and partitions that nobody uses are kept. */
  readonly lingerMs: number
  readonly buffer: BufferLimits
}

export type RoomsOptions = {
  readonly edgeId: string
  readonly partitions: number
  readonly history: History
  readonly log: LogTail
  readonly codec: RecordCodec
  readonly clock: EdgeClock
  readonly limits: RoomsLimits
  /** The ack for the sender's own connection, if the event answers a command of this edge. */
  readonly takeOwnAck: (event: RoomEvent, decision: Decision) => { readonly connection: Connection; readonly frame: string } | undefined
  readonly onReply: (decision: Decision) => void
  readonly onCorrupt: (err: unknown) => void
  /** Something that this node waits for cannot be reached; it goes on trying. */
  readonly onTrouble: (err: unknown) => void
  readonly realtime?: Pick<Realtime, 'joined' | 'left'> | undefined
  readonly onJoined?: (connection: Connection, roomId: RoomId) => void
  readonly onDelivered?: (event: RoomEvent, sockets: number) => void
}

/** Rooms that are followed here: who may enter, what each socket still has to get, and who is fed live. */
export class Rooms {
  readonly #options: RoomsOptions
  readonly #following: Following<FollowedPartition>
  readonly #opening = new Map<RoomId, Promise<FollowedRoom | undefined>>()

  constructor(options: RoomsOptions) {
    this.#options = options
    const { history: persisted, log, clock, limits } = options
    this.#following = new Following({ persisted, log, clock, lingerMs: limits.lingerMs, create: (partition, start) => this.#newPartition(partition, start) })
  }

  get partitions(): ReadonlyMap<number, FollowedPartition> {
    return this.#following.partitions
  }

  /**
   * The room, if `speaker` may enter it. An admission is good from any prefix of the log, since only what this edge has
   * read is shown; a refusal is given only after the edge has read all that the log held when it was asked.
   * @throws ChatError `room_not_found`, `not_a_participant`, `unavailable`, `history_unavailable`, `invalid_request`
   */
  async admit(speaker: Speaker, roomId: RoomId, since: number): Promise<FollowedRoom> {
    const partition = await this.#following.follow(partitionOf(roomId, this.#options.partitions))
    partition.admissions++
    try {
      return await this.#admitInto(partition, speaker, roomId, since)
    } finally {
      partition.admissions--
    }
  }

  async #admitInto(partition: FollowedPartition, speaker: Speaker, roomId: RoomId, since: number): Promise<FollowedRoom> {
    let room = await this.#room(partition, roomId)
    if (room && mayEnter(room.view, speaker) && since <= room.view.headSeq) return room
    const high = await this.#options.log.highWatermark(partition.partition)
    await partition.reach(high, this.#options.limits.joinWaitMs)
    room = await this.#room(partition, roomId)
    if (!room) throw new ChatError('room_not_found')
    if (!mayEnter(room.view, speaker)) throw new ChatError('not_a_participant')
    if (since > room.view.headSeq) throw new ChatError('invalid_request', `since is ${since}, but the room's head is ${room.view.headSeq}`)
    return room
  }

  /**
   * Admits, answers with `joined`, replays what follows `asked` and goes live. Joined already: starts over from there. Who
   * is shown a room from his own coming on begins there.
   */
  async join(connection: Connection, roomId: RoomId, asked: number, requestId: RequestId | undefined): Promise<void> {
    if (!connection.subscriptions.has(roomId) && connection.subscriptions.size >= this.#options.limits.roomsPerSocketMax) {
      throw new ChatError('too_many_rooms')
    }
    const { speaker } = connection
    const room = await this.admit(speaker, roomId, asked)
    if (connection.closed) return
    // He may have been removed between the admission and now. From here on nothing awaits, and a removal will find him.
    if (!mayEnter(room.view, speaker)) throw new ChatError('not_a_participant')
    this.leave(connection, roomId)
    const since = Math.max(asked, visibleFrom(room.view, speaker) - 1)
    const subscription = new Subscription(connection, roomId, since)
    connection.subscriptions.set(roomId, subscription)
    room.subscriptions.add(subscription)
    connection.send(joinedFrame(roomId, room.view, speaker, { id: requestId, since, isStale: !this.#options.log.isHealthy() }))
    this.#options.onJoined?.(connection, roomId)
    this.#options.realtime?.joined(connection, roomId)
    this.#startReplay(room, subscription)
  }

  leave(connection: Connection, roomId: RoomId): boolean {
    const subscription = connection.subscriptions.get(roomId)
    if (!subscription) return false
    subscription.end()
    connection.subscriptions.delete(roomId)
    const room = this.partitions.get(partitionOf(roomId, this.#options.partitions))?.rooms.get(roomId)
    room?.subscriptions.delete(subscription)
    if (room?.subscriptions.size === 0) room.idleSinceMs = this.#options.clock.nowMs()
    this.#options.realtime?.left(connection, roomId)
    return true
  }

  /** What is known of a room that somebody here has joined. */
  viewOf(roomId: RoomId): RoomView | undefined {
    return this.partitions.get(partitionOf(roomId, this.#options.partitions))?.rooms.get(roomId)?.view
  }

  /**
   * Follows the partition of a room that nobody here need have joined, so that an answer about it is heard, until the
   * function that it gives is called. @throws ChatError `history_unavailable`
   */
  follow(roomId: RoomId): Promise<() => void> {
    return this.#following.hold(partitionOf(roomId, this.#options.partitions))
  }

  leaveAll(connection: Connection): void {
    for (const roomId of [...connection.subscriptions.keys()]) this.leave(connection, roomId)
  }

  /** Head seqs of what a connection has joined, for its heartbeat. */
  headsOf(connection: Connection): Record<string, number> {
    const heads = [...connection.subscriptions.values()].map(({ roomId, mode, lastSeq }): [RoomId, number] => {
      const room = this.partitions.get(partitionOf(roomId, this.#options.partitions))?.rooms.get(roomId)
      // While it is replayed the client knows that more is coming.
      return [roomId, mode === 'live' && room ? room.view.headSeq : lastSeq]
    })
    // Not by assignment: `__proto__` is a room id like any other.
    return Object.fromEntries(heads)
  }

  /** Drops from the buffers what Postgres has. */
  prune(): Promise<void> {
    return this.#following.prune()
  }

  /** Lets go of rooms and partitions that nobody has used for a while. */
  sweep(): void {
    const before = this.#options.clock.nowMs() - this.#options.limits.lingerMs
    for (const partition of this.partitions.values()) {
      for (const room of partition.rooms.values()) {
        if (room.subscriptions.size === 0 && room.idleSinceMs < before) partition.rooms.delete(room.roomId)
      }
    }
    this.#following.sweep()
  }

  #newPartition(number: number, start: LogPosition): FollowedPartition {
    const { edgeId, codec, clock, limits, onReply, onCorrupt, onTrouble } = this.#options
    const events = { onEvent: (room: FollowedRoom, event: RoomEvent, decision: Decision) => this.#deliver(room, event, decision), onReply, onCorrupt, onTrouble }
    return new FollowedPartition(number, start, { edgeId, codec, clock, bufferLimits: limits.buffer, events })
  }

  async #room(partition: FollowedPartition, roomId: RoomId): Promise<FollowedRoom | undefined> {
    const known = partition.rooms.get(roomId)
    if (known) {
      known.idleSinceMs = this.#options.clock.nowMs()
      return known
    }
    const opening = this.#opening.get(roomId) ?? this.#openRoom(partition, roomId).finally(() => this.#opening.delete(roomId))
    this.#opening.set(roomId, opening)
    return opening
  }

  async #openRoom(partition: FollowedPartition, roomId: RoomId): Promise<FollowedRoom | undefined> {
    const { clock, history, limits } = this.#options
    const deadlineMs = clock.nowMs() + limits.joinWaitMs
    for (;;) {
      const { nextOffset, view: base } = await fromHistory(history.room(partition.partition, roomId))
      partition.persisted(nextOffset)
      // Between what was read and what the buffer holds there must be no hole. From here on nothing awaits.
      if (partition.buffer.floor <= nextOffset) {
        const view = partition.viewOf(roomId, base)
        if (!view) return undefined
        const room: FollowedRoom = { roomId, partition, view, knownTo: nextOffset, subscriptions: new Set(), idleSinceMs: clock.nowMs() }
        partition.rooms.set(roomId, room)
        return room
      }
      if (clock.nowMs() >= deadlineMs) throw new ChatError('history_unavailable', 'Postgres is behind by more than this node can hold')
      await clock.sleep(50)
    }
  }

  /** Pushes an event to every live socket of its room: encoded once for all who see the same, in log order. */
  #deliver(room: FollowedRoom, event: RoomEvent, decision: Decision): void {
    const own = this.#options.takeOwnAck(event, decision)
    const frameFor = encoderOf(room.roomId, event, room.view)
    let ownAckGiven = false
    for (const subscription of room.subscriptions) {
      const isOwn = own !== undefined && subscription.connection === own.connection
      if (isOwn) ownAckGiven = true
      if (subscription.mode === 'live') {
        if (!subscription.offer(event.seq, frameFor(subscription.connection.speaker), isOwn ? own.frame : undefined)) {
          this.#fallBehind(room, subscription)
          if (isOwn) subscription.holdAck(event.seq, own.frame)
        }
        this.#closeIfSlow(subscription.connection)
      } else if (isOwn) subscription.holdAck(event.seq, own.frame)
    }
    if (own && !ownAckGiven) own.connection.sendText(own.frame)
    if (event.type === 'participantRemoved') this.#expel(room, event)
    this.#options.onDelivered?.(event, room.subscriptions.size)
  }

  /** Cannot happen while a live subscription stands at its room's head; if it does, what is missing is read again. */
  #fallBehind(room: FollowedRoom, subscription: Subscription): void {
    if (subscription.lastSeq >= room.view.headSeq) return
    subscription.mode = 'replaying'
    this.#startReplay(room, subscription)
  }

  #expel(room: FollowedRoom, event: RoomEvent & { type: 'participantRemoved' }): void {
    for (const { connection } of [...room.subscriptions]) {
      const { speaker } = connection
      if (speaker.userId !== event.participant.userId || isStaff(speaker)) continue
      this.leave(connection, room.roomId)
      connection.send({ type: 'left', roomId: room.roomId, code: 'not_a_participant' })
      // Only when the whole decision was handed on: its last event may be the answer to what he asked for himself.
      if (connection.defaultRoom === room.roomId) queueMicrotask(() => connection.close('not_a_participant'))
    }
  }

  #closeIfSlow(connection: Connection): void {
    if (connection.socket.bufferedBytes() > this.#options.limits.slowBufferBytes) connection.close('slow_consumer')
  }

  #startReplay(room: FollowedRoom, subscription: Subscription): void {
    replay(this.#options, room, subscription).catch((err: unknown) => this.#options.onCorrupt(err))
  }
}

const mayEnter = (view: RoomView, speaker: Speaker): boolean => isStaff(speaker) || view.participants.has(speaker.userId)
