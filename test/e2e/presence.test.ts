import { readFileSync } from 'node:fs'
import avro from 'avsc'
import { Kafka, logLevel } from 'kafkajs'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import type { PresenceFields } from '#libs/domain/frames.ts'
import type { PresenceEvent } from '#libs/domain/presence.ts'
import { presenceEventFromAvro } from '#libs/streams/presence-shape.ts'
import { topics } from '#libs/streams/topics.ts'
import { TcpProxy } from '../faults/proxy/tcp-proxy.ts'
import type { ChatSocket, Frame } from '../support/chat-socket.ts'
import { System } from '../support/system.ts'
import { useStack } from '../support/stack.ts'
import { wideLimits } from './helpers.ts'

let system: System
let redis: TcpProxy
beforeAll(async () => {
  const stack = await useStack()
  redis = await TcpProxy.listen({ targets: [Number(new URL(stack.redisUrl).port)] })
  const throughProxy = (url: string) => url.replace(/:\d+/, `:${redis.port}`)
  system = await System.start(stack, 'presence', { env: wideLimits, endpointsOf: async (_, endpoints) => ({ ...endpoints, redisUrl: throughProxy(endpoints.redisUrl) }) })
})
afterAll(async () => {
  await system?.close()
  await redis?.close()
})

// A test that fails between a kill and the start after it must not take the next ones with it.
beforeEach(async () => {
  for (const process of system.processes.values()) if (!process.isRunning) await process.start()
})

const join = (edge: number, userId: string, orderId: string) => system.connect(edge, { userId, orderId, until: 'open' })
const typingOf = (socket: ChatSocket) => socket.frames.filter((f) => f.type === 'typing')
const usersOf = (socket: ChatSocket, roomId: string): PresenceFields[] => socket.frames.filter((f) => f.type === 'presence' && f['roomId'] === roomId).flatMap((f) => f['users'] as PresenceFields[])
/** What a socket was told last of somebody. */
const seen = (socket: ChatSocket, roomId: string, userId: string) => usersOf(socket, roomId).findLast((user) => user.userId === userId)
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

async function until(socket: ChatSocket, roomId: string, userId: string, status: PresenceFields['status'], timeoutMs = 10_000): Promise<PresenceFields> {
  await vi.waitFor(() => expect(seen(socket, roomId, userId)?.status).toBe(status), { timeout: timeoutMs, interval: 50 })
  return seen(socket, roomId, userId)!
}

/** A room with both people in it, each on another edge, who see each other. */
async function pairIn(orderId: string): Promise<readonly [ChatSocket, ChatSocket]> {
  const [customerId, vendorId] = [`c-${orderId}`, `v-${orderId}`]
  await system.order('accepted', orderId, { customerId, vendorId })
  const customer = await join(1, customerId, orderId)
  const vendor = await join(2, vendorId, orderId)
  await Promise.all([until(customer, orderId, vendorId, 'online'), until(vendor, orderId, customerId, 'online')])
  return [customer, vendor]
}

/** What presence-events has of a user, in order, once there are so many. */
async function eventsOf(userId: string, count: number): Promise<PresenceEvent[]> {
  const schema = JSON.parse(readFileSync(new URL('../../schemas/presence-events.avsc', import.meta.url), 'utf8')) as avro.Schema
  const type = avro.Type.forSchema(schema, { wrapUnions: true })
  const topic = `${system.names.topicPrefix}${topics.presenceEvents.name}`
  const consumer = new Kafka({ clientId: 'presence-events', brokers: system.stack.kafkaBrokers, logLevel: logLevel.NOTHING }).consumer({ groupId: `${topic}-${crypto.randomUUID()}`, maxWaitTimeInMs: 100 })
  const events: PresenceEvent[] = []
  try {
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    await consumer.run({
      autoCommit: false,
      eachMessage: async ({ message }) => {
        expect(message.key!.toString()).toBe(presenceEventFromAvro(type.fromBuffer(message.value!.subarray(5))).userId)
        if (message.key!.toString() === userId) events.push(presenceEventFromAvro(type.fromBuffer(message.value!.subarray(5))))
      },
    })
    await vi.waitFor(() => expect(events.length).toBeGreaterThanOrEqual(count), { timeout: 20_000, interval: 100 })
    return events
  } finally {
    await consumer.disconnect()
  }
}

test('typing reaches the other edge and not the typist\'s own devices, ends by itself after 5 s, and with the message', async () => {
  const [customer, vendor] = await pairIn('order-typing')
  const tablet = await join(2, 'c-order-typing', 'order-typing')
  await tablet.waitForType('caughtUp')
  expect(await customer.request({ type: 'typing', on: true })).toMatchObject({ type: 'ack', roomId: 'order-typing' })
  const on = await vendor.waitFor((f) => f.type === 'typing', 'typing')
  expect(on).toEqual({ type: 'typing', roomId: 'order-typing', userId: 'c-order-typing', on: true })
  const startedMs = Date.now()
  await vendor.waitFor((f) => f.type === 'typing' && f['on'] === false, 'the end of it')
  expect(Date.now() - startedMs).toBeGreaterThan(4_000)
  expect(Date.now() - startedMs).toBeLessThan(7_000)

  customer.sendRaw(JSON.stringify({ type: 'typing', on: true }))
  await vi.waitFor(() => expect(typingOf(vendor)).toHaveLength(3))
  const sentMs = Date.now()
  await customer.sendMessage('that is what I wanted to say')
  await vi.waitFor(() => expect(typingOf(vendor).map((f) => f['on'])).toEqual([true, false, true, false]))
  expect(Date.now() - sentMs).toBeLessThan(3_000)

  customer.sendRaw(JSON.stringify({ type: 'typing', on: true }))
  await vi.waitFor(() => expect(typingOf(vendor)).toHaveLength(5))
  customer.close()
  await vi.waitFor(() => expect(typingOf(vendor)).toHaveLength(6), { timeout: 3_000 })
  expect(typingOf(tablet)).toEqual([])
})

test('typing is refused where one may not write', async () => {
  const [customer] = await pairIn('order-typing-refused')
  const admin = await system.connect(1, { userId: 'admin', role: 'admin', orderId: 'order-typing-refused' })
  expect(await admin.request({ type: 'typing', on: true })).toMatchObject({ type: 'error', code: 'admin_is_read_only' })
  expect(await customer.request({ type: 'typing', roomId: 'elsewhere', on: true })).toMatchObject({ type: 'error', code: 'not_joined' })
  await system.order('delivered', 'order-typing-refused')
  await customer.waitFor((f) => f['event'] === 'roomClosed', 'the end')
  expect(await customer.request({ type: 'typing', on: true })).toMatchObject({ type: 'error', code: 'room_read_only' })
})

test('two devices on two edges: online until the last is gone, away when both are; a reload is nothing; both ends are in presence-events', async () => {
  const [roomId, customerId] = ['order-devices', 'c-order-devices']
  const [phone, vendor] = await pairIn(roomId)
  const laptop = await join(2, customerId, roomId)
  await laptop.waitForType('caughtUp')
  for (const device of [phone, laptop]) expect(await device.request({ type: 'setPresence', status: 'away' })).toMatchObject({ type: 'ack' })
  await until(vendor, roomId, customerId, 'away')
  await laptop.request({ type: 'setPresence', status: 'online' })
  await until(vendor, roomId, customerId, 'online')
  const before = usersOf(vendor, roomId).length

  phone.close()
  await pause(4_000)
  laptop.close()
  await pause(1_000)
  // A page that is loaded again, by way of the other edge.
  const again = await join(1, customerId, roomId)
  await pause(4_000)
  expect(usersOf(vendor, roomId)).toHaveLength(before)
  const goneMs = Date.now()
  again.close()
  const offline = await until(vendor, roomId, customerId, 'offline')
  expect(offline.lastSeenMs).toBeGreaterThan(goneMs)
  expect(offline.lastSeenMs).toBeLessThan(Date.now() + 1_000)
  expect((await eventsOf(customerId, 2)).map(({ status }) => status)).toEqual(['online', 'offline'])

  // Who comes later is told the same; who hides it is only offline.
  const other = await join(1, 'v-order-devices', roomId)
  expect(await until(other, roomId, customerId, 'offline')).toEqual(offline)
  const hidden = await join(1, customerId, roomId)
  await hidden.request({ type: 'setPresence', status: 'online', hideLastSeen: true })
  await until(vendor, roomId, customerId, 'online')
  hidden.close()
  expect(await until(vendor, roomId, customerId, 'offline')).toEqual({ userId: customerId, status: 'offline' })
})

test('presence goes to nobody who shares no room', async () => {
  const [, stranger] = await pairIn('order-strangers')
  const [customer, vendor] = await pairIn('order-friends')
  await customer.request({ type: 'setPresence', status: 'away' })
  await until(vendor, 'order-friends', 'c-order-friends', 'away')
  expect(JSON.stringify(stranger.frames)).not.toContain('order-friends')
})

test('an edge is killed: within 30 s its users are offline to the others, once, and in presence-events', async () => {
  const roomId = 'order-ghost'
  const [customer, vendor] = await pairIn(roomId)
  // Long enough for the survivor to tell a dead node from one that it has not heard of yet.
  await pause(16_000)
  const before = usersOf(vendor, roomId).length
  await system.process('edge-1').kill()
  await customer.waitForClose()
  const killedMs = Date.now()
  await until(vendor, roomId, 'c-order-ghost', 'offline', 30_000)
  expect(Date.now() - killedMs).toBeLessThan(30_000)
  await pause(2_000)
  expect(usersOf(vendor, roomId)).toHaveLength(before + 1)
  expect(await eventsOf('c-order-ghost', 2)).toMatchObject([{ status: 'online', edgeId: 'edge-1' }, { status: 'offline', edgeId: 'edge-2' }])
  await system.process('edge-1').start()
  await join(1, 'c-order-ghost', roomId)
  await until(vendor, roomId, 'c-order-ghost', 'online')
}, 120_000)

test('a product that a socket shows: the present card from the history, then whatever changes, the later one wins', async () => {
  const publish = (price: number, occurredAtMs: number) =>
    system.putOnQueue(JSON.stringify({ type: 'product.updated', productId: 'ramen', name: 'Ramen', priceMinor: price, currency: 'EUR', occurredAt: new Date(occurredAtMs).toISOString() }))
  const cards = (socket: ChatSocket) => socket.frames.filter((f) => f.type === 'cardUpdated').map((f) => (f['product'] as Frame)['priceMinor'])
  const baseMs = Date.now() - 60_000
  const [early, other] = [await system.connect(1, { userId: 'customer' }), await system.connect(2, { userId: 'vendor' })]
  for (const socket of [early, other]) expect(await socket.request({ type: 'watchProducts', productIds: ['ramen', 'nothing'] })).toMatchObject({ type: 'ack' })
  expect(cards(early)).toEqual([])
  await publish(1_200, baseMs)
  await vi.waitFor(() => expect([cards(early), cards(other)]).toEqual([[1_200], [1_200]]), { timeout: 15_000 })
  await vi.waitFor(async () => expect((await system.pool.query('SELECT 1 FROM products')).rowCount).toBe(1), { timeout: 15_000 })
  const late = await system.connect(2, { userId: 'customer' })
  await late.request({ type: 'watchProducts', productIds: ['ramen'] })
  const card = await late.waitForType('cardUpdated')
  expect(card).toEqual({ type: 'cardUpdated', productId: 'ramen', product: { productId: 'ramen', name: 'Ramen', priceMinor: 1_200, currency: 'EUR', updatedAtMs: baseMs } })
  await publish(900, baseMs - 5_000)
  await publish(1_500, baseMs + 5_000)
  await vi.waitFor(() => expect([early, other, late].map(cards)).toEqual([[1_200, 1_500], [1_200, 1_500], [1_200, 1_500]]), { timeout: 15_000 })
  await other.request({ type: 'watchProducts', productIds: [] })
  await publish(1_600, baseMs + 6_000)
  await vi.waitFor(() => expect(cards(early).at(-1)).toBe(1_600), { timeout: 15_000 })
  expect(cards(other)).toEqual([1_200, 1_500])
  expect(await early.request({ type: 'watchProducts', productIds: Array.from({ length: 101 }, (_, i) => `p${i}`) })).toMatchObject({ type: 'error', code: 'malformed_frame' })
})

test('Redis goes away: no typing and no presence, and messages go on; it is back: all is right within 30 s', async () => {
  const roomId = 'order-no-redis'
  const [customer, vendor] = await pairIn(roomId)
  redis.refuse(true)
  redis.cut()
  const [frames, acks] = [vendor.frames.length, await Promise.all([1, 2, 3].map((i) => customer.sendMessage(`without it ${i}`)))]
  expect(acks.map((f) => f.type)).toEqual(['ack', 'ack', 'ack'])
  await vendor.waitForSeq(4)
  expect(await customer.request({ type: 'typing', on: true })).toMatchObject({ type: 'ack' })
  expect(await customer.request({ type: 'setPresence', status: 'away' })).toMatchObject({ type: 'ack' })
  await pause(5_000)
  expect(vendor.frames.slice(frames).filter((f) => f.type === 'typing' || f.type === 'presence')).toEqual([])
  redis.refuse(false)
  await until(vendor, roomId, 'c-order-no-redis', 'away', 30_000)
  await vi.waitFor(async () => {
    customer.sendRaw(JSON.stringify({ type: 'typing', on: true }))
    expect(typingOf(vendor).length).toBeGreaterThan(0)
  }, { timeout: 10_000, interval: 1_100 })
}, 120_000)
