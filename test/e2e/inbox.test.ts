import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import type { ChatFields } from '#libs/domain/frames.ts'
import type { ChatSocket, Frame } from '../support/chat-socket.ts'
import { System } from '../support/system.ts'
import { useStack } from '../support/stack.ts'
import { wideLimits } from './helpers.ts'

/** A vendor's own list of chats, over real sockets and processes. */
let system: System
beforeAll(async () => {
  system = await System.start(await useStack(), 'inbox', { count: { inbox: 1 }, env: wideLimits })
})
afterAll(() => system?.close())

const VENDOR = 'vendor-many'
const liveTypes = new Set(['roomAdded', 'roomRemoved', 'unreadChanged', 'roomRead', 'chatChanged'])
const dashboard = (edge: number, userId = VENDOR) => system.connect(edge, { userId })
const liveOf = (socket: ChatSocket) => socket.frames.filter(({ type }) => liveTypes.has(type))
/** A chat that Postgres does not have as it is now comes a second time, from the tail. */
const pagedOf = (socket: ChatSocket): (ChatFields & { readonly userSeq: number })[] => socket.frames.filter(({ type }) => type === 'inboxPage').flatMap((page) => page['chats'])
const change = (socket: ChatSocket, type: string, roomId: string, more: (frame: Frame) => boolean = () => true) =>
  socket.waitFor((frame) => frame.type === type && frame['chat']?.roomId === roomId && more(frame), `${type} of ${roomId}`)
const sync = (socket: ChatSocket, cursor = 0) => socket.request({ type: 'sync', cursor })
const accept = (orderId: string) => system.order('accepted', orderId, { customerId: `c-${orderId}`, vendorId: VENDOR })
const inRoom = (edge: number, userId: string, orderId: string) => system.connect(edge, { userId, orderId, until: 'open' })

async function synced(edge: number, cursor = 0): Promise<ChatSocket> {
  const socket = await dashboard(edge)
  expect(await sync(socket, cursor)).toMatchObject({ type: 'synced' })
  return socket
}

/** Live changes without a hole: each the next one of the one before. */
function checkGapless(socket: ChatSocket): void {
  let last: number | undefined
  for (const frame of socket.frames) {
    const numbered = frame.type === 'synced' || liveTypes.has(frame.type) || (frame.type === 'ack' && frame['chat'])
    if (!numbered) continue
    if (last !== undefined && frame.type !== 'synced') expect(frame['userSeq']).toBe(last + 1)
    last = frame['userSeq'] as number
  }
}

const ORDERS = 120
const orders = Array.from({ length: ORDERS }, (_, i) => `inbox-${i}`)

test('one socket and one sync bring a vendor of many orders his whole list', async () => {
  for (let next = 0; next < ORDERS; next += 20) await Promise.all(orders.slice(next, next + 20).map(accept))
  // Whoever asks early gets what is there, and the rest as it happens.
  const early = await synced(1)
  const shown = (socket: ChatSocket) => new Set([...pagedOf(socket), ...liveOf(socket).map(({ chat }) => chat)].map(({ roomId }) => roomId))
  await vi.waitFor(() => expect(shown(early).size).toBe(ORDERS), { timeout: 60_000, interval: 100 })
  checkGapless(early)
  await vi.waitFor(async () => expect((await system.pool.query('SELECT FROM user_chats WHERE user_id = $1', [VENDOR])).rowCount).toBe(ORDERS), { timeout: 30_000, interval: 100 })
  const late = await synced(2)
  expect([...new Set(pagedOf(late).map(({ roomId }) => roomId))].sort()).toEqual([...orders].sort())
  expect(late.frames.filter(({ type }) => type === 'inboxPage').every((page) => page['chats'].length <= 100)).toBe(true)
  expect(late.frames.find(({ type }) => type === 'synced')).toMatchObject({ totals: { unread: 0, mentions: 0, chats: ORDERS } })
  expect(pagedOf(late)[0]).toMatchObject({ status: 'in', kind: 'order', role: 'vendor', unread: 0 })
  for (const socket of [early, late]) socket.close()
})

test('the next order is there the moment it is accepted, and so is what is said in it', async () => {
  const socket = await synced(1)
  await accept('inbox-next')
  const added = await change(socket, 'roomAdded', 'inbox-next')
  expect(added).toMatchObject({ chat: { role: 'vendor', messageCount: 0, unread: 0 }, totals: { chats: ORDERS + 1 } })
  const customer = await inRoom(2, 'c-inbox-next', 'inbox-next')
  const { messageId } = await customer.sendMessage('Is it ready?')
  const unread = await change(socket, 'unreadChanged', 'inbox-next')
  expect(unread).toMatchObject({ chat: { messageCount: 1, unread: 1, last: { messageId, senderId: 'c-inbox-next', messageIndex: 1 } }, totals: { unread: 1 } })
  checkGapless(socket)
  for (const s of [socket, customer]) s.close()
})

test('read on one device it is read on the other; who answers has read', async () => {
  const [phone, desk] = [await synced(1), await synced(2)]
  expect(await phone.request({ type: 'join', roomId: 'inbox-next' })).toMatchObject({ type: 'joined' })
  expect(await phone.request({ type: 'mark', roomId: 'inbox-next', seen: 1 })).toMatchObject({ type: 'ack' })
  expect(await change(desk, 'roomRead', 'inbox-next')).toMatchObject({ chat: { unread: 0 }, totals: { unread: 0 } })
  const customer = await inRoom(2, 'c-inbox-next', 'inbox-next')
  for (const text of ['And now?', 'Hello?']) await customer.sendMessage(text)
  await change(desk, 'unreadChanged', 'inbox-next', ({ chat }) => chat.unread === 2)
  expect(await phone.sendMessage('On its way', { roomId: 'inbox-next' })).toMatchObject({ type: 'ack', messageIndex: 4 })
  await change(desk, 'unreadChanged', 'inbox-next', ({ chat }) => chat.messageCount === 4 && chat.unread === 0)
  for (const socket of [phone, desk]) checkGapless(socket)
  for (const socket of [phone, desk, customer]) socket.close()
})

test('who comes back at the other edge with his cursor gets exactly what has changed', async () => {
  const before = await synced(1)
  const cursor = before.frames.findLast(({ type }) => type === 'synced')!['userSeq'] as number
  before.close()
  const customer = await inRoom(1, 'c-inbox-3', 'inbox-3')
  for (const text of ['one', 'two']) await customer.sendMessage(text)
  await accept('inbox-meanwhile')
  const watcher = await synced(1)
  await vi.waitFor(() => expect(new Set([...pagedOf(watcher), ...liveOf(watcher).map(({ chat }) => chat)].map(({ roomId }) => roomId))).toContain('inbox-meanwhile'), { timeout: 20_000 })
  await vi.waitFor(() => expect([...pagedOf(watcher), ...liveOf(watcher).map(({ chat }) => chat)].some((chat) => chat.roomId === 'inbox-3' && chat.unread === 2)).toBe(true), { timeout: 20_000 })
  const back = await synced(2, cursor)
  await vi.waitFor(() => {
    const has = new Map([...pagedOf(back), ...liveOf(back).map(({ chat }) => chat)].map((chat) => [chat.roomId, chat.unread]))
    expect([...has].sort()).toEqual([['inbox-3', 2], ['inbox-meanwhile', 0]])
  }, { timeout: 20_000 })
  expect(await sync(back, 1_000_000)).toMatchObject({ type: 'error', code: 'invalid_request' })
  checkGapless(back)
  for (const socket of [customer, watcher, back]) socket.close()
})

test('muting and archiving are durable, on every device, and said again they change nothing', async () => {
  const [phone, desk] = [await synced(1), await synced(2)]
  const FOREVER_MS = 8_640_000_000_000_000
  const ack = await phone.request({ type: 'setChat', roomId: 'inbox-5', mutedUntilMs: FOREVER_MS, archived: true })
  expect(ack).toMatchObject({ type: 'ack', roomId: 'inbox-5', chat: { mutedUntilMs: FOREVER_MS, archived: true } })
  expect(await change(desk, 'chatChanged', 'inbox-5')).toMatchObject({ userSeq: ack['userSeq'], chat: ack['chat'] })
  expect(await phone.request({ type: 'setChat', roomId: 'inbox-5', archived: true })).toMatchObject({ type: 'ack', unchanged: true, userSeq: ack['userSeq'] })
  expect(await phone.request({ type: 'setChat', roomId: 'not-mine', archived: true })).toMatchObject({ type: 'error', code: 'chat_not_found', retriable: false })
  expect(liveOf(phone)).toEqual([])
  const later = await synced(2)
  expect(pagedOf(later).findLast(({ roomId }) => roomId === 'inbox-5')).toMatchObject({ mutedUntilMs: FOREVER_MS, archived: true })
  for (const socket of [phone, desk]) checkGapless(socket)
  for (const socket of [phone, desk, later]) socket.close()
})

test('a list is its user\'s alone; who only reads has none', async () => {
  const customer = await dashboard(1, 'c-inbox-3')
  expect(await sync(customer)).toMatchObject({ type: 'synced', totals: { chats: 1 } })
  expect(pagedOf(customer).map(({ roomId }) => roomId)).toEqual(['inbox-3'])
  const admin = await system.connect(1, { userId: VENDOR, role: 'admin' })
  expect(await sync(admin)).toMatchObject({ type: 'error', code: 'not_allowed' })
  for (const socket of [customer, admin]) socket.close()
})
