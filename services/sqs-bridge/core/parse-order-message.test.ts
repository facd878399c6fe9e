import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CLIENT_CLOCK_AHEAD_MS, ORDER_EVENT_AGE_MAX_MS } from '#libs/domain/limits.ts'
import type { OrderMessage, ParsedMessage } from './order-message.ts'
import { eventTypes, parseOrderMessage } from './parse-order-message.ts'

const NOW_MS = Date.parse('2026-03-01T12:00:00Z')
const SENT_MS = NOW_MS - 60_000
const accepted = { orderId: 'o-1', customerId: 'c-1', vendorId: 'v-1', total: 12.5 }

function raw(payload: unknown, attributes: Record<string, string> = {}): OrderMessage {
  return {
    messageId: 'sqs-1',
    body: typeof payload === 'string' ? payload : JSON.stringify(payload),
    sentTimestampMs: SENT_MS,
    attributes: Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, { type: 'String', value }])),
  }
}

function envelope(payload: unknown, attributes: Record<string, string> = {}, extra: object = {}): OrderMessage {
  return raw({
    Type: 'Notification',
    MessageId: 'sns-1',
    TopicArn: 'arn:aws:sns:eu-west-1:000000000000:orders',
    Message: typeof payload === 'string' ? payload : JSON.stringify(payload),
    Timestamp: '2026-03-01T11:59:00.000Z',
    MessageAttributes: Object.fromEntries(Object.entries(attributes).map(([name, Value]) => [name, { Type: 'String', Value }])),
    ...extra,
  })
}

const parse = (message: OrderMessage) => parseOrderMessage(message, NOW_MS)
const codeOf = (parsed: ParsedMessage) => (parsed.kind === 'dead' ? parsed.code : 'no refusal')
const eventOf = (parsed: ParsedMessage) => {
  if (parsed.kind === 'dead') throw new Error(`${parsed.code}: ${parsed.reason}`)
  return parsed.event
}

describe('what an order message means', () => {
  test('the SNS envelope', () => {
    expect(parse(envelope(accepted, { eventType: 'order.accepted', traceparent: 'abc' }))).toEqual({
      kind: 'event',
      traceparent: 'abc',
      event: { type: 'orderAccepted', orderId: 'o-1', customerId: 'c-1', vendorId: 'v-1', eventId: 'sns-1', occurredAtMs: SENT_MS },
    })
  })

  test('raw delivery, with the attributes on the SQS message', () => {
    const parsed = parse(raw({ orderId: 'o-1', riderId: 'r-1' }, { eventType: 'order.rider_assigned', traceparent: 'abc' }))
    expect(parsed.traceparent).toBe('abc')
    expect(eventOf(parsed)).toMatchObject({ type: 'riderAssigned', riderId: 'r-1', occurredAtMs: SENT_MS, eventId: expect.stringMatching(/^[0-9a-f]{64}$/) })
  })

  test.each(['type', 'eventType', 'event'])('without the attribute, the payload field %s names the type', (field) => {
    expect(eventOf(parse(raw({ ...accepted, [field]: 'order.accepted' }))).type).toBe('orderAccepted')
    expect(eventOf(parse(envelope({ ...accepted, [field]: 'order.accepted' }))).type).toBe('orderAccepted')
  })

  test('the attribute wins over the payload', () => {
    expect(eventOf(parse(raw({ orderId: 'o-1', type: 'order.accepted' }, { eventType: 'order.delivered' })))).toMatchObject({ type: 'orderEnded' })
  })

  test.each([
    ['order.rider_assigned', { type: 'riderAssigned' }],
    ['rider.assigned', { type: 'riderAssigned' }],
    ['order.delivered', { type: 'orderEnded', reason: 'delivered' }],
    ['order.cancelled', { type: 'orderEnded', reason: 'cancelled' }],
  ])('%s', (eventType, expected) => {
    expect(eventOf(parse(envelope({ orderId: 'o-1', riderId: 'r-1', deliveredAt: 'whenever' }, { eventType })))).toMatchObject(expected)
  })

  test('an envelope without Type, as people make by hand', () => {
    const Message = JSON.stringify(accepted)
    const parsed = parse(raw({ Message, MessageAttributes: { eventType: { Type: 'String', Value: 'order.accepted' } } }))
    expect(eventOf(parsed).orderId).toBe('o-1')
  })

  test('ids that are JSON numbers become their decimal text', () => {
    const event = eventOf(parse(raw({ orderId: 123456789012, customerId: 7, vendorId: 0, type: 'order.accepted' })))
    expect(event).toMatchObject({ orderId: '123456789012', customerId: '7', vendorId: '0' })
  })
})

describe('what can have no meaning', () => {
  test.each<[string, OrderMessage, string]>([
    ['no JSON', raw('{"orderId": '), 'bad_json'],
    ['an empty body', raw(''), 'bad_json'],
    ['an envelope around no JSON', envelope('hello', { eventType: 'order.accepted' }), 'bad_json'],
    ['a list', raw('[]'), 'invalid_event'],
    ['null', raw('null'), 'invalid_event'],
    ['an envelope around a number', envelope('7', { eventType: 'order.accepted' }), 'invalid_event'],
    ['an envelope without Message', raw({ Type: 'Notification', MessageId: 'sns-1' }), 'invalid_event'],
    ['no type at all', raw(accepted), 'unknown_event_type'],
    ['another type', envelope(accepted, { eventType: 'order.created' }), 'unknown_event_type'],
    ['the name of a method', envelope(accepted, { eventType: 'constructor' }), 'unknown_event_type'],
    ['what SNS says on subscribing', raw({ Type: 'SubscriptionConfirmation', TopicArn: 'arn', Message: 'confirm' }), 'unknown_event_type'],
    ['no order', raw({ customerId: 'c', vendorId: 'v', type: 'order.accepted' }), 'invalid_event'],
    ['an order id with a slash', raw({ ...accepted, orderId: 'o/1', type: 'order.accepted' }), 'invalid_room_id'],
    ['an order id of 129 characters', raw({ ...accepted, orderId: 'o'.repeat(129), type: 'order.accepted' }), 'invalid_room_id'],
    ['an empty order id', raw({ ...accepted, orderId: '', type: 'order.accepted' }), 'invalid_room_id'],
    ['an order id that JSON lost digits of', raw('{"orderId":9007199254740993,"type":"order.delivered"}'), 'invalid_event'],
    ['a fraction for an order id', raw({ orderId: 1.5, type: 'order.delivered' }), 'invalid_event'],
    ['no customer', raw({ orderId: 'o', vendorId: 'v', type: 'order.accepted' }), 'invalid_event'],
    ['no vendor', raw({ orderId: 'o', customerId: 'c', type: 'order.accepted' }), 'invalid_event'],
    ['a customer with a space', raw({ ...accepted, customerId: 'c 1', type: 'order.accepted' }), 'invalid_event'],
    ['null for a rider', raw({ orderId: 'o', riderId: null, type: 'rider.assigned' }), 'invalid_event'],
  ])('%s', (_, message, code) => {
    expect(codeOf(parse(message))).toBe(code)
  })
})

describe('when it occurred', () => {
  const at = (occurredAt: unknown) => parse(raw({ ...accepted, type: 'order.accepted', occurredAt }))

  test.each([
    ['2026-03-01T11:00:00Z', '2026-03-01T11:00:00Z'],
    ['2026-03-01T11:00:00.123456789Z', '2026-03-01T11:00:00.123Z'],
    ['2026-03-01T13:00+02:00', '2026-03-01T11:00:00Z'],
    ['2026-03-01T13:00:00+0200', '2026-03-01T11:00:00Z'],
    [Date.parse('2026-03-01T11:00:00Z'), '2026-03-01T11:00:00Z'],
    [null, '2026-03-01T11:59:00Z'],
  ])('%s', (occurredAt, expected) => {
    expect(eventOf(at(occurredAt)).occurredAtMs).toBe(Date.parse(expected))
  })

  test.each(['2026-03-01T11:00:00', '2026-03-01', '2026-02-30T11:00:00Z', 'yesterday', '', '1772362800000', 1_772_362_800, -1, 1e300, {}, true])(
    '%s is not guessed at',
    (occurredAt) => {
      expect(codeOf(at(occurredAt))).toBe('invalid_event')
    },
  )

  test('payload, else SNS, else SQS, else now', () => {
    const payload = { orderId: 'o-1', type: 'order.delivered' }
    expect(eventOf(parse(envelope({ ...payload, occurredAt: '2026-03-01T10:00:00Z' }))).occurredAtMs).toBe(Date.parse('2026-03-01T10:00:00Z'))
    expect(eventOf(parse(envelope(payload, {}, { Timestamp: '2026-03-01T09:00:00Z' }))).occurredAtMs).toBe(Date.parse('2026-03-01T09:00:00Z'))
    expect(eventOf(parse(envelope(payload, {}, { Timestamp: undefined }))).occurredAtMs).toBe(SENT_MS)
    expect(eventOf(parse({ ...raw(payload), sentTimestampMs: undefined })).occurredAtMs).toBe(NOW_MS)
  })

  test('a clock that runs ahead is believed for five minutes', () => {
    expect(eventOf(at('2030-01-01T00:00:00Z')).occurredAtMs).toBe(NOW_MS + CLIENT_CLOCK_AHEAD_MS)
  })

  test('older than 28 days', () => {
    expect(codeOf(at(NOW_MS - ORDER_EVENT_AGE_MAX_MS - 1))).toBe('event_too_old')
    expect(codeOf(at(NOW_MS - ORDER_EVENT_AGE_MAX_MS))).toBe('no refusal')
    expect(codeOf(parse({ ...raw({ orderId: 'o', type: 'order.delivered' }), sentTimestampMs: 1 }))).toBe('event_too_old')
  })
})

describe('properties', () => {
  const id = fc.oneof(fc.stringMatching(/^[A-Za-z0-9._:-]{1,128}$/), fc.nat().map(String))
  const payloads = fc.record({
    orderId: id,
    customerId: id,
    vendorId: id,
    riderId: id,
    occurredAt: fc.date({ min: new Date(NOW_MS - ORDER_EVENT_AGE_MAX_MS), max: new Date(NOW_MS), noInvalidDate: true }).map((date) => date.toISOString()),
    note: fc.json(),
  })
  const eventType = fc.constantFrom(...eventTypes)

  test('no input throws, and every answer is an event or a coded refusal', () => {
    const names = fc.constantFrom('Type', 'Message', 'MessageAttributes', 'MessageId', 'Timestamp', 'TopicArn', 'orderId', 'customerId', 'vendorId', 'riderId', 'occurredAt', 'type', 'event')
    const values = fc.oneof(fc.jsonValue(), fc.constantFrom('Notification', 'order.accepted', 'o-1', '{"orderId":"o"}', -0, 1e400))
    const nearlyRight = fc.dictionary(names, fc.oneof(values, fc.dictionary(names, values).map((inner) => JSON.stringify(inner))))
    const bodies = fc.oneof(fc.string({ unit: 'binary' }), fc.json(), nearlyRight.map((body) => JSON.stringify(body)))
    const attributes = fc.dictionary(fc.constantFrom('eventType', 'traceparent', '__proto__', 'x'), fc.record({ type: fc.string(), value: fc.oneof(fc.string(), eventType) }))
    fc.assert(
      fc.property(bodies, attributes, fc.option(fc.integer(), { nil: undefined }), (body, attributes, sentTimestampMs) => {
        const parsed = parse({ messageId: 'm', body, attributes, sentTimestampMs })
        if (parsed.kind === 'dead') return ['bad_json', 'unknown_event_type', 'invalid_event', 'invalid_room_id', 'event_too_old'].includes(parsed.code)
        return Number.isSafeInteger(parsed.event.occurredAtMs) && parsed.event.eventId.length > 0
      }),
      { numRuns: 1_000 },
    )
  }, 60_000)

  test('both forms of delivery give the same event, but for its id', () => {
    fc.assert(
      fc.property(payloads, eventType, (payload, type) => {
        const fromEnvelope = eventOf(parse(envelope(payload, { eventType: type })))
        const fromRaw = eventOf(parse(raw(payload, { eventType: type })))
        expect({ ...fromRaw, eventId: '' }).toEqual({ ...fromEnvelope, eventId: '' })
      }),
    )
  })

  test('a redelivery gives the same event, whenever it comes', () => {
    fc.assert(
      fc.property(payloads, eventType, fc.boolean(), fc.nat(86_400_000), (payload, type, isRaw, laterMs) => {
        const message = isRaw ? raw(payload, { eventType: type }) : envelope(payload, { eventType: type })
        const first = parseOrderMessage(message, NOW_MS - laterMs)
        const second = parseOrderMessage({ ...message, messageId: 'other' }, NOW_MS - laterMs + 1)
        fc.pre(first.kind === 'event' && second.kind === 'event')
        expect(eventOf(second).eventId).toBe(eventOf(first).eventId)
        expect(eventOf(parse(message))).toEqual(eventOf(parse({ ...message, messageId: 'other' })))
      }),
    )
  })
})
