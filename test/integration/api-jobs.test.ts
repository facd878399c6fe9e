import { v7 as uuidV7 } from 'uuid'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { disputeRoomId, jobRoomId, type RoomId } from '#libs/domain/ids.ts'
import { useStack } from '../support/stack.ts'
import { System } from '../support/system.ts'
import { ApiUsers, codeOf } from './api-users.ts'

let system: System
let api: ApiUsers
beforeAll(async () => {
  system = await System.start(await useStack(), 'api-jobs', { count: { edge: 0, 'sqs-bridge': 1, api: 1 } })
  api = new ApiUsers(system)
})
afterAll(() => system.close())

describe('a job', () => {
  test('has a room, a dispute once somebody wants one, and a record of how it ended', async () => {
    const created = await api.post('/jobs/create', 'cli', { clientId: 'cli', providerId: 'pro', jobId: 'job-1' })
    const chatId = jobRoomId('job-1')
    expect(created).toMatchObject({ status: 201, body: { jobId: 'job-1', chatId, seq: 1 } })
    expect(await api.post('/jobs/create', 'pro', { clientId: 'cli', providerId: 'pro', jobId: 'job-1' })).toMatchObject({ status: 200, body: { chatId, unchanged: true } })
    await api.reached(chatId, 1, 'cli')
    expect((await api.get('/jobs/job-1', 'pro')).body).toEqual({ jobId: 'job-1', chatId, disputeId: null, lsm_invited: false, resolved: false })
    const { status, body: dispute } = await api.post('/jobs/job-1/dispute', 'cli')
    const disputeId = disputeRoomId(chatId)
    expect([status, dispute]).toMatchObject([201, { disputeId, chatId: disputeId }])
    expect(await api.post('/jobs/job-1/dispute', 'pro')).toMatchObject({ status: 200, body: { disputeId, unchanged: true } })
    const { body: invited } = await api.post(`/disputes/${disputeId}/mediators`, 'pro', { userId: 'lsm' })
    await api.reached(disputeId, invited.seq, 'cli')
    expect((await api.get('/jobs/job-1', 'lsm')).body).toMatchObject({ disputeId, lsm_invited: true, resolved: false })
    expect((await api.get('/me/invitations', 'lsm')).body).toEqual({ invitations: [{ roomId: disputeId, kind: 'dispute', subjectId: 'job-1', invitedBy: 'pro', timestamp: invited.timestamp }] })
    expect(codeOf(await api.get(`/rooms/${disputeId}`, 'lsm'))).toEqual([403, 'not_a_participant'])
    const { body: joined } = await api.post(`/disputes/${disputeId}/join`, 'lsm')
    expect(await api.reached(disputeId, joined.seq, 'lsm')).toMatchObject({ kind: 'dispute', subjectId: 'job-1', participants: [{ role: 'client' }, { role: 'provider' }, { userId: 'lsm', role: 'mediator' }] })
    expect((await api.get('/me/invitations', 'lsm')).body.invitations).toEqual([])
    expect((await api.get('/chats', 'lsm')).body.chats).toMatchObject([{ roomId: disputeId, kind: 'dispute', role: 'mediator' }])
    await api.post(`/rooms/${disputeId}/messages`, 'lsm', { message: 'let us see' })
    const { body: resolved } = await api.post(`/disputes/${disputeId}/resolve`, 'lsm', { note: 'half each' })
    expect(await api.reached(disputeId, resolved.seq, 'cli')).toMatchObject({ readOnly: true, closedReason: 'resolved', closeNote: 'half each', participants: [{ userId: 'cli' }, { userId: 'pro' }] })
    expect((await api.get('/jobs/job-1', 'cli')).body).toEqual({ jobId: 'job-1', chatId, disputeId, lsm_invited: true, resolved: true })
    expect((await api.get(`/rooms/${disputeId}/messages`, 'pro')).body.messages).toMatchObject([{ content: 'let us see' }])
    expect(codeOf(await api.get(`/rooms/${disputeId}/messages`, 'lsm'))).toEqual([403, 'not_a_participant'])
    expect(codeOf(await api.post(`/rooms/${disputeId}/messages`, 'cli', { message: 'but' }))).toEqual([409, 'room_read_only'])
  })

  test('is nobody else\'s business', async () => {
    await api.post('/jobs/create', 'cli', { clientId: 'cli', providerId: 'pro', jobId: 'job-2' })
    await api.reached(jobRoomId('job-2'), 1, 'cli')
    expect(codeOf(await api.get('/jobs/job-2', 'eve'))).toEqual([403, 'not_a_participant'])
    expect(codeOf(await api.get('/jobs/none', 'cli'))).toEqual([404, 'room_not_found'])
    expect(codeOf(await api.post('/jobs/job-2/dispute', 'eve'))).toEqual([403, 'not_a_participant'])
    expect(codeOf(await api.post('/jobs/create', 'eve', { clientId: 'eve', providerId: 'pro', jobId: 'job-2' }))).toEqual([403, 'not_a_participant'])
    expect(codeOf(await api.post('/jobs/create', 'eve', { clientId: 'cli', providerId: 'pro', jobId: 'job-3' }))).toEqual([403, 'not_allowed'])
    expect(codeOf(await api.post(`/disputes/${disputeRoomId(jobRoomId('job-2'))}/mediators`, 'cli', { userId: 'lsm' }))).toEqual([404, 'room_not_found'])
    expect((await api.get('/jobs/job-2', 'boss.admin')).status).toBe(200)
    expect(codeOf(await api.ask('POST', '/jobs/job-2/dispute', 'boss.admin', {}))).toEqual([403, 'admin_is_read_only'])
  })
})

test('about an order there is a dispute once it has ended', async () => {
  await system.order('accepted', 'order-1', { customerId: 'cust', vendorId: 'shop' })
  await api.reached('order-1', 1, 'cust')
  expect(codeOf(await api.post('/rooms/order-1/dispute', 'cust'))).toEqual([409, 'wrong_room_kind'])
  await system.order('delivered', 'order-1')
  await api.until('/rooms/order-1', 'cust', ({ readOnly }) => readOnly)
  const { status, body } = await api.post('/rooms/order-1/dispute', 'cust')
  expect([status, body]).toMatchObject([201, { disputeId: disputeRoomId('order-1' as RoomId) }])
  expect(await api.reached(body.chatId, 1, 'shop')).toMatchObject({ kind: 'dispute', subjectId: 'order-1', orderId: null, participants: [{ userId: 'cust', role: 'customer' }, { userId: 'shop', role: 'vendor' }] })
  expect((await api.post(`/disputes/${body.chatId}/resolve`, 'shop')).status).toBe(200)
})

test('a product card is shown as its product is now', async () => {
  const { body } = await api.post('/rooms', 'cust', { kind: 'group', participants: [], clientId: 'cards' })
  const { roomId } = body
  const { body: sent } = await api.post(`/rooms/${roomId}/messages`, 'cust', { message: '', messageType: 'productCard', productId: 'p1' })
  await api.reached(roomId, sent.seq, 'cust')
  expect(codeOf(await api.get('/products/p1', 'cust'))).toEqual([404, 'not_found'])
  expect((await api.get(`/rooms/${roomId}/messages`, 'cust')).body.messages[0]).not.toHaveProperty('product')
  await system.pool.query(`INSERT INTO products (product_id, name, price_minor, currency, available, updated_at_ms) VALUES ('p1', 'Tea', 450, 'EUR', true, 1000)`)
  const product = { productId: 'p1', name: 'Tea', priceMinor: 450, currency: 'EUR', available: true, updatedAtMs: 1_000 }
  expect((await api.get('/products/p1', 'anybody')).body).toEqual(product)
  expect((await api.get(`/rooms/${roomId}/messages`, 'cust')).body.messages).toMatchObject([{ messageType: 'productCard', productId: 'p1', product }])
})

describe('files', () => {
  const bytes = new TextEncoder().encode('hello')

  test('are uploaded to the store, sent, and fetched by who is in the room', async () => {
    const { body } = await api.post('/rooms', 'ann', { kind: 'group', participants: ['bob'], clientId: 'files' })
    const { roomId } = body
    await api.reached(roomId, 1, 'ann')
    const { status, body: upload } = await api.post(`/rooms/${roomId}/attachments`, 'ann', { name: 'a.png', mimeType: 'image/png', bytes: 5 })
    expect([status, upload]).toMatchObject([201, { headers: { 'content-type': 'image/png', 'content-length': '5' }, expiresAtMs: expect.any(Number) }])
    const put = async (url: string, type: string, content: Uint8Array<ArrayBuffer>) => (await fetch(url, { method: 'PUT', headers: { 'content-type': type }, body: content })).status
    // The store holds them to what was signed.
    expect(await put(upload.url, 'image/png', new Uint8Array(6))).toBe(403)
    expect(await put(upload.url, 'text/html', bytes)).toBe(403)
    expect(await put(upload.url.replace(/([0-9a-f-]{36})\?/, '0b8a7a52-5f0e-4d39-9f0c-3f8f2d6c6a11?'), 'image/png', bytes)).toBe(403)
    expect(await put(upload.url, 'image/png', bytes)).toBe(200)
    const attachment = { key: upload.key, mimeType: 'image/png', bytes: 5, name: 'a.png', width: 10, height: 20 }
    const { body: sent } = await api.post(`/rooms/${roomId}/messages`, 'ann', { message: '', messageType: 'image', attachments: [attachment] })
    await api.reached(roomId, sent.seq, 'bob')
    expect((await api.get(`/rooms/${roomId}/messages`, 'bob')).body.messages).toMatchObject([{ messageType: 'image', content: '', attachments: [attachment] }])
    const at = `/rooms/${roomId}/attachments/${encodeURIComponent(upload.key)}`
    const { url } = (await api.get(at, 'bob')).body
    const file = await fetch(url)
    expect([file.status, file.headers.get('content-type'), file.headers.get('content-disposition'), await file.text()]).toEqual([200, 'image/png', 'attachment', 'hello'])
    expect((await fetch(url.split('?')[0])).status).toBeGreaterThanOrEqual(400)
    expect(codeOf(await api.get(at, 'eve'))).toEqual([403, 'not_a_participant'])
    const { body: other } = await api.post('/rooms', 'bob', { kind: 'group', participants: [], clientId: 'other' })
    await api.reached(other.roomId, 1, 'bob')
    expect(codeOf(await api.get(at.replace(roomId, other.roomId), 'bob'))).toEqual([404, 'not_found'])
    expect(codeOf(await api.post(`/rooms/${other.roomId}/messages`, 'bob', { message: 'x', attachments: [attachment] }))).toEqual([400, 'invalid_attachment'])
    // What a moderator takes away, its files too, is for nobody else any more.
    const { body: redaction } = await api.post(`/moderation/rooms/${roomId}/redactions`, 'mod.moderator', { messageId: sent.messageId, reason: 'not for here' })
    await api.reached(roomId, redaction.seq, 'bob')
    for (const user of ['ann', 'bob']) expect(codeOf(await api.get(at, user))).toEqual([409, 'message_deleted'])
    expect((await api.get(at, 'mod.moderator')).status).toBe(200)
  })

  test('are refused for others, for what is too large, and in rooms that have closed', async () => {
    const { body } = await api.post('/jobs/create', 'cli', { clientId: 'cli', providerId: 'pro', jobId: 'job-files' })
    await api.reached(body.chatId, 1, 'cli')
    const file = { name: 'a.png', mimeType: 'image/png', bytes: 5 }
    expect(codeOf(await api.post(`/rooms/${body.chatId}/attachments`, 'eve', file))).toEqual([403, 'not_a_participant'])
    expect(codeOf(await api.post(`/rooms/${body.chatId}/attachments`, 'cli', { ...file, bytes: 26 * 1_024 * 1_024 }))).toEqual([400, 'invalid_attachment'])
    const { body: dispute } = await api.post('/jobs/job-files/dispute', 'cli')
    await api.post(`/disputes/${dispute.chatId}/resolve`, 'cli')
    await api.until(`/rooms/${dispute.chatId}`, 'cli', ({ readOnly }) => readOnly)
    expect(codeOf(await api.post(`/rooms/${dispute.chatId}/attachments`, 'cli', file))).toEqual([409, 'room_read_only'])
  })
})

test('a new api process takes writing up by itself, and answers what the one before was asked', async () => {
  const { body } = await api.post('/rooms', 'ann', { kind: 'group', participants: [], clientId: 'restart' })
  const clientMessageId = uuidV7()
  const sent = await api.post(`/rooms/${body.roomId}/messages`, 'ann', { message: 'before', clientMessageId })
  await system.process('api-1').stop()
  await system.process('api-1').start()
  expect(await api.post(`/rooms/${body.roomId}/messages`, 'ann', { message: 'before', clientMessageId })).toEqual({ status: 200, body: { ...sent.body, repeated: true } })
  expect(await api.post(`/rooms/${body.roomId}/messages`, 'ann', { message: 'after' })).toMatchObject({ status: 201, body: { seq: sent.body.seq + 1 } })
  const metrics = await (await fetch(`http://127.0.0.1:${system.process('api-1').env['METRICS_PORT']}/metrics`)).text()
  const has = (...parts: readonly string[]) => metrics.split('\n').some((line) => parts.every((part) => line.includes(part)))
  expect(has('api_log_up', '} 1')).toBe(true)
  expect(has('api_command_seconds_count', 'outcome="ok"')).toBe(true)
})
