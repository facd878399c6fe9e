import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js'
import { ChatError } from '#libs/domain/errors.ts'
import { directRoomId, parseRoomId, type RoomId } from '#libs/domain/ids.ts'
import type { OrderEvent } from '#libs/domain/inputs.ts'
import { CLIENT_CLOCK_AHEAD_MS, ORDER_EVENT_AGE_MAX_MS } from '#libs/domain/limits.ts'
import { idText, userIdOf } from './ids.ts'
import { parseIsoTimeMs } from './iso-time.ts'
import type { DeadLetterCode, OrderMessage, ParsedContent, ParsedMessage } from './order-message.ts'
import { productFieldsOf } from './product-fields.ts'
import { type JsonObject, quoted, traceparentOf, unwrapSns } from './unwrap-sns.ts'

type EventBody<E = OrderEvent> = E extends OrderEvent ? Omit<E, 'eventId' | 'occurredAtMs'> : never

/** Every event type by its published names. Fields that are not read here are allowed and dropped. */
const readBody: ReadonlyMap<string, (payload: JsonObject) => EventBody> = new Map([
  ['order.accepted', (p) => ({ type: 'orderAccepted', orderId: orderIdOf(p), customerId: userIdOf(p, 'customerId'), vendorId: userIdOf(p, 'vendorId') })],
  ['order.rider_assigned', readRider],
  ['rider.assigned', readRider],
  ['order.delivered', (p) => ({ type: 'orderEnded', orderId: orderIdOf(p), reason: 'delivered' })],
  ['order.cancelled', (p) => ({ type: 'orderEnded', orderId: orderIdOf(p), reason: 'cancelled' })],
  ['order.created', readCreated],
  ['user.blocked', (p) => readBlock(p, true)],
  ['user.unblocked', (p) => readBlock(p, false)],
])

const PRODUCT_UPDATED = 'product.updated'
export const eventTypes: readonly string[] = [...readBody.keys(), PRODUCT_UPDATED]

/**
 * What a message means: one normalised event or one product update, or why it can have no meaning. Pure and total. The
 * same message shown again gives the same event id, and the same event but for times that had to be clamped to `nowMs`.
 */
export function parseOrderMessage(message: OrderMessage, nowMs: number): ParsedMessage {
  const traceparent = traceparentOf(message)
  try {
    return { ...parseContent(message, nowMs), traceparent }
  } catch (err) {
    if (!(err instanceof ChatError)) throw err
    return { kind: 'dead', code: err.code as DeadLetterCode, reason: err.message, traceparent }
  }
}

function parseContent(message: OrderMessage, nowMs: number): ParsedContent {
  const { payload, eventType, snsMessageId, sentMs } = unwrapSns(message)
  const read = eventType === undefined ? undefined : readBody.get(eventType)
  if (!read && eventType !== PRODUCT_UPDATED) throw new ChatError('unknown_event_type', eventType === undefined ? 'none is given' : quoted(eventType))
  const occurredAtMs = occurredAtOf(payload) ?? sentMs ?? nowMs
  // A clock that runs ahead must not let one rider assignment, one word about a block or one price win for ever.
  const believedMs = Math.min(occurredAtMs, nowMs + CLIENT_CLOCK_AHEAD_MS)
  if (!read) return { kind: 'product', product: productFieldsOf(payload, believedMs) }
  const body = read(payload)
  if (nowMs - occurredAtMs > ORDER_EVENT_AGE_MAX_MS && !isOfAnyAge(body)) throw new ChatError('event_too_old', new Date(occurredAtMs).toISOString())
  return { kind: 'event', event: { eventId: snsMessageId ?? bytesToHex(sha256(utf8ToBytes(message.body))), occurredAtMs: believedMs, ...body } }
}

/** A pair's room remembers for ever what was said about blocks and when, so those of years ago may be brought along. */
const isOfAnyAge = ({ type }: EventBody): boolean => type === 'blockChanged'

const orderIdOf = (payload: JsonObject): RoomId => parseRoomId(idText(payload, 'orderId'))

function readRider(payload: JsonObject): EventBody {
  return { type: 'riderAssigned', orderId: orderIdOf(payload), riderId: userIdOf(payload, 'riderId') }
}

function readCreated(payload: JsonObject): EventBody {
  const subjectId = orderIdOf(payload)
  const [customerId, vendorId] = [userIdOf(payload, 'customerId'), userIdOf(payload, 'vendorId')]
  return { type: 'orderCreated', orderId: directRoomId(customerId, vendorId), subjectId, customerId, vendorId }
}

function readBlock(payload: JsonObject, on: boolean): EventBody {
  const blockerId = userIdOf(payload, 'userId', 'blockerId')
  const blockedId = userIdOf(payload, 'blockedUserId', 'blockedId')
  if (blockerId === blockedId) throw new ChatError('invalid_event', `user ${quoted(blockerId)} cannot block himself`)
  return { type: 'blockChanged', orderId: directRoomId(blockerId, blockedId), blockerId, blockedId, on }
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
