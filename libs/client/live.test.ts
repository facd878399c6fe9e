import { expect, test, vi } from 'vitest'
import { MemoryOutboxStorage } from './storage.ts'
import { eventually, isLive, reconnect, TEST_TIMEOUT_MS, useServer, watch } from './test-support/fixture.ts'

/** Rich messages, receipts and everything that is not durable. */
vi.setConfig({ testTimeout: TEST_TIMEOUT_MS })
const on = useServer()

const askedFor = <T>(type: string) => on.server.model.asked.filter((frame) => frame.type === type) as T[]

async function liveRoom(options = {}) {
  const client = on.newClient(options)
  const room = client.join('g-1')
  const seen = watch(room)
  const unread: number[] = []
  const typing: string[] = []
  room.on('unread', (change) => unread.push(change.unread))
  room.on('typing', ({ userId, on: isTyping }) => typing.push(`${userId} ${isTyping}`))
  await client.connect()
  await isLive(room)
  return { client, room, seen, unread, typing }
}

const attachment = { url: 'https://files.example/a.png', mimeType: 'image/png', bytes: 12, name: 'a.png', width: 3, height: 4 }

test('a message with everything comes back as everybody else gets it', async () => {
  const { room, seen } = await liveRoom()
  const { messageId } = await room.send('the first').done
  const extras = { messageType: 'image' as const, attachments: [attachment], replyTo: messageId, mentions: ['bob', 'bob'], productId: 'p-1' }
  expect(await room.send('', extras).done).toMatchObject({ seq: 2, replyToSeq: 1 })
  await room.send('', { messageType: 'location', location: { latitude: 52.5, longitude: 13.4, label: 'here' } }).done
  expect(seen.events[1]).toMatchObject({ ...extras, mentions: ['bob'], replyToSeq: 1, content: '' })
  expect(seen.events).toEqual(on.server.model.room('g-1').events)
  expect(on.server.model.joins.length).toBe(1)
})

test('an ack that does not tell where the thread is: the message is fetched', async () => {
  const { room, seen } = await liveRoom()
  const { messageId } = await room.send('the first').done
  const { model } = on.server
  for (const connection of model.connections) {
    const send = connection.send.bind(connection)
    connection.send = (frame) => {
      const { replyToSeq: _, ...rest } = frame as { replyToSeq?: number; type: string }
      send(rest.type === 'ack' ? rest : frame)
    }
  }
  await room.send('second', { replyTo: messageId }).done
  await eventually(() => expect(seen.events).toEqual(model.room('g-1').events))
  expect(model.joins.length).toBe(2)
})

test('what a message has beside its text waits in the storage with it; entries of earlier versions still load', async () => {
  const storage = new MemoryOutboxStorage()
  const early = on.newClient({ storage })
  const { clientMessageId } = early.join('g-1').send('with', { attachments: [attachment] })
  await eventually(() => expect(storage.entries.size).toBe(1))
  await early.close()
  const [entry] = [...storage.entries.values()]
  const { extras: _, ...old } = { ...entry!, clientMessageId: clientMessageId.replace(/.$/, (last) => (last === '0' ? '1' : '0')) as typeof clientMessageId, content: 'old', position: 0 }
  storage.entries.set(old.clientMessageId, JSON.parse(JSON.stringify(old)))
  const { seen } = await liveRoom({ storage })
  await eventually(() => expect(seen.texts()).toEqual(['old', 'with']))
  expect(seen.events[1]).toMatchObject({ attachments: [attachment] })
  expect(seen.events).toEqual(on.server.model.room('g-1').events)
})

test('extras that the server would refuse for ever are refused by send', async () => {
  const { room } = await liveRoom()
  expect(() => room.send('x', { mentions: ['has space'] })).toThrow(expect.objectContaining({ code: 'invalid_request' }))
  expect(() => room.send('', { location: { latitude: 0, longitude: 0, label: 'x'.repeat(20_000) } })).toThrow(expect.objectContaining({ code: 'invalid_attachment' }))
})

test('marks go as one request in 250 ms, the highest of each; unread follows', async () => {
  for (let i = 0; i < 5; i++) on.server.model.append('g-1', 'bob', `${i}`)
  const { room, seen, unread } = await liveRoom()
  expect([room.unread, unread]).toEqual([5, [5]])
  for (const index of [1, 3, 2]) room.markSeen(index)
  room.markDelivered(5)
  expect(room.unread).toBe(2)
  await eventually(() => expect(askedFor('mark').length).toBe(1))
  await on.clock.advance(249)
  expect(askedFor('mark').length).toBe(1)
  await on.clock.advance(1)
  await eventually(() => expect(askedFor('mark')).toMatchObject([{ seen: 1 }, { seen: 3, delivered: 5 }]))
  await eventually(() => expect(seen.events.at(-1)).toMatchObject({ event: 'receiptMoved', userId: 'alice', seen: 3, delivered: 5 }))
  expect(seen.events).toEqual(on.server.model.room('g-1').events)
  on.server.model.append('g-1', 'bob', 'one more')
  await eventually(() => expect(room.unread).toBe(3))
  on.server.model.update('g-1', { event: 'receiptMoved', userId: 'alice', delivered: 6, seen: 6 })
  await eventually(() => expect(room.unread).toBe(0))
  expect(() => room.markSeen(-1)).toThrow(expect.objectContaining({ code: 'invalid_request' }))
})

test('who marks each message as it comes has nothing unread, and is told nothing', async () => {
  const { room, unread } = await liveRoom()
  room.on('event', (event) => {
    if (event.type === 'newMessage') room.markSeen(event.messageIndex)
  })
  for (let i = 0; i < 3; i++) on.server.model.append('g-1', 'bob', `${i}`)
  await eventually(() => expect(room.lastSeq).toBeGreaterThanOrEqual(3))
  await on.clock.advance(250)
  await eventually(() => expect(on.server.model.room('g-1').receipts.get('alice')).toMatchObject({ seen: 3 }))
  expect([room.unread, unread]).toEqual([0, []])
})

test('a mark that was lost is told again after the reconnect, if the server does not know it', async () => {
  for (let i = 0; i < 3; i++) on.server.model.append('g-1', 'bob', `${i}`)
  const { client, room } = await liveRoom()
  on.server.model.onRequest = (frame) => (frame.type === 'mark' ? { code: 'unavailable', retryAfterMs: 60_000 } : undefined)
  room.markSeen(2)
  await eventually(() => expect(askedFor('mark').length).toBe(1))
  on.server.model.onRequest = () => undefined
  on.server.cut()
  await reconnect(client, on.clock)
  await isLive(room)
  await on.clock.advance(70_000)
  await eventually(() => expect(on.server.model.room('g-1').receipts.get('alice')).toMatchObject({ seen: 2 }))
  const marks = askedFor('mark').length
  on.server.cut()
  await reconnect(client, on.clock)
  await isLive(room)
  await on.clock.advance(1_000)
  expect(askedFor('mark').length).toBe(marks)
})

test('a mark that is refused for good is given up, and said', async () => {
  on.server.model.append('g-1', 'bob', 'x')
  const { client, room } = await liveRoom()
  const errors: string[] = []
  client.on('error', ({ code }) => errors.push(code))
  on.server.model.onRequest = (frame) => (frame.type === 'mark' ? { code: 'admin_is_read_only' } : undefined)
  room.markSeen(1)
  await eventually(() => expect(errors).toEqual(['admin_is_read_only']))
  expect(room.unread).toBe(1)
})

test('typing is said again while it lasts, and ends with the message', async () => {
  const { client, room } = await liveRoom()
  const said = () => askedFor<{ on: boolean; id?: number }>('typing').map((frame) => frame.on)
  room.typing(true)
  room.typing(true)
  await eventually(() => expect(said()).toEqual([true]))
  await on.clock.advance(6_000)
  await eventually(() => expect(said()).toEqual([true, true, true]))
  on.server.cut()
  await reconnect(client, on.clock)
  await eventually(() => expect(said()).toEqual([true, true, true, true]))
  await room.send('there').done
  await on.clock.advance(20_000)
  expect(said()).toEqual([true, true, true, true, false])
  // It wants no reply, so none is waited for.
  expect(askedFor<{ id?: number }>('typing').filter((frame) => frame.id !== undefined)).toEqual([])
})

test('who types is told once; it ends when he says so, writes, or is not heard of for 5 s', async () => {
  const { typing } = await liveRoom()
  const hear = (userId: string, isOn: boolean) => on.server.model.broadcast('g-1', { type: 'typing', roomId: 'g-1', userId, on: isOn })
  for (const name of ['bob', 'carol', 'dave']) hear(name, true)
  hear('bob', true)
  hear('bob', false)
  on.server.model.append('g-1', 'carol', 'done')
  await eventually(() => expect(typing).toEqual(['bob true', 'carol true', 'dave true', 'bob false', 'carol false']))
  await on.clock.advance(5_000)
  expect(typing.at(-1)).toBe('dave false')
})

test('presence of the room is passed on', async () => {
  const { room } = await liveRoom()
  const heard: unknown[] = []
  room.on('presence', ({ users }) => heard.push(...users))
  on.server.model.broadcast('g-1', { type: 'presence', roomId: 'g-1', users: [{ userId: 'bob', status: 'away' }] })
  await eventually(() => expect(heard).toEqual([{ userId: 'bob', status: 'away' }]))
})

test('presence and watched products hold on every socket; cards are passed on', async () => {
  const { client } = await liveRoom()
  const cards: string[] = []
  client.on('cardUpdated', ({ productId, product }) => cards.push(`${productId} ${product.name}`))
  client.watchProducts(['p-1', 'p-1', 'p-2'])
  client.setPresence('away', { hideLastSeen: true })
  const said = () => on.server.model.asked.map(({ id: _, ...frame }) => frame)
  const standing = [{ type: 'setPresence', status: 'away', hideLastSeen: true }, { type: 'watchProducts', productIds: ['p-1', 'p-2'] }]
  await eventually(() => expect(said().toSorted((a, b) => a.type.localeCompare(b.type))).toEqual(standing))
  on.server.model.broadcast('g-1', { type: 'cardUpdated', productId: 'p-1', product: { productId: 'p-1', name: 'Soup', updatedAtMs: 1 } })
  await eventually(() => expect(cards).toEqual(['p-1 Soup']))
  on.server.cut()
  await reconnect(client, on.clock)
  await eventually(() => expect(said().slice(2)).toEqual(standing))
  expect(() => client.watchProducts(Array.from({ length: 101 }, (_, i) => `p-${i}`))).toThrow(expect.objectContaining({ code: 'invalid_request' }))
})

test('a standing request that was refused for now is made again', async () => {
  const { client } = await liveRoom()
  on.server.model.onRequest = () => ({ code: 'rate_limited', retryAfterMs: 500 })
  client.setPresence('away')
  await eventually(() => expect(on.server.model.asked.length).toBe(1))
  on.server.model.onRequest = () => undefined
  await eventually(async () => {
    await on.clock.advance(100)
    expect(on.server.model.asked.length).toBe(2)
  })
})

test('a room that is shown from a later event on begins there', async () => {
  for (const text of ['before', 'also before', 'welcome']) on.server.model.append('g-1', 'bob', text)
  on.server.model.room('g-1').visibleFrom.set('alice', 3)
  const { client, room, seen } = await liveRoom()
  expect(seen.texts()).toEqual(['welcome'])
  expect(room.lastSeq).toBe(3)
  on.server.cut()
  await reconnect(client, on.clock)
  await isLive(room)
  on.server.model.append('g-1', 'bob', 'next')
  await eventually(() => expect(seen.seqs()).toEqual([3, 4]))
  expect(on.server.model.joins.map((join) => join.since)).toEqual([0, 3])
})
