import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { directRoomId, isRoomId, type UserId } from '#libs/domain/ids.ts'
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
  if (parsed.kind === 'product') throw new Error('a product update')
  return parsed.event
}
const productOf = (parsed: ParsedMessage) => {
  if (parsed.kind !== 'product') throw new Error(JSON.stringify(parsed))
  return parsed.product
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
    ['another type', envelope(accepted, { eventType: 'order.exploded' }), 'unknown_event_type'],
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
    ['a created order without a vendor', raw({ orderId: 'o', customerId: 'c', type: 'order.created' }), 'invalid_event'],
    ['a created order whose id is none', raw({ ...accepted, orderId: 'o 1', type: 'order.created' }), 'invalid_room_id'],
    ['nobody who blocks', raw({ blockedUserId: 'b', type: 'user.blocked' }), 'invalid_event'],
    ['nobody who is blocked', raw({ userId: 'a', type: 'user.unblocked' }), 'invalid_event'],
    ['a user with a space who blocks', raw({ userId: 'a 1', blockedUserId: 'b', type: 'user.blocked' }), 'invalid_event'],
    ['a user who blocks himself', raw({ userId: 'a', blockedUserId: 'a', type: 'user.blocked' }), 'invalid_event'],
    ['a user who blocks himself, once by a number', raw({ userId: 7, blockedId: '7', type: 'user.unblocked' }), 'invalid_event'],
    ['null for a rider', raw({ orderId: 'o', riderId: null, type: 'rider.assigned' }), 'invalid_event'],
  ])('%s', (_, message, code) => {
    expect(codeOf(parse(message))).toBe(code)
  })
})

describe('events of a pair of people', () => {
  const pair = directRoomId('c-1' as UserId, 'v-1' as UserId)

  test('a created order is one of the direct room of its customer and its vendor', () => {
    expect(eventOf(parse(envelope(accepted, { eventType: 'order.created' })))).toEqual({
      type: 'orderCreated', orderId: pair, subjectId: 'o-1', customerId: 'c-1', vendorId: 'v-1', eventId: 'sns-1', occurredAtMs: SENT_MS,
    })
  })

  test.each([
    ['user.blocked', { userId: 'c-1', blockedUserId: 'v-1' }, { blockerId: 'c-1', blockedId: 'v-1', on: true }],
    ['user.blocked', { blockerId: 'v-1', blockedId: 'c-1' }, { blockerId: 'v-1', blockedId: 'c-1', on: true }],
    ['user.unblocked', { userId: 'c-1', blockedId: 'v-1' }, { blockerId: 'c-1', blockedId: 'v-1', on: false }],
  ])('%s %j', (eventType, payload, expected) => {
    expect(eventOf(parse(raw(payload, { eventType })))).toMatchObject({ type: 'blockChanged', orderId: pair, ...expected })
  })

  test('a word about a block is of any age, a created order is not', () => {
    const occurredAt = new Date(NOW_MS - 5 * 365 * 86_400_000).toISOString()
    expect(eventOf(parse(raw({ userId: 'a', blockedUserId: 'b', occurredAt, type: 'user.blocked' })))).toMatchObject({ occurredAtMs: Date.parse(occurredAt) })
    expect(codeOf(parse(raw({ ...accepted, occurredAt, type: 'order.created' })))).toBe('event_too_old')
  })
})

describe('product updates', () => {
  const product = (fields: object) => parse(raw({ productId: 'p-1', name: 'Ramen', type: 'product.updated', ...fields }))

  test('all fields', () => {
    const fields = { priceMinor: 1250, currency: 'EUR', imageUrl: 'https://cdn.example/ramen.png', available: true, occurredAt: '2026-03-01T11:00:00Z' }
    expect(productOf(product(fields))).toEqual({
      productId: 'p-1', name: 'Ramen', priceMinor: 1250, currency: 'EUR', imageUrl: 'https://cdn.example/ramen.png', available: true, updatedAtMs: Date.parse('2026-03-01T11:00:00Z'),
    })
  })

  test('what is missing or null is left out; the time is then that of SNS or SQS', () => {
    const bare = { productId: 'p-1', name: 'Ramen', updatedAtMs: SENT_MS }
    expect(productOf(product({}))).toEqual(bare)
    expect(productOf(product({ price: null, priceMinor: null, currency: null, imageUrl: null, available: null, occurredAt: null, stock: 7 }))).toEqual(bare)
    expect(productOf(parse(envelope({ productId: 7, name: 'n' }, { eventType: 'product.updated' })))).toEqual({ productId: '7', name: 'n', updatedAtMs: SENT_MS })
  })

  test('of any age, but not of the future', () => {
    expect(productOf(product({ occurredAt: '2020-01-01T00:00:00Z' })).updatedAtMs).toBe(Date.parse('2020-01-01T00:00:00Z'))
    expect(productOf(product({ occurredAt: '2030-01-01T00:00:00Z' })).updatedAtMs).toBe(NOW_MS + CLIENT_CLOCK_AHEAD_MS)
  })

  test.each([
    [19.99, 'EUR', 1999],
    ['19.9', 'EUR', 1990],
    [0.29, 'USD', 29],
    [7, 'USD', 700],
    [0, 'USD', 0],
    [1200, 'JPY', 1200],
    ['1200.00', 'JPY', 1200],
    [1.234, 'KWD', 1234],
  ])('a price of %s %s', (price, currency, priceMinor) => {
    expect(productOf(product({ price, currency }))).toMatchObject({ priceMinor, currency })
  })

  test.each<[string, object]>([
    ['no id', { productId: undefined }],
    ['an id with a space', { productId: 'p 1' }],
    ['an id of 129 characters', { productId: 'p'.repeat(129) }],
    ['no name', { name: undefined }],
    ['an empty name', { name: '' }],
    ['a name of 201 characters', { name: '💥'.repeat(201) }],
    ['a name that Postgres cannot store', { name: 'a\0' }],
    ['half a character', { name: 'a\ud800' }],
    ['half a cent', { priceMinor: 0.5 }],
    ['a price below zero', { priceMinor: -1 }],
    ['a price as text', { priceMinor: '12' }],
    ['a price beyond all', { priceMinor: 10 ** 15 + 1 }],
    ['a price without a currency', { price: 12.5 }],
    ['a tenth of a cent', { price: 0.001, currency: 'EUR' }],
    ['a yen and a half', { price: 1.5, currency: 'JPY' }],
    ['a negative amount', { price: -1, currency: 'EUR' }],
    ['an amount in words', { price: 'twelve', currency: 'EUR' }],
    ['an amount beyond all', { price: 1e21, currency: 'EUR' }],
    ['a currency in small letters', { currency: 'eur' }],
    ['an image without TLS', { imageUrl: 'http://cdn.example/p.png' }],
    ['an image that is a script', { imageUrl: 'javascript:alert(1)' }],
    ['an image that is no URL', { imageUrl: 'p.png' }],
    ['an image with a password', { imageUrl: 'https://u:p@cdn.example/p.png' }],
    ['availability in words', { available: 'yes' }],
    ['a time that is none', { occurredAt: 'yesterday' }],
  ])('%s', (_, fields) => {
    expect(codeOf(product(fields))).toBe('invalid_event')
  })

  test('200 characters are a name, however many bytes they have', () => {
    expect(productOf(product({ name: '💥'.repeat(200) })).name).toHaveLength(400)
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
    userId: id.map((text) => `a${text}`.slice(0, 128)),
    blockedUserId: id.map((text) => `b${text}`.slice(0, 128)),
    productId: id,
    name: fc.string({ minLength: 1, maxLength: 50 }).filter((text) => !text.includes('\0')),
    occurredAt: fc.date({ min: new Date(NOW_MS - ORDER_EVENT_AGE_MAX_MS), max: new Date(NOW_MS), noInvalidDate: true }).map((date) => date.toISOString()),
    note: fc.json(),
  })
  const eventType = fc.constantFrom(...eventTypes)

  test('no input throws, and every answer is an event or a coded refusal', () => {
    const names = fc.constantFrom('Type', 'Message', 'MessageAttributes', 'MessageId', 'Timestamp', 'TopicArn', 'orderId', 'customerId', 'vendorId', 'riderId', 'userId', 'blockedUserId', 'productId', 'name', 'price', 'priceMinor', 'currency', 'imageUrl', 'available', 'occurredAt', 'type', 'event')
    const values = fc.oneof(fc.jsonValue(), fc.constantFrom('Notification', ...eventTypes, 'o-1', '{"orderId":"o"}', 'EUR', 'https://x', -0, 1e400))
    const nearlyRight = fc.dictionary(names, fc.oneof(values, fc.dictionary(names, values).map((inner) => JSON.stringify(inner))))
    const bodies = fc.oneof(fc.string({ unit: 'binary' }), fc.json(), nearlyRight.map((body) => JSON.stringify(body)))
    const attributes = fc.dictionary(fc.constantFrom('eventType', 'traceparent', '__proto__', 'x'), fc.record({ type: fc.string(), value: fc.oneof(fc.string(), eventType) }))
    fc.assert(
      fc.property(bodies, attributes, fc.option(fc.integer(), { nil: undefined }), (body, attributes, sentTimestampMs) => {
        const parsed = parse({ messageId: 'm', body, attributes, sentTimestampMs })
        if (parsed.kind === 'dead') return ['bad_json', 'unknown_event_type', 'invalid_event', 'invalid_room_id', 'event_too_old'].includes(parsed.code)
        if (parsed.kind === 'product') return Number.isSafeInteger(parsed.product.updatedAtMs) && isRoomId(parsed.product.productId)
        return Number.isSafeInteger(parsed.event.occurredAtMs) && parsed.event.eventId.length > 0 && isRoomId(parsed.event.orderId)
      }),
      { numRuns: 1_000 },
    )
  }, 60_000)

  /** Without the id of the event, which the way of delivery may decide. */
  const contentOf = (parsed: ParsedMessage) => (parsed.kind === 'product' ? parsed.product : { ...eventOf(parsed), eventId: '' })

  test('both forms of delivery give the same event, but for its id', () => {
    fc.assert(
      fc.property(payloads, eventType, (payload, type) => {
        expect(contentOf(parse(raw(payload, { eventType: type })))).toEqual(contentOf(parse(envelope(payload, { eventType: type }))))
      }),
    )
  })

  test('a redelivery gives the same event, whenever it comes', () => {
    fc.assert(
      fc.property(payloads, eventType, fc.boolean(), fc.nat(86_400_000), (payload, type, isRaw, laterMs) => {
        const message = isRaw ? raw(payload, { eventType: type }) : envelope(payload, { eventType: type })
        const first = parseOrderMessage(message, NOW_MS - laterMs)
        const second = parseOrderMessage({ ...message, messageId: 'other' }, NOW_MS - laterMs + 1)
        fc.pre(first.kind === second.kind && first.kind !== 'dead')
        if (first.kind === 'event') expect(eventOf(second).eventId).toBe(eventOf(first).eventId)
        const { traceparent: _, ...content } = parse(message)
        expect(parse({ ...message, messageId: 'other' })).toMatchObject(content)
      }),
    )
  })
})
