import { emptyLedger, remember } from './dedupe.ts'
import { toSecond } from './decide.ts'
import { isRoomEvent, newRoom, type Entry, type RoomEvent, type RoomState } from './room.ts'
import type { RoomId, UserId } from './ids.ts'

/**
 * The state after one entry. Pure and total: the state of a room is the fold of its entries, whoever folds them.
 * Replies change nothing; an entry of an unknown type (a newer writer's) only takes its seq, if it has one.
 */
export function evolve(state: RoomState | undefined, roomId: RoomId, entry: Entry): RoomState | undefined {
  switch (entry.type) {
    case 'refused':
    case 'repeated':
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
    default:
      // A note or reply that only a newer writer knows.
      if (!isRoomEvent(entry)) return state
      return applyEvent({ ...room, headSeq: entry.seq, lastEventMs: entry.timestampMs }, entry)
  }
}

function applyEvent(room: RoomState, event: RoomEvent): RoomState {
  switch (event.type) {
    case 'roomOpened': {
      const participants = new Map(event.participants.map((p) => [p.userId, p.role]))
      return { ...room, status: 'open', participants, heldRider: null, heldClose: null }
    }
    case 'participantAdded':
      return { ...room, participants: new Map([...room.participants, [event.participant.userId, event.participant.role]]) }
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
        sendRate: countSend(room, event.senderId, timestampMs),
        dedupe: remember(room.dedupe, event.senderId, event.clientMessageId, ack, timestampMs),
      }
    }
    case 'roomClosed':
      return { ...room, status: 'closed', sendRate: { second: 0, counts: new Map() } }
    default:
      return room
  }
}

function countSend(room: RoomState, senderId: UserId, timestampMs: number): RoomState['sendRate'] {
  const second = toSecond(timestampMs)
  const counts = new Map(room.sendRate.second === second ? room.sendRate.counts : [])
  return { second, counts: counts.set(senderId, (counts.get(senderId) ?? 0) + 1) }
}

/**
 * A closed room whose every clientMessageId has expired needs no more than (closed, head): any command is refused by
 * then, with or without what is dropped here, so when exactly this happens changes no decision.
 */
export function shrinkToStub(room: RoomState): RoomState {
  return { ...newRoom(room.roomId), status: 'closed', headSeq: room.headSeq, messageCount: room.messageCount, lastEventMs: room.lastEventMs, dedupe: { ...emptyLedger, firstBucket: room.dedupe.firstBucket + room.dedupe.buckets.length } }
}
