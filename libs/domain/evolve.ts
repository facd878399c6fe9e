import { emptyLedger, remember } from './dedupe.ts'
import { eventHash } from './chain.ts'
import { withRepeat } from './content-rules.ts'
import { toSecond } from './decide-parts.ts'
import { DEDUPE_WINDOW_MS } from './limits.ts'
import { type BlockKey, blockKey, type Entry, isRoomEvent, type MessageChange, newRoom, type RoomEvent, type RoomState, seenBy } from './room.ts'
import { type ClientMessageId, type MessageId, messageIdOf, type RoomId, type UserId } from './ids.ts'

/**
 * The state after one entry. Pure and total: the state of a room is the fold of its entries, whoever folds them.
 * Replies change nothing; an entry of an unknown type (a newer writer's) only takes its seq, if it has one.
 */
export function evolve(state: RoomState | undefined, roomId: RoomId, entry: Entry): RoomState | undefined {
  switch (entry.type) {
    case 'refused':
    case 'repeated':
    case 'unchanged':
    case 'ignored':
      return state
  }
  const room = state ?? newRoom(roomId)
  switch (entry.type) {
    case 'riderHeld': {
      const { rider, heldAtMs } = entry
      const { occurredAtMs, eventId } = rider
      return { ...room, heldRider: { ...rider, heldAtMs }, riderWon: { occurredAtMs, eventId }, lastEventMs: heldAtMs }
    }
    case 'closeHeld':
      return { ...room, heldClose: { reason: entry.reason, heldAtMs: entry.heldAtMs }, lastEventMs: entry.heldAtMs }
    case 'riderStands':
      return { ...room, riderWon: { occurredAtMs: entry.occurredAtMs, eventId: entry.eventId } }
    case 'blockStands':
      return { ...room, blockTimes: withTime(room.blockTimes, blockKey(entry.blockerId, entry.blockedId), entry.occurredAtMs) }
    default: {
      // A note or reply that only a newer writer knows.
      if (!isRoomEvent(entry)) return state
      const after = applyEvent({ ...room, headSeq: entry.seq, lastEventMs: entry.timestampMs, headHash: eventHash(roomId, entry) }, entry)
      return 'by' in entry && entry.by && entry.clientMessageId ? rememberCommand(after, entry, entry.by, entry.clientMessageId) : after
    }
  }
}

function applyEvent(room: RoomState, event: RoomEvent): RoomState {
  switch (event.type) {
    case 'roomOpened': {
      const participants = new Map(event.participants.map((p) => [p.userId, p.role]))
      const { kind = 'order', name, metadata = {}, history = 'all' } = event
      return { ...room, kind, name: name || null, metadata, history, status: 'open', participants, heldRider: null, heldClose: null }
    }
    case 'participantAdded': {
      const { userId, role } = event.participant
      const receipts = event.seen === undefined ? room.receipts : seenBy(room.receipts, userId, event.seen)
      return { ...room, participants: new Map([...room.participants, [userId, role]]), invited: without(room.invited, userId), receipts }
    }
    case 'participantRemoved': {
      const participants = new Map(room.participants)
      participants.delete(event.participant.userId)
      return { ...room, participants }
    }
    case 'messageSent': {
      const { messageId, seq, messageIndex, timestampMs } = event
      const ack = { messageId, seq, messageIndex, timestampMs }
      return {
        ...room,
        messageCount: messageIndex,
        receipts: seenBy(room.receipts, event.senderId, messageIndex),
        sendRate: countSend(room, event.senderId, timestampMs),
        repeats: withRepeat(room.repeats, event.senderId, event.content, event.payload, timestampMs),
        dedupe: remember(room.dedupe, event.senderId, event.clientMessageId, ack, timestampMs),
      }
    }
    case 'messageEdited':
      return withChange(room, event.messageId, { revision: event.revision, deleted: false, changedMs: event.timestampMs })
    case 'messageDeleted':
      return withChange(room, event.messageId, { revision: room.changes.get(event.messageId)?.revision ?? 0, deleted: true, changedMs: event.timestampMs })
    case 'receiptMoved': {
      const { userId, delivered, seen, hidden = false } = event
      return { ...room, receipts: new Map([...room.receipts, [userId, { delivered, seen, hidden }]]) }
    }
    case 'messageRedacted':
      return withChange(room, event.messageId, { revision: room.changes.get(event.messageId)?.revision ?? 0, deleted: true, changedMs: event.timestampMs })
    case 'roomFrozen':
      return { ...room, frozen: event.on }
    case 'roomChanged':
      return { ...room, name: event.name === undefined ? room.name : event.name || null, metadata: event.metadata ?? room.metadata }
    case 'mediatorInvited':
      return { ...room, invited: new Set([...room.invited, event.userId]) }
    case 'blockSet': {
      const key = blockKey(event.blockerId, event.blockedId)
      const blocks = without(room.blocks, key)
      return { ...room, blocks: event.on ? new Set([...blocks, key]) : blocks, blockTimes: withTime(room.blockTimes, key, event.occurredAtMs) }
    }
    case 'roomClosed':
      return { ...room, status: 'closed', sendRate: { second: 0, counts: new Map() }, repeats: new Map() }
    default:
      return room
  }
}

function without<T>(set: ReadonlySet<T>, value: T): ReadonlySet<T> {
  if (!set.has(value)) return set
  const rest = new Set(set)
  rest.delete(value)
  return rest
}

const withTime = (times: RoomState['blockTimes'], key: BlockKey, timeMs: number | undefined): RoomState['blockTimes'] =>
  timeMs === undefined ? times : new Map([...times, [key, timeMs]])

/** Forgets changes of messages that nobody can change any more. */
function withChange(room: RoomState, messageId: MessageId, change: MessageChange): RoomState {
  const kept = [...room.changes].filter(([id, { changedMs }]) => id !== messageId && changedMs >= change.changedMs - DEDUPE_WINDOW_MS)
  return { ...room, changes: new Map([...kept, [messageId, change]]) }
}

/** A repeat of the command that made this event gets its ack again; the event counts as one of the sender's second. */
function rememberCommand(room: RoomState, event: RoomEvent, by: UserId, clientMessageId: ClientMessageId): RoomState {
  const { seq, timestampMs } = event
  const messageId = 'messageId' in event ? event.messageId : messageIdOf(room.roomId, by, clientMessageId)
  const ack = { messageId, seq, messageIndex: room.messageCount, timestampMs }
  const sendRate = room.status === 'closed' ? room.sendRate : countSend(room, by, timestampMs)
  return { ...room, sendRate, dedupe: remember(room.dedupe, by, clientMessageId, ack, timestampMs) }
}

function countSend(room: RoomState, senderId: UserId, timestampMs: number): RoomState['sendRate'] {
  const second = toSecond(timestampMs)
  const counts = new Map(room.sendRate.second === second ? room.sendRate.counts : [])
  return { second, counts: counts.set(senderId, (counts.get(senderId) ?? 0) + 1) }
}

/**
 * A closed room whose every clientMessageId has expired needs no more than (closed, head): any command is refused by
 * then, with or without what is dropped here, so when exactly this happens changes no decision; but for a redaction, which
 * may be made once more where it was forgotten that there is one.
 */
export function shrinkToStub(room: RoomState): RoomState {
  const { roomId, kind, headSeq, messageCount, lastEventMs, dedupe, headHash } = room
  return { ...newRoom(roomId), kind, status: 'closed', headSeq, messageCount, lastEventMs, headHash, dedupe: { ...emptyLedger, firstBucket: dedupe.firstBucket + dedupe.buckets.length } }
}
