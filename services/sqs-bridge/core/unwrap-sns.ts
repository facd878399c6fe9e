import { ChatError } from '#libs/domain/errors.ts'
import { parseIsoTimeMs } from './iso-time.ts'
import type { OrderMessage } from './order-message.ts'

export type JsonObject = Readonly<Record<string, unknown>>

/** The order service's own payload, and what SNS and SQS say about it. */
export type Unwrapped = {
  readonly payload: JsonObject
  readonly eventType: string | undefined
  readonly snsMessageId: string | undefined
  /** When SNS took it in, else when SQS did; ms since 1970. */
  readonly sentMs: number | undefined
}

/** SNS and SQS give UUIDs; anything printable of sane length will do as an event id. */
const MESSAGE_ID = /^[\x21-\x7e]{1,128}$/

/**
 * Takes the payload out of a message in either form of SNS delivery, or sent to the queue directly. The event's type is
 * the attribute `eventType`; without one, the payload's own `type`, `eventType` or `event`.
 * @throws ChatError `bad_json`, `invalid_event`, or `unknown_event_type` for what SNS itself has to say
 */
export function unwrapSns(message: OrderMessage): Unwrapped {
  const body = parseObject(message.body, 'the body')
  if (!isEnvelope(body)) {
    const eventType = message.attributes['eventType']?.value ?? ownType(body)
    return { payload: body, eventType, snsMessageId: undefined, sentMs: message.sentTimestampMs }
  }
  if (body['Type'] !== undefined && body['Type'] !== 'Notification') {
    throw new ChatError('unknown_event_type', `an SNS message of type ${quoted(body['Type'])}`)
  }
  const inner = body['Message']
  const payload = isObject(inner) ? inner : parseObject(inner, 'Message of the SNS envelope')
  const id = body['MessageId']
  return {
    payload,
    eventType: envelopeAttribute(body, 'eventType') ?? ownType(payload),
    snsMessageId: typeof id === 'string' && MESSAGE_ID.test(id) ? id : undefined,
    sentMs: parseIsoTimeMs(body['Timestamp']) ?? message.sentTimestampMs,
  }
}

/** The trace that came along, in whichever form; never throws. */
export function traceparentOf(message: OrderMessage): string | undefined {
  const attribute = message.attributes['traceparent']?.value
  if (attribute !== undefined) return attribute
  try {
    const body = parseObject(message.body, 'the body')
    return isEnvelope(body) ? envelopeAttribute(body, 'traceparent') : undefined
  } catch {
    return undefined
  }
}

/** What an error may repeat of a stranger's text. */
export function quoted(value: unknown): string {
  const text = JSON.stringify(value) ?? 'undefined'
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}

export const isObject = (value: unknown): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value)

function isEnvelope(body: JsonObject): boolean {
  if (body['Type'] === 'Notification') return true
  // Envelopes that were made by hand often leave out Type. An order's payload has an orderId, an envelope never has.
  return body['orderId'] === undefined && (typeof body['Message'] === 'string' || body['TopicArn'] !== undefined)
}

function envelopeAttribute(envelope: JsonObject, name: string): string | undefined {
  const attributes = envelope['MessageAttributes']
  const attribute = isObject(attributes) ? attributes[name] : undefined
  const value = isObject(attribute) ? attribute['Value'] : undefined
  return typeof value === 'string' ? value : undefined
}

function ownType(payload: JsonObject): string | undefined {
  for (const name of ['type', 'eventType', 'event']) {
    const value = payload[name]
    if (typeof value === 'string') return value
  }
  return undefined
}

function parseObject(text: unknown, what: string): JsonObject {
  if (typeof text !== 'string') throw new ChatError('invalid_event', `${what} is missing`)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (err) {
    throw new ChatError('bad_json', `${what}: ${(err as Error).message}`)
  }
  if (!isObject(value)) throw new ChatError('invalid_event', `${what} is not a JSON object`)
  return value
}
