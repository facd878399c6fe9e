import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import type { ChatSocket } from '../support/chat-socket.ts'
import { System } from '../support/system.ts'
import { useStack } from '../support/stack.ts'
import { joinOnceOpen, range, sendAll, seqsOf, wideLimits } from './helpers.ts'

let system: System
beforeAll(async () => {
  system = await System.start(await useStack(), 'replay', { env: { ...wideLimits, EDGE_HEARTBEAT_MS: '1000', EDGE_REPLAY_PAGE_EVENTS: '1000' } })
})
afterAll(() => system?.close())

const join = (edge: number, userId: string, orderId: string, since = 0) => system.connect(edge, { userId, orderId, since, until: 'open' })
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

test('join: from the start, from the middle, from the head, again on an open socket', async () => {
  const orderId = 'order-since'
  await system.openRoom(orderId, 'customer', 'vendor')
  const vendor = await join(2, 'vendor', orderId)
  await sendAll(vendor, range(1, 9).map((i) => `${i}`), {}, 1)
  // The other edge may let in as of a moment ago, and bring the rest live.
  await vi.waitFor(async () => expect((await system.pool.query('SELECT head_seq FROM chat_rooms WHERE room_id = $1', [orderId])).rows).toEqual([{ head_seq: '10' }]), { timeout: 15_000 })
  for (const [since, seqs] of [[0, range(1, 10)], [4, range(5, 10)], [9, [10]], [10, []]] as const) {
    const socket = await join(1, 'customer', orderId, since)
    expect(await socket.waitForType('joined')).toMatchObject({ roomId: orderId, since, headSeq: 10, messageCount: 9, readOnly: false })
    expect(await socket.waitForType('caughtUp')).toEqual({ type: 'caughtUp', roomId: orderId, seq: 10 })
    expect(seqsOf(socket.events())).toEqual(seqs)
    socket.close()
  }
  const socket = await system.connect(1, { userId: 'customer' })
  expect(await socket.request({ type: 'join', roomId: orderId, since: 7 })).toMatchObject({ type: 'joined', since: 7, headSeq: 10 })
  await vi.waitFor(() => expect(seqsOf(socket.events())).toEqual(range(8, 10)))
  expect(await socket.request({ type: 'join', roomId: orderId, since: 2 })).toMatchObject({ type: 'joined', since: 2, headSeq: 10 })
  await vi.waitFor(() => expect(seqsOf(socket.events())).toEqual([...range(8, 10), ...range(3, 10)]))
  // Joined twice, fed once.
  await vendor.sendMessage('last')
  await socket.waitForSeq(11)
  await socket.request({ type: 'ping' })
  expect(seqsOf(socket.events())).toEqual([...range(8, 10), ...range(3, 11)])
})

test('thirty rooms on one socket, each live; what was left is silent', async () => {
  const orderIds = range(1, 30).map((i) => `order-many-${i}`)
  await Promise.all(orderIds.map((orderId) => system.order('accepted', orderId, { customerId: 'customer', vendorId: 'dashboard' })))
  const dashboard = await system.connect(1, { userId: 'dashboard' })
  const customer = await system.connect(1, { userId: 'customer' })
  for (const socket of [dashboard, customer]) {
    const joined = await Promise.all(orderIds.map((roomId) => joinOnceOpen(socket, roomId)))
    expect(joined.map((f) => [f.type, f['roomId']])).toEqual(orderIds.map((orderId) => ['joined', orderId]))
  }
  expect((await Promise.all(orderIds.map((roomId) => customer.sendMessage(`in ${roomId}`, { roomId })))).every((f) => f['seq'] === 2)).toBe(true)
  await Promise.all(orderIds.map((roomId) => dashboard.waitForSeq(2, roomId)))

  const [left, kept] = [orderIds.slice(0, 15), orderIds.slice(15)]
  for (const roomId of left) expect(await dashboard.request({ type: 'leave', roomId })).toMatchObject({ type: 'ack', roomId })
  expect(await dashboard.sendMessage('hi', { roomId: left[0] })).toMatchObject({ type: 'error', code: 'not_joined' })
  await Promise.all(orderIds.map((roomId) => customer.sendMessage('again', { roomId })))
  await Promise.all(kept.map((roomId) => dashboard.waitForSeq(3, roomId)))
  await dashboard.request({ type: 'ping' })
  for (const roomId of left) expect(seqsOf(dashboard.events(roomId))).toEqual([1, 2])
  for (const roomId of kept) expect(seqsOf(dashboard.events(roomId))).toEqual([1, 2, 3])
  expect(await dashboard.request({ type: 'join', roomId: left[0], since: 2 })).toMatchObject({ type: 'joined', headSeq: 3 })
  await dashboard.waitForSeq(3, left[0])
})

test('heartbeats carry the heads of the joined rooms', async () => {
  await system.openRoom('order-beat-1', 'customer', 'vendor')
  await system.openRoom('order-beat-2', 'customer', 'vendor')
  const socket = await system.connect(1, { userId: 'customer' })
  expect(await socket.waitForType('connected')).toMatchObject({ heartbeatMs: 1_000, serverTimeMs: expect.any(Number) })
  await socket.request({ type: 'join', roomId: 'order-beat-1' })
  await socket.request({ type: 'join', roomId: 'order-beat-2' })
  await socket.sendMessage('hi', { roomId: 'order-beat-2' })
  const beat = await socket.waitFor((f) => f.type === 'heartbeat' && f['heads']['order-beat-2'] === 2, 'a heartbeat with the head')
  expect(beat).toEqual({ type: 'heartbeat', serverTimeMs: expect.any(Number), heads: { 'order-beat-1': 1, 'order-beat-2': 2 } })
  const beats = () => socket.frames.filter((f) => f.type === 'heartbeat').length
  const before = beats()
  await vi.waitFor(() => expect(beats()).toBeGreaterThan(before + 1), { timeout: 10_000 })
})

test('an expired token closes the socket with 4010; `authenticate` in time keeps it, but not with the token of another', async () => {
  const orderId = 'order-expiry'
  await system.openRoom(orderId, 'customer', 'vendor')
  const ttlS = 6
  const connect = async () => system.connect(1, { userId: 'customer', orderId, token: await system.token('customer', 'user', ttlS) })
  const [kept, lost, refused] = [await connect(), await connect(), await connect()]
  const { expiresAtMs } = await kept.waitForType('connected')
  for (const token of [await system.token('vendor'), await system.token('customer', 'admin'), 'garbage']) {
    expect(await refused.request({ type: 'authenticate', token })).toMatchObject({ type: 'error', code: 'token_invalid', retriable: false })
  }
  expect(await refused.request({ type: 'authenticate', token: await system.token('customer', 'user', -60) })).toMatchObject({ type: 'error', code: 'token_expired' })
  const renewed = await kept.request({ type: 'authenticate', token: await system.token('customer') })
  expect(renewed).toMatchObject({ type: 'ack', expiresAtMs: expect.any(Number) })
  expect(renewed['expiresAtMs']).toBeGreaterThan(Date.now() + 3_000_000)

  for (const socket of [lost, refused]) {
    const { code, reason } = await socket.waitForClose(20_000)
    expect([code, JSON.parse(reason)]).toEqual([4010, { code: 'token_expired' }])
  }
  expect(Date.now()).toBeGreaterThanOrEqual(expiresAtMs)
  expect(await kept.sendMessage('still here')).toMatchObject({ type: 'ack', seq: 2 })
})

const MESSAGES = 2_000
const SENDERS = 4
/** In JSON six bytes each: a page of such messages is more than a socket may have waiting. */
const heavy = '\u0001'.repeat(4_000)
const isHeavy = (n: number) => n >= 250 && n < 400

test('a deep history comes whole and in order to a slow reader, who is not closed for it; who is slow while live is', { timeout: 180_000 }, async () => {
  const orderId = 'order-deep'
  await system.openRoom(orderId, 'customer', 'vendor')
  await system.openRoom('order-beside', 'customer', 'vendor')
  const live = await join(2, 'vendor', orderId)
  await live.waitForType('caughtUp')
  live.ws.pause()
  const senders = await Promise.all(range(1, SENDERS).map((i) => join(1, i % 2 ? 'customer' : 'vendor', orderId)))
  const contentOf = (sender: number, n: number) => (isHeavy(n) ? heavy : `message ${n} of sender ${sender}`)
  await Promise.all(senders.map((socket, i) => sendAll(socket, range(1, MESSAGES / SENDERS).map((n) => contentOf(i, n)))))
  await senders[0]!.waitForSeq(MESSAGES + 1)
  const reference = senders[0]!.events()
  expect(seqsOf(reference)).toEqual(range(1, MESSAGES + 1))

  await vi.waitFor(async () => expect(await system.process('edge-2').metricSum('websocket_closes_total{code="slow_consumer"')).toBe(1), { timeout: 15_000 })
  live.ws.resume()
  expect((await live.waitForClose()).code).toBe(4001)
  expect(seqsOf(live.events())).toEqual(range(1, live.events().length))
  for (const socket of senders) socket.close()

  const reader = await system.connect(2, { userId: 'customer' })
  await reader.request({ type: 'join', roomId: 'order-beside' })
  const out = () => system.process('edge-2').metricSum('websocket_messages_out_total')
  reader.sendRaw(JSON.stringify({ type: 'join', roomId: orderId }))
  reader.ws.pause()
  await untilStill(out)
  // Live frames of another room do not make it one that is slow while live.
  const beside = await join(2, 'vendor', 'order-beside')
  expect((await sendAll(beside, range(1, 20).map((i) => `beside ${i}`))).every((f) => f.type === 'ack')).toBe(true)
  reader.ws.resume()
  await slowly(reader, () => reader.frames.some((f) => f.type === 'caughtUp' && f['roomId'] === orderId))
  expect(reader.closed).toBeUndefined()
  expect(seqsOf(reader.events(orderId))).toEqual(range(1, MESSAGES + 1))
  expect(seqsOf(reader.events('order-beside'))).toEqual(range(1, 21))
  const contents = reader.events(orderId).flatMap((f) => f['content'] ?? [])
  expect(contents.filter((text) => text === heavy)).toHaveLength(SENDERS * 150)
  for (const i of range(0, SENDERS - 1)) {
    // 40 are in flight at a time, but over one socket, so in the order of sending.
    const ofSender = contents.filter((text) => text.endsWith(` of sender ${i}`))
    expect(ofSender).toEqual(range(1, MESSAGES / SENDERS).filter((n) => !isHeavy(n)).map((n) => contentOf(i, n)))
  }
})

/** Waits until a counter rests: only heartbeats still go out. */
async function untilStill(counter: () => Promise<number>): Promise<void> {
  for (let [before, now] = [-100, await counter()]; now - before > 10; ) {
    await pause(1_000)
    ;[before, now] = [now, await counter()]
  }
}

/** Reads in small portions. */
async function slowly(socket: ChatSocket, done: () => boolean): Promise<void> {
  const deadlineMs = Date.now() + 60_000
  while (!done() && !socket.closed) {
    if (Date.now() > deadlineMs) throw new Error(`the replay stands still at ${JSON.stringify(socket.frames.at(-1)).slice(0, 200)}`)
    socket.ws.pause()
    await pause(30)
    socket.ws.resume()
    await pause(20)
  }
}
