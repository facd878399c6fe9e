import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js'
import { ChatError } from '#libs/domain/errors.ts'
import { isUserId, parseRoomId, type UserId } from '#libs/domain/ids.ts'
import type { OrderEvent } from '#libs/domain/inputs.ts'
import { CLIENT_CLOCK_AHEAD_MS, ORDER_EVENT_AGE_MAX_MS } from '#libs/domain/limits.ts'
import { parseIsoTimeMs } from './iso-time.ts'
import type { DeadLetterCode, OrderMessage, ParsedMessage } from './order-message.ts'
import { type JsonObject, quoted, traceparentOf, unwrapSns } from './unwrap-sns.ts'

type EventBody<E = OrderEvent> = E extends OrderEvent ? Omit<E, 'orderId' | 'eventId' | 'occurredAtMs'> : never

/** Every event type by its published names. Fields that are not read here are allowed and dropped. */
const readBody: ReadonlyMap<string, (payload: JsonObject) => EventBody> = new Map([
  ['order.accepted', (p) => ({ type: 'orderAccepted', customerId: userIdOf(p, 'customerId'), vendorId: userIdOf(p, 'vendorId') })],
  ['order.rider_assigned', readRider],
  ['rider.assigned', readRider],
  ['order.delivered', () => ({ type: 'orderEnded', reason: 'delivered' })],
  ['order.cancelled', () => ({ type: 'orderEnded', reason: 'cancelled' })],
])

export const eventTypes: readonly string[] = [...readBody.keys()]

/**
 * What an order message means: one normalised event, or why it can have no meaning. Pure and total. The same message
 * shown again gives the same event id, and the same event but for times that had to be clamped to `nowMs`.
 */
export function parseOrderMessage(message: OrderMessage, nowMs: number): ParsedMessage {
  const traceparent = traceparentOf(message)
  try {
    return { kind: 'event', event: parseEvent(message, nowMs), traceparent }
  } catch (err) {
    if (!(err instanceof ChatError)) throw err
    return { kind: 'dead', code: err.code as DeadLetterCode, reason: err.message, traceparent }
  }
}

function parseEvent(message: OrderMessage, nowMs: number): OrderEvent {
  const { payload, eventType, snsMessageId, sentMs } = unwrapSns(message)
  const read = eventType === undefined ? undefined : readBody.get(eventType)
  if (!read) throw new ChatError('unknown_event_type', eventType === undefined ? 'none is given' : quoted(eventType))
  const orderId = parseRoomId(idText(payload, 'orderId'))
  const body = read(payload)
  const occurredAtMs = occurredAtOf(payload) ?? sentMs ?? nowMs
  if (nowMs - occurredAtMs > ORDER_EVENT_AGE_MAX_MS) throw new ChatError('event_too_old', new Date(occurredAtMs).toISOString())
  return {
    orderId,
    eventId: snsMessageId ?? bytesToHex(sha256(utf8ToBytes(message.body))),
    // A clock that runs ahead must not let one rider assignment win for ever.
    occurredAtMs: Math.min(occurredAtMs, nowMs + CLIENT_CLOCK_AHEAD_MS),
    ...body,
  }
}

function readRider(payload: JsonObject): EventBody {
  return { type: 'riderAssigned', riderId: userIdOf(payload, 'riderId') }
}

function userIdOf(payload: JsonObject, name: string): UserId {
  const id = idText(payload, name)
  if (!isUserId(id)) throw new ChatError('invalid_event', `${name} ${quoted(id)} is not 1 to 128 printable ASCII characters without spaces`)
  return id
}

/** Ids may be JSON numbers, so far as JavaScript reads them without loss; they become their decimal text. */
function idText(payload: JsonObject, name: string): string {
  const id = payload[name]
  if (typeof id === 'string') return id
  if (typeof id === 'number' && Number.isSafeInteger(id) && id >= 0) return String(id)
  if (typeof id === 'number') throw new ChatError('invalid_event', `${name} ${id} is not a whole number below 2^53: send it as text`)
  throw new ChatError('invalid_event', id === undefined ? `${name} is missing` : `${name} is neither text nor a number`)
}

/** Below this a number is no time in ms of any order (1973), but very likely one in seconds. */
const MS_TIME_MIN = 100_000_000_000
const MS_TIME_MAX = 8_640_000_000_000_000

function occurredAtOf(payload: JsonObject): number | undefined {
  const raw = payload['occurredAt']
  if (raw === undefined || raw === null) return undefined
  const timeMs = typeof raw === 'number' ? raw : parseIsoTimeMs(raw)
  if (timeMs === undefined) throw new ChatError('invalid_event', `occurredAt ${quoted(raw)} is not ISO 8601 with a time zone`)
  if (typeof raw === 'number' && !(raw >= MS_TIME_MIN && raw <= MS_TIME_MAX)) {
    throw new ChatError('invalid_event', `occurredAt ${raw} is not a time in ms since 1970`)
  }
  return Math.floor(timeMs)
}
