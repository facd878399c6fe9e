import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { directRoomId, type UserId } from '#libs/domain/ids.ts'
import type { ChatSocket, Frame } from '../support/chat-socket.ts'
import { System } from '../support/system.ts'
import { useStack } from '../support/stack.ts'
import { readDeadLetters } from './dead-letters.ts'
import { joinOnceOpen, wideLimits } from './helpers.ts'

let system: System
beforeAll(async () => {
  system = await System.start(await useStack(), 'other-sources', { env: wideLimits, count: { relay: 1 } })
})
afterAll(() => system?.close())

const WITHIN = { timeout: 20_000, interval: 50 }
const pairOf = (a: string, b: string): string => directRoomId(a as UserId, b as UserId)
const agoIso = (ms: number): string => new Date(Date.now() - ms).toISOString()

/** As SNS puts it on the queue; the same text again is the same event again. */
function envelope(eventType: string, payload: object): string {
  const head = { Type: 'Notification', MessageId: crypto.randomUUID(), TopicArn: 'arn:aws:sns:eu-west-1:1:users', Timestamp: new Date().toISOString() }
  return JSON.stringify({ ...head, Message: JSON.stringify(payload), MessageAttributes: { eventType: { Type: 'String', Value: eventType } } })
}
const put = (eventType: string, payload: object) => system.putOnQueue(envelope(eventType, payload))

/** A socket that has joined nothing yet. */
const open = (edge: number, userId: string) => system.connect(edge, { userId })
async function joined(edge: number, userId: string, ...roomIds: string[]): Promise<ChatSocket> {
  const socket = await open(edge, userId)
  for (const roomId of roomIds) expect(await joinOnceOpen(socket, roomId)).toMatchObject({ type: 'joined', roomId })
  return socket
}
const send = (socket: ChatSocket, roomId: string, message: string) => socket.sendMessage(message, { roomId })

async function newGroup(owner: ChatSocket, participants: readonly string[]): Promise<string> {
  const { roomId, ...reply } = await owner.request({ type: 'createConversation', kind: 'group', participants, clientId: crypto.randomUUID(), name: 'group' })
  expect(reply).toMatchObject({ type: 'ack', seq: 1 })
  return roomId as string
}

/** The blocker alone is told of his block, in each room by itself. */
const untilBlocked = (socket: ChatSocket, roomId: string, userId: string, on: boolean) =>
  socket.waitFor((f) => f['roomId'] === roomId && f['event'] === 'blockSet' && f['userId'] === userId && f['on'] === on, `block of ${userId} in ${roomId} ${on}`)

describe('order.created', () => {
  test('a card of the order in the direct room of the two, once, however often the event comes', async () => {
    const roomId = pairOf('card-customer', 'card-vendor')
    const first = envelope('order.created', { orderId: 'card-1', customerId: 'card-customer', vendorId: 'card-vendor', total: 12.5 })
    for (const body of [first, first]) await system.putOnQueue(body)
    const vendor = await joined(2, 'card-vendor', roomId)
    expect(await vendor.waitForSeq(2, roomId)).toMatchObject({ type: 'newMessage', messageType: 'orderCard', senderId: 'card-customer', orderId: 'card-1', content: '', messageIndex: 1 })
    const published = () => system.process('sqs-bridge-1').metricSum('sqs_bridge_published_total{type="orderCreated"')
    await vi.waitFor(async () => expect(await published()).toBe(2), WITHIN)
    await system.putOnQueue(first)
    await put('order.created', { orderId: 'card-2', customerId: 'card-customer', vendorId: 'card-vendor' })
    expect(await vendor.waitForSeq(3, roomId)).toMatchObject({ messageType: 'orderCard', orderId: 'card-2', messageIndex: 2 })
    expect(vendor.events(roomId).map((f) => [f['seq'], f['event'] ?? f['messageType']])).toEqual([[1, 'roomOpened'], [2, 'orderCard'], [3, 'orderCard']])
    expect(await send(vendor, roomId, 'on its way')).toMatchObject({ type: 'ack', seq: 4 })
  })
})

describe('user.blocked and user.unblocked', () => {
  const [ann, bob, cat] = ['block-ann', 'block-bob', 'block-cat']
  const direct = pairOf(ann, bob)
  const block = (on: boolean, occurredAt = agoIso(0)) => put(on ? 'user.blocked' : 'user.unblocked', { userId: ann, blockedUserId: bob, occurredAt })

  async function exchanged(from: ChatSocket, to: ChatSocket, beside: ChatSocket, roomId: string): Promise<[Frame, Frame]> {
    const { messageId, ...reply } = await send(from, roomId, `hello ${crypto.randomUUID()}`)
    expect(reply.type).toBe('ack')
    const seen = (socket: ChatSocket) => socket.waitFor((f) => f['messageId'] === messageId && f.type === 'newMessage', 'the message')
    return [await seen(to), await seen(beside)]
  }

  test('no message between the two in their own room, marked ones in all others, also in those that open later, until it is taken back', async () => {
    const a = await open(1, ann)
    const group = await newGroup(a, [bob, cat])
    expect(await a.request({ type: 'createConversation', kind: 'direct', participants: [bob] })).toMatchObject({ type: 'ack', roomId: direct })
    for (const roomId of [group, direct]) await joinOnceOpen(a, roomId)
    const b = await joined(2, bob, group, direct)
    const c = await joined(2, cat, group)
    expect(await send(b, direct, 'hi')).toMatchObject({ type: 'ack' })

    await block(true)
    await untilBlocked(a, direct, bob, true)
    await untilBlocked(a, group, bob, true)
    for (const socket of [a, b]) expect(await send(socket, direct, 'anybody?')).toMatchObject({ type: 'error', code: 'message_not_allowed', retriable: false })
    for (const [from, to] of [[a, b], [b, a]] as const) {
      const [hidden, plain] = await exchanged(from, to, c, group)
      expect([hidden['hidden'], plain['hidden']]).toEqual([true, undefined])
    }
    // Whom it is about is not told.
    expect(b.frames.some((f) => f['event'] === 'blockSet')).toBe(false)

    const later = await newGroup(a, [bob, cat])
    await joinOnceOpen(a, later)
    await untilBlocked(a, later, bob, true)
    await put('order.accepted', { orderId: 'block-order', customerId: ann, vendorId: bob })
    expect(await joinOnceOpen(a, 'block-order')).toMatchObject({ type: 'joined' })
    await untilBlocked(a, 'block-order', bob, true)
    const without = await newGroup(a, [cat])
    await joinOnceOpen(a, without)
    expect(await a.request({ type: 'addParticipant', roomId: without, userId: bob })).toMatchObject({ type: 'ack' })
    await untilBlocked(a, without, bob, true)

    // Said before, come after: it changes nothing.
    await block(false, agoIso(60_000))
    await block(false)
    for (const roomId of [direct, group, later, without, 'block-order']) await untilBlocked(a, roomId, bob, false)
    expect(await send(b, direct, 'again')).toMatchObject({ type: 'ack' })
    for (const roomId of [group, later]) {
      await Promise.all([joinOnceOpen(b, roomId), joinOnceOpen(c, roomId)])
      const [seen] = await exchanged(a, b, c, roomId)
      expect(seen['hidden']).toBeUndefined()
    }
    const said = a.events(direct).filter((f) => f['event'] === 'blockSet')
    expect(said.map((f) => f['on'])).toEqual([true, false])
  })

  test('what is said while no relay runs is passed on by the next one, and what it has passed on already changes nothing', async () => {
    const [dan, eve] = ['block-dan', 'block-eve']
    const d = await open(1, dan)
    const group = await newGroup(d, [eve])
    await joinOnceOpen(d, group)
    const say = (on: boolean) => put(on ? 'user.blocked' : 'user.unblocked', { blockerId: dan, blockedId: eve })
    await say(true)
    await untilBlocked(d, group, eve, true)
    const relay = system.process('relay-1')
    await relay.kill()
    await say(false)
    await vi.waitFor(async () => expect(await system.storedEvents(pairOf(dan, eve))).toMatchObject([{ type: 'roomOpened' }, { type: 'blockSet' }, { type: 'blockSet' }]), WITHIN)
    await relay.start()
    await untilBlocked(d, group, eve, false)
    await relay.kill()
    await relay.start()
    await say(true)
    await d.waitFor((f) => f['roomId'] === group && f['event'] === 'blockSet' && f['seq'] === 4, 'the block again')
    expect(d.events(group).filter((f) => f['event'] === 'blockSet').map((f) => [f['seq'], f['on']])).toEqual([[2, true], [3, false], [4, true]])
  })
})

describe('product.updated', () => {
  const productOf = async (productId: string) => {
    const { rows } = await system.pool.query('SELECT name, price_minor::int AS "priceMinor", currency, image_url AS "imageUrl", available FROM products WHERE product_id = $1', [productId])
    return rows[0] as unknown
  }

  test('the table has the latest by its own time, and sockets that show the product are told', async () => {
    const watcher = await open(1, 'product-watcher')
    expect(await watcher.request({ type: 'watchProducts', productIds: ['ramen'] })).toMatchObject({ type: 'ack' })
    await put('product.updated', { productId: 'ramen', name: 'Ramen', price: 12.5, currency: 'EUR', imageUrl: 'https://cdn.example/ramen.png', available: true, occurredAt: agoIso(10_000) })
    const first = { name: 'Ramen', priceMinor: 1250, currency: 'EUR', imageUrl: 'https://cdn.example/ramen.png', available: true }
    await vi.waitFor(async () => expect(await productOf('ramen')).toEqual(first), WITHIN)
    expect(await watcher.waitFor((f) => f.type === 'cardUpdated', 'the card')).toMatchObject({ productId: 'ramen', product: first })

    await put('product.updated', { productId: 'ramen', name: 'Ramen of long ago', occurredAt: agoIso(60_000) })
    await put('product.updated', { productId: 'ramen', name: 'Ramen', priceMinor: 1300, currency: 'EUR', available: false })
    const last = { name: 'Ramen', priceMinor: 1300, currency: 'EUR', imageUrl: null, available: false }
    await vi.waitFor(async () => expect(await productOf('ramen')).toEqual(last), WITHIN)
    expect(await watcher.waitFor((f) => f.type === 'cardUpdated' && f['product'].priceMinor === 1300, 'the new price')).toMatchObject({ product: { available: false } })
  })
})

test('what nobody knows and what is malformed goes to the dead letters with its reason', async () => {
  const poison: [body: string, code: string][] = [
    [envelope('invoice.created', { invoiceId: 'i-1' }), 'unknown_event_type'],
    [envelope('user.blocked', { userId: 'selfish', blockedUserId: 'selfish' }), 'invalid_event'],
    [envelope('user.unblocked', { userId: 'selfish' }), 'invalid_event'],
    [envelope('order.created', { orderId: 'o 1', customerId: 'c', vendorId: 'v' }), 'invalid_room_id'],
    [envelope('product.updated', { productId: 'p-1', name: '' }), 'invalid_event'],
    [envelope('product.updated', { productId: 'p-1', name: 'n', imageUrl: 'http://cdn.example/p.png' }), 'invalid_event'],
  ]
  for (const [body] of poison) await system.putOnQueue(body)
  const letters = await readDeadLetters(system, poison.length)
  const inOrder = (pairs: readonly (readonly string[])[]) => pairs.map((pair) => pair.join(' ')).toSorted()
  expect(inOrder(letters.map(({ body, headers }) => [headers['error-code']!, body]))).toEqual(inOrder(poison.map(([body, code]) => [code, body])))
})
