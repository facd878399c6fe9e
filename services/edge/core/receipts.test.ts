import { beforeEach, describe, expect, test } from 'vitest'
import { type Client, MemoryEdge, user } from './memory-edge.ts'

let edge: MemoryEdge

beforeEach(() => {
  edge = new MemoryEdge()
  const participants = ['customer', 'vendor', 'guest'].map((userId) => ({ userId: user(userId), role: 'member' as const }))
  edge.asked('customer', { type: 'createRoom', kind: 'group', participants }, 'group')
})

const ask = async (client: Client, frame: object, ms = 300) => {
  client.request(frame)
  await edge.run(ms)
}
const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1)

describe('mark', () => {
  const said = (count: number) => {
    for (let i = 0; i < count; i++) edge.said(`m${i}`, 'group', 'vendor')
  }

  test('many in a moment are one event; each with an id has its reply, and one stands for the event', async () => {
    said(5)
    const [a, a2, b] = [await edge.joined('customer', 'group'), await edge.joined('customer', 'group'), await edge.joined('vendor', 'group')]
    a.request({ id: 1, type: 'mark', roomId: 'group', delivered: 4 })
    a.request({ id: 2, type: 'mark', roomId: 'group', seen: 3 })
    a.request({ type: 'mark', roomId: 'group', seen: 1 })
    a2.request({ id: 3, type: 'mark', roomId: 'group', delivered: 5 })
    await edge.run()
    const event = { type: 'roomUpdated', roomId: 'group', seq: 7, timestamp: expect.any(Number), event: 'receiptMoved', userId: 'customer', delivered: 5, seen: 3 }
    expect(a.socket.repliesTo(1)).toEqual([{ id: 1, type: 'ack', roomId: 'group', seq: 7, timestamp: expect.any(Number), event }])
    expect(a.socket.repliesTo(2)).toEqual([{ id: 2, type: 'ack', roomId: 'group', seq: 7, unchanged: true }])
    expect(a2.socket.repliesTo(3)).toEqual([{ id: 3, type: 'ack', roomId: 'group', seq: 7, unchanged: true }])
    expect(b.socket.ofType('roomUpdated').at(-1)).toEqual(event)
    for (const client of [a, a2, b]) expect(client.socket.seqs('group')).toEqual(upTo(7))
    for (const { connection } of [a, a2]) expect(connection.pending).toBe(0)
  })

  test('what is marked already is answered at once', async () => {
    said(3)
    const a = await edge.joined('customer', 'group')
    await ask(a, { id: 1, type: 'mark', roomId: 'group', seen: 3 }, 500)
    a.request({ id: 2, type: 'mark', roomId: 'group', seen: 2, delivered: 3 })
    await edge.time.advance(10)
    expect(a.socket.repliesTo(2)).toEqual([{ id: 2, type: 'ack', roomId: 'group', seq: 5, unchanged: true }])
    await edge.time.advance(500)
    expect(edge.published).toEqual([])
  })

  test('above the last message is the last message', async () => {
    said(2)
    const a = await edge.joined('customer', 'group')
    await ask(a, { id: 1, type: 'mark', roomId: 'group', seen: 99 }, 500)
    expect(a.socket.repliesTo(1)).toMatchObject([{ event: { delivered: 2, seen: 2 } }])
    await ask(a, { id: 2, type: 'mark', roomId: 'group', seen: 99 }, 500)
    expect(a.socket.repliesTo(2)).toMatchObject([{ unchanged: true }])
  })

  test('of who wants it so is private, by the request or by the settings', async () => {
    said(2)
    edge.hidesReceipts.add(user('guest'))
    const [a, b, c] = [await edge.joined('customer', 'group'), await edge.joined('guest', 'group'), await edge.joined('vendor', 'group')]
    await ask(a, { id: 1, type: 'mark', roomId: 'group', seen: 1, hidden: true }, 500)
    await ask(b, { id: 1, type: 'mark', roomId: 'group', seen: 2 }, 500)
    expect(a.socket.repliesTo(1)).toMatchObject([{ event: { event: 'receiptMoved', seen: 1 } }])
    expect(b.socket.repliesTo(1)).toMatchObject([{ event: { event: 'receiptMoved', seen: 2 } }])
    expect(c.socket.ofType('roomUpdated').slice(-2)).toMatchObject([{ seq: 4, event: 'private' }, { seq: 5, event: 'private' }])
    // Who has written has seen up to his own message, which is his own to know until he marks.
    expect((await edge.joined('vendor', 'group')).socket.ofType('joined')[0].receipts).toEqual([{ userId: 'vendor', delivered: 2, seen: 2 }])
    expect((await edge.joined('guest', 'group')).socket.ofType('joined')[0].receipts).toEqual([{ userId: 'guest', delivered: 2, seen: 2 }])
  })

  test('of who has only written is nobody else\'s to see, until he marks without hiding it', async () => {
    said(2)
    const receiptsFor = async (userId: string, first = edge.joined(userId, 'group')) => (await first).socket.ofType('joined')[0].receipts
    expect(await receiptsFor('customer')).toEqual([])
    expect(await receiptsFor('vendor')).toEqual([{ userId: 'vendor', delivered: 2, seen: 2 }])
    edge.persist()
    // Also of a room that this edge reads from the history anew.
    await edge.time.advance(120_000)
    edge.rooms.sweep()
    expect(await receiptsFor('customer')).toEqual([])
    const vendor = await edge.joined('vendor', 'group')
    edge.said('from the customer', 'group', 'customer')
    await ask(vendor, { id: 1, type: 'mark', roomId: 'group', seen: 3 }, 500)
    expect(await receiptsFor('guest')).toEqual([{ userId: 'vendor', delivered: 3, seen: 3 }])
  })

  test('in hand when its socket closes is published, and others wait for nothing', async () => {
    said(2)
    const [a, a2] = [await edge.joined('customer', 'group'), await edge.joined('customer', 'group')]
    a.request({ id: 1, type: 'sendMessage', roomId: 'group', message: 'waits' })
    a.request({ id: 2, type: 'mark', roomId: 'group', seen: 2 })
    a2.request({ id: 3, type: 'mark', roomId: 'group', seen: 1 })
    await edge.time.advance(50)
    a.socket.close('internal')
    await edge.time.advance(0)
    expect(edge.published.map(({ type }) => type)).toEqual(['sendMessage', 'mark'])
    await edge.run()
    // His message, which came first, has moved the cursor further, and keeps it from the others.
    expect(edge.state('group').receipts.get(user('customer'))).toEqual({ delivered: 3, seen: 3, hidden: true })
    expect(a2.socket.repliesTo(3)).toEqual([{ id: 3, type: 'ack', roomId: 'group', seq: 4, unchanged: true }])
    expect(edge.commands.pending).toBe(0)
  })

  test('of one socket that closes while others wait: they get their answers', async () => {
    said(2)
    const [a, a2] = [await edge.joined('customer', 'group'), await edge.joined('customer', 'group')]
    a.request({ id: 1, type: 'mark', roomId: 'group', seen: 2 })
    a2.request({ id: 2, type: 'mark', roomId: 'group', seen: 1 })
    await edge.time.advance(300)
    expect(edge.published).toHaveLength(1)
    a.socket.close('internal')
    await edge.run()
    expect(a2.socket.repliesTo(2)).toMatchObject([{ type: 'ack', event: { seen: 2 } }])
    expect(a2.connection.pending).toBe(0)
  })

  test('an answer that does not come is told to each who has asked', async () => {
    const [a, a2] = [await edge.joined('customer', 'group'), await edge.joined('customer', 'group')]
    said(1)
    for (const client of [a, a2]) client.request({ id: 1, type: 'mark', roomId: 'group', seen: 1 })
    await edge.time.advance(11_000)
    edge.commands.expire()
    for (const client of [a, a2]) expect(client.socket.repliesTo(1)).toMatchObject([{ code: 'outcome_unknown' }])
  })
})
