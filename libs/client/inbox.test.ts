import { expect, test, vi } from 'vitest'
import { FOREVER_MS, type InboxSnapshot, WebInboxStorage } from './index.ts'
import { eventually, isOnline, reconnect, TEST_TIMEOUT_MS, useServer } from './test-support/fixture.ts'

vi.setConfig({ testTimeout: TEST_TIMEOUT_MS })
const on = useServer()

const asked = (type: string) => on.server.model.asked.filter((frame) => frame.type === type)
const add = (count: number) => {
  for (let i = 1; i <= count; i++) on.server.model.inbox.change('alice', `r-${i}`, 'roomAdded')
}

async function synced(options = {}) {
  const client = on.newClient(options)
  const changes: string[][] = []
  client.inbox.on('change', ({ chats }) => changes.push(chats.map(({ roomId }) => roomId)))
  client.inbox.start()
  await client.connect()
  await isSynced(client)
  return { client, inbox: client.inbox, changes }
}
const isSynced = ({ inbox }: { readonly inbox: { readonly phase: string } }) => eventually(() => expect(inbox.phase).toBe('live'))

test('one sync brings the whole list, by last activity; each change follows by itself', async () => {
  add(7)
  const { inbox, changes } = await synced()
  expect(inbox.chats.map(({ roomId }) => roomId)).toEqual(['r-7', 'r-6', 'r-5', 'r-4', 'r-3', 'r-2', 'r-1'])
  expect(changes.map((rooms) => rooms.length)).toEqual([3, 3, 1])
  on.server.model.inbox.change('alice', 'r-2', 'unreadChanged', { unread: 2, messageCount: 2, lastActivityMs: Number.MAX_SAFE_INTEGER })
  on.server.model.inbox.change('bob', 'r-2', 'unreadChanged', { unread: 9 })
  await eventually(() => expect(inbox.totals.unread).toBe(2))
  expect(inbox.chats[0]).toMatchObject({ roomId: 'r-2', unread: 2 })
  on.server.model.inbox.change('alice', 'r-2', 'roomRemoved', { status: 'left', unread: 0 })
  await eventually(() => expect(inbox.chats.map(({ roomId }) => roomId)).not.toContain('r-2'))
  expect([inbox.cursor, asked('sync').length]).toEqual([9, 1])
})

test('nothing is asked before it is started, and nothing is taken after it was stopped', async () => {
  add(1)
  const client = on.newClient()
  await client.connect()
  expect(asked('sync')).toEqual([])
  client.inbox.start()
  await isSynced(client)
  client.inbox.stop()
  add(2)
  on.server.cut()
  await reconnect(client, on.clock)
  expect([client.inbox.chats.length, asked('sync').length]).toEqual([1, 1])
  client.inbox.start()
  await isSynced(client)
  expect(client.inbox.chats.length).toBe(2)
})

test('started again while what it had asked for before is on its way, it misses nothing', async () => {
  add(3)
  const { model } = on.server
  const client = on.newClient()
  await client.connect()
  // Stopped with the first page on its way, which is let go.
  model.onRequest = ({ type }) => {
    if (type !== 'sync') return undefined
    client.inbox.stop()
    return 'loseReply'
  }
  client.inbox.start()
  await eventually(() => expect(asked('sync').length).toBe(1))
  await client.inbox.archive('r-1')
  expect(client.inbox.chats).toEqual([])
  model.onRequest = () => undefined
  const { userSeq, chat } = model.inbox.change('alice', 'r-4', 'roomAdded')
  client.inbox.start()
  const [connection] = [...model.connections]
  connection!.send({ type: 'inboxPage', chats: [{ userSeq, ...chat }] })
  connection!.send({ id: asked('sync')[0]!.id!, type: 'synced', userSeq, totals: model.inbox.totalsOf('alice') })
  await isSynced(client)
  expect(client.inbox.chats.map(({ roomId }) => roomId).sort()).toEqual(['r-1', 'r-2', 'r-3', 'r-4'])
})

test('a reconnect brings exactly what changed meanwhile', async () => {
  add(5)
  const { client, inbox, changes } = await synced()
  changes.length = 0
  on.server.cut()
  on.server.model.inbox.change('alice', 'r-3', 'unreadChanged', { unread: 1 })
  await reconnect(client, on.clock)
  await eventually(() => expect(inbox.totals.unread).toBe(1))
  expect(changes).toEqual([['r-3']])
  expect(asked('sync')).toMatchObject([{ cursor: 0 }, { cursor: 5 }])
})

test('a hole is a reason to sync again', async () => {
  add(2)
  const { inbox } = await synced()
  on.server.model.onPush = () => false
  on.server.model.inbox.change('alice', 'r-1', 'unreadChanged', { unread: 1 })
  on.server.model.onPush = () => true
  on.server.model.inbox.change('alice', 'r-2', 'unreadChanged', { unread: 1 })
  await eventually(() => expect([inbox.phase, inbox.totals.unread]).toEqual(['live', 2]))
  expect(asked('sync')).toMatchObject([{ cursor: 0 }, { cursor: 2 }])
})

test('a change that was lost is noticed by the next heartbeat, where nothing else comes', async () => {
  add(2)
  const { inbox } = await synced()
  on.server.model.onPush = () => false
  on.server.model.inbox.change('alice', 'r-1', 'unreadChanged', { unread: 1 })
  on.server.model.onPush = () => true
  on.server.model.heartbeat()
  await eventually(() => expect([inbox.phase, inbox.totals.unread]).toEqual(['live', 1]))
})

test('a refusal that may pass is tried again; a cursor that the server does not know begins anew; another refusal ends it', async () => {
  add(2)
  let refusals = 1
  on.server.model.onRequest = (frame) => (frame.type === 'sync' && refusals-- > 0 ? { code: 'history_unavailable', retryAfterMs: 500 } : undefined)
  const client = on.newClient()
  client.inbox.start({ cursor: 99, chats: [], totals: { unread: 5, mentions: 0, chats: 5 } })
  await client.connect()
  await eventually(async () => {
    await on.clock.advance(100)
    expect(client.inbox.phase).toBe('live')
  })
  expect([client.inbox.cursor, client.inbox.chats.length]).toEqual([2, 2])
  expect(asked('sync')).toMatchObject([{ cursor: 99 }, { cursor: 99 }, { cursor: 0 }])
  on.server.model.onRequest = (frame) => (frame.type === 'sync' ? { code: 'not_allowed' } : undefined)
  const errors: string[] = []
  client.on('error', ({ code }) => errors.push(code))
  on.server.cut()
  await reconnect(client, on.clock)
  await eventually(() => expect([client.inbox.phase, errors]).toEqual(['off', ['not_allowed']]))
})

test('mute and archive: the ack is the change, on this device and on the other', async () => {
  add(2)
  const [{ inbox }, other] = [await synced(), await synced()]
  expect(await inbox.mute('r-1')).toMatchObject({ roomId: 'r-1', userSeq: 3, unchanged: false, chat: { mutedUntilMs: FOREVER_MS } })
  expect(await inbox.mute('r-1')).toEqual({ roomId: 'r-1', userSeq: 3, unchanged: true })
  await inbox.archive('r-2')
  for (const list of [inbox, other.inbox]) {
    await eventually(() => expect(list.chats.map(({ roomId, mutedUntilMs, archived }) => ({ roomId, mutedUntilMs, archived }))).toEqual([{ roomId: 'r-2', archived: true }, { roomId: 'r-1', mutedUntilMs: FOREVER_MS }]))
    expect(list.cursor).toBe(4)
  }
  expect(asked('sync')).toHaveLength(2)
  await inbox.unmute('r-1')
  expect(inbox.chats[1]).toMatchObject({ roomId: 'r-1', mutedUntilMs: 0 })
  await expect(inbox.mute('nowhere')).rejects.toMatchObject({ code: 'chat_not_found' })
  await expect(inbox.setChat('r-1', {})).rejects.toMatchObject({ code: 'invalid_request' })
  await expect(inbox.mute('r-1', -1)).rejects.toMatchObject({ code: 'invalid_request' })
})

test('a setting whose answer was lost is said again, and takes effect once', async () => {
  add(1)
  const { client, inbox } = await synced()
  on.server.model.onRequest = (frame) => (frame.type === 'setChat' ? 'loseReply' : undefined)
  const muted = inbox.mute('r-1', 5_000)
  await eventually(() => expect(asked('setChat')).toHaveLength(1))
  on.server.model.onRequest = () => undefined
  on.server.cut()
  await reconnect(client, on.clock)
  expect(await muted).toMatchObject({ roomId: 'r-1', userSeq: 2, unchanged: true })
  await isSynced(client)
  expect(inbox.chats).toMatchObject([{ roomId: 'r-1', mutedUntilMs: 5_000 }])
})

test('the storage keeps the list over a restart; somebody else\'s is not shown', async () => {
  add(3)
  const items = new Map<string, string>()
  const webStorage = { getItem: (key: string) => items.get(key) ?? null, setItem: (key: string, value: string) => void items.set(key, value) }
  const inboxStorage = new WebInboxStorage(webStorage, { key: 'inbox' })
  const { client, inbox } = await synced({ inboxStorage })
  await on.clock.advance(2_000)
  await eventually(() => expect(JSON.parse(items.get('inbox')!) as InboxSnapshot).toMatchObject({ userId: 'alice', cursor: 3 }))
  on.server.model.inbox.change('alice', 'r-1', 'unreadChanged', { unread: 1 })
  await eventually(() => expect(inbox.cursor).toBe(4))
  await client.close()
  expect(JSON.parse(items.get('inbox')!)).toMatchObject({ cursor: 4 })
  const again = await synced({ inboxStorage })
  expect([again.inbox.chats.length, again.changes]).toEqual([3, []])
  expect(asked('sync').at(-1)).toMatchObject({ cursor: 4 })
  const bob = await synced({ inboxStorage, token: () => 'bob' })
  expect([bob.inbox.chats, bob.inbox.cursor]).toEqual([[], 0])
  items.set('inbox', '{"cursor":"x"}')
  expect(await inboxStorage.load()).toBeUndefined()
})

test('a storage that fails costs nothing but what is kept', async () => {
  add(1)
  const errors: string[] = []
  const inboxStorage = { load: () => Promise.reject(new Error('broken')), save: () => Promise.reject(new Error('full')) }
  const client = on.newClient({ inboxStorage })
  client.on('error', ({ code }) => errors.push(code))
  client.inbox.start()
  void client.connect()
  await isOnline(client)
  await isSynced(client)
  await on.clock.advance(2_000)
  await eventually(() => expect(errors).toEqual(['storage_failed', 'storage_failed']))
  expect(client.inbox.chats).toHaveLength(1)
})

test('a report is an event of the room; a frozen room and a redaction are known', async () => {
  const client = on.newClient()
  const room = client.join('g-1')
  await client.connect()
  await eventually(() => expect(room.phase).toBe('live'))
  const { messageId, seq } = await room.send('spam').done
  expect(await room.reportMessage(messageId, 'spam', 'twice')).toMatchObject({ seq: 2, event: { event: 'messageReported', reason: 'spam', note: 'twice' } })
  await expect(room.reportMessage(messageId, 'dislike' as never)).rejects.toMatchObject({ code: 'invalid_request' })
  on.server.model.update('g-1', { event: 'roomFrozen', on: true, by: 'mod' })
  on.server.model.update('g-1', { event: 'messageRedacted', messageId, messageSeq: seq, reason: 'spam', by: 'mod' })
  await eventually(() => expect([room.lastSeq, room.frozen]).toEqual([4, true]))
  on.server.model.update('g-1', { event: 'roomFrozen', on: false, by: 'mod' })
  await eventually(() => expect(room.frozen).toBe(false))
})
