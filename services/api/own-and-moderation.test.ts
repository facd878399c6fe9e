import { v7 as uuidV7 } from 'uuid'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ChatError } from '#libs/domain/errors.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { FOREVER_MS } from '#libs/domain/inbox.ts'
import { MemoryApi } from './test-support/memory-api.ts'

let api: MemoryApi
beforeAll(async () => {
  api = await MemoryApi.start()
})
afterAll(() => api.close())

type Body = Record<string, unknown>
const post = (url: string, user: string, body: Body = {}) => api.request('POST', url, user, body)
const codeOf = ({ status, body }: { status: number; body: { code?: string } }) => [status, body.code]
let groups = 0
const newGroup = async (...others: string[]): Promise<string> => (await post('/rooms', 'ann', { kind: 'group', participants: others, clientId: `m${++groups}` })).body.roomId

describe("one's own list of chats", () => {
  const enter = (userId: string, roomId: string) =>
    api.feed({ userId: userId as UserId, roomId: roomId as RoomId, roomSeq: 1, timestampMs: 5, change: { type: 'entered', kind: 'order', role: 'vendor', messageCount: 3, seen: 1 } })
  const patch = (roomId: string, user: string, body: Body) => api.request('PATCH', `/me/chats/${roomId}`, user, body)

  test('a chat is muted and archived for oneself, and the answer has it as it is then', async () => {
    enter('shop', 'order-1')
    const first = await patch('order-1', 'shop', { mutedUntilMs: FOREVER_MS, clientMessageId: uuidV7() })
    expect(first).toMatchObject({ status: 200, body: { roomId: 'order-1', userSeq: 2, chat: { roomId: 'order-1', status: 'in', unread: 2, mutedUntilMs: FOREVER_MS }, totals: { unread: 2, mentions: 0, chats: 1 } } })
    expect((await patch('order-1', 'shop', { mutedUntilMs: 0, archived: true })).body).toMatchObject({ userSeq: 3, chat: { archived: true } })
    expect((await patch('order-1', 'shop', { archived: true })).body).toEqual({ roomId: 'order-1', userSeq: 3, unchanged: true })
  })

  test('what cannot be is refused with its code', async () => {
    expect(codeOf(await patch('order-none', 'shop', { archived: true }))).toEqual([404, 'chat_not_found'])
    for (const body of [{}, { mutedUntilMs: -1 }, { mutedUntilMs: FOREVER_MS + 1 }, { mutedUntilMs: '5' }, { archived: 1 }, { archived: true, colour: 'red' }]) expect(codeOf(await patch('order-1', 'shop', body))).toEqual([400, 'invalid_request'])
    expect(codeOf(await patch('bad%20id', 'shop', { archived: true }))).toEqual([400, 'invalid_room_id'])
  })

  test('admins and moderators have none', async () => {
    for (const user of ['boss.admin', 'mod.moderator']) {
      for (const url of ['/me/inbox', '/me/inbox/changes', '/me/notifications', '/me/push-subscriptions']) expect(codeOf(await api.request('GET', url, user))).toEqual([403, 'not_allowed'])
    }
  })

  test('cursors that we did not make are refused', async () => {
    for (const url of ['/me/inbox?cursor=abc', '/me/inbox?status=all', '/me/inbox?limit=201', '/me/inbox/changes?after=-1', '/me/notifications?cursor=abc', '/me/notifications?unread=5']) {
      expect(codeOf(await api.request('GET', url, 'shop'))).toEqual([400, 'invalid_request'])
    }
  })

  test('while the feed cannot be followed it cannot be changed, and rooms go on', async () => {
    const other = await MemoryApi.start({ inbox: { isListening: () => false } })
    expect(codeOf(await other.request('PATCH', '/me/chats/r', 'ann', { archived: true }))).toEqual([503, 'unavailable'])
    expect((await other.request('POST', '/rooms', 'ann', { kind: 'direct', participants: ['bob'] })).status).toBe(201)
    await other.close()
  })

  test('without an answer the outcome is unknown', async () => {
    const other = await MemoryApi.start({ inbox: { publish: async () => {}, answerTimeoutMs: 10 } })
    expect(codeOf(await other.request('PATCH', '/me/chats/r', 'ann', { archived: true }))).toEqual([503, 'outcome_unknown'])
    await other.close()
    const refusing = await MemoryApi.start({ inbox: { publish: () => Promise.reject(new ChatError('unavailable', 'Kafka')) } })
    expect(codeOf(await refusing.request('PATCH', '/me/chats/r', 'ann', { archived: true }))).toEqual([503, 'unavailable'])
    await refusing.close()
  })
})

describe('push subscriptions', () => {
  const keys = { p256dh: Buffer.concat([Buffer.from([4]), Buffer.alloc(64, 7)]).toString('base64url'), auth: Buffer.alloc(16, 9).toString('base64url') }

  test('are checked before they are kept', async () => {
    const endpoint = 'https://push.example/abc'
    for (const body of [{ endpoint }, { endpoint, keys: {} }, { endpoint: 'http://push.example/abc', keys }, { endpoint: 'https://evil.example/', keys }, { endpoint, keys: { ...keys, auth: 'x' } }, { endpoint, keys, more: 1 }]) {
      expect(codeOf(await api.request('PUT', '/me/push-subscriptions', 'ann', body))).toEqual([400, 'invalid_request'])
    }
    expect(codeOf(await api.request('PUT', '/me/push-subscriptions', 'ann', { endpoint: `https://push.example/${'x'.repeat(2_048)}`, keys }))).toEqual([400, 'invalid_request'])
    expect(await api.request('PUT', '/me/push-subscriptions', 'ann', { endpoint, expirationTime: null, keys })).toMatchObject({ status: 200, body: { endpoint } })
  })

  test('a browser learns which key to subscribe with', async () => {
    expect((await api.request('GET', '/me/push-subscriptions', 'ann')).body).toEqual({ subscriptions: [], applicationServerKey: 'the-key' })
  })
})

describe('a moderator', () => {
  const at = (roomId: string) => `/moderation/rooms/${roomId}`

  test('freezes a room and lets it go on; a repeat has the same answer', async () => {
    const roomId = await newGroup('bob')
    const body = { on: true, reason: 'they shout', clientMessageId: uuidV7() }
    const first = await post(`${at(roomId)}/freeze`, 'mod.moderator', body)
    expect(first).toMatchObject({ status: 200, body: { roomId, seq: 2 } })
    expect(await post(`${at(roomId)}/freeze`, 'mod.moderator', body)).toMatchObject({ status: 200, body: { ...first.body, repeated: true } })
    expect(await post(`${at(roomId)}/freeze`, 'mod.moderator', { on: true })).toMatchObject({ body: { unchanged: true } })
    expect(codeOf(await post(`/rooms/${roomId}/messages`, 'ann', { message: 'hi' }))).toEqual([409, 'room_frozen'])
    expect(codeOf(await post(`/rooms/${roomId}/attachments`, 'ann', { name: 'a.png', mimeType: 'image/png', bytes: 5 }))).toEqual([409, 'room_frozen'])
    expect((await post(`${at(roomId)}/freeze`, 'mod.moderator', { on: false })).body).toMatchObject({ seq: 3 })
    expect((await post(`/rooms/${roomId}/messages`, 'ann', { message: 'hi' })).status).toBe(201)
    expect(api.published.find((command) => command.type === 'freezeRoom')).toMatchObject({ senderId: 'mod', on: true, reason: 'they shout' })
  })

  test('takes a message away, and people', async () => {
    const roomId = await newGroup('bob')
    const { messageId } = (await post(`/rooms/${roomId}/messages`, 'bob', { message: 'insult' })).body
    expect((await post(`${at(roomId)}/redactions`, 'mod.moderator', { messageId: messageId.toUpperCase(), reason: 'insult' })).body).toMatchObject({ seq: 3, messageId })
    expect((await post(`${at(roomId)}/redactions`, 'mod.moderator', { messageId, reason: 'insult' })).body).toMatchObject({ unchanged: true })
    expect(codeOf(await api.request('PATCH', `/rooms/${roomId}/messages/${messageId}`, 'bob', { message: 'again' }))).toEqual([409, 'message_deleted'])
    expect((await post(`${at(roomId)}/removals`, 'mod.moderator', { userId: 'bob', reason: 'insults' })).body).toMatchObject({ seq: 4 })
    expect(codeOf(await post(`/rooms/${roomId}/messages`, 'bob', { message: 'hi' }))).toEqual([403, 'not_a_participant'])
  })

  test('says why, in a bounded form', async () => {
    const roomId = await newGroup()
    for (const [what, body] of [['freeze', { on: 'yes' }], ['freeze', { on: true, reason: 'x'.repeat(1_001) }], ['redactions', { messageId: uuidV7() }], ['redactions', { messageId: uuidV7(), reason: '' }], ['removals', { userId: 'ann' }], ['removals', { userId: 'ann', reason: '\ud800' }]] as const) {
      expect([what, ...codeOf(await post(`${at(roomId)}/${what}`, 'mod.moderator', body))]).toEqual([what, 400, 'invalid_request'])
    }
    expect(codeOf(await post(`${at(roomId)}/redactions`, 'mod.moderator', { messageId: uuidV7(), reason: 'x' }))).toEqual([404, 'message_not_found'])
    expect(codeOf(await post(`${at('none')}/freeze`, 'mod.moderator', { on: true }))).toEqual([404, 'room_not_found'])
  })

  test('reads any room', async () => {
    const roomId = await newGroup('bob')
    expect(codeOf(await api.request('GET', `/rooms/${roomId}`, 'eve'))).toEqual([403, 'not_a_participant'])
    expect((await api.request('GET', `/rooms/${roomId}`, 'mod.moderator')).status).toBe(200)
    expect(codeOf(await api.request('GET', '/moderation/reports', 'ann'))).toEqual([403, 'moderator_only'])
    for (const user of ['mod.moderator', 'boss.admin']) expect(await api.request('GET', '/moderation/reports?state=open', user)).toMatchObject({ status: 200, body: { reports: [], nextCursor: null } })
    expect(codeOf(await api.request('GET', '/moderation/reports?cursor=abc', 'mod.moderator'))).toEqual([400, 'invalid_request'])
  })
})

describe('a report', () => {
  test('is taken from the people of the room, once per clientMessageId', async () => {
    const roomId = await newGroup('bob')
    const { messageId } = (await post(`/rooms/${roomId}/messages`, 'bob', { message: 'buy this' })).body
    const at = `/rooms/${roomId}/messages/${messageId}/reports`
    const body = { reason: 'spam', note: 'again', clientMessageId: uuidV7() }
    const first = await post(at, 'ann', body)
    expect(first).toMatchObject({ status: 201, body: { roomId, seq: 3, messageId } })
    expect(await post(at, 'ann', body)).toMatchObject({ status: 200, body: { ...first.body, repeated: true } })
    expect(codeOf(await post(at, 'eve', { reason: 'spam' }))).toEqual([403, 'not_a_participant'])
    for (const wrong of [{}, { reason: 'boring' }, { reason: 'spam', note: 'x'.repeat(1_001) }]) expect(codeOf(await post(at, 'ann', wrong))).toEqual([400, 'invalid_request'])
    expect(codeOf(await post(`/rooms/${roomId}/messages/${uuidV7()}/reports`, 'ann', { reason: 'spam' }))).toEqual([404, 'message_not_found'])
  })
})

describe('conversations that one may make', () => {
  test('are limited; the room that is there already is given back', async () => {
    const limited = await MemoryApi.start({ conversationsPerUserMax: 2 })
    const create = (clientId: string) => limited.request('POST', '/rooms', 'ann', { kind: 'group', participants: ['bob'], clientId })
    limited.made.set('ann' as UserId, 1)
    expect((await create('a')).status).toBe(201)
    limited.made.set('ann' as UserId, 2)
    expect(await create('b')).toMatchObject({ status: 429, body: { code: 'too_many_rooms', retriable: false } })
    expect(await create('a')).toMatchObject({ status: 200, body: { unchanged: true } })
    expect((await limited.request('POST', '/rooms', 'bob', { kind: 'direct', participants: ['ann'] })).status).toBe(201)
    await limited.close()
  })
})
