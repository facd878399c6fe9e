import { chained } from './chain.ts'
import { decideCommand } from './decide-command.ts'
import { decideBlock, entering, ignored, inSequence, orderCardOf } from './decide-parts.ts'
import { rememberedAck } from './dedupe.ts'
import { clientMessageIdOf, directRoomId, type UserId } from './ids.ts'
import type { OrderEvent, RoomInput } from './inputs.ts'
import { DEDUPE_WINDOW_MS, HOLD_WINDOW_MS, type RoomLimits } from './limits.ts'
import type { CloseReason, Entry, Participant, RoomEventBody, RoomState } from './room.ts'

/**
 * What one input does to one room: the entries of its one output record, in order. Pure and total: the same
 * (state, input, nowMs) always gives the same entries, and no input throws.
 *
 * `state` is undefined where the room was never heard of (or forgotten 30 days after its end).
 */
export function decide(state: RoomState | undefined, input: RoomInput, nowMs: number, limits: RoomLimits): readonly Entry[] {
  return chained(state, 'orderId' in input ? input.orderId : input.roomId, decideUnchained(state, input, nowMs, limits))
}

function decideUnchained(state: RoomState | undefined, input: RoomInput, nowMs: number, limits: RoomLimits): readonly Entry[] {
  const timeMs = Math.max(nowMs, state?.lastEventMs ?? 0)
  switch (input.type) {
    case 'orderAccepted':
      return decideAccepted(state, input, timeMs)
    case 'riderAssigned':
      return decideRider(state, input, timeMs)
    case 'orderEnded':
      return decideEnded(state, input, timeMs)
    case 'orderCreated':
      return decideCreated(state, input, timeMs)
    case 'blockChanged':
      return decideBlockChanged(state, input, timeMs)
    default:
      return decideCommand(state, input, timeMs, limits)
  }
}

function decideAccepted(
  state: RoomState | undefined,
  event: OrderEvent & { type: 'orderAccepted' },
  timeMs: number,
): readonly Entry[] {
  if (state && state.status !== 'pending') return ignored('the room is open or closed already')
  const participants: Participant[] = [{ userId: event.customerId, role: 'customer' }]
  if (event.vendorId !== event.customerId) participants.push({ userId: event.vendorId, role: 'vendor' })
  const bodies: RoomEventBody[] = [{ type: 'roomOpened', participants }]
  const held = state?.heldRider
  if (held && timeMs - held.heldAtMs <= HOLD_WINDOW_MS && !participants.some((p) => p.userId === held.userId)) {
    bodies.push({ type: 'participantAdded', participant: { userId: held.userId, role: 'rider' }, messageCount: 0 })
  }
  if (state?.heldClose) bodies.push({ type: 'roomClosed', reason: state.heldClose.reason })
  return inSequence(state, timeMs, bodies)
}

function decideRider(
  state: RoomState | undefined,
  event: OrderEvent & { type: 'riderAssigned' },
  timeMs: number,
): readonly Entry[] {
  const { riderId: userId, occurredAtMs, eventId } = event
  if (state?.status === 'closed') return ignored('the room is closed')
  if (state?.riderWon && !isLater(event, state.riderWon)) return ignored('a later assignment stands')
  if (!state || state.status === 'pending') {
    return [{ type: 'riderHeld', rider: { userId, occurredAtMs, eventId }, heldAtMs: timeMs }]
  }
  if (state.kind !== 'order') return ignored('the room is not of an order')
  const stands: Entry = { type: 'riderStands', occurredAtMs, eventId }
  // Also where the customer or the vendor delivers himself: he is in the room already, and keeps his role.
  const present = state.participants.get(userId)
  const current = currentRider(state)
  if (current === userId) return [stands]
  const bodies: RoomEventBody[] = []
  if (current) bodies.push({ type: 'participantRemoved', participant: { userId: current, role: 'rider' }, reason: 'replaced' })
  if (present === undefined) bodies.push({ type: 'participantAdded', participant: { userId, role: 'rider' }, ...entering(state, userId) })
  return [...inSequence(state, timeMs, bodies), stands]
}

function isLater(event: OrderEvent, won: { readonly occurredAtMs: number; readonly eventId: string }): boolean {
  if (event.occurredAtMs !== won.occurredAtMs) return event.occurredAtMs > won.occurredAtMs
  return event.eventId > won.eventId
}

function currentRider(state: RoomState): UserId | undefined {
  for (const [userId, role] of state.participants) if (role === 'rider') return userId
  return undefined
}

function decideEnded(
  state: RoomState | undefined,
  event: { readonly reason: CloseReason },
  timeMs: number,
): readonly Entry[] {
  if (state?.status === 'closed') return ignored('the room is closed already')
  if (state && state.status === 'open' && state.kind !== 'order') return ignored('the room is not of an order')
  if (state?.status === 'open') return inSequence(state, timeMs, [{ type: 'roomClosed', reason: event.reason }])
  if (state?.heldClose) return ignored('the end of this order is held already')
  return [{ type: 'closeHeld', reason: event.reason, heldAtMs: timeMs }]
}

/** The pair's direct room is opened by whatever concerns it first. */
function openDirect(state: RoomState | undefined, a: UserId, b: UserId): RoomEventBody[] {
  if (state && state.status !== 'pending') return []
  const participants: Participant[] = [a, b].sort().map((userId) => ({ userId, role: 'member' }))
  return [{ type: 'roomOpened', kind: 'direct', participants }]
}

function decideCreated(state: RoomState | undefined, event: OrderEvent & { type: 'orderCreated' }, timeMs: number): readonly Entry[] {
  const { orderId: roomId, customerId, vendorId, subjectId, occurredAtMs } = event
  if (customerId === vendorId || roomId !== directRoomId(customerId, vendorId)) return ignored('not the direct room of two people')
  // Its id carries the time of the event: as old as this a second delivery could not be told from the first.
  if (occurredAtMs < timeMs - DEDUPE_WINDOW_MS) return ignored('the event is too old for a card')
  const clientMessageId = clientMessageIdOf(`order-card ${subjectId}`, occurredAtMs)
  if (state && rememberedAck(state.dedupe, customerId, clientMessageId)) return ignored('the card of this order is there already')
  const card = orderCardOf({ roomId, senderId: customerId, clientMessageId, orderId: subjectId, messageIndex: (state?.messageCount ?? 0) + 1 })
  return inSequence(state, timeMs, [...openDirect(state, customerId, vendorId), card])
}

function decideBlockChanged(state: RoomState | undefined, event: OrderEvent & { type: 'blockChanged' }, timeMs: number): readonly Entry[] {
  const { orderId: roomId, blockerId, blockedId } = event
  if (blockerId === blockedId || roomId !== directRoomId(blockerId, blockedId)) return ignored('not the direct room of two people')
  return decideBlock(state, timeMs, event, openDirect(state, blockerId, blockedId))
}
