import { afterAll, beforeAll, expect, test } from 'vitest'
import { System } from '../support/system.ts'
import { useStack } from '../support/stack.ts'

let system: System
beforeAll(async () => {
  system = await System.start(await useStack(), 'order-life')
})
afterAll(() => system?.close())

test('an order lives: accepted, talked about over two edges, brought, delivered, read by an admin', async () => {
  const orderId = 'order-life-1'
  await system.order('accepted', orderId, { customerId: 'customer', vendorId: 'vendor' })
  const customer = await system.connect(1, { userId: 'customer', orderId, until: 'open' })
  const vendor = await system.connect(2, { userId: 'vendor', orderId, until: 'open' })
  expect(await customer.waitForType('joined')).toMatchObject({ roomId: orderId, readOnly: false, participants: [{ userId: 'customer', role: 'customer' }, { userId: 'vendor', role: 'vendor' }] })

  const ack = await customer.sendMessage('Is it ready?')
  expect(ack).toMatchObject({ type: 'ack', roomId: orderId, seq: 2, messageIndex: 1 })
  expect(await vendor.waitForSeq(2)).toMatchObject({ type: 'newMessage', content: 'Is it ready?', senderId: 'customer', messageId: ack['messageId'], clientMessageId: ack['clientMessageId'], timestamp: ack['timestamp'] })
  expect(await vendor.sendMessage('In five minutes')).toMatchObject({ type: 'ack', seq: 3, messageIndex: 2 })
  await customer.waitForSeq(3)

  await system.order('rider_assigned', orderId, { riderId: 'rider' })
  expect(await customer.waitForSeq(4)).toMatchObject({ type: 'roomUpdated', event: 'participantAdded', userId: 'rider', role: 'rider' })
  const rider = await system.connect(1, { userId: 'rider', orderId, until: 'open' })
  await rider.waitForType('caughtUp')
  expect(rider.events().map((f) => f['seq'])).toEqual([1, 2, 3, 4])
  expect(await rider.sendMessage('On my way')).toMatchObject({ type: 'ack', seq: 5 })
  await vendor.waitForSeq(5)

  await system.order('delivered', orderId, { deliveredAt: new Date().toISOString() })
  for (const socket of [customer, vendor, rider]) expect(await socket.waitForSeq(6)).toMatchObject({ event: 'roomClosed', reason: 'delivered' })
  expect(await customer.sendMessage('Thanks')).toMatchObject({ type: 'error', code: 'room_read_only', retriable: false })

  const admin = await system.connect(2, { userId: 'boss', role: 'admin', orderId })
  await admin.waitForType('caughtUp')
  expect(admin.events().map((f) => f['seq'])).toEqual([1, 2, 3, 4, 5, 6])
  expect(await admin.sendMessage('I see you')).toMatchObject({ type: 'error', code: 'admin_is_read_only' })
  // Nobody saw a seq twice, and none is missing.
  for (const socket of [customer, vendor, rider]) expect(socket.events().map((f) => f['seq'])).toEqual([1, 2, 3, 4, 5, 6])
})
