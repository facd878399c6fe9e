import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js'
import { rememberedAck } from './dedupe.ts'
import type { ErrorCode } from './errors.ts'
import { clientMessageIdTimeMs, messageIdOf, type UserId } from './ids.ts'
import type { OrderEvent, RoomCommand, RoomInput } from './inputs.ts'
import { CLIENT_CLOCK_AHEAD_MS, DEDUPE_WINDOW_MS, HOLD_WINDOW_MS, type RoomLimits } from './limits.ts'
import type { CloseReason, Entry, Participant, RoomEventBody, RoomState } from './room.ts'

/**
 * What one input does to one room: the entries of its one output record, in order. Pure and total: the same
 * (state, input, nowMs) always gives the same entries, and no input throws.
 *
 * `state` is undefined where the room was never heard of (or forgotten 30 days after its end).
 */
export function decide(state: RoomState | undefined, input: RoomInput, nowMs: number, limits: RoomLimits): readonly Entry[] {
  const timeMs = Math.max(nowMs, state?.lastEventMs ?? 0)
  switch (input.type) {
    case 'orderAccepted':
      return decideAccepted(state, input, timeMs)
    case 'riderAssigned':
      return decideRider(state, input, timeMs)
    case 'orderEnded':
      return decideEnded(state, input, timeMs)
    case 'sendMessage':
      return decideSend(state, input, timeMs, limits)
  }
}

/** Gives consecutive seqs, from the room's next one on. */
function inSequence(state: RoomState | undefined, timestampMs: number, bodies: readonly RoomEventBody[]): readonly Entry[] {
  const headSeq = state?.headSeq ?? 0
  return bodies.map((body, i) => ({ ...body, seq: headSeq + 1 + i, timestampMs }))
}

const ignored = (reason: string): readonly Entry[] => [{ type: 'ignored', reason }]

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
    bodies.push({ type: 'participantAdded', participant: { userId: held.userId, role: 'rider' } })
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
  const stands: Entry = { type: 'riderStands', occurredAtMs, eventId }
  // Also where the customer or the vendor delivers himself: he is in the room already, and keeps his role.
  const present = state.participants.get(userId)
  const current = currentRider(state)
  if (current === userId) return [stands]
  const bodies: RoomEventBody[] = []
  if (current) bodies.push({ type: 'participantRemoved', participant: { userId: current, role: 'rider' }, reason: 'replaced' })
  if (present === undefined) bodies.push({ type: 'participantAdded', participant: { userId, role: 'rider' } })
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
  if (state?.status === 'open') return inSequence(state, timeMs, [{ type: 'roomClosed', reason: event.reason }])
  if (state?.heldClose) return ignored('the end of this order is held already')
  return [{ type: 'closeHeld', reason: event.reason, heldAtMs: timeMs }]
}

function decideSend(
  state: RoomState | undefined,
  command: RoomCommand & { type: 'sendMessage' },
  timeMs: number,
  limits: RoomLimits,
): readonly Entry[] {
  const { senderId, clientMessageId, content, salt } = command
  if (!state || state.status === 'pending') return [{ type: 'refused', code: 'room_not_found' }]
  const idTimeMs = clientMessageIdTimeMs(clientMessageId)
  if (idTimeMs < timeMs - DEDUPE_WINDOW_MS || idTimeMs > timeMs + CLIENT_CLOCK_AHEAD_MS) {
    return [{ type: 'refused', code: 'client_message_id_expired' }]
  }
  // Before any other rule: what was accepted once stays accepted, also for who has left and in a room that has closed.
  const ack = rememberedAck(state.dedupe, senderId, clientMessageId)
  if (ack) return [{ type: 'repeated', clientMessageId, ack }]
  if (state.status === 'closed') return [{ type: 'refused', code: 'room_read_only' }]
  if (!state.participants.has(senderId)) return [{ type: 'refused', code: 'not_a_participant' }]
  const code = contentRefusal(content, limits)
  if (code) return [{ type: 'refused', code }]
  const { second, counts } = state.sendRate
  if (second === toSecond(timeMs) && (counts.get(senderId) ?? 0) >= limits.messagesPerSecondMax) {
    return [{ type: 'refused', code: 'rate_limited', retryAfterMs: 1_000 - (timeMs % 1_000) }]
  }
  return inSequence(state, timeMs, [
    {
      type: 'messageSent',
      messageId: messageIdOf(state.roomId, senderId, clientMessageId),
      clientMessageId,
      senderId,
      messageIndex: state.messageCount + 1,
      content,
      salt,
      contentHash: contentHashOf(salt, content),
    },
  ])
}

export const toSecond = (timeMs: number): number => Math.floor(timeMs / 1_000)

/** SHA-256 (hex) of salt, a zero byte and content, both as UTF-8. */
export function contentHashOf(salt: string, content: string): string {
  return bytesToHex(sha256(utf8ToBytes(`${salt}\0${content}`)))
}

/** Why a message with this content is refused. The edge asks before it bothers the log; the answer that counts is the log's. */
export function contentRefusal(content: string, limits: RoomLimits): ErrorCode | undefined {
  const chars = codePoints(content, limits.contentCharsMax)
  if (chars === 0) return 'content_empty'
  if (chars > limits.contentCharsMax) return 'content_too_long'
  // Postgres cannot store U+0000, and a lone surrogate would not survive UTF-8.
  return content.includes('\0') || !content.isWellFormed() ? 'content_invalid' : undefined
}

/** Counts Unicode code points; stops just above `max`. */
function codePoints(text: string, max: number): number {
  if (text.length <= max) return text.length === 0 ? 0 : 1
  let count = 0
  for (const _ of text) if (++count > max) break
  return count
}
