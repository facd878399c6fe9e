import { Validator } from '@seriousme/openapi-schema-validator'
import { v7 as uuidV7 } from 'uuid'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ChatError } from '#libs/domain/errors.ts'
import { directRoomId, disputeRoomId, jobRoomId, type RoomId, type UserId } from '#libs/domain/ids.ts'
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
const newGroup = async (...others: string[]): Promise<string> => (await post('/rooms', 'ann', { kind: 'group', participants: others, clientId: `g${++groups}` })).body.roomId

describe('messages', () => {
  test('a message is answered with its place; a repeat with the same', async () => {
    const roomId = await newGroup('bob')
    const body = { message: 'hi', clientMessageId: uuidV7() }
    const first = await post(`/rooms/${roomId}/messages`, 'ann', body)
    expect(first).toMatchObject({ status: 201, body: { roomId, seq: 2, messageIndex: 1, messageId: expect.any(String), timestamp: expect.any(Number) } })
    expect(await post(`/rooms/${roomId}/messages`, 'ann', body)).toMatchObject({ status: 200, body: { ...first.body, repeated: true } })
    expect((await post(`/rooms/${roomId}/messages`, 'bob', { message: 'without an id' })).body).toMatchObject({ seq: 3, messageIndex: 2 })
  })

  test('edit, reaction and deletion, with and without a body', async () => {
    const roomId = await newGroup('bob')
    const { messageId } = (await post(`/rooms/${roomId}/messages`, 'ann', { message: 'hi' })).body
    const at = `/rooms/${roomId}/messages/${messageId}`
    expect(await api.request('PATCH', at, 'ann', { message: 'hello' })).toMatchObject({ status: 200, body: { seq: 3, messageId } })
    expect(await api.request('PUT', `${at}/reactions/${encodeURIComponent('👍')}`, 'bob')).toMatchObject({ status: 200, body: { seq: 4, messageId } })
    expect(await api.request('DELETE', `${at}/reactions/${encodeURIComponent('👍')}`, 'bob', { clientMessageId: uuidV7() })).toMatchObject({ body: { seq: 5 } })
    expect(await api.request('DELETE', at.toUpperCase().replace('/ROOMS/', '/rooms/').replace('/MESSAGES/', '/messages/').replace(roomId.toUpperCase(), roomId), 'ann')).toMatchObject({ body: { seq: 6, messageId } })
    expect(await api.request('DELETE', at, 'ann')).toMatchObject({ status: 200, body: { seq: 6, unchanged: true } })
    expect(codeOf(await api.request('PATCH', at, 'ann', { message: 'again' }))).toEqual([409, 'message_deleted'])
    expect(api.published.flatMap((c) => (c.type === 'react' && c.roomId === roomId ? [[c.emoji, c.on]] : []))).toEqual([['👍', true], ['👍', false]])
  })

  test('what a message may have beside its text', async () => {
    const roomId = await newGroup()
    const key = `rooms/${roomId}/0b8a7a52-5f0e-5d39-9f0c-3f8f2d6c6a11`
    const first = await post(`/rooms/${roomId}/messages`, 'ann', { message: '', messageType: 'image', attachments: [{ key, mimeType: 'image/png', bytes: 5, name: 'a.png' }] })
    expect(first.status).toBe(201)
    expect(await post(`/rooms/${roomId}/messages`, 'ann', { message: 're', replyTo: first.body.messageId, mentions: ['ann'] })).toMatchObject({ status: 201 })
    expect(await post(`/rooms/${roomId}/messages`, 'ann', { message: '', messageType: 'location', location: { latitude: 1, longitude: 2, label: 'x' } })).toMatchObject({ status: 201 })
    expect(await post(`/rooms/${roomId}/messages`, 'ann', { message: '', messageType: 'productCard', productId: 'p1' })).toMatchObject({ status: 201 })
    expect(api.published.at(-1)).toMatchObject({ type: 'sendMessage', messageType: 'productCard', payload: '{"productId":"p1"}', content: '' })
  })

  test.each<[string, Body, number, string]>([
    ['no text', { message: '' }, 400, 'content_empty'],
    ['too long', { message: 'x'.repeat(4_001) }, 400, 'content_too_long'],
    ['a lone surrogate', { message: '\ud800' }, 400, 'content_invalid'],
    ['no message', {}, 400, 'invalid_request'],
    ['a number', { message: 5 }, 400, 'invalid_request'],
    ['nothing at all', { message: null }, 400, 'invalid_request'],
    ['unknown field', { message: 'x', colour: 'red' }, 400, 'invalid_request'],
    ['no id of a message', { message: 'x', clientMessageId: 'mine' }, 400, 'invalid_client_message_id'],
    ['an old id', { message: 'x', clientMessageId: uuidV7({ msecs: 1_000 }) }, 409, 'client_message_id_expired'],
    ['a system message', { message: 'x', messageType: 'system' }, 400, 'invalid_request'],
    ['a foreign key', { message: 'x', attachments: [{ key: 'rooms/other/x', mimeType: 'image/png', bytes: 1, name: 'x' }] }, 400, 'invalid_attachment'],
    ['replyTo that is none', { message: 'x', replyTo: 'x' }, 400, 'invalid_request'],
    ['a thread that is not there', { message: 'x', replyTo: '0b8a7a52-5f0e-5d39-9f0c-3f8f2d6c6a11' }, 404, 'message_not_found'],
  ])('%s is refused', async (_, body, status, code) => {
    const roomId = await newGroup()
    expect(codeOf(await post(`/rooms/${roomId}/messages`, 'ann', body))).toEqual([status, code])
  })

  test('refusals of the log come with their codes', async () => {
    const roomId = await newGroup('bob')
    const { messageId } = (await post(`/rooms/${roomId}/messages`, 'ann', { message: 'hi' })).body
    expect(codeOf(await post('/rooms/unknown/messages', 'ann', { message: 'hi' }))).toEqual([404, 'room_not_found'])
    expect(codeOf(await post(`/rooms/${roomId}/messages`, 'eve', { message: 'hi' }))).toEqual([403, 'not_a_participant'])
    expect(codeOf(await api.request('PATCH', `/rooms/${roomId}/messages/${messageId}`, 'bob', { message: 'mine' }))).toEqual([403, 'not_allowed'])
    expect(codeOf(await post('/rooms/bad%20id/messages', 'ann', { message: 'hi' }))).toEqual([400, 'invalid_room_id'])
    expect(codeOf(await api.request('DELETE', `/rooms/${roomId}/messages/none`, 'ann'))).toEqual([400, 'invalid_request'])
    expect(codeOf(await api.request('PUT', `/rooms/${roomId}/messages/${messageId}/reactions/${'x'.repeat(40)}`, 'ann'))).toEqual([400, 'invalid_request'])
  })
})

describe('conversations', () => {
  test('of two: the same for both', async () => {
    const roomId = directRoomId('dan' as UserId, 'eve' as UserId)
    expect(await post('/rooms', 'eve', { kind: 'direct', participants: ['dan'] })).toMatchObject({ status: 201, body: { roomId, seq: 1 } })
    expect(await post('/rooms', 'dan', { kind: 'direct', participants: ['eve'] })).toMatchObject({ status: 200, body: { roomId, seq: 1, unchanged: true } })
    expect(codeOf(await post('/rooms', 'dan', { kind: 'direct', participants: ['eve'], name: 'Us' }))).toEqual([400, 'invalid_request'])
    expect(codeOf(await post(`/rooms/${roomId}/participants`, 'dan', { userId: 'fay' }))).toEqual([409, 'wrong_room_kind'])
  })

  test('of many: people come, get roles, and go', async () => {
    const roomId = await newGroup('bob')
    expect(await post(`/rooms/${roomId}/participants`, 'ann', { userId: 'eve', role: 'observer' })).toMatchObject({ status: 201, body: { seq: 2 } })
    expect(await post(`/rooms/${roomId}/participants`, 'ann', { userId: 'eve', role: 'observer' })).toMatchObject({ status: 200, body: { unchanged: true } })
    expect(codeOf(await post(`/rooms/${roomId}/messages`, 'eve', { message: 'hi' }))).toEqual([403, 'not_allowed'])
    expect(codeOf(await post(`/rooms/${roomId}/participants`, 'bob', { userId: 'dan' }))).toEqual([403, 'not_allowed'])
    expect(await api.request('DELETE', `/rooms/${roomId}/participants/eve`, 'eve')).toMatchObject({ status: 200, body: { seq: 3 } })
    expect(await api.request('PATCH', `/rooms/${roomId}`, 'ann', { name: 'Team', metadata: { colour: 'red' } })).toMatchObject({ status: 200, body: { seq: 4 } })
    expect(api.rooms.get(roomId as RoomId)).toMatchObject({ name: 'Team', metadata: { colour: 'red' } })
    for (const body of [{}, { name: 'x'.repeat(101) }, { metadata: { x: 1 } }]) expect(codeOf(await api.request('PATCH', `/rooms/${roomId}`, 'ann', body))).toEqual([400, 'invalid_request'])
  })

  test('marks go up, and are private where the settings are not known', async () => {
    const roomId = await newGroup('bob')
    await post(`/rooms/${roomId}/messages`, 'ann', { message: 'hi' })
    expect(await post(`/rooms/${roomId}/marks`, 'bob', { seen: 1 })).toMatchObject({ status: 200, body: { seq: 3 } })
    expect(await post(`/rooms/${roomId}/marks`, 'bob', { delivered: 1 })).toMatchObject({ status: 200, body: { unchanged: true } })
    // Who has written has seen what he answers.
    expect(await post(`/rooms/${roomId}/marks`, 'ann', { seen: 9 })).toMatchObject({ status: 200, body: { unchanged: true } })
    await post(`/rooms/${roomId}/messages`, 'bob', { message: 'hello' })
    expect(await post(`/rooms/${roomId}/marks`, 'ann', { seen: 9, hidden: true })).toMatchObject({ body: { seq: 5 } })
    expect(api.rooms.get(roomId as RoomId)?.receipts.get('ann' as UserId)).toEqual({ delivered: 2, seen: 2, hidden: true })
    expect(codeOf(await post(`/rooms/${roomId}/marks`, 'ann', { hidden: true }))).toEqual([400, 'invalid_request'])
  })
})

describe('jobs and disputes', () => {
  test('from the job to its resolution', async () => {
    const chatId = jobRoomId('j1')
    const disputeId = disputeRoomId(chatId)
    expect(codeOf(await post('/jobs/create', 'eve', { clientId: 'ann', providerId: 'bob' }))).toEqual([403, 'not_allowed'])
    expect(await post('/jobs/create', 'ann', { clientId: 'ann', providerId: 'bob', jobId: 'j1' })).toMatchObject({ status: 201, body: { jobId: 'j1', chatId } })
    expect(await post('/jobs/create', 'bob', { clientId: 'ann', providerId: 'bob', jobId: 'j1' })).toMatchObject({ status: 200, body: { jobId: 'j1', chatId, unchanged: true } })
    expect((await api.request('GET', '/jobs/j1', 'ann')).body).toEqual({ jobId: 'j1', chatId, disputeId: null, lsm_invited: false, resolved: false })
    expect(codeOf(await post('/jobs/j1/dispute', 'eve'))).toEqual([403, 'not_a_participant'])
    expect(codeOf(await post('/jobs/j2/dispute', 'ann'))).toEqual([404, 'room_not_found'])
    expect(await post('/jobs/j1/dispute', 'ann')).toMatchObject({ status: 201, body: { disputeId, chatId: disputeId, seq: 1 } })
    expect(await post(`/rooms/${chatId}/dispute`, 'bob')).toMatchObject({ status: 200, body: { disputeId, unchanged: true } })
    expect(codeOf(await post(`/disputes/${disputeId}/join`, 'lsm'))).toEqual([403, 'not_invited'])
    expect(await post(`/disputes/${disputeId}/mediators`, 'bob', { userId: 'lsm' })).toMatchObject({ status: 201, body: { roomId: disputeId, seq: 2 } })
    expect((await api.request('GET', '/jobs/j1', 'ann')).body).toMatchObject({ disputeId, lsm_invited: true, resolved: false })
    expect(await post(`/disputes/${disputeId}/join`, 'lsm')).toMatchObject({ status: 201, body: { seq: 3 } })
    expect(codeOf(await post(`/disputes/${disputeId}/resolve`, 'ann'))).toEqual([403, 'not_allowed'])
    expect(await post(`/disputes/${disputeId}/resolve`, 'lsm', { note: 'half each' })).toMatchObject({ status: 200, body: { seq: 5 } })
    expect(codeOf(await post(`/rooms/${disputeId}/messages`, 'ann', { message: 'but' }))).toEqual([409, 'room_read_only'])
    expect(codeOf(await post('/disputes/bad%20id/join', 'ann'))).toEqual([400, 'invalid_room_id'])
  })

  test('a job without an id of its own is created once per clientMessageId', async () => {
    const body = { clientId: 'ann', providerId: 'bob', clientMessageId: uuidV7() }
    const first = await post('/jobs/create', 'ann', body)
    expect(first).toMatchObject({ status: 201, body: { jobId: body.clientMessageId } })
    expect((await post('/jobs/create', 'ann', body)).body).toMatchObject({ jobId: body.clientMessageId, chatId: first.body.chatId, unchanged: true })
  })

  test('of a group there is no dispute', async () => {
    expect(codeOf(await post(`/rooms/${await newGroup()}/dispute`, 'ann'))).toEqual([409, 'wrong_room_kind'])
  })
})

describe('who may write, and how much', () => {
  const WRITES = [
    ['POST', '/rooms'], ['PATCH', '/rooms/r'], ['POST', '/rooms/r/messages'], ['PATCH', '/rooms/r/messages/m'], ['DELETE', '/rooms/r/messages/m'], ['PUT', '/rooms/r/messages/m/reactions/x'],
    ['DELETE', '/rooms/r/messages/m/reactions/x'], ['POST', '/rooms/r/marks'], ['POST', '/rooms/r/participants'], ['DELETE', '/rooms/r/participants/u'], ['POST', '/rooms/r/dispute'],
    ['POST', '/rooms/r/messages/m/reports'], ['PATCH', '/me/chats/r'], ['POST', '/me/notifications/n/read'], ['POST', '/me/notifications/read-all'], ['PUT', '/me/push-subscriptions'], ['DELETE', '/me/push-subscriptions'],
    ['POST', '/rooms/r/attachments'], ['PUT', '/me/settings'], ['POST', '/jobs/create'], ['POST', '/jobs/j/dispute'], ['POST', '/disputes/d/mediators'], ['POST', '/disputes/d/join'], ['POST', '/disputes/d/resolve'],
  ] as const

  const MODERATION = [['POST', '/moderation/rooms/r/freeze'], ['POST', '/moderation/rooms/r/redactions'], ['POST', '/moderation/rooms/r/removals']] as const

  test.each(WRITES)('%s %s: not by a moderator either', async (method, url) => {
    expect(codeOf(await api.request(method, url, 'mod.moderator', {}))).toEqual([403, 'not_allowed'])
  })

  test.each(MODERATION)('%s %s: by a moderator alone', async (method, url) => {
    expect(codeOf(await api.request(method, url, 'ann', {}))).toEqual([403, 'moderator_only'])
    expect(codeOf(await api.request(method, url, 'mod.moderator', {}))).toEqual([400, 'invalid_request'])
  })

  test.each([...WRITES, ...MODERATION])('%s %s: not without a token, and not by an admin', async (method, url) => {
    expect(codeOf(await api.request(method, url, undefined, {}))).toEqual([401, 'token_missing'])
    expect(codeOf(await api.request(method, url, 'boss.admin', {}))).toEqual([403, 'admin_is_read_only'])
  })

  test('the OpenAPI document is valid, and has just these and the reads', async () => {
    const document = (await api.request('GET', '/openapi.json', undefined)).body
    expect(await new Validator().validate(document)).toMatchObject({ valid: true })
    const routes = Object.entries<any>(document.paths).flatMap(([url, methods]) => Object.keys(methods).map((method) => `${method.toUpperCase()} ${url.replaceAll(/\{\w+\}/g, '*')}`))
    const known = new Set([...WRITES, ...MODERATION].map(([method, url]) => `${method} ${url.replaceAll(/\/[rmxujdn](?=\/|$)/g, '/*')}`))
    expect(routes.filter((route) => !route.startsWith('GET')).sort()).toEqual([...known].sort())
    for (const item of Object.values<any>(document.paths)) {
      for (const operation of Object.values<any>(item)) expect([operation.summary, Object.keys(operation.responses)]).toEqual([expect.any(String), expect.arrayContaining(['4XX', '5XX'])])
    }
  })

  test('a body that is too large, no JSON, or of another type', async () => {
    expect(codeOf(await post('/rooms/r/marks', 'ann', { clientMessageId: 'x'.repeat(20_000) }))).toEqual([413, 'frame_too_large'])
    expect(codeOf(await post('/rooms/r/messages', 'ann', { message: 'x'.repeat(140_000) }))).toEqual([413, 'frame_too_large'])
    const raw = async (type: string, payload: string) => codeOf((await api.app.inject({ method: 'POST', url: '/rooms/r/messages', headers: { authorization: 'Bearer ann', 'content-type': type }, payload }).then((a) => ({ status: a.statusCode, body: a.json() }))) as never)
    expect(await raw('application/json', '{')).toEqual([400, 'invalid_request'])
    expect(await raw('text/plain', 'hi')).toEqual([400, 'invalid_request'])
    expect(await raw('application/xml', '<x/>')).toEqual([400, 'invalid_request'])
  })

  test('the longest message that is allowed fits, however it is escaped', async () => {
    const message = '👍'.repeat(4_000)
    const escaped = `{"message":"${message.replaceAll('👍', '\\ud83d\\udc4d')}"}`
    const roomId = await newGroup()
    const answer = await api.app.inject({ method: 'POST', url: `/rooms/${roomId}/messages`, headers: { authorization: 'Bearer ann', 'content-type': 'application/json' }, payload: escaped })
    expect(answer.statusCode).toBe(201)
  })

  test('writes of one user are limited; others go on', async () => {
    const limited = await MemoryApi.start({ perSecondUser: 3 })
    const answers = await Promise.all(Array.from({ length: 5 }, () => limited.request('POST', '/rooms/r/messages', 'ann', { message: 'hi' })))
    expect(answers.map((a) => a.body.code)).toEqual([...Array(3).fill('room_not_found'), 'rate_limited', 'rate_limited'])
    expect(answers[4]).toMatchObject({ status: 429, body: { retriable: true, retryAfterMs: expect.any(Number) } })
    expect((await limited.request('POST', '/rooms/r/messages', 'bob', { message: 'hi' })).body.code).toBe('room_not_found')
    await limited.close()
  })

  test('browsers of allowed origins may write', async () => {
    const preflight = await api.app.inject({ method: 'OPTIONS', url: '/rooms', headers: { origin: 'https://shop.example', 'access-control-request-method': 'PATCH', 'access-control-request-headers': 'content-type' } })
    expect(preflight.headers['access-control-allow-methods']).toContain('PATCH')
    expect(preflight.headers['access-control-allow-headers']).toContain('content-type')
  })
})

describe('when the log does not answer', () => {
  const write = async (commands: Parameters<typeof MemoryApi.start>[0]) => {
    const other = await MemoryApi.start(commands)
    const answer = await other.request('POST', '/rooms/r/messages', 'ann', { message: 'hi' })
    await other.close()
    return [...codeOf(answer), answer.body.retriable]
  }

  test('nobody listens: unavailable, and nothing is sent', async () => {
    let sent = 0
    expect(await write({ commands: { isListening: () => false, publish: async () => void sent++ } })).toEqual([503, 'unavailable', true])
    expect(sent).toBe(0)
  })

  test('it takes nothing: unavailable', async () => {
    expect(await write({ commands: { publish: () => Promise.reject(new ChatError('unavailable', 'Kafka: connection refused')) } })).toEqual([503, 'unavailable', true])
  })

  test('it says nothing in time: the outcome is unknown', async () => {
    expect(await write({ commands: { publish: async () => {}, answerTimeoutMs: 10 } })).toEqual([503, 'outcome_unknown', true])
  })

  test('too much waits: unavailable', async () => {
    expect(await write({ commands: { publish: async () => {}, pendingMax: 0 } })).toEqual([503, 'unavailable', true])
  })

  test('a stop takes nothing new, and ends what waits', async () => {
    const other = await MemoryApi.start({ commands: { publish: async () => {} } })
    const waiting = other.request('POST', '/rooms/r/messages', 'ann', { message: 'hi' })
    await expect.poll(() => other.commands.pending).toBe(1)
    other.commands.stop()
    expect(codeOf(await other.request('POST', '/rooms/r/messages', 'ann', { message: 'hi' }))).toEqual([503, 'shutting_down'])
    expect(codeOf(await waiting)).toEqual([503, 'outcome_unknown'])
    await other.app.close()
  })
})

describe('files', () => {
  const key = (roomId: string) => `rooms/${encodeURIComponent(roomId)}/0b8a7a52-5f0e-4d39-9f0c-3f8f2d6c6a11`
  const file = { name: 'a.png', mimeType: 'image/png', bytes: 5 }

  test('without a store there are none, and the answer says so', async () => {
    const roomId = await newGroup()
    const answer = await post(`/rooms/${roomId}/attachments`, 'ann', file)
    expect(codeOf(answer)).toEqual([503, 'unavailable'])
    expect(answer.body.message).toContain('no store of files is set up')
    expect(codeOf(await api.request('GET', `/rooms/${roomId}/attachments/${encodeURIComponent(key(roomId))}`, 'ann'))).toEqual([503, 'unavailable'])
  })

  test('with one: for participants, of this room alone, within the limits', async () => {
    const files = {
      put: async ({ key: to, mimeType, bytes }: { key: string; mimeType: string; bytes: number }) => ({ url: `https://s3/${to}?put`, headers: { 'content-type': mimeType, 'content-length': String(bytes) }, expiresAtMs: 1 }),
      get: async (from: string) => ({ url: `https://s3/${from}?get`, expiresAtMs: 1 }),
      close: () => {},
    }
    const withFiles = await MemoryApi.start({ files })
    const ask = (method: 'GET' | 'POST', url: string, user: string, body?: unknown) => withFiles.request(method, url, user, body)
    const { roomId } = (await ask('POST', '/rooms', 'ann', { kind: 'group', participants: ['bob'], clientId: 'files' })).body
    await ask('POST', `/rooms/${roomId}/participants`, 'ann', { userId: 'watcher', role: 'observer' })
    const upload = await ask('POST', `/rooms/${roomId}/attachments`, 'bob', file)
    expect(upload).toMatchObject({ status: 201, body: { key: expect.stringMatching(new RegExp(`^rooms/${roomId}/[0-9a-f-]{36}$`)), headers: { 'content-type': 'image/png', 'content-length': '5' }, expiresAtMs: 1 } })
    const at = (of: string) => `/rooms/${roomId}/attachments/${encodeURIComponent(of)}`
    expect((await ask('GET', at(upload.body.key), 'watcher')).body).toEqual({ url: `https://s3/${upload.body.key}?get`, expiresAtMs: 1 })
    expect(codeOf(await ask('GET', at(upload.body.key), 'eve'))).toEqual([403, 'not_a_participant'])
    for (const wrong of [key('other'), `rooms/${roomId}/../other/x`, `rooms/${roomId}/`, 'x']) expect(codeOf(await ask('GET', at(wrong), 'ann'))).toEqual([404, 'not_found'])
    expect(codeOf(await ask('POST', `/rooms/${roomId}/attachments`, 'eve', file))).toEqual([403, 'not_a_participant'])
    expect(codeOf(await ask('POST', `/rooms/${roomId}/attachments`, 'watcher', file))).toEqual([403, 'not_allowed'])
    for (const wrong of [{ bytes: 30 * 1_024 * 1_024 }, { mimeType: 'png' }, { name: '' }]) expect(codeOf(await ask('POST', `/rooms/${roomId}/attachments`, 'ann', { ...file, ...wrong }))).toEqual([400, 'invalid_attachment'])
    expect(codeOf(await ask('POST', `/rooms/${roomId}/attachments`, 'ann', { name: 'x' }))).toEqual([400, 'invalid_request'])
    await withFiles.close()
  })
})
