import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import type { Frame } from '../support/chat-socket.ts'
import { System } from '../support/system.ts'
import { useStack } from '../support/stack.ts'
import { readDeadLetters } from './dead-letters.ts'
import { joinOnceOpen, probe, range, readRoom, seqsOf, wideLimits } from './helpers.ts'

let system: System
beforeAll(async () => {
  system = await System.start(await useStack(), 'order-events', { env: wideLimits })
})
afterAll(() => system?.close())

const join = (edge: number, userId: string, orderId: string) => system.connect(edge, { userId, orderId, until: 'open' })
const agoIso = (ms: number) => new Date(Date.now() - ms).toISOString()
const factsOf = (events: readonly Frame[]) => events.map((f) => [f['seq'], f['event'] ?? f.type, f['userId'] ?? f['reason'] ?? f['content']])

/** An SNS envelope as it lies on the queue; the same text again is the same event again. */
function envelope(eventType: string, payload: unknown, messageId: string = crypto.randomUUID()): string {
  const Message = typeof payload === 'string' ? payload : JSON.stringify(payload)
  return JSON.stringify({ Type: 'Notification', MessageId: messageId, TopicArn: 'arn:aws:sns:eu-west-1:1:orders', Message, Timestamp: new Date().toISOString(), MessageAttributes: { eventType: { Type: 'String', Value: eventType } } })
}

/** Puts events on the queue and waits until the bridge has handed all of them to Kafka. Nothing else may be on its way. */
async function delivered(count: number, put: () => Promise<unknown>): Promise<void> {
  const published = () => system.process('sqs-bridge-1').metricSum('sqs_bridge_published_total')
  const before = await published()
  await put()
  await vi.waitFor(async () => expect(await published()).toBe(before + count), { timeout: 20_000, interval: 50 })
}

test('the same events again change nothing', async () => {
  const orderId = 'order-twice'
  const accepted = envelope('order.accepted', { orderId, customerId: 'customer', vendorId: 'vendor', total: 12.5 })
  const first = envelope('order.rider_assigned', { orderId, riderId: 'rider-1', occurredAt: agoIso(60_000) })
  const second = envelope('rider.assigned', { orderId, riderId: 'rider-2', occurredAt: agoIso(30_000) })
  for (const body of [accepted, accepted, first, first, second, first, second, accepted]) await delivered(1, () => system.putOnQueue(body))
  const customer = await join(1, 'customer', orderId)
  await customer.sendMessage('hi')
  const closing = envelope('order.delivered', { orderId, deliveredAt: agoIso(0) })
  for (const body of [closing, closing, accepted, second]) await delivered(1, () => system.putOnQueue(body))
  // In the same partition behind all of them.
  await delivered(1, () => system.order('cancelled', orderId))
  expect(factsOf(await readRoom(system, 2, 'vendor', orderId))).toEqual([
    [1, 'roomOpened', undefined],
    [2, 'participantAdded', 'rider-1'],
    [3, 'participantRemoved', 'rider-1'],
    [4, 'participantAdded', 'rider-2'],
    [5, 'newMessage', 'hi'],
    [6, 'roomClosed', 'delivered'],
  ])
})

test('a rider who is assigned before the order is accepted is there from the start', async () => {
  const orderId = 'order-early-rider'
  await delivered(1, () => system.order('rider_assigned', orderId, { riderId: 'rider' }))
  expect(await probe(system, 1, { token: await system.token('rider'), orderId })).toMatchObject({ status: 404, body: { code: 'room_not_found' } })
  await system.order('accepted', orderId, { customerId: 'customer', vendorId: 'vendor' })
  const rider = await join(1, 'rider', orderId)
  await rider.waitForType('caughtUp')
  expect(factsOf(rider.events())).toEqual([[1, 'roomOpened', undefined], [2, 'participantAdded', 'rider']])
  expect(await rider.sendMessage('early')).toMatchObject({ type: 'ack', seq: 3 })
})

test('delivered before accepted: a room that its people can read and nobody can write', async () => {
  const orderId = 'order-early-end'
  await delivered(1, () => system.order('delivered', orderId, { deliveredAt: agoIso(0) }))
  await system.order('accepted', orderId, { customerId: 'customer', vendorId: 'vendor' })
  for (const [edge, userId] of [[1, 'customer'], [2, 'vendor']] as const) {
    const socket = await join(edge, userId, orderId)
    expect(await socket.waitForType('joined')).toMatchObject({ readOnly: true, headSeq: 2 })
    await socket.waitForType('caughtUp')
    expect(factsOf(socket.events())).toEqual([[1, 'roomOpened', undefined], [2, 'roomClosed', 'delivered']])
    expect(await socket.sendMessage('hi')).toMatchObject({ type: 'error', code: 'room_read_only' })
  }
})

test('a replaced rider is shown the door on every socket, and sees nothing that comes after', async () => {
  const orderId = 'order-replaced'
  await system.openRoom(orderId, 'customer', 'vendor')
  const customer = await join(2, 'customer', orderId)
  await system.order('rider_assigned', orderId, { riderId: 'old-rider', occurredAt: agoIso(20_000) })
  await customer.waitForSeq(2)
  const old = await join(1, 'old-rider', orderId)
  const oldElsewhere = await join(2, 'old-rider', orderId)
  const oldDashboard = await system.connect(1, { userId: 'old-rider' })
  await joinOnceOpen(oldDashboard, orderId)
  await old.waitForType('caughtUp')
  expect(await old.sendMessage('on my way')).toMatchObject({ type: 'ack', seq: 3 })
  await system.order('rider_assigned', orderId, { riderId: 'new-rider', occurredAt: agoIso(10_000) })

  expect(await customer.waitForSeq(4)).toMatchObject({ event: 'participantRemoved', userId: 'old-rider', role: 'rider', reason: 'replaced' })
  expect(await customer.waitForSeq(5)).toMatchObject({ event: 'participantAdded', userId: 'new-rider', role: 'rider' })
  for (const socket of [old, oldElsewhere]) {
    const { code, reason } = await socket.waitForClose()
    expect([code, JSON.parse(reason)]).toEqual([4501, { code: 'not_a_participant' }])
    expect(socket.frames.at(-1)).toEqual({ type: 'left', roomId: orderId, code: 'not_a_participant' })
    expect(seqsOf(socket.events())).toEqual(range(1, 4))
  }
  expect(await oldDashboard.waitForType('left')).toEqual({ type: 'left', roomId: orderId, code: 'not_a_participant' })
  const later = await join(1, 'new-rider', orderId)
  expect(await later.sendMessage('the new one')).toMatchObject({ type: 'ack', seq: 6 })
  expect(await oldDashboard.sendMessage('still here', { roomId: orderId })).toMatchObject({ type: 'error', code: 'not_joined' })
  expect(await oldDashboard.request({ type: 'join', roomId: orderId, since: 3 })).toMatchObject({ type: 'error', code: 'not_a_participant' })
  expect(seqsOf(oldDashboard.events())).toEqual(range(1, 4))
  for (const edge of [1, 2]) expect(await probe(system, edge, { token: await system.token('old-rider'), orderId })).toMatchObject({ status: 403, body: { code: 'not_a_participant' } })

  // An assignment that was made before the one that stands comes too late to change anything.
  await delivered(1, () => system.order('rider_assigned', orderId, { riderId: 'late-rider', occurredAt: agoIso(15_000) }))
  await system.order('cancelled', orderId)
  expect(await customer.waitForSeq(7)).toMatchObject({ event: 'roomClosed', reason: 'cancelled' })
  expect(await probe(system, 1, { token: await system.token('late-rider'), orderId })).toMatchObject({ status: 403 })
  expect(seqsOf(customer.events())).toEqual(range(1, 7))
})

test('a dashboard joins rooms in the moment they are opened: no event is missed, none comes twice', async () => {
  const orderIds = range(1, 20).map((i) => `order-fresh-${i}`)
  const dashboards = await Promise.all([1, 2].map((edge) => system.connect(edge, { userId: 'dashboard' })))
  const joining = dashboards.map((dashboard) => Promise.all(orderIds.map((roomId) => joinOnceOpen(dashboard, roomId))))
  await Promise.all(
    orderIds.map(async (orderId) => {
      await system.order('accepted', orderId, { customerId: 'customer', vendorId: 'dashboard' })
      const customer = await join(1, 'customer', orderId)
      for (const n of range(1, 5)) await customer.sendMessage(`hello ${n}`)
      await system.order('rider_assigned', orderId, { riderId: 'rider' })
      await customer.waitForSeq(7)
      customer.close()
    }),
  )
  for (const joined of await Promise.all(joining)) expect(joined.map((f) => f.type)).toEqual(orderIds.map(() => 'joined'))
  for (const dashboard of dashboards) {
    for (const orderId of orderIds) {
      await dashboard.waitForSeq(7, orderId)
      expect(seqsOf(dashboard.events(orderId))).toEqual(range(1, 7))
    }
  }
})

test('poison goes to the dead letters with its reason, while good events flow, in both forms of delivery', async () => {
  const orderId = 'order-amid-poison'
  const poison: [body: string, code: string][] = [
    ['{"orderId": "order-9", ', 'bad_json'],
    [envelope('order.accepted', '{"orderId":'), 'bad_json'],
    [envelope('order.exploded', { orderId: 'order-9' }), 'unknown_event_type'],
    [JSON.stringify({ orderId: 'order-9', customerId: 'c', vendorId: 'v' }), 'unknown_event_type'],
    [envelope('order.accepted', { customerId: 'c', vendorId: 'v' }), 'invalid_event'],
    [envelope('order.accepted', { orderId: 'order-9', customerId: 'c' }), 'invalid_event'],
    [envelope('order.rider_assigned', { orderId: 'order-9' }), 'invalid_event'],
    [envelope('order.accepted', { orderId: 'no such/id', customerId: 'c', vendorId: 'v' }), 'invalid_room_id'],
    [envelope('order.accepted', { orderId: 'order-9', customerId: 'c', vendorId: 'v', occurredAt: agoIso(29 * 24 * 3_600_000) }), 'event_too_old'],
  ]
  const publishing = poison.map(([body]) => system.putOnQueue(body))
  await system.order('accepted', orderId, { customerId: 'customer', vendorId: 'vendor' }, { raw: true })
  await Promise.all(publishing)
  await system.order('rider_assigned', orderId, { riderId: 'rider' }, { raw: true })
  const customer = await join(1, 'customer', orderId)
  await customer.waitForSeq(2)
  await system.order('delivered', orderId, { deliveredAt: agoIso(0) })
  await customer.waitForSeq(3)
  expect(factsOf(customer.events())).toEqual([[1, 'roomOpened', undefined], [2, 'participantAdded', 'rider'], [3, 'roomClosed', 'delivered']])

  const letters = await readDeadLetters(system, poison.length)
  const byBody = (a: { body: string }, b: { body: string }) => (a.body < b.body ? -1 : 1)
  expect(letters.map(({ body, headers }) => ({ body, code: headers['error-code'] })).toSorted(byBody)).toEqual(poison.map(([body, code]) => ({ body, code })).toSorted(byBody))
  for (const { headers } of letters) expect(headers['error-reason']).toMatch(/\S/)
  expect(await probe(system, 1, { token: await system.token('boss', 'admin'), orderId: 'order-9' })).toMatchObject({ status: 404 })
})

test('the view chat_history has what clients saw', async () => {
  const orderId = 'order-history'
  await system.openRoom(orderId, 'customer', 'vendor')
  const customer = await join(1, 'customer', orderId)
  const vendor = await join(2, 'vendor', orderId)
  for (const text of ['Is it ready?', '', "it's “quoted”; DROP TABLE chat_rooms; --", '\\ \t\n\u0001 𝄞 ü', 'x'.repeat(4_000)]) {
    const reply = await customer.sendMessage(text)
    expect(reply.type).toBe(text === '' ? 'error' : 'ack')
    expect(await vendor.sendMessage(`You said: ${text.slice(0, 50)}`)).toMatchObject({ type: 'ack' })
  }
  await system.order('rider_assigned', orderId, { riderId: 'rider' })
  const { seq: head } = await vendor.waitFor((f) => f['event'] === 'participantAdded', 'the rider')
  await customer.waitForSeq(head)
  const seen = (await readRoom(system, 1, 'rider', orderId)).filter((f) => f.type === 'newMessage')
  expect(seen).toHaveLength(9)
  const rows = async () => {
    const { rows } = await system.pool.query('SELECT seq::int AS seq, message_id AS "messageId", sender_id AS "senderId", content, "timestamp" FROM chat_history WHERE room_id = $1 ORDER BY seq', [orderId])
    return rows.map((row) => ({ ...row, timestamp: (row.timestamp as Date).getTime() }))
  }
  await vi.waitFor(async () => expect(await rows()).toEqual(seen.map(({ seq, messageId, senderId, content, timestamp }) => ({ seq, messageId, senderId, content, timestamp }))), { timeout: 15_000 })
  const live = [...customer.events(), ...vendor.events()].filter((f) => f['messageId'] !== undefined)
  for (const f of live) expect(seen.find((s) => s['seq'] === f['seq'])).toMatchObject({ messageId: f['messageId'], clientMessageId: f['clientMessageId'], timestamp: f['timestamp'], ...(f.type === 'newMessage' && { content: f['content'], senderId: f['senderId'] }) })
})
