import { beforeEach, describe, expect, test } from 'vitest'
import { FOREVER_MS } from '#libs/domain/inbox.ts'
import { type Client, MemoryEdge } from './memory-edge.ts'
import type { MemoryInbox } from './memory-inbox.ts'

let edge: MemoryEdge
let users: MemoryInbox

beforeEach(() => {
  edge = new MemoryEdge()
  users = edge.users
})

const chats = (count: number, userId = 'vendor') => {
  for (let i = 1; i <= count; i++) users.changed(userId, `order-${i}`, 'added')
}
const sync = (client: Client, cursor?: number, id: string | number = 'sync') => client.request({ id, type: 'sync', ...(cursor !== undefined && { cursor }) })
async function synced(userId = 'vendor', cursor?: number): Promise<Client> {
  const client = edge.connect(userId)
  sync(client, cursor)
  await users.run()
  return client
}
const paged = ({ socket }: Client) => socket.ofType('inboxPage').flatMap((page) => page.chats)
const liveTypes = ['roomAdded', 'roomRemoved', 'unreadChanged', 'roomRead', 'chatChanged']
const live = ({ socket }: Client) => socket.frames.filter(({ type }) => liveTypes.includes(type))
const refusal = (client: Client) => client.socket.ofType('error').at(-1)

describe('sync', () => {
  test('brings every chat once, in pages, then says where it stands', async () => {
    chats(650)
    users.persist()
    const client = await synced()
    expect(client.socket.ofType('inboxPage').map((page) => page.chats.length)).toEqual([100, 100, 100, 100, 100, 100, 50])
    expect(paged(client).map(({ userSeq }) => userSeq)).toEqual(Array.from({ length: 650 }, (_, i) => i + 1))
    expect(client.socket.frames.at(-1)).toEqual({ id: 'sync', type: 'synced', userSeq: 650, totals: { unread: 0, mentions: 0, chats: 650 } })
    expect(edge.corrupt).toEqual([])
  })

  test('what Postgres lacks comes from the tail, each chat with its last change alone', async () => {
    chats(3)
    users.persist()
    await synced()
    for (const id of ['order-2', 'order-1', 'order-2']) users.said('vendor', id)
    await users.run()
    const client = await synced('vendor', 2)
    expect(paged(client).map(({ userSeq, roomId, unread }) => [userSeq, roomId, unread])).toEqual([[3, 'order-3', 0], [5, 'order-1', 1], [6, 'order-2', 2]])
    expect(client.socket.ofType('synced')).toEqual([{ id: 'sync', type: 'synced', userSeq: 6, totals: { unread: 3, mentions: 0, chats: 3 } }])
  })

  test('who has everything gets nothing but where he stands; who is new, too', async () => {
    chats(3)
    users.persist()
    const client = await synced('vendor', 3)
    expect(paged(client)).toEqual([])
    expect(client.socket.ofType('synced')).toMatchObject([{ userSeq: 3 }])
    expect((await synced('nobody')).socket.ofType('synced')).toEqual([{ id: 'sync', type: 'synced', userSeq: 0, totals: { unread: 0, mentions: 0, chats: 0 } }])
  })

  test('reads again where the buffer was pruned above what it read', async () => {
    await synced('another')
    users.historyMs = 100
    chats(3)
    users.persist(2)
    const client = edge.connect('vendor')
    sync(client)
    await edge.time.advance(120)
    users.feed()
    users.persist()
    // Quicker than the read that is under way.
    users.historyMs = 5
    void users.inbox.prune()
    await users.run(2_000)
    expect(paged(client).map(({ roomId }) => roomId).sort()).toEqual(['order-1', 'order-2', 'order-3'])
    expect(client.socket.ofType('synced')).toHaveLength(1)
  })

  test('is paced by the socket, and a page is never more than the socket takes', async () => {
    chats(300)
    users.persist()
    const client = edge.connect('vendor')
    client.socket.stuck = true
    sync(client)
    await users.run(1_000)
    expect(client.socket.ofType('inboxPage')).toHaveLength(1)
    users.said('vendor', 'order-1')
    client.socket.stuck = false
    client.socket.buffered = 0
    client.connection.onDrain()
    await users.run(1_000)
    expect(paged(client).at(-1)).toMatchObject({ roomId: 'order-1', userSeq: 301, unread: 1 })
    expect(client.socket.ofType('synced')).toMatchObject([{ userSeq: 301 }])
  })

  test('a cursor above the last change is refused once the edge has read all that the log held', async () => {
    const client = await synced('vendor', 5)
    expect(refusal(client)).toMatchObject({ id: 'sync', code: 'invalid_request', retriable: false })
    chats(5)
    sync(client, 5, 'again')
    await users.run()
    expect(client.socket.repliesTo('again')).toMatchObject([{ type: 'synced', userSeq: 5 }])
  })

  test('without Postgres it is refused as retriable, and who is synced stays live', async () => {
    chats(1)
    users.persist()
    const before = await synced()
    users.historyDown = true
    const client = await synced()
    expect(refusal(client)).toMatchObject({ id: 'sync', code: 'history_unavailable', retriable: true })
    users.said('vendor', 'order-1')
    await users.run()
    expect(live(before)).toMatchObject([{ type: 'unreadChanged', userSeq: 2 }])
    expect(live(client)).toEqual([])
  })

  test('without Postgres on the way it is tried again for a while, then the socket is closed', async () => {
    chats(150)
    users.persist()
    const client = edge.connect('vendor')
    client.socket.stuck = true
    sync(client)
    await users.run(200)
    users.historyDown = true
    Object.assign(client.socket, { stuck: false, buffered: 0 })
    client.connection.onDrain()
    await users.run(3_000)
    expect(client.socket.closedWith).toBeUndefined()
    await users.run(4_000)
    expect(client.socket.closedWith).toBe('history_unavailable')
  })

  test('without Kafka the history is shown and said to be stale; a cursor above it is retriable', async () => {
    chats(2)
    users.persist()
    users.logHealthy = false
    expect((await synced()).socket.ofType('synced')).toMatchObject([{ userSeq: 2, stale: true }])
    expect(refusal(await synced('vendor', 9))).toMatchObject({ code: 'unavailable', retriable: true })
  })

  test('no answer of the log in time is retriable, never a false refusal', async () => {
    chats(2)
    const client = edge.connect('vendor')
    sync(client, 2)
    await edge.time.advance(3_000)
    expect(refusal(client)).toMatchObject({ code: 'unavailable' })
  })

  test('who only reads or moderates has no list', async () => {
    for (const role of ['admin', 'moderator'] as const) {
      const client = edge.connect('vendor', { role })
      sync(client)
      client.request({ id: 2, type: 'setChat', roomId: 'order-1', archived: true })
      await users.run()
      expect(client.socket.ofType('error')).toMatchObject([{ id: 'sync', code: 'not_allowed' }, { id: 2, code: 'not_allowed' }])
    }
    expect(users.isFollowed).toBe(false)
  })

  test('again on one socket replaces, from the new cursor, and each request has one reply', async () => {
    chats(150)
    users.persist()
    const client = edge.connect('vendor')
    client.socket.stuck = true
    sync(client, 0, 1)
    await users.run()
    sync(client, 120, 2)
    Object.assign(client.socket, { stuck: false, buffered: 0 })
    client.connection.onDrain()
    await users.run()
    for (const id of [1, 2]) expect(client.socket.repliesTo(id)).toMatchObject([{ type: 'synced', userSeq: 150 }])
    users.said('vendor', 'order-1')
    await users.run()
    expect(live(client)).toHaveLength(1)
  })
})

describe('live', () => {
  test('each change is one frame of the kind that its cause says', async () => {
    const client = await synced()
    users.changed('vendor', 'order-1', 'added')
    users.changed('vendor', 'd-1', 'invited', { status: 'invited', kind: 'dispute' })
    users.said('vendor', 'order-1')
    users.changed('vendor', 'order-1', 'read', { seen: 1 })
    users.changed('vendor', 'order-1', 'changed', { closed: true })
    users.changed('vendor', 'order-1', 'set', { mutedUntilMs: FOREVER_MS })
    users.changed('vendor', 'order-1', 'removed', { status: 'left' })
    await users.run()
    expect(live(client).map(({ type, userSeq }) => `${userSeq} ${type}`)).toEqual(['1 roomAdded', '2 roomAdded', '3 unreadChanged', '4 roomRead', '5 chatChanged', '6 chatChanged', '7 roomRemoved'])
    expect(live(client)[2]).toEqual({
      type: 'unreadChanged',
      userSeq: 3,
      timestamp: expect.any(Number),
      chat: { roomId: 'order-1', roomSeq: 2, status: 'in', kind: 'order', role: 'vendor', messageCount: 1, unread: 1, mentions: 0, lastActivityMs: expect.any(Number) },
      totals: { unread: 1, mentions: 0, chats: 1 },
    })
    expect(live(client)[5].chat).toMatchObject({ closed: true, mutedUntilMs: FOREVER_MS })
  })

  test('goes to all sockets of the user that have asked, and to nobody else', async () => {
    const [a, a2, other] = [await synced(), await synced(), await synced('customer')]
    const silent = edge.connect('vendor')
    users.said('vendor', 'order-1')
    users.said('customer', 'order-1')
    await users.run()
    for (const client of [a, a2]) expect(live(client)).toMatchObject([{ userSeq: 1, totals: { unread: 1 } }])
    expect(live(other)).toHaveLength(1)
    expect(JSON.stringify([other.socket.frames.slice(1)])).not.toContain('vendor"}')
    expect(silent.socket.frames.map(({ type }) => type)).toEqual(['connected'])
  })

  test('what a former owner of the partition writes is shown to nobody', async () => {
    const client = await synced()
    users.changed('vendor', 'order-1', 'added')
    users.changed('vendor', 'ghost', 'added', {}, { asVoid: true })
    users.mark()
    users.said('vendor', 'order-1')
    await users.run()
    expect(live(client).map(({ userSeq, chat }) => [userSeq, chat.roomId])).toEqual([[1, 'order-1'], [2, 'order-1']])
  })

  test('what is of no type that is known here is read again, and leaves no hole', async () => {
    const client = await synced()
    users.changed('vendor', 'order-1', 'added')
    users.unknownChange('vendor')
    users.said('vendor', 'order-1')
    await users.run()
    users.said('vendor', 'order-1')
    await users.run()
    const all = client.socket.frames.filter(({ type }) => type === 'synced' || liveTypes.includes(type)).map(({ type, userSeq }) => `${type} ${userSeq}`)
    expect(all).toEqual(['synced 0', 'roomAdded 1', 'synced 3', 'unreadChanged 4'])
    expect(client.socket.ofType('synced')[1]).not.toHaveProperty('id')
  })

  test('a socket that does not drain is closed, the others go on', async () => {
    const [slow, quick] = [await synced(), await synced()]
    slow.socket.stuck = true
    for (let i = 0; i < 30; i++) users.said('vendor', 'order-1')
    await users.run()
    expect(slow.socket.closedWith).toBe('slow_consumer')
    expect(live(quick).map(({ userSeq }) => userSeq)).toEqual(Array.from({ length: 30 }, (_, i) => i + 1))
  })

  test('a record whose user is not its key stops the node rather than to show it to somebody', async () => {
    const client = await synced()
    users.log.push({ ...users.log[0]!, offset: 1n, key: 'vendor', headers: { 'owner-epoch': '0' }, value: Buffer.from(JSON.stringify({ body: { 'orderchat.UserDecision': { userId: 'customer', commandId: null, entries: [] } } })) })
    await users.run()
    expect(edge.corrupt).toMatchObject([{ code: 'log_corrupt' }])
    expect(live(client)).toEqual([])
  })

  test('a heartbeat says where a synced socket stands', async () => {
    chats(2)
    const [asked, silent] = [await synced(), edge.connect('vendor')]
    await edge.time.advance(26_000)
    edge.sessions.tick()
    expect(asked.socket.ofType('heartbeat')).toMatchObject([{ userSeq: 2 }])
    expect(silent.socket.ofType('heartbeat').map((frame) => 'userSeq' in frame)).toEqual([false])
  })

  test('sockets that never ask cost nothing, and a partition that nobody uses any more is let go of', async () => {
    edge.connect('vendor')
    await users.run()
    void users.inbox.prune()
    expect([users.isFollowed, users.historyReads]).toEqual([false, 0])
    const client = await synced()
    expect(users.isFollowed).toBe(true)
    client.socket.close('internal')
    await edge.time.advance(50_000)
    users.inbox.sweep()
    expect(users.isFollowed).toBe(true)
    await edge.time.advance(20_000)
    users.inbox.sweep()
    expect([users.isFollowed, users.inbox.partitions.size, users.inbox.synced]).toEqual([false, 0, 0])
  })
})

describe('setChat', () => {
  const set = (client: Client, frame: object, id: string | number = 7) => client.request({ id, type: 'setChat', roomId: 'order-1', ...frame })

  test('the ack stands in the place of the change; the other sockets get the change', async () => {
    chats(1)
    users.persist()
    const [a, b] = [await synced(), await synced()]
    set(a, { mutedUntilMs: FOREVER_MS, archived: true })
    await users.run()
    users.said('vendor', 'order-1')
    await users.run()
    const chat = { roomId: 'order-1', mutedUntilMs: FOREVER_MS, archived: true }
    expect(a.socket.repliesTo(7)).toMatchObject([{ type: 'ack', roomId: 'order-1', userSeq: 2, chat, totals: { chats: 1 } }])
    expect(live(a).map(({ userSeq }) => userSeq)).toEqual([3])
    expect(live(b)).toMatchObject([{ type: 'chatChanged', userSeq: 2, chat }, { userSeq: 3 }])
    expect([a.connection.pending, users.inbox.pending]).toEqual([0, 0])
  })

  test('needs no sync; as it was already, no such chat, and nothing asked for are told', async () => {
    chats(1)
    const client = edge.connect('vendor')
    set(client, { archived: false }, 1)
    client.request({ id: 2, type: 'setChat', roomId: 'nowhere', archived: true })
    set(client, {}, 3)
    await users.run()
    expect(client.socket.repliesTo(1)).toEqual([{ id: 1, type: 'ack', roomId: 'order-1', unchanged: true, userSeq: 1 }])
    expect(client.socket.repliesTo(2)).toMatchObject([{ type: 'error', code: 'chat_not_found', roomId: 'nowhere' }])
    expect(client.socket.repliesTo(3)).toMatchObject([{ type: 'error', code: 'invalid_request' }])
    await users.run()
    set(client, { archived: true }, 4)
    await users.run()
    expect(client.socket.repliesTo(4)).toMatchObject([{ type: 'ack', userSeq: 2, chat: { archived: true } }])
  })

  test('the log does not take it, or does not answer: retriable', async () => {
    chats(1)
    users.persist()
    const client = await synced()
    users.publishFails = true
    set(client, { archived: true }, 1)
    await users.run()
    users.publishFails = false
    set(client, { archived: true }, 2)
    await users.run(11_000, false)
    users.inbox.expire()
    expect(client.socket.repliesTo(1)).toMatchObject([{ code: 'unavailable', retriable: true, roomId: 'order-1' }])
    expect(client.socket.repliesTo(2)).toMatchObject([{ code: 'outcome_unknown', retriable: true }])
    await users.run()
    expect(live(client)).toMatchObject([{ type: 'chatChanged', chat: { archived: true } }])
  })

  test('the answer is awaited in a partition that nobody has synced in; too many are refused', async () => {
    chats(1)
    const client = edge.connect('vendor')
    for (let i = 1; i <= 4; i++) set(client, { archived: i % 2 === 0 }, i)
    await users.run(200, false)
    await edge.time.advance(70_000)
    users.inbox.sweep()
    expect(users.isFollowed).toBe(true)
    await users.run()
    expect([1, 2, 3, 4].map((id) => client.socket.repliesTo(id).map(({ type, code }) => code ?? type))).toEqual([['ack'], ['ack'], ['ack'], ['too_many_pending']])
  })

  test('asked by a socket that has closed meanwhile it is done all the same', async () => {
    chats(1)
    users.persist()
    const [a, b] = [await synced(), await synced()]
    set(a, { archived: true })
    await edge.time.advance(10)
    a.socket.close('internal')
    await users.run()
    expect(live(b)).toMatchObject([{ type: 'chatChanged', chat: { archived: true } }])
    expect(users.inbox.pending).toBe(0)
  })
})
