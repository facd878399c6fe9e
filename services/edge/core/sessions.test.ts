import { beforeEach, describe, expect, test } from 'vitest'
import { type Client, EDGE, MemoryEdge, room, user } from './memory-edge.ts'

let edge: MemoryEdge

beforeEach(() => {
  edge = new MemoryEdge()
  edge.accepted()
})

const run = async (ms = 300) => {
  for (let i = 0; i < ms; i += 50) {
    edge.feed()
    await edge.time.advance(50)
  }
}
async function joined(userId: string): Promise<Client> {
  const client = edge.connect(userId)
  client.request({ id: 'join', type: 'join', roomId: 'order-1' })
  await run()
  return client
}
const repliesTo = (client: Client, id: number | string) => client.socket.frames.filter((frame) => frame.id === id)
const send = (client: Client, id: number, fields: object = {}) => client.request({ id, type: 'sendMessage', roomId: 'order-1', message: 'hi', ...fields })

describe('sending', () => {
  test('the sender gets one ack with seq, all his other sockets and the others the message', async () => {
    const [a, a2, b] = [await joined('customer'), await joined('customer'), await joined('vendor')]
    send(a, 1)
    await run()
    expect(repliesTo(a, 1)).toEqual([])
    edge.answer()
    await run()
    expect(repliesTo(a, 1)).toMatchObject([{ type: 'ack', roomId: 'order-1', seq: 2, messageIndex: 1 }])
    expect(a.socket.ofType('newMessage')).toEqual([])
    for (const other of [a2, b]) expect(other.socket.ofType('newMessage')).toMatchObject([{ seq: 2, content: 'hi', senderId: 'customer' }])
    for (const frame of b.socket.ofType('newMessage')) expect(frame).not.toHaveProperty('id')
  })

  test('a request without id gets no ack but the message itself', async () => {
    const a = await joined('customer')
    a.request({ type: 'sendMessage', roomId: 'order-1', message: 'hi' })
    await run()
    edge.answer()
    await run()
    expect(a.socket.ofType('ack')).toEqual([])
    expect(a.socket.ofType('newMessage')).toHaveLength(1)
  })

  test('a repeat gets the original ack, and no second message', async () => {
    const [a, b] = [await joined('customer'), await joined('vendor')]
    const clientMessageId = edge.clientMessageId()
    for (const id of [1, 2]) {
      send(a, id, { clientMessageId })
      await run()
      edge.answer()
      await run()
    }
    const [[first], [second]] = [repliesTo(a, 1), repliesTo(a, 2)]
    expect(second).toEqual({ ...first, id: 2, repeated: true })
    expect(b.socket.ofType('newMessage')).toHaveLength(1)
  })

  test('the ack of a repeat never comes before the message itself, also in a replay', async () => {
    const a = await joined('customer')
    const clientMessageId = edge.clientMessageId()
    send(a, 1, { clientMessageId })
    await run()
    edge.answer()
    for (let i = 0; i < 20; i++) edge.said('more')
    await run()
    edge.persist()
    void edge.rooms.prune()
    await run()
    const late = edge.connect('customer')
    edge.historyMs = 100
    late.request({ id: 'join', type: 'join', roomId: 'order-1' })
    await edge.time.advance(20)
    send(late, 2, { clientMessageId })
    await edge.time.advance(20)
    edge.answer()
    await run(3_000)
    const order = late.socket.frames.filter((f) => f.seq === 2 && f.type !== 'joined').map((f) => f.type)
    expect(order).toEqual(['newMessage', 'ack'])
    expect(late.socket.seqs()).toEqual(Array.from({ length: 22 }, (_, i) => i + 1))
  })

  test('an own ack takes its place in a replay that is still on', async () => {
    for (let i = 0; i < 20; i++) edge.said('before')
    edge.persist()
    edge.historyMs = 100
    const late = edge.connect('customer')
    late.request({ id: 'join', type: 'join', roomId: 'order-1' })
    await edge.time.advance(700)
    expect(late.socket.ofType('caughtUp')).toEqual([])
    send(late, 2)
    await edge.time.advance(10)
    edge.answer()
    await run(3_000)
    expect(late.socket.seqs()).toEqual(Array.from({ length: 22 }, (_, i) => i + 1))
    expect(repliesTo(late, 2)).toMatchObject([{ type: 'ack', seq: 22 }])
  })

  test('refusals find their request, with the room and the message id', async () => {
    const a = await joined('customer')
    edge.decided({ type: 'orderEnded', orderId: room('order-1'), eventId: 'x', occurredAtMs: 1, reason: 'delivered' })
    send(a, 1)
    await run()
    edge.answer()
    await run()
    expect(repliesTo(a, 1)).toMatchObject([{ type: 'error', code: 'room_read_only', retriable: false, roomId: 'order-1', clientMessageId: expect.any(String) }])
  })

  test.each([
    ['not_joined', { roomId: 'order-2' }],
    ['content_empty', { message: '' }],
    ['content_too_long', { message: 'x'.repeat(4_001) }],
    ['content_invalid', { message: 'a\0b' }],
    ['invalid_client_message_id', { clientMessageId: 'no id' }],
  ])('%s is refused before the log is asked', async (code, fields) => {
    const a = await joined('customer')
    send(a, 1, fields)
    await run()
    expect(repliesTo(a, 1)).toMatchObject([{ type: 'error', code }])
    expect(edge.published).toEqual([])
  })

  test('an admin reads and writes nothing', async () => {
    const admin = edge.connect('root', { role: 'admin', first: { roomId: room('order-1'), since: 0 } })
    await run()
    send(admin, 1)
    await run()
    expect(repliesTo(admin, 1)).toMatchObject([{ code: 'admin_is_read_only' }])
    expect(edge.published).toEqual([])
  })
})

describe('exactly one reply', () => {
  test('where no answer comes in time the outcome is unknown, and a late answer is a message', async () => {
    const a = await joined('customer')
    send(a, 1)
    await run(10_100)
    edge.commands.expire()
    expect(repliesTo(a, 1)).toMatchObject([{ type: 'error', code: 'outcome_unknown', retriable: true }])
    edge.answer()
    await run()
    expect(repliesTo(a, 1)).toHaveLength(1)
    expect(a.socket.ofType('newMessage')).toHaveLength(1)
    expect(edge.commands.pending).toBe(0)
  })

  test('where the log took the command after all, the refusal stands and the message comes', async () => {
    const a = await joined('customer')
    send(a, 1)
    await run()
    const [command] = edge.published.splice(0)
    edge.publishFails = true
    send(a, 2)
    await run()
    expect(repliesTo(a, 2)).toMatchObject([{ code: 'unavailable', retriable: true }])
    edge.decided(command!)
    await run()
    expect(repliesTo(a, 1)).toHaveLength(1)
    expect(a.connection.pending).toBe(0)
  })

  test('an ack also reaches who has left the room meanwhile', async () => {
    const a = await joined('customer')
    send(a, 1)
    await run()
    a.request({ id: 2, type: 'leave', roomId: 'order-1' })
    await run()
    edge.answer()
    await run()
    expect(repliesTo(a, 1)).toMatchObject([{ type: 'ack', seq: 2 }])
    expect(repliesTo(a, 2)).toMatchObject([{ type: 'ack' }])
  })

  test('too many without an answer are refused', async () => {
    const a = await joined('customer')
    for (const id of [1, 2, 3, 4]) {
      send(a, id)
      await run(50)
    }
    expect(repliesTo(a, 4)).toMatchObject([{ code: 'too_many_pending', retryAfterMs: 500 }])
    edge.answer()
    await run()
    for (const id of [1, 2, 3, 4]) expect(repliesTo(a, id)).toHaveLength(1)
  })

  test('an answer for another edge is not taken', async () => {
    const a = await joined('customer')
    send(a, 1)
    await run()
    edge.decided(edge.published[0]!, { replyTo: `not ${EDGE}` })
    await run(50)
    // The event itself carries the command id, so the ack may go by it; at most one in any case.
    expect(repliesTo(a, 1).length).toBeLessThanOrEqual(1)
  })

  test('nothing is sent to a socket that has closed, and nothing stays pending', async () => {
    const a = await joined('customer')
    send(a, 1)
    await run()
    a.socket.close('internal')
    const { length } = a.socket.frames
    edge.answer()
    await run()
    expect(a.socket.frames).toHaveLength(length)
    expect(edge.commands.pending).toBe(0)
    expect(edge.rooms.partitions.get(0)!.rooms.get(room('order-1'))!.subscriptions.size).toBe(0)
  })
})

describe('the socket', () => {
  test('heartbeats carry the heads of the rooms', async () => {
    const a = await joined('customer')
    edge.said('x')
    await run()
    await edge.time.advance(25_000)
    edge.sessions.tick()
    expect(a.socket.ofType('heartbeat')).toMatchObject([{ heads: { 'order-1': 2 } }])
    edge.sessions.tick()
    expect(a.socket.ofType('heartbeat')).toHaveLength(1)
  })

  test('an expired token closes it, a renewed one keeps it open', async () => {
    const expiresAtMs = edge.time.nowMs() + 10_000
    const [a, b] = [edge.connect('customer', { expiresAtMs }), edge.connect('customer', { expiresAtMs })]
    b.request({ id: 1, type: 'authenticate', token: JSON.stringify({ userId: user('customer'), role: 'user', expiresAtMs: expiresAtMs + 60_000 }) })
    await edge.time.advance(11_000)
    edge.sessions.tick()
    expect(a.socket.closedWith).toBe('token_expired')
    expect(b.socket.closedWith).toBeUndefined()
    expect(repliesTo(b, 1)).toMatchObject([{ type: 'ack', expiresAtMs: expiresAtMs + 60_000 }])
  })

  test.each([{ userId: 'vendor', role: 'user' }, { userId: 'customer', role: 'admin' }])('a token of $userId as $role is refused on the socket of customer', async (other) => {
    const a = await joined('customer')
    a.request({ id: 1, type: 'authenticate', token: JSON.stringify({ ...other, expiresAtMs: 9e15 }) })
    a.request({ id: 2, type: 'authenticate', token: 'nonsense' })
    await run()
    for (const id of [1, 2]) expect(repliesTo(a, id)).toMatchObject([{ code: 'token_invalid' }])
    expect(a.connection.speaker.userId).toBe('customer')
  })

  test('malformed frames are answered, and too many close it', async () => {
    const a = await joined('customer')
    for (let i = 0; i < 3; i++) a.request({ id: i, type: 'join', roomId: 'no room' })
    expect(a.socket.ofType('error')).toHaveLength(3)
    expect(a.socket.closedWith).toBe('malformed_frame')
  })

  test('a flood is answered with rate_limited, then closed', async () => {
    const a = await joined('customer')
    edge.rateLimited = true
    for (let id = 1; id <= 3; id++) a.request({ id, type: 'ping' })
    await run()
    for (let id = 1; id <= 3; id++) expect(repliesTo(a, id)).toMatchObject([{ code: 'rate_limited', retriable: true }])
    expect(a.socket.closedWith).toBe('rate_limited')
  })

  test('more requests than may wait are refused at once, the others in their order', async () => {
    const a = await joined('customer')
    for (let id = 1; id <= 7; id++) a.request({ id, type: 'ping' })
    await run()
    const replies = a.socket.frames.filter((f) => typeof f.id === 'number')
    expect(replies.map((f) => [f.id, f.code ?? f.type])).toEqual([[6, 'too_many_pending'], [7, 'too_many_pending'], [1, 'ack'], [2, 'ack'], [3, 'ack'], [4, 'ack'], [5, 'ack']])
  })

  test('a socket of one room may leave the room id out', async () => {
    const a = edge.connect('customer', { first: { roomId: room('order-1'), since: 0 } })
    await run()
    a.request({ id: 1, type: 'sendMessage', message: 'hi' })
    await run()
    edge.answer()
    await run()
    expect(repliesTo(a, 1)).toMatchObject([{ type: 'ack', roomId: 'order-1' }])
    expect(a.socket.frames.slice(0, 2).map((f) => f.type)).toEqual(['connected', 'joined'])
    const b = await joined('customer')
    b.request({ id: 1, type: 'sendMessage', message: 'hi' })
    await run()
    expect(repliesTo(b, 1)).toMatchObject([{ code: 'malformed_frame' }])
  })

  test('a first room that cannot be read closes the socket for another try', async () => {
    edge.historyDown = true
    const a = edge.connect('customer', { first: { roomId: room('order-1'), since: 0 } })
    await run()
    expect(a.socket.closedWith).toBe('history_unavailable')
  })
})
