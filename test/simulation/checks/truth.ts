import { isDeepStrictEqual } from 'node:util'
import { evolve } from '#libs/domain/evolve.ts'
import { type ClientMessageId, messageIdOf, type RoomId, type UserId } from '#libs/domain/ids.ts'
import { type ContentRules, DEDUPE_WINDOW_MS, STUB_KEPT_MS } from '#libs/domain/limits.ts'
import { type Entry, isBlocked, isRoomEvent, type RoomEvent, type RoomState } from '#libs/domain/room.ts'
import { commandFromAvro, type Decision, decisionFromAvro } from '#libs/streams/avro-shapes.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { inputTopics, topics } from '#libs/streams/topics.ts'
import type { Kafka } from '../world/kafka.ts'
import { decodeValue } from '../world/registry.ts'
import type { World } from '../world/world.ts'
import { firstHash, hashOf } from './chain.ts'
import { isFlood, isFrozen, moderationProblem } from './moderation.ts'
import { type Source, ValidLog } from './valid-log.ts'

/** A room as the valid log has it, now and at every offset. */
export type TrueRoom = {
  readonly partition: number
  readonly events: RoomEvent[]
  /** Offset of each event's record. */
  readonly offsets: number[]
  /** The state behind each record that touches the room. */
  readonly states: { readonly offset: number; readonly state: RoomState }[]
  /** Who is in the room behind seq `i`; 0: before the first. */
  readonly members: ReadonlySet<UserId>[]
  /** The last seq behind which somebody was in the room. */
  readonly lastMember: Map<UserId, number>
  readonly acks: Map<string, { readonly seq: number; readonly timestampMs: number }>
  /** Was never opened, and silent for so long that its owner may have forgotten what he held. */
  mayBeForgotten: boolean
  /** Has closed, and was silent for so long before its last event that its owner may know no more of it than that. */
  mayBeStub: boolean
  /** What the next event has to name. */
  headHash: string
}

/** The fold of the valid log, by the reader's rule written a second time, as each record lands. */
export class Truth {
  readonly rooms = new Map<RoomId, TrueRoom>()
  readonly decisions: { readonly partition: number; readonly offset: number; readonly decision: Decision }[] = []
  readonly #world: World
  readonly #log: ValidLog
  readonly #rules: ContentRules
  readonly #kafka: Kafka
  readonly #onEvent: ((roomId: RoomId, event: RoomEvent) => void)[] = []

  constructor(world: World, kafka: Kafka, rules: ContentRules) {
    this.#world = world
    this.#rules = rules
    this.#kafka = kafka
    this.#log = new ValidLog(world, kafka, topics.roomEvents.name, inputTopics, (partition, record, source) => this.#apply(partition, record, source))
  }

  /** Called with each room event as it lands. */
  onEvent(listener: (roomId: RoomId, event: RoomEvent) => void): void {
    this.#onEvent.push(listener)
  }

  /** The epoch in force behind `offset`. */
  epochBelow(partition: number, offset: number): number {
    return this.#log.epochBelow(partition, offset)
  }

  /** The next input of each topic, as of `offset` of the log. */
  inputsBelow(partition: number, offset: number): ReadonlyMap<string, number> {
    return this.#log.inputsBelow(partition, offset)
  }

  nextInput(partition: number, topic: string): number {
    return this.#log.nextInput(partition, topic)
  }

  stateBelow(roomId: RoomId, offset: number): RoomState | undefined {
    return this.rooms.get(roomId)?.states.findLast((s) => s.offset < offset)?.state
  }

  state(roomId: RoomId): RoomState | undefined {
    return this.rooms.get(roomId)?.states.at(-1)?.state
  }

  isMember(roomId: RoomId, userId: UserId): boolean {
    return this.rooms.get(roomId)?.members.at(-1)?.has(userId) ?? false
  }

  #apply(partition: number, { offset, value }: InRecord, source: Source): void {
    const decision = decisionFromAvro(decodeValue(value!))
    if (!decision) return
    this.decisions.push({ partition, offset: Number(offset), decision })
    for (const entry of decision.entries) {
      if (entry.type === 'refused' && entry.code === 'not_a_participant') this.#checkStranger(partition, source, decision.roomId)
      this.#applyEntry(partition, Number(offset), decision.roomId, entry)
    }
  }

  #applyEntry(partition: number, offset: number, roomId: RoomId, entry: Entry): void {
    const before = this.state(roomId)
    if (isRoomEvent(entry)) this.#checkEvent(partition, offset, roomId, entry, before)
    if (entry.type === 'refused') this.#checkRefusal(partition, offset, roomId, entry.code, before)
    if (entry.type === 'repeated') this.#checkRepeat(roomId, offset, entry)
    const state = evolve(before, roomId, entry)
    if (!state) return
    const room = this.#roomOf(partition, roomId)
    if (before?.status === 'pending' && this.#world.nowMs - before.lastEventMs > STUB_KEPT_MS) room.mayBeForgotten = true
    if (before?.status === 'closed' && this.#world.nowMs - before.lastEventMs > DEDUPE_WINDOW_MS) room.mayBeStub = true
    room.states.push({ offset, state })
    if (!isRoomEvent(entry)) return
    if (entry.prevHash !== room.headHash) this.#world.fail('chain', `room ${roomId} seq ${entry.seq} (${partition} @${offset}) names ${entry.prevHash}, the hash of what is before it is ${room.headHash}`)
    room.headHash = hashOf(roomId, entry)
    if (state.kind === 'group' && state.status === 'open' && state.participants.size > 0 && ![...state.participants.values()].includes('owner')) this.#world.fail('members', `room ${roomId} seq ${entry.seq}: the group has no owner`)
    room.events.push(entry)
    room.offsets.push(offset)
    const members = new Set(state.participants.keys())
    room.members.push(members)
    for (const userId of members) room.lastMember.set(userId, entry.seq)
    for (const listener of this.#onEvent) listener(roomId, entry)
  }

  #checkEvent(partition: number, offset: number, roomId: RoomId, event: RoomEvent, before: RoomState | undefined): void {
    const place = `room ${roomId} seq ${event.seq} (${event.type}, ${partition} @${offset})`
    const fail = (invariant: string, message: string) => this.#world.fail(invariant, `${place}: ${message}`)
    if (event.seq !== (before?.headSeq ?? 0) + 1) fail('gapless', `comes after ${before?.headSeq ?? 0}`)
    if (event.timestampMs < (before?.lastEventMs ?? 0)) fail('event-time', 'time runs backwards')
    if (before?.status === 'closed' && event.type !== 'receiptMoved' && event.type !== 'messageRedacted') fail('read-only', 'comes after the end of the room')
    const moderated = moderationProblem(this.rooms.get(roomId)?.events ?? [], event, before)
    if (moderated) fail(...moderated)
    if (event.type !== 'messageSent') {
      const problem = this.#problemOf(roomId, event, before)
      if (problem) fail(...problem)
      if ('by' in event && event.by && event.clientMessageId) this.#remember(partition, roomId, event, event.by, event.clientMessageId, fail)
      return
    }
    const { senderId, clientMessageId, messageIndex, messageId, seq, timestampMs } = event
    if (!before?.participants.has(senderId)) fail('senders', `${senderId} is not in the room`)
    if (messageIndex !== (before?.messageCount ?? 0) + 1) fail('message-index', `is ${messageIndex} after ${before?.messageCount}`)
    if (messageId !== messageIdOf(roomId, senderId, clientMessageId)) fail('one-message', `has the id ${messageId}`)
    if (before?.kind === 'direct' && before.blocks.size > 0 && event.messageType !== 'orderCard') fail('blocks', `${senderId} writes to somebody with whom there is a block`)
    const hidden = [...(before?.participants.keys() ?? [])].filter((userId) => isBlocked(before!.blocks, senderId, userId))
    if (!isDeepStrictEqual(hidden, event.hiddenFor ?? []) && event.messageType !== 'orderCard') fail('blocks', `is hidden for ${event.hiddenFor}, there are blocks with ${hidden}`)
    if (event.messageType !== 'orderCard' && isFlood(this.rooms.get(roomId)?.events ?? [], event, this.#rules)) fail('flood', `${senderId} says "${event.content}" once more`)
    this.#remember(partition, roomId, event, senderId, clientMessageId, fail)
  }

  /** One event for each (room, sender, clientMessageId), of whatever kind. */
  #remember(partition: number, roomId: RoomId, { seq, timestampMs }: RoomEvent, userId: UserId, clientMessageId: ClientMessageId, fail: (invariant: string, message: string) => void): void {
    const key = `${userId} ${clientMessageId}`
    const { acks } = this.#roomOf(partition, roomId)
    if (acks.has(key)) fail('one-message', `${userId}'s ${clientMessageId} is already seq ${acks.get(key)!.seq}`)
    acks.set(key, { seq, timestampMs })
  }

  /** What is not as it must be in an event that is no message, by the events before it: invariant and message. */
  #problemOf(roomId: RoomId, event: RoomEvent, before: RoomState | undefined): [string, string] | undefined {
    const events = this.rooms.get(roomId)?.events ?? []
    switch (event.type) {
      case 'messageEdited':
      case 'messageDeleted': {
        const target = events[event.messageSeq - 1]
        if (target?.type !== 'messageSent' || target.messageId !== event.messageId || target.senderId !== event.by) return ['changes', `${event.by} changes ${JSON.stringify(target)}`]
        const revisions = events.filter((e) => e.type === 'messageEdited' && e.messageSeq === event.messageSeq).length
        if (event.type === 'messageEdited' && event.revision !== revisions + 1) return ['changes', `is revision ${event.revision} after ${revisions}`]
        const isDeleted = events.some((e) => (e.type === 'messageDeleted' || e.type === 'messageRedacted') && e.messageSeq === event.messageSeq)
        return isDeleted ? ['changes', 'the message was deleted before'] : undefined
      }
      case 'reactionSet': {
        const target = events[event.messageSeq - 1]
        return target?.type === 'messageSent' && target.messageId === event.messageId ? undefined : ['changes', `is about ${JSON.stringify(target)}`]
      }
      case 'receiptMoved': {
        const last = before?.receipts.get(event.userId) ?? { delivered: 0, seen: 0 }
        const isForward = event.delivered >= last.delivered && event.seen >= last.seen && event.delivered + event.seen > last.delivered + last.seen
        const isPossible = event.seen <= event.delivered && event.delivered <= (before?.messageCount ?? 0) && before?.participants.has(event.userId)
        return isForward && isPossible ? undefined : ['receipts', `${JSON.stringify(event)} after ${JSON.stringify(last)}, ${before?.messageCount} messages`]
      }
      case 'participantRemoved':
        return before?.participants.has(event.participant.userId) ? undefined : ['members', `${event.participant.userId} is not in the room`]
      default:
        return undefined
    }
  }

  /** Who is told that he is not in the room is not. */
  #checkStranger(partition: number, { topic, offset }: Source, roomId: RoomId): void {
    const { senderId, type } = commandFromAvro(decodeValue(this.#kafka.log(topic, partition).records[offset]!.value!))
    if (this.isMember(roomId, senderId)) this.#world.fail('true-refusals', `${senderId} is refused a ${type} in room ${roomId} (${partition}, ${topic}:${offset}) as a stranger`)
  }

  /** So far as it can be judged without knowing who has asked. */
  #checkRefusal(partition: number, offset: number, roomId: RoomId, code: string, before: RoomState | undefined): void {
    const isGone = before?.status === 'closed' && this.#world.nowMs - before.lastEventMs > STUB_KEPT_MS
    const isLie = (code === 'room_not_found' && before !== undefined && before.status !== 'pending' && !isGone) || (code === 'room_read_only' && before?.status !== 'closed') || (code === 'room_frozen' && !isFrozen(this.rooms.get(roomId)?.events ?? []))
    if (isLie) this.#world.fail('true-refusals', `room ${roomId} (${partition} @${offset}) is ${before?.status}, and somebody is refused with ${code}`)
  }

  #checkRepeat(roomId: RoomId, offset: number, { clientMessageId, ack }: Entry & { readonly type: 'repeated' }): void {
    const event = this.rooms.get(roomId)?.events[ack.seq - 1]
    const isSame = event !== undefined && 'clientMessageId' in event && event.clientMessageId === clientMessageId && event.timestampMs === ack.timestampMs
    const isOriginal = isSame && (event.type !== 'messageSent' || (event.messageId === ack.messageId && event.messageIndex === ack.messageIndex))
    if (!isOriginal) this.#world.fail('same-ack', `room ${roomId} @${offset}: ${clientMessageId} is acked again as seq ${ack.seq}, which is ${event?.type}`)
  }

  #roomOf(partition: number, roomId: RoomId): TrueRoom {
    const known = this.rooms.get(roomId)
    if (known) return known
    const room: TrueRoom = { partition, events: [], offsets: [], states: [], members: [new Set()], lastMember: new Map(), acks: new Map(), mayBeForgotten: false, mayBeStub: false, headHash: firstHash(roomId) }
    this.rooms.set(roomId, room)
    return room
  }
}
