import { mergeMessages } from '#libs/domain/decide-inbox.ts'
import { ChatError } from '#libs/domain/errors.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { HEADS_ONLY_ABOVE, type InboxChange, type InboxUpdate, type LastMessage } from '#libs/domain/inbox.ts'
import { isRoomEvent, type RoomEvent, type RoomKind } from '#libs/domain/room.ts'
import { type Checkpoint, type Decision, type StateRecord, stateRecordFromAvro } from '#libs/streams/avro-shapes.ts'
import { headerText } from '#libs/streams/reader-rule.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { headerNames } from '#libs/streams/topics.ts'

/** Updates that go out together; one event adds at most one for each of its room's people. */
export const CHUNK_UPDATES_MAX = 1_000
/** Between two heads of a room that has too many people to tell them of each message. */
export const HEADS_EVERY_MS = 1_000

type EventOf<T extends RoomEvent['type']> = RoomEvent & { readonly type: T }

/** The newest message of which not everybody has been told yet. */
type DeferredHead<Position> = {
  readonly roomSeq: number
  readonly timestampMs: number
  readonly messageCount: number
  readonly last: LastMessage
  /** They know of it already. */
  readonly exempt: Set<UserId>
  /** Where to read from to meet all that it stands for. */
  readonly since: Position
}

type Room = {
  readonly kind: RoomKind
  readonly people: Set<UserId>
  readonly invited: Set<UserId>
  /** So far as this log has told: what is not above need not be told again. */
  readonly seen: Map<UserId, number>
  headsSentMs: number
}

export type FanOutDeps = {
  readonly decodeState: (bytes: Buffer) => unknown
  readonly onUnknownRoom: (roomId: RoomId) => void
  readonly headsOnlyAbove?: number
}

/** A decided record of the log, and where it is. */
export type Fanned = { readonly offset: bigint; readonly decision: Decision; readonly traceparent?: string | undefined }
/** With the trace of the event that has made it, of several the last one. */
export type TracedUpdate = InboxUpdate & { readonly traceparent?: string }

const MEMBERSHIP = ['roomOpened', 'participantAdded', 'participantRemoved', 'mediatorInvited', 'roomClosed'] as const
const TOLD: readonly RoomEvent['type'][] = [...MEMBERSHIP, 'messageSent', 'receiptMoved', 'roomChanged']

const has = (types: readonly string[]) => {
  const wanted = new Set(types)
  return ({ headers }: InRecord): boolean => {
    const found = headerText(headers, headerNames.eventType)
    return found === undefined || found.split(',').some((type) => wanted.has(type))
  }
}
/** Told by the headers: records of which somebody is told, and those that say who is in. */
export const concernsUsers = has(TOLD)
export const concernsMembership = has(MEMBERSHIP)

/**
 * Who is in the rooms of one partition, and what each of them is told of an event. Everything but I/O.
 *
 * Recipients may be more than those who are in: the feed ignores what a user is not in. They are never fewer. So people that
 * a snapshot does not have any more, since it is of later than what is read, are added back (`addGone`).
 */
export class FanOut<Position> {
  readonly #deps: FanOutDeps
  readonly #headsOnlyAbove: number
  readonly #rooms = new Map<RoomId, Room>()
  /** Restored and not yet needed: the values of their records. */
  readonly #asleep = new Map<RoomId, Buffer>()
  readonly #gone = new Map<RoomId, Set<UserId>>()
  /** Oldest first: a room that is told again comes in anew, at the end. */
  readonly #deferred = new Map<RoomId, DeferredHead<Position>>()
  /** Of the log: what is below is in the snapshots. */
  #restoredTo = 0n

  constructor(deps: FanOutDeps) {
    this.#deps = deps
    this.#headsOnlyAbove = deps.headsOnlyAbove ?? HEADS_ONLY_ABOVE
  }

  /** Takes one snapshot record of room-state, in offset order; returns the checkpoint, if it is that. */
  restore({ key, value }: InRecord): Checkpoint | undefined {
    // Neither is a room: sentinels and checkpoints, and what a room remembers of sent messages.
    if (key === null || key.includes('#') || (key.startsWith('~') && key !== CHECKPOINT_KEY)) return undefined
    if (key === CHECKPOINT_KEY) {
      const record = value && stateRecordFromAvro(this.#deps.decodeState(value))
      if (record?.kind !== 'checkpoint') return undefined
      this.#restoredTo = record.checkpoint.nextOffset
      return record.checkpoint
    }
    // A copy: the bytes are a slice of a whole fetch response, which they would keep.
    if (value === null) this.#asleep.delete(key as RoomId)
    else this.#asleep.set(key as RoomId, Buffer.from(value))
    return undefined
  }

  /** Of a record below where reading begins: all were told of it. */
  fold({ roomId, entries }: Decision): void {
    for (const entry of entries) if (isRoomEvent(entry)) this.#follow(roomId, entry)
  }

  /** Of a record that is read again later, and is in the snapshots already: who went was in when what is before it was said. */
  addGone({ roomId, entries }: Decision): void {
    for (const entry of entries) {
      if (entry.type !== 'participantRemoved') continue
      const gone = this.#gone.get(roomId) ?? new Set()
      this.#gone.set(roomId, gone.add(entry.participant.userId))
    }
  }

  /** From here on must be read again what not everybody was told of. Undefined: there is nothing such. */
  get deferredSince(): Position | undefined {
    for (const { since } of this.#deferred.values()) return since
    return undefined
  }

  /**
   * What the next records mean for users, in portions: a portion is made only after the one before was sent, and the
   * updates of one user in one room are in order. @param since where to read these records from again
   * @throws ChatError `unavailable` where it is not known who is in a room: to be restored again
   */
  *updates(records: readonly Fanned[], since: Position): Generator<readonly TracedUpdate[], void, void> {
    const portion = new Portion()
    for (const { offset, decision, traceparent } of records) {
      portion.traceparent = traceparent
      for (const entry of decision.entries) {
        if (!isRoomEvent(entry)) continue
        this.#tell(portion, { offset, roomId: decision.roomId, since }, entry)
        this.#follow(decision.roomId, entry)
        if (portion.size >= CHUNK_UPDATES_MAX) yield portion.take()
      }
    }
    if (portion.size > 0) yield portion.take()
  }

  /** Heads that are due, one room after the other; a room is done once its last portion was sent. */
  *heads(nowMs: number, { all = false } = {}): Generator<readonly TracedUpdate[], void, void> {
    for (const [roomId, head] of [...this.#deferred]) {
      const room = this.#rooms.get(roomId)
      if (room && !all && nowMs - room.headsSentMs < HEADS_EVERY_MS) continue
      const portion = new Portion()
      for (const userId of room?.people ?? []) if (!head.exempt.has(userId)) portion.add(headFor(userId, roomId, head))
      if (portion.size > 0) yield portion.take()
      if (room) room.headsSentMs = nowMs
      if (this.#deferred.get(roomId) === head) this.#deferred.delete(roomId)
    }
  }

  #tell(portion: Portion, context: { readonly offset: bigint; readonly roomId: RoomId; readonly since: Position }, event: RoomEvent): void {
    const { roomId } = context
    const { seq: roomSeq, timestampMs } = event
    const to = (userId: UserId, change: InboxChange) => portion.add({ userId, roomId, roomSeq, timestampMs, change })
    switch (event.type) {
      case 'roomOpened': {
        const { kind = 'order', name } = event
        for (const { userId, role } of event.participants) to(userId, { type: 'entered', kind, role, ...(name && { name }), messageCount: 0, seen: 0 })
        return
      }
      case 'participantAdded':
        this.#tellHead(portion, roomId, [event.participant.userId])
        return to(event.participant.userId, this.#entrance(roomId, event))
      case 'participantRemoved':
        this.#tellHead(portion, roomId, [event.participant.userId])
        return to(event.participant.userId, { type: 'left', reason: event.reason })
      case 'messageSent':
        return this.#tellMessage(portion, context, event)
      case 'receiptMoved':
        return this.#tellReceipt(portion, roomId, event)
      case 'roomClosed':
      case 'roomChanged':
        return this.#tellAll(portion, context, event)
      case 'mediatorInvited':
        return to(event.userId, { type: 'invited', kind: this.#room(roomId)?.kind ?? 'dispute' })
    }
  }

  #entrance(roomId: RoomId, { participant: { userId, role }, kind = 'order', name, messageCount, seen = 0 }: EventOf<'participantAdded'>): InboxChange {
    if (messageCount === undefined && this.#room(roomId)?.people.has(userId)) return { type: 'roleChanged', role }
    return { type: 'entered', kind, role, ...(name && { name }), messageCount: messageCount ?? 0, seen }
  }

  #tellReceipt(portion: Portion, roomId: RoomId, { seq: roomSeq, timestampMs, userId, seen }: EventOf<'receiptMoved'>): void {
    const room = this.#room(roomId)
    const known = room?.seen.get(userId)
    // Mostly it is only `delivered` that moves.
    if (known !== undefined && seen <= known) return
    room?.seen.set(userId, seen)
    this.#tellHead(portion, roomId, [userId])
    portion.add({ userId, roomId, roomSeq, timestampMs, change: { type: 'seen', seen } })
  }

  #tellAll(portion: Portion, { offset, roomId }: { readonly offset: bigint; readonly roomId: RoomId }, event: EventOf<'roomClosed' | 'roomChanged'>): void {
    if (event.type === 'roomChanged' && event.name === undefined) return
    const { seq: roomSeq, timestampMs } = event
    const { people, invited } = this.#known(roomId, offset)
    this.#tellHead(portion, roomId, people)
    const change: InboxChange = event.type === 'roomClosed' ? { type: 'closed', reason: event.reason } : { type: 'renamed', ...(event.name && { name: event.name }) }
    for (const userId of event.type === 'roomClosed' ? new Set([...people, ...invited]) : people) portion.add({ userId, roomId, roomSeq, timestampMs, change })
  }

  #tellMessage(portion: Portion, { offset, roomId, since }: { readonly offset: bigint; readonly roomId: RoomId; readonly since: Position }, event: EventOf<'messageSent'>): void {
    const { seq: roomSeq, timestampMs, senderId, messageId, messageIndex, mentions = [], hiddenFor = [] } = event
    const room = this.#known(roomId, offset)
    const { people } = room
    const last: LastMessage = { seq: roomSeq, messageIndex, messageId, senderId, timestampMs }
    const [mentioned, hidden] = [new Set(mentions), new Set(hiddenFor)]
    const to = (userId: UserId) => {
      const isHidden = hidden.has(userId)
      const change: InboxChange = {
        type: 'messages',
        messageCount: messageIndex,
        ...(userId === senderId && { seen: messageIndex }),
        ...(!isHidden && { last }),
        mentions: mentioned.has(userId) && !isHidden ? [messageIndex] : [],
      }
      portion.add({ userId, roomId, roomSeq, timestampMs, change })
    }
    room.seen.set(senderId, Math.max(messageIndex, room.seen.get(senderId) ?? 0))
    if (people.size <= this.#headsOnlyAbove) {
      this.#tellHead(portion, roomId, people)
      for (const userId of people) to(userId)
      this.#deferred.delete(roomId)
      return
    }
    // For them it is not the same as for all others.
    const special = [...new Set([senderId, ...mentions, ...hiddenFor])].filter((userId) => people.has(userId))
    this.#tellHead(portion, roomId, special)
    for (const userId of special) to(userId)
    this.#deferred.set(roomId, { roomSeq, timestampMs, messageCount: messageIndex, last, exempt: new Set(special), since: this.#deferred.get(roomId)?.since ?? since })
  }

  /** Before anything else of the room comes to them, which would make an earlier head too late. */
  #tellHead(portion: Portion, roomId: RoomId, userIds: Iterable<UserId>): void {
    const head = this.#deferred.get(roomId)
    const people = this.#rooms.get(roomId)?.people
    if (!head || !people) return
    for (const userId of userIds) {
      if (!people.has(userId) || head.exempt.has(userId)) continue
      portion.add(headFor(userId, roomId, head))
      head.exempt.add(userId)
    }
  }

  #follow(roomId: RoomId, event: RoomEvent): void {
    switch (event.type) {
      case 'roomOpened':
        this.#asleep.delete(roomId)
        this.#rooms.set(roomId, { kind: event.kind ?? 'order', people: new Set(event.participants.map((p) => p.userId)), invited: new Set(), seen: new Map(), headsSentMs: 0 })
        return
      case 'participantAdded': {
        const room = this.#room(roomId)
        room?.people.add(event.participant.userId)
        room?.invited.delete(event.participant.userId)
        return
      }
      case 'participantRemoved':
        this.#room(roomId)?.people.delete(event.participant.userId)
        return
      case 'mediatorInvited':
        this.#room(roomId)?.invited.add(event.userId)
        return
      case 'roomClosed':
        // Nobody but who reads on does anything in it any more.
        this.#asleep.delete(roomId)
        this.#rooms.delete(roomId)
        this.#deferred.delete(roomId)
    }
  }

  #known(roomId: RoomId, offset: bigint): Room {
    const room = this.#room(roomId)
    if (room) return room
    // Compaction has removed its snapshot while we were reading: another one is further up by now.
    if (offset >= this.#restoredTo) throw new ChatError('unavailable', `who is in room ${roomId} is not known: to be restored again`)
    this.#deps.onUnknownRoom(roomId)
    const nobody: Room = { kind: 'order', people: new Set(), invited: new Set(), seen: new Map(), headsSentMs: 0 }
    this.#rooms.set(roomId, nobody)
    return nobody
  }

  /** The room, woken where it was asleep. */
  #room(roomId: RoomId): Room | undefined {
    const bytes = this.#asleep.get(roomId)
    if (!bytes) return this.#rooms.get(roomId)
    this.#asleep.delete(roomId)
    const record = stateRecordFromAvro(this.#deps.decodeState(bytes))
    // A stub: it has forgotten who was in.
    if (record.kind !== 'room' || isStub(record)) return undefined
    const { kind, participants, invited } = record.room
    const room: Room = { kind, people: new Set([...participants.keys(), ...(this.#gone.get(roomId) ?? [])]), invited: new Set(invited), seen: new Map(), headsSentMs: 0 }
    this.#rooms.set(roomId, room)
    return room
  }
}

/** Of services/room-state. */
const CHECKPOINT_KEY = '~checkpoint'

const isStub = ({ room }: StateRecord & { readonly kind: 'room' }): boolean => room.status === 'closed' && room.participants.size === 0

const headFor = (userId: UserId, roomId: RoomId, { roomSeq, timestampMs, messageCount, last }: DeferredHead<unknown>): InboxUpdate => ({
  userId,
  roomId,
  roomSeq,
  timestampMs,
  change: { type: 'messages', messageCount, last, mentions: [] },
})

/** Updates that go together: of messages that follow each other for one user in one room the last one says it all. */
class Portion {
  /** Of the event that is being told. */
  traceparent: string | undefined
  #updates: TracedUpdate[] = []
  readonly #lastOf = new Map<string, number>()

  get size(): number {
    return this.#updates.length
  }

  add(told: InboxUpdate): void {
    const update: TracedUpdate = this.traceparent === undefined ? told : { ...told, traceparent: this.traceparent }
    const key = `${update.userId} ${update.roomId}`
    const at = this.#lastOf.get(key)
    const merged = at === undefined ? undefined : mergeMessages(this.#updates[at]!, update)
    if (merged) {
      this.#updates[at!] = merged
      return
    }
    this.#lastOf.set(key, this.#updates.length)
    this.#updates.push(update)
  }

  take(): readonly TracedUpdate[] {
    const updates = this.#updates
    this.#updates = []
    this.#lastOf.clear()
    return updates
  }
}
