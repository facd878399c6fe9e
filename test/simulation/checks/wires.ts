import { isDeepStrictEqual } from 'node:util'
import type { AckFrame, ClientFrame, JoinedFrame, RoomEventFrame, ServerFrame } from '#libs/domain/frames.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { STUB_KEPT_MS } from '#libs/domain/limits.ts'
import type { RoomEvent } from '#libs/domain/room.ts'
import type { Tap } from '../world/network.ts'
import type { Wire } from '../world/wire.ts'
import type { World } from '../world/world.ts'
import { isFrozen } from './moderation.ts'
import { foldRoom } from './room-fold.ts'
import { InboxWires } from './inbox-wires.ts'
import { isShownRightly } from './shown.ts'
import type { TrueRoom, Truth } from './truth.ts'
import type { Users } from './users.ts'

/** A request as it was when the edge got it. */
type Asked = { readonly frame: ClientFrame; readonly atMs: number; readonly roomId: RoomId | undefined; readonly headSeq: number; readonly wasMember: boolean; readonly userHead: number }

/** What one socket was given of one room. */
type Stream = { last: number; readonly acked: Set<number>; readonly joinedHead: number; readonly visibleFrom: number }

type WireState = { readonly asked: Map<string, Asked>; readonly streams: Map<RoomId, Stream> }

/** Longer than any wait of an edge. */
const ANSWER_MS_MAX = 40_000

/**
 * Looks at each frame as an edge hands it to the network: nobody is shown what is not in the valid log, what he may not
 * see, or anything out of its order; and each request has one answer, which is true.
 */
export class WireChecks implements Tap {
  readonly acks = new Map<string, AckFrame>()
  readonly inbox: InboxWires
  readonly #world: World
  readonly #truth: Truth
  readonly #users: Users
  readonly #mayLackHistory: (sinceMs: number) => boolean
  readonly #states = new Map<Wire, WireState>()

  /** `mayLackHistory`: whether an edge had a reason since then not to know a room's history. */
  constructor(world: World, truth: Truth, users: Users, mayLackHistory: (sinceMs: number) => boolean) {
    this.#users = users
    this.inbox = new InboxWires(users, (...failure) => this.#fail(...failure))
    this.#mayLackHistory = mayLackHistory
    this.#world = world
    this.#truth = truth
  }

  fromClient(wire: Wire, text: string): void {
    const frame = JSON.parse(text) as ClientFrame
    // What creates a room names none.
    const roomId = frame.type === 'createConversation' ? undefined : (('roomId' in frame ? frame.roomId : undefined) ?? wire.connection?.defaultRoom)
    if (frame.id === undefined) return
    const room = roomId === undefined ? undefined : this.#truth.rooms.get(roomId)
    const headSeq = room?.events.length ?? 0
    const wasMember = roomId !== undefined && this.#mayRead(wire, roomId)
    this.#stateOf(wire).asked.set(String(frame.id), { frame, atMs: this.#world.nowMs, roomId, headSeq, wasMember, userHead: this.#users.headOf(this.#userOf(wire)) })
  }

  fromServer(wire: Wire, text: string): void {
    const frame = JSON.parse(text) as ServerFrame
    const state = this.#stateOf(wire)
    const cursors = frame.type === 'synced' && frame.id !== undefined ? [...state.asked.values()].flatMap(({ frame }) => (frame.type === 'sync' ? [frame.cursor ?? 0] : [])) : []
    const asked = 'id' in frame && frame.id !== undefined ? this.#answered(wire, state, String(frame.id)) : undefined
    switch (frame.type) {
      case 'joined':
        return this.#onJoined(wire, state, frame)
      case 'newMessage':
      case 'roomUpdated':
        return this.#onEvent(wire, state, frame)
      case 'ack':
        if (frame.userSeq !== undefined) this.inbox.onAck(wire, frame)
        else if (frame.unchanged) this.#onUnchanged(wire, frame)
        else if (frame.seq !== undefined) this.#onAck(wire, state, frame)
        else if (asked?.frame.type === 'leave') state.streams.delete(asked.roomId!)
        return
      case 'inboxPage':
        return this.inbox.onPage(wire, frame)
      case 'synced':
        return this.inbox.onSynced(wire, frame, cursors)
      case 'roomAdded':
      case 'roomRemoved':
      case 'unreadChanged':
      case 'roomRead':
      case 'chatChanged':
        return this.inbox.onChange(wire, frame)
      case 'caughtUp':
        this.#onCaughtUp(wire, state, frame.roomId, frame.seq)
        return
      case 'left':
        state.streams.delete(frame.roomId)
        return
      case 'heartbeat':
        for (const [roomId, head] of Object.entries(frame.heads)) if (head > this.#headOf(roomId as RoomId)) this.#fail(wire, 'durable', `head ${head} of ${roomId} is not in the log`)
        return
      case 'error':
        if (asked) this.#onRefused(wire, asked, frame.code)
    }
  }

  closed(wire: Wire): void {
    this.#states.delete(wire)
    this.inbox.closed(wire)
  }

  /** What is still unanswered after longer than any wait takes. */
  checkAnswers(): void {
    for (const [wire, { asked }] of this.#states) {
      if (!wire.isOpen || wire.server?.isPaused) continue
      for (const { frame, atMs } of asked.values()) if (this.#world.nowMs - atMs > ANSWER_MS_MAX) this.#fail(wire, 'one-answer', `${JSON.stringify(frame)} was never answered`)
    }
  }

  #answered(wire: Wire, { asked }: WireState, id: string): Asked | undefined {
    const request = asked.get(id)
    if (!request) this.#fail(wire, 'one-answer', `${id} is answered twice, or was never asked`)
    asked.delete(id)
    return request
  }

  #onJoined(wire: Wire, state: WireState, { roomId, headSeq, since, participants, readOnly, frozen, messageCount, visibleFrom = 1, receipts }: JoinedFrame): void {
    state.streams.set(roomId, { last: since, acked: new Set(), joinedHead: headSeq, visibleFrom })
    const room = this.#truth.rooms.get(roomId)
    if (!room || headSeq > room.events.length) return this.#fail(wire, 'durable', `joined ${roomId} at ${headSeq}, the log has ${room?.events.length}`)
    const members = room.members[headSeq]!
    if (!this.#isStaff(wire) && !members.has(this.#userOf(wire))) this.#fail(wire, 'access', `joined ${roomId} at ${headSeq}, where he is not in it`)
    if (!isDeepStrictEqual(new Set(participants.map(({ userId }) => userId)), members)) this.#fail(wire, 'joined', `of ${roomId} at ${headSeq}: ${JSON.stringify(participants)}, the log has ${[...members]}`)
    const events = room.events.slice(0, headSeq)
    const closed = events.some(({ type }) => type === 'roomClosed')
    const count = events.filter(({ type }) => type === 'messageSent').length
    if ((frozen ?? false) !== isFrozen(events)) this.#fail(wire, 'joined', `of ${roomId} at ${headSeq}: frozen ${frozen}, the log has ${!frozen}`)
    if (readOnly !== closed || messageCount !== count) this.#fail(wire, 'joined', `of ${roomId} at ${headSeq}: readOnly ${readOnly}, ${messageCount} messages; the log has ${closed}, ${count}`)
    this.#checkGreeting(wire, room, headSeq, visibleFrom, receipts)
  }

  #onEvent(wire: Wire, state: WireState, frame: RoomEventFrame): void {
    const { roomId, seq } = frame
    const event = this.#truth.rooms.get(roomId)?.events[seq - 1]
    if (!event) return this.#fail(wire, 'durable', `${roomId} seq ${seq} is shown, but not in the log`)
    this.#checkAccess(wire, roomId, seq)
    const stream = state.streams.get(roomId)
    if (!stream) return this.#fail(wire, 'order', `${roomId} seq ${seq} is pushed, but the room is not joined`)
    this.#checkShown(wire, stream, frame)
    // An own ack takes its event's place, or comes ahead of it.
    while (seq > stream.last + 1 && stream.acked.has(stream.last + 1)) stream.last++
    if (seq <= stream.last && stream.acked.has(seq)) return
    if (seq !== stream.last + 1) this.#fail(wire, 'order', `${roomId} seq ${seq} comes after ${stream.last}`)
    stream.last = seq
  }

  #onCaughtUp(wire: Wire, state: WireState, roomId: RoomId, seq: number): void {
    const stream = state.streams.get(roomId)
    let given = stream?.last ?? 0
    while (stream?.acked.has(given + 1)) given++
    if (seq > given) this.#fail(wire, 'order', `${roomId} is caught up at ${seq}, but was given up to ${given}`)
  }

  #onAck(wire: Wire, state: WireState, frame: AckFrame): void {
    const { roomId, seq, clientMessageId } = frame
    const userId = this.#userOf(wire)
    const event = this.#truth.rooms.get(roomId!)?.events[seq! - 1]
    const isTrue = event?.type === 'messageSent' ? isAckOf(event, frame, userId) : isAckOfChange(event, frame, userId)
    if (!isTrue) this.#fail(wire, 'acked-is-durable', `${JSON.stringify(frame)}, the log has ${JSON.stringify(event)}`)
    if (clientMessageId !== undefined) {
      const key = `${roomId} ${userId} ${clientMessageId}`
      const first = this.acks.get(key)
      if (first && first.seq !== seq) this.#fail(wire, 'same-ack', `${clientMessageId} was seq ${first.seq}, and now is ${seq}`)
      this.acks.set(key, first ?? frame)
    }
    const stream = state.streams.get(roomId!)
    if (stream && frame.event) this.#checkShown(wire, stream, frame.event)
    if (stream && !frame.repeated && seq! > stream.last) stream.acked.add(seq!)
  }

  #onUnchanged(wire: Wire, { roomId, seq }: AckFrame): void {
    if ((seq ?? 0) > this.#headOf(roomId!)) this.#fail(wire, 'durable', `${roomId} is unchanged at ${seq}, the log has ${this.#headOf(roomId!)}`)
  }

  #checkShown(wire: Wire, { joinedHead, visibleFrom }: Stream, frame: RoomEventFrame): void {
    const { events } = this.#truth.rooms.get(frame.roomId)!
    const viewer = { userId: this.#userOf(wire), isStaff: this.#isStaff(wire), visibleFrom, joinedHead: frame.seq <= joinedHead ? joinedHead : 0 }
    if (frame.seq < visibleFrom) this.#fail(wire, 'access', `${frame.roomId} seq ${frame.seq} is shown, from before he came at ${visibleFrom}`)
    if (!isShownRightly(frame.roomId, events, frame, viewer)) this.#fail(wire, 'equal-logs', `${frame.roomId} seq ${frame.seq} is shown as ${JSON.stringify(frame)}, the log has ${JSON.stringify(events[frame.seq - 1])}`)
  }

  /** What he is told of the cursors, and from where on he sees. */
  #checkGreeting(wire: Wire, room: TrueRoom, headSeq: number, visibleFrom: number, receipts: JoinedFrame['receipts']): void {
    const userId = this.#userOf(wire)
    const { receipts: all } = foldRoom(room.events.slice(0, headSeq))
    const shown = [...all].filter(([whose, { hidden }]) => !hidden || whose === userId || this.#isStaff(wire))
    const due = new Map(shown.map(([whose, { delivered, seen }]) => [whose, { userId: whose, delivered, seen }]))
    if (!isDeepStrictEqual(new Map(receipts.map((receipt) => [receipt.userId as string, { ...receipt }])), due)) this.#fail(wire, 'joined', `receipts ${JSON.stringify(receipts)}, the log has ${JSON.stringify([...due.values()])}`)
    const opened = room.events[0]
    const isFromJoin = opened?.type === 'roomOpened' && opened.history === 'fromJoin' && !this.#isStaff(wire)
    let since = 1
    for (let i = 1; i <= headSeq && isFromJoin; i++) if (room.members[i]!.has(userId) && !room.members[i - 1]!.has(userId)) since = i
    if (visibleFrom !== since) this.#fail(wire, 'joined', `sees from ${visibleFrom}, and came in at ${since}`)
  }

  /** Somebody who was in the room may see what was there, and up to his removal. */
  #checkAccess(wire: Wire, roomId: RoomId, seq: number): void {
    if (this.#isStaff(wire)) return
    const last = this.#truth.rooms.get(roomId)!.lastMember.get(this.#userOf(wire))
    if (last === undefined) this.#fail(wire, 'access', `sees ${roomId} seq ${seq} and was never in it`)
    else if (seq > last + 1) this.#fail(wire, 'access', `sees ${roomId} seq ${seq}, but was removed at ${last + 1}`)
  }

  #onRefused(wire: Wire, { frame, roomId, headSeq, wasMember, userHead, atMs }: Asked, code: string): void {
    if (frame.type === 'sync' && code === 'invalid_request' && (frame.cursor ?? 0) <= userHead) this.#fail(wire, 'true-refusals', `${JSON.stringify(frame)} is refused with ${code}; the log had ${userHead} by then`)
    if (roomId === undefined && frame.type !== 'sync') return
    if (code === 'history_unavailable' && !this.#mayLackHistory(atMs)) this.#fail(wire, 'history', `${JSON.stringify(frame)} is refused, though Postgres can be read and the buffer is large enough`)
    if (roomId === undefined) return
    const head = this.#headOf(roomId)
    const isLie =
      (code === 'room_not_found' && headSeq > 0 && !this.#isForgotten(roomId)) ||
      (code === 'not_a_participant' && wasMember && !this.#wasEverOut(wire, roomId, headSeq)) ||
      (code === 'room_read_only' && this.#truth.state(roomId)?.status !== 'closed') ||
      (code === 'invalid_request' && frame.type === 'join' && (frame.since ?? 0) <= headSeq)
    if (isLie) this.#fail(wire, 'true-refusals', `${JSON.stringify(frame)} is refused with ${code}; the log had ${headSeq} events, now ${head}, and he ${wasMember ? 'may' : 'may not'} read it`)
  }

  /** What ended that long ago room-state may have forgotten; its history stays. */
  #isForgotten(roomId: RoomId): boolean {
    const state = this.#truth.state(roomId)
    return state?.status === 'closed' && this.#world.nowMs - state.lastEventMs > STUB_KEPT_MS
  }

  #wasEverOut(wire: Wire, roomId: RoomId, fromSeq: number): boolean {
    return this.#truth.rooms.get(roomId)!.members.slice(fromSeq).some((members) => !members.has(this.#userOf(wire)))
  }

  #mayRead(wire: Wire, roomId: RoomId): boolean {
    return this.#isStaff(wire) || this.#truth.isMember(roomId, this.#userOf(wire))
  }

  #headOf(roomId: RoomId): number {
    return this.#truth.rooms.get(roomId)?.events.length ?? 0
  }

  #isStaff(wire: Wire): boolean {
    return wire.identity?.role !== 'user'
  }

  #userOf(wire: Wire): UserId {
    return wire.identity!.userId
  }

  #fail(wire: Wire, invariant: string, message: string): void {
    this.#world.fail(invariant, `${wire.identity?.userId} on ${wire.server?.name}: ${message}`)
  }

  #stateOf(wire: Wire): WireState {
    const known = this.#states.get(wire)
    if (known) return known
    const state: WireState = { asked: new Map(), streams: new Map() }
    this.#states.set(wire, state)
    return state
  }
}

const isAckOf = (event: RoomEvent & { readonly type: 'messageSent' }, { messageId, messageIndex, clientMessageId, timestamp }: AckFrame, userId: UserId): boolean =>
  event.senderId === userId && event.clientMessageId === clientMessageId && event.messageId === messageId && event.messageIndex === messageIndex && event.timestampMs === timestamp

/** Of what is no message: it was he who asked for it, by this id where it has one. */
function isAckOfChange(event: RoomEvent | undefined, { clientMessageId }: AckFrame, userId: UserId): boolean {
  if (!event) return false
  switch (event.type) {
    case 'roomOpened':
      return event.creatorId === userId
    case 'receiptMoved':
      return event.userId === userId
    default:
      return 'by' in event && event.by === userId && event.clientMessageId === clientMessageId
  }
}
