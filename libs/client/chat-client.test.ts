import { expect, test, vi } from 'vitest'
import { clientMessageIdTimeMs } from '#libs/domain/ids.ts'
import { MemoryOutboxStorage, WebOutboxStorage } from './storage.ts'
import { eventually, isLive, isOffline, isOnline, reconnect, TEST_TIMEOUT_MS, useServer, watch } from './test-support/fixture.ts'

vi.setConfig({ testTimeout: TEST_TIMEOUT_MS })
const on = useServer()

test('joins with the token as a subprotocol, replays, goes live', async () => {
  on.server.model.append('o-1', 'bob', 'one')
  on.server.model.append('o-1', 'bob', 'two')
  const client = on.newClient()
  const room = client.join('o-1')
  const seen = watch(room)
  await client.connect()
  await isLive(room)
  expect(on.server.handshakes).toEqual([{ path: '/ws/chat', token: 'alice' }])
  expect(client.userId).toBe('alice')
  on.server.model.append('o-1', 'bob', 'three')
  await eventually(() => expect(seen.texts()).toEqual(['one', 'two', 'three']))
  expect(room.lastSeq).toBe(3)
})

test('an own message is acknowledged, and comes as the event of its place in the log', async () => {
  const client = on.newClient()
  const room = client.join('o-1')
  const seen = watch(room)
  await client.connect()
  await isLive(room)
  const { clientMessageId, done } = room.send('mine')
  const ack = await done
  expect(ack).toMatchObject({ clientMessageId, seq: 1, messageIndex: 1, repeated: false })
  on.server.model.append('o-1', 'bob', 'yours')
  await eventually(() => expect(seen.seqs()).toEqual([1, 2]))
  expect(seen.events[0]).toEqual(on.server.model.room('o-1').events[0])
  expect(clientMessageIdTimeMs(clientMessageId)).toBe(on.clock.nowMs())
  expect(client.pending()).toEqual([])
})

test('after a cut it comes back with since and misses nothing', async () => {
  on.server.model.append('o-1', 'bob', 'one')
  const client = on.newClient()
  const room = client.join('o-1')
  const seen = watch(room)
  await client.connect()
  await isLive(room)
  on.server.cut()
  await isOffline(client)
  on.server.model.append('o-1', 'bob', 'two')
  await reconnect(client, on.clock)
  await eventually(() => expect(seen.texts()).toEqual(['one', 'two']))
  expect(on.server.model.joins.map((join) => join.since)).toEqual([0, 1])
})

test('starts from the since that the app kept', async () => {
  for (const text of ['one', 'two', 'three']) on.server.model.append('o-1', 'bob', text)
  const client = on.newClient()
  const seen = watch(client.join('o-1', { since: 2 }))
  await client.connect()
  await eventually(() => expect(seen.texts()).toEqual(['three']))
})

test('a one-room socket joins by its URL, and carries since there', async () => {
  on.server.model.append('o-1', 'bob', 'one')
  const client = on.newClient({ url: `ws://127.0.0.1:${on.server.port}/chat`, orderId: 'o-1' })
  const room = client.join('o-1')
  const seen = watch(room)
  await client.connect()
  await isLive(room)
  on.server.cut()
  await reconnect(client, on.clock)
  await isLive(room)
  expect(seen.texts()).toEqual(['one'])
  expect(on.server.handshakes.map(({ path }) => path)).toEqual(['/chat?orderId=o-1&since=0', '/chat?orderId=o-1&since=1'])
  expect(on.server.model.joins).toEqual([])
})

test('a hole that a heartbeat shows is fetched', async () => {
  const client = on.newClient()
  const room = client.join('o-1')
  const seen = watch(room)
  await client.connect()
  await isLive(room)
  on.server.model.onPush = () => false
  on.server.model.append('o-1', 'bob', 'lost')
  on.server.model.onPush = () => true
  on.server.model.heartbeat()
  await eventually(() => expect(seen.texts()).toEqual(['lost']))
  expect(on.server.model.joins.map((join) => join.since)).toEqual([0, 0])
})

test('a hole that the next event shows is fetched, and nothing is given around it', async () => {
  const client = on.newClient()
  const room = client.join('o-1')
  const seen = watch(room)
  await client.connect()
  await isLive(room)
  on.server.model.onPush = () => false
  on.server.model.append('o-1', 'bob', 'lost')
  on.server.model.onPush = () => true
  on.server.model.append('o-1', 'bob', 'next')
  await eventually(() => expect(seen.texts()).toEqual(['lost', 'next']))
})

test('a message whose ack was lost with the connection is known from the replay, and not sent again', async () => {
  const client = on.newClient()
  const room = client.join('o-1')
  const seen = watch(room)
  await client.connect()
  await isLive(room)
  on.server.model.onRequest = (frame) => (frame.type === 'sendMessage' ? 'loseReply' : undefined)
  const { clientMessageId, done } = room.send('once')
  await eventually(() => expect(on.server.model.sends.length).toBe(1))
  on.server.model.onRequest = () => undefined
  on.server.cut()
  await reconnect(client, on.clock)
  // The replay brings the message itself: that is as good as its ack.
  expect(await done).toMatchObject({ seq: 1, clientMessageId })
  expect(seen.texts()).toEqual(['once'])
  // So it holds even where the id has grown too old to be sent again.
  expect(on.server.model.sends.length).toBe(1)
})

test('a message that was lost before the server had it is sent again under the same id', async () => {
  const client = on.newClient()
  const room = client.join('o-1')
  await client.connect()
  await isLive(room)
  on.server.model.onRequest = (frame) => {
    if (frame.type !== 'sendMessage') return undefined
    on.server.cut()
    return { code: 'unavailable' }
  }
  const { clientMessageId, done } = room.send('again')
  await isOffline(client)
  on.server.model.onRequest = () => undefined
  await reconnect(client, on.clock)
  expect((await done).clientMessageId).toBe(clientMessageId)
  expect(on.server.model.sends.map((send) => send.clientMessageId)).toEqual([clientMessageId, clientMessageId])
})

test('refusals: the one that may pass is obeyed and retried, the other ends the message; order is kept', async () => {
  const client = on.newClient()
  const room = client.join('o-1')
  const seen = watch(room)
  await client.connect()
  await isLive(room)
  const failed: string[] = []
  client.on('failed', ({ error }) => failed.push(error.code))
  const firstSentAt: number[] = []
  on.server.model.onRequest = (frame) => {
    if (frame.type !== 'sendMessage') return undefined
    if (frame.message === 'bad') return { code: 'content_invalid' }
    if (frame.message === 'first') firstSentAt.push(on.clock.nowMs())
    return firstSentAt.length === 1 ? { code: 'rate_limited', retryAfterMs: 700 } : undefined
  }
  const sent = ['first', 'bad', 'third'].map((text) => room.send(text))
  await eventually(async () => {
    await on.clock.advance(50)
    expect(firstSentAt.length).toBe(2)
  })
  expect(firstSentAt[1]! - firstSentAt[0]!).toBeGreaterThanOrEqual(700)
  expect(on.server.model.sends.slice(0, 2).map((send) => send.clientMessageId)).toEqual([sent[0]!.clientMessageId, sent[0]!.clientMessageId])
  await expect(sent[1]!.done).rejects.toMatchObject({ code: 'content_invalid', retriable: false })
  await sent[2]!.done
  expect(seen.texts()).toEqual(['first', 'third'])
  expect(failed).toEqual(['content_invalid'])
  expect(client.pending()).toEqual([])
})

test('what waits survives the client: the next one sends it under the same id, before anything new', async () => {
  const storage = new MemoryOutboxStorage()
  const early = on.newClient({ storage })
  void early.connect()
  await isOnline(early)
  on.server.cut()
  await isOffline(early)
  const old = early.join('o-1')
  const ids = [old.send('one'), old.send('two')].map((sent) => sent.clientMessageId)
  await eventually(() => expect(storage.entries.size).toBe(2))
  await early.close()

  const late = on.newClient({ storage })
  const room = late.join('o-1')
  const seen = watch(room)
  const acked: string[] = []
  late.on('acked', (ack) => acked.push(ack.clientMessageId))
  const third = room.send('three')
  await late.connect()
  await third.done
  expect(seen.texts()).toEqual(['one', 'two', 'three'])
  expect(acked).toEqual([...ids, third.clientMessageId])
  await late.close()
  expect(storage.entries.size).toBe(0)
})

test('the promise of a message rejects when the client closes, and the message stays in the storage', async () => {
  const storage = new MemoryOutboxStorage()
  const client = on.newClient({ storage })
  const room = client.join('o-1')
  await client.connect()
  await isLive(room)
  on.server.model.onRequest = () => 'loseReply'
  const { done } = room.send('later')
  await eventually(() => expect(on.server.model.sends.length).toBe(1))
  const [outcome] = await Promise.allSettled([done, client.close()])
  expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'client_closed' } })
  expect(storage.entries.size).toBe(1)
  expect(() => room.send('x')).toThrow(expect.objectContaining({ code: 'client_closed' }))
})

test('another user never sends what the first one wrote', async () => {
  const storage = new MemoryOutboxStorage()
  let user = 'alice'
  const client = on.newClient({ storage, token: () => user })
  const room = client.join('o-1')
  await client.connect()
  on.server.model.onRequest = (frame) => (frame.type === 'join' ? { code: 'unavailable' } : undefined)
  on.server.cut()
  await isOffline(client)
  const { done } = room.send('by alice')
  user = 'mallory'
  await reconnect(client, on.clock)
  await expect(done).rejects.toMatchObject({ code: 'sender_changed' })
  expect(on.server.model.sends).toEqual([])
})

test('the outbox is bounded, and so is a message', async () => {
  const client = on.newClient({ limits: { outboxEntriesMax: 2, contentLengthMax: 5 } })
  const room = client.join('o-1')
  room.send('one')
  room.send('two')
  expect(() => room.send('three')).toThrow(expect.objectContaining({ code: 'outbox_full' }))
  expect(() => room.send('longer')).toThrow(expect.objectContaining({ code: 'content_too_long' }))
  expect(() => client.join('no room')).toThrow(expect.objectContaining({ code: 'invalid_room_id' }))
})

test('a room that is lost says so; its messages fail, other rooms go on', async () => {
  const client = on.newClient()
  const [lost, kept] = [client.join('o-1'), client.join('o-2')]
  const seen = watch(lost)
  await client.connect()
  await isLive(lost)
  await isLive(kept)
  on.server.model.onRequest = (frame) => (frame.type === 'sendMessage' && frame.roomId === 'o-1' ? 'loseReply' : undefined)
  const { done } = lost.send('too late')
  await eventually(() => expect(on.server.model.sends.length).toBe(1))
  for (const connection of on.server.model.connections) connection.send({ type: 'left', roomId: 'o-1', code: 'not_a_participant' })
  await expect(done).rejects.toMatchObject({ code: 'not_a_participant' })
  expect(seen.left).toEqual(['not_a_participant'])
  expect(() => lost.send('x')).toThrow(expect.objectContaining({ code: 'room_left' }))
  await kept.send('still here').done
})

test('a join that is refused for good loses the room; one that may pass is tried again', async () => {
  let refusals = 0
  on.server.model.onRequest = (frame) => {
    if (frame.type !== 'join') return undefined
    if (frame.roomId === 'o-1') return { code: 'not_a_participant' }
    return refusals++ === 0 ? { code: 'history_unavailable', retryAfterMs: 900 } : undefined
  }
  const client = on.newClient()
  const [foreign, busy] = [client.join('o-1'), client.join('o-2')]
  const seen = watch(foreign)
  await client.connect()
  await eventually(() => expect(seen.left).toEqual(['not_a_participant']))
  await eventually(() => expect(refusals).toBe(1))
  await eventually(async () => {
    await on.clock.advance(200)
    expect(busy.phase).toBe('live')
  })
})

test('a listener that throws stops nothing', async () => {
  const client = on.newClient()
  const room = client.join('o-1')
  room.on('event', () => {
    throw new Error('mine')
  })
  const seen = watch(room)
  await client.connect()
  await isLive(room)
  await room.send('one').done
  expect(seen.texts()).toEqual(['one'])
  expect(() => on.clock.runNext()).toThrow('mine')
})

test('the Web storage keeps an entry an item, and leaves what it cannot read', async () => {
  const items = new Map<string, string>([['other', 'x'], ['outbox:bad', '{"no":1}']])
  const web = {
    get length() {
      return items.size
    },
    key: (index: number) => [...items.keys()][index] ?? null,
    getItem: (key: string) => items.get(key) ?? null,
    setItem: (key: string, value: string) => void items.set(key, value),
    removeItem: (key: string) => void items.delete(key),
  }
  const corrupt: string[] = []
  const storage = new WebOutboxStorage(web, { prefix: 'outbox:', onCorrupt: (key) => corrupt.push(key) })
  const client = on.newClient({ storage })
  const { clientMessageId } = client.join('o-1').send('kept')
  await eventually(() => expect(items.has(`outbox:${clientMessageId}`)).toBe(true))
  expect(await storage.load()).toMatchObject([{ clientMessageId, content: 'kept', roomId: 'o-1' }])
  expect(corrupt).toContain('outbox:bad')
  expect(items.size).toBe(3)
})
