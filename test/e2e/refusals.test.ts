import { exportSPKI, importJWK, type JWK, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { ChatSocket, Frame } from '../support/chat-socket.ts'
import { System } from '../support/system.ts'
import { useStack } from '../support/stack.ts'
import { type Attempt, clientMessageIdAt, newClientMessageId, probe, range, upgradeRefusal } from './helpers.ts'

const ORIGIN = 'https://shop.example'
const CONNECTIONS_MAX = 3
const ROOM_MESSAGES_MAX = 5

let system: System
/** Every token that was used here: none may be found in a log. */
const tokens: string[] = []

beforeAll(async () => {
  system = await System.start(await useStack(), 'refusals', {
    env: {
      EDGE_ALLOWED_ORIGINS: ORIGIN,
      EDGE_CONNECTIONS_PER_USER_MAX: String(CONNECTIONS_MAX),
      EDGE_REQUESTS_PER_SECOND_USER: '50',
      ROOM_MESSAGES_PER_SECOND_MAX: String(ROOM_MESSAGES_MAX),
      LOG_LEVEL: 'debug',
    },
  })
  await system.openRoom('order-1', 'customer', 'vendor')
  await system.openRoom('order-2', 'customer-2', 'vendor-2')
})
afterAll(() => system?.close())

async function tokenOf(userId: string, claims: Omit<Parameters<System['tokenWith']>[0], 'userId'> = {}): Promise<string> {
  const token = await system.tokenWith({ userId, ...claims })
  tokens.push(token)
  return token
}

/** A socket in a room of its own, so that no limit of one test meets another. */
async function socketInRoom(orderId: string, customerId = `customer-of-${orderId}`): Promise<ChatSocket> {
  await system.openRoom(orderId, customerId, `vendor-of-${orderId}`)
  const socket = await system.connectAs(1, { token: await tokenOf(customerId), orderId, until: 'open' })
  await socket.waitForType('caughtUp')
  return socket
}

describe('before the upgrade, and for a plain GET of the same URL', () => {
  const path = (query: string) => `/chat?${query}`
  const orderId = 'order-1'

  test.each<[string, number, string, () => Promise<Attempt> | Attempt]>([
    ['no token', 401, 'token_missing', () => ({ orderId })],
    ['garbage', 401, 'token_invalid', () => ({ orderId, token: 'garbage' })],
    ['another scheme', 401, 'token_missing', () => ({ orderId, headers: { authorization: 'Basic Y3VzdG9tZXI6cGFzcw==' } })],
    ['alg none', 401, 'token_invalid', () => ({ orderId, token: unsignedToken() })],
    ['HS256 signed with the public key', 401, 'token_invalid', async () => ({ orderId, token: await confusedToken() })],
    ['a changed claim', 401, 'token_invalid', async () => ({ orderId, token: withSubject(await tokenOf('stranger'), 'customer') })],
    ['wrong issuer', 401, 'token_invalid', async () => ({ orderId, token: await tokenOf('customer', { issuer: 'somebody-else' }) })],
    ['wrong audience', 401, 'token_invalid', async () => ({ orderId, token: await tokenOf('customer', { audience: 'order-shop' }) })],
    ['expired', 401, 'token_expired', async () => ({ orderId, token: await tokenOf('customer', { ttlS: -60 }) })],
    ['user_id of another', 401, 'user_id_mismatch', async () => ({ path: path(`orderId=order-1&user_id=vendor`), token: await tokenOf('customer') })],
    ['user_id twice, one of another', 401, 'user_id_mismatch', async () => ({ path: path(`orderId=order-1&user_id=customer&user_id=vendor`), token: await tokenOf('customer') })],
    ['foreign order', 403, 'not_a_participant', async () => ({ orderId: 'order-2', token: await tokenOf('customer') })],
    ['unknown order', 404, 'room_not_found', async () => ({ orderId: 'order-nobody-knows', token: await tokenOf('customer') })],
    ['unknown order, as admin', 404, 'room_not_found', async () => ({ orderId: 'order-nobody-knows', token: await tokenOf('boss', { role: 'admin' }) })],
    ['malformed orderId', 400, 'invalid_room_id', async () => ({ orderId: 'no such/id', token: await tokenOf('customer') })],
    ['overlong orderId', 400, 'invalid_room_id', async () => ({ orderId: 'x'.repeat(129), token: await tokenOf('customer') })],
    ['orderId missing', 400, 'invalid_room_id', async () => ({ path: '/chat', token: await tokenOf('customer') })],
    ['since is no number', 400, 'invalid_request', async () => ({ path: path('orderId=order-1&since=x'), token: await tokenOf('customer') })],
    ['since is negative', 400, 'invalid_request', async () => ({ path: path('orderId=order-1&since=-1'), token: await tokenOf('customer') })],
    ['since above the head', 400, 'invalid_request', async () => ({ orderId, since: 1_000, token: await tokenOf('customer') })],
    ['origin not on the list', 403, 'origin_not_allowed', async () => ({ orderId, token: await tokenOf('customer'), headers: { origin: 'https://evil.example' } })],
    ['origin not on the list, no token either', 403, 'origin_not_allowed', () => ({ orderId, headers: { origin: 'null' } })],
    ['bad token by subprotocol', 401, 'token_invalid', () => ({ orderId, protocols: ['chat.v1', 'bearer.garbage'] })],
    ['bad token by query', 401, 'token_invalid', () => ({ path: path('orderId=order-1&token=garbage') })],
    ['bad token without a room', 401, 'token_invalid', () => ({ path: '/ws/chat', token: 'garbage' })],
  ])('%s: %i %s', async (_, status, code, makeAttempt) => {
    const attempt = await makeAttempt()
    const refused = await upgradeRefusal(system, 1, attempt)
    expect(refused).toEqual({ status, body: { code, message: expect.any(String), retriable: false } })
    const probed = await probe(system, 1, attempt)
    expect({ status: probed.status, body: probed.body }).toEqual(refused)
    if (code === 'origin_not_allowed') expect(probed.headers.get('access-control-allow-origin')).toBeNull()
  })

  test('a probe that would be let in is told to upgrade; a browser on the list may read it', async () => {
    const probed = await probe(system, 1, { orderId, token: await tokenOf('customer'), headers: { origin: ORIGIN } })
    expect(probed).toMatchObject({ status: 426, body: { code: 'upgrade_required' } })
    expect(probed.headers.get('access-control-allow-origin')).toBe(ORIGIN)
  })

  test('an unknown path: 404', async () => {
    expect(await probe(system, 1, { path: '/elsewhere' })).toMatchObject({ status: 404, body: { code: 'not_found' } })
  })
})

describe('ways to bring a good token', () => {
  test('from an allowed origin', async () => {
    const socket = await system.connectAs(1, { token: await tokenOf('customer'), orderId: 'order-1', headers: { origin: ORIGIN } })
    await socket.waitForType('joined')
    socket.close()
  })

  test('by subprotocol: only chat.v1 is echoed', async () => {
    const socket = await system.connectAs(1, { token: undefined, orderId: 'order-1', protocols: ['chat.v1', `bearer.${await tokenOf('customer')}`] })
    expect(socket.ws.protocol).toBe('chat.v1')
    expect(await socket.waitForType('connected')).toMatchObject({ userId: 'customer' })
    socket.close()
  })

  test('by query, with the user_id that it is of', async () => {
    const socket = await system.connectAs(1, { token: undefined, path: `/chat?orderId=order-1&user_id=customer&token=${await tokenOf('customer')}` })
    expect(await socket.waitForType('connected')).toMatchObject({ userId: 'customer' })
    socket.close()
  })
})

describe('on the socket', () => {
  test('malformed frames are answered, under their id where they have one, and the socket lives', async () => {
    const socket = await socketInRoom('order-malformed')
    const answers: [frame: string | Buffer, code: string, id?: string][] = [
      ['{"type":', 'malformed_frame'],
      ['[]', 'malformed_frame'],
      ['"sendMessage"', 'malformed_frame'],
      ['null', 'malformed_frame'],
      ['', 'malformed_frame'],
      ['{"id":"a","type":"dance"}', 'unknown_type', 'a'],
      ['{"id":"b","type":"__proto__"}', 'unknown_type', 'b'],
      ['{"id":"c"}', 'unknown_type', 'c'],
      ['{"id":"d","type":"sendMessage","message":7}', 'malformed_frame', 'd'],
      ['{"id":"e","type":"sendMessage"}', 'malformed_frame', 'e'],
      ['{"id":"f","type":"join","roomId":"order-1","since":"0"}', 'malformed_frame', 'f'],
      ['{"id":"g","type":"join","roomId":"order-1","since":-1}', 'malformed_frame', 'g'],
      ['{"id":"h","type":"join","roomId":"no such/id"}', 'malformed_frame', 'h'],
      ['{"id":{},"type":"ping"}', 'malformed_frame'],
      [Buffer.from('{"id":"i","type":"ping"}'), 'malformed_frame'],
    ]
    for (const [frame] of answers) socket.sendRaw(frame)
    await vi.waitFor(() => expect(errorsOf(socket)).toHaveLength(answers.length), { timeout: 10_000 })
    expect(errorsOf(socket).map((f) => [f['code'], f['id']])).toEqual(answers.map(([, code, id]) => [code, id]))
    expect(await socket.request({ type: 'ping' })).toMatchObject({ type: 'ack' })
    expect(await socket.request({ type: 'ping', somethingNew: 1 })).toMatchObject({ type: 'ack' })
  })

  test('too many of them: closed for good', async () => {
    const socket = await socketInRoom('order-malformed-2')
    for (const _ of range(1, 30)) socket.sendRaw('{')
    const { code, reason } = await socket.waitForClose()
    expect([code, JSON.parse(reason)]).toEqual([4502, { code: 'malformed_frame' }])
    expect(errorsOf(socket)).toHaveLength(20)
  })

  test('text that is no UTF-8: closed, and the node lives', async () => {
    const socket = await socketInRoom('order-no-utf8')
    socket.ws.send(Buffer.from([0x22, 0xff, 0xfe, 0x22]), { binary: false })
    expect([1006, 1007]).toContain((await socket.waitForClose()).code)
    expect(system.process('edge-1').isRunning).toBe(true)
  })

  test('a frame above the limit is refused and the socket lives; far above cuts it off', async () => {
    const socket = await socketInRoom('order-large')
    expect(await replyTo(socket, { type: 'sendMessage', message: 'x'.repeat(70_000) })).toMatchObject({ type: 'error', code: 'frame_too_large', retriable: false })
    expect(await socket.request({ type: 'ping' })).toMatchObject({ type: 'ack' })
    socket.sendRaw('x'.repeat(200_000))
    expect([1006, 1009]).toContain((await socket.waitForClose()).code)
  })

  test('contents: 1 to 4,000 characters of well-formed Unicode without U+0000', async () => {
    const socket = await socketInRoom('order-contents')
    const vendor = await system.connectAs(2, { token: await tokenOf('vendor-of-order-contents'), orderId: 'order-contents', until: 'open' })
    for (const [message, code] of [
      ['', 'content_empty'],
      ['x'.repeat(4_001), 'content_too_long'],
      ['𝄞'.repeat(4_001), 'content_too_long'],
      ['a\0b', 'content_invalid'],
      ['a\ud800b', 'content_invalid'],
    ] as const) {
      expect(await socket.sendMessage(message)).toMatchObject({ type: 'error', code, retriable: false })
    }
    const longest = '𝄞'.repeat(4_000)
    const ack = await socket.sendMessage(longest)
    expect(ack).toMatchObject({ type: 'ack', seq: 2 })
    expect(await vendor.waitForSeq(2)).toMatchObject({ content: longest })
    expect(await socket.sendMessage(' ')).toMatchObject({ type: 'ack', seq: 3 })
  })

  test('clientMessageId: a UUIDv7 or ULID of the last 7 days', async () => {
    const socket = await socketInRoom('order-ids')
    const send = (clientMessageId: string) => socket.sendMessage('hi', { clientMessageId })
    expect(await send(crypto.randomUUID())).toMatchObject({ type: 'error', code: 'invalid_client_message_id', retriable: false })
    expect(await send('not an id')).toMatchObject({ type: 'error', code: 'invalid_client_message_id' })
    expect(await send(clientMessageIdAt(-8 * 24 * 3_600_000))).toMatchObject({ type: 'error', code: 'client_message_id_expired', retriable: false })
    expect(await send(clientMessageIdAt(10 * 60_000))).toMatchObject({ type: 'error', code: 'client_message_id_expired' })
    expect(await send(clientMessageIdAt(-6 * 24 * 3_600_000))).toMatchObject({ type: 'ack', seq: 2 })
    expect(await send(clientMessageIdAt(2 * 60_000))).toMatchObject({ type: 'ack', seq: 3 })
    const inCapitals = newClientMessageId().toUpperCase()
    expect(await send(inCapitals)).toMatchObject({ type: 'ack', seq: 4, clientMessageId: inCapitals.toLowerCase() })
  })

  test('rooms: not joined, not mine, unknown, closed', async () => {
    const socket = await socketInRoom('order-rooms')
    expect(await socket.sendMessage('hi', { roomId: 'order-2' })).toMatchObject({ type: 'error', code: 'not_joined', retriable: false })
    expect(await socket.request({ type: 'join', roomId: 'order-2' })).toMatchObject({ type: 'error', code: 'not_a_participant' })
    expect(await socket.request({ type: 'join', roomId: 'order-nobody-knows' })).toMatchObject({ type: 'error', code: 'room_not_found' })
    expect(await socket.request({ type: 'join', roomId: 'order-rooms', since: 99 })).toMatchObject({ type: 'error', code: 'invalid_request' })
    expect(await socket.request({ type: 'leave', roomId: 'order-2' })).toMatchObject({ type: 'error', code: 'not_joined' })
    const dashboard = await system.connectAs(1, { token: await tokenOf('vendor-of-order-rooms') })
    expect(await dashboard.sendMessage('where?')).toMatchObject({ type: 'error', code: 'malformed_frame' })
    await system.order('cancelled', 'order-rooms')
    await socket.waitForSeq(2)
    expect(await socket.sendMessage('hi')).toMatchObject({ type: 'error', code: 'room_read_only', retriable: false, roomId: 'order-rooms' })
  })

  test('an admin reads and writes nothing', async () => {
    const admin = await system.connectAs(1, { token: await tokenOf('boss', { role: 'admin' }), orderId: 'order-1' })
    expect(await admin.waitForType('joined')).toMatchObject({ roomId: 'order-1' })
    expect(await admin.sendMessage('hi')).toMatchObject({ type: 'error', code: 'admin_is_read_only', retriable: false })
    admin.close()
  })

  test('who is a participant and comes with the role admin writes nothing either', async () => {
    const admin = await system.connectAs(1, { token: await tokenOf('customer', { role: 'admin' }), orderId: 'order-1' })
    expect(await admin.sendMessage('hi')).toMatchObject({ type: 'error', code: 'admin_is_read_only' })
    admin.close()
  })
})

describe('too much', () => {
  test('a flood is told to slow down, each request by its id, and may go on afterwards', async () => {
    const socket = await socketInRoom('order-flood')
    const replies = await Promise.all(range(1, 60).map(() => socket.request({ type: 'ping' })))
    const refused = replies.filter((f) => f.type === 'error')
    expect(refused.length).toBeGreaterThan(0)
    for (const f of refused) expect(f).toMatchObject({ code: 'rate_limited', retriable: true, retryAfterMs: expect.any(Number) })
    await new Promise((resolve) => setTimeout(resolve, Math.max(...refused.map((f) => f['retryAfterMs'] as number)) + 100))
    expect(await socket.request({ type: 'ping' })).toMatchObject({ type: 'ack' })
  })

  test('a flood that does not stop is closed, to come back later', async () => {
    const socket = await socketInRoom('order-flood-2')
    for (const id of range(1, 2_000)) socket.sendRaw(JSON.stringify({ id, type: 'ping' }))
    const { code, reason } = await socket.waitForClose()
    expect([code, JSON.parse(reason)]).toEqual([4020, { code: 'rate_limited', retryAfterMs: 5_000 }])
  })

  test('one user on two nodes has one budget', async () => {
    const first = await socketInRoom('order-flood-3')
    const second = await system.connectAs(2, { token: await tokenOf('customer-of-order-flood-3'), orderId: 'order-flood-3', until: 'open' })
    const refusals = async () => {
      // 28 is below a connection's own limit; 56 are above the user's.
      const replies = await Promise.all([first, second].flatMap((socket) => range(1, 28).map(() => socket.request({ type: 'ping' }))))
      await new Promise((resolve) => setTimeout(resolve, 1_100))
      return replies.filter((f) => f['code'] === 'rate_limited').length
    }
    // Where the machine is slow they may fall into different seconds.
    await expect.poll(refusals, { timeout: 30_000, interval: 1 }).toBeGreaterThan(0)
  })

  test('upgrades of one user per second, refused ones too', async () => {
    const token = await tokenOf('knocker')
    const answers = await Promise.all(range(1, 150).map((i) => upgradeRefusal(system, 1, { orderId: `order-nowhere-${i}`, token })))
    const limited = answers.filter(({ status }) => status === 429)
    expect(limited.length).toBeGreaterThan(0)
    for (const { body } of limited) expect(body).toMatchObject({ code: 'rate_limited', retriable: true, retryAfterMs: expect.any(Number) })
    // A hundred looks at once may be more than a slow machine's Postgres answers in time: that is said as what it is.
    const others = answers.filter(({ status }) => status !== 429 && status !== 404)
    for (const { status, body } of others) expect({ status, body }).toMatchObject({ status: 503, body: { retriable: true } })
  })

  test('messages of one sender in one room per second', async () => {
    const socket = await socketInRoom('order-fast')
    const replies = await Promise.all(range(1, 25).map((i) => socket.sendMessage(`fast ${i}`)))
    const refused = replies.filter((f) => f.type === 'error')
    const acked = replies.filter((f) => f.type === 'ack')
    expect(refused.length).toBeGreaterThan(0)
    for (const f of refused) expect(f).toMatchObject({ code: 'rate_limited', retriable: true, roomId: 'order-fast', clientMessageId: expect.any(String) })
    for (const f of refused) expect(f['retryAfterMs']).toBeLessThanOrEqual(1_000)
    const bySecond = Map.groupBy(acked, (f) => Math.floor((f['timestamp'] as number) / 1_000))
    for (const inSecond of bySecond.values()) expect(inSecond.length).toBeLessThanOrEqual(ROOM_MESSAGES_MAX)
    // What was refused has left no hole.
    expect(acked.map((f) => f['seq'])).toEqual(range(2, acked.length + 1))
  })

  test('connections of one user over all nodes; a close frees a place', async () => {
    const token = await tokenOf('crowd')
    const sockets = await Promise.all(range(1, CONNECTIONS_MAX).map((i) => system.connectAs(1 + (i % 2), { token })))
    for (const edge of [1, 2]) {
      expect(await upgradeRefusal(system, edge, { token, path: '/ws/chat' })).toMatchObject({ status: 429, body: { code: 'too_many_connections', retriable: true, retryAfterMs: expect.any(Number) } })
      const probed = await probe(system, edge, { token, path: '/ws/chat' })
      expect(probed).toMatchObject({ status: 429, body: { code: 'too_many_connections' } })
      expect(Number(probed.headers.get('retry-after'))).toBeGreaterThan(0)
    }
    sockets[0]!.close()
    await vi.waitFor(async () => sockets.push(await system.connectAs(2, { token })), { timeout: 10_000 })
    for (const socket of sockets) socket.close()
  })
})

test('no token is in any log', () => {
  expect(tokens.length).toBeGreaterThan(20)
  for (const process of system.processes.values()) {
    const log = process.log()
    expect(log.length, process.id).toBeGreaterThan(0)
    expect(tokens.filter((token) => log.includes(token.split('.').at(-1)!.slice(0, 24))), process.id).toEqual([])
  }
})

const errorsOf = (socket: ChatSocket): Frame[] => socket.frames.filter((f) => f.type === 'error')

/** The next error, for what is refused before its id can be read. */
function replyTo(socket: ChatSocket, frame: object): Promise<Frame> {
  const before = errorsOf(socket).length
  socket.sendRaw(JSON.stringify(frame))
  return socket.waitFor(() => errorsOf(socket).length > before, 'an error').then(() => errorsOf(socket)[before]!)
}

const base64url = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')

function claimsOf(userId: string): Record<string, unknown> {
  const nowS = Math.floor(Date.now() / 1_000)
  return { sub: userId, role: 'user', iss: 'order-chat-dev', aud: 'order-chat', iat: nowS, exp: nowS + 3_600 }
}

function unsignedToken(): string {
  return `${base64url({ alg: 'none', typ: 'JWT' })}.${base64url(claimsOf('customer'))}.`
}

/** What a verifier takes that lets the token name the algorithm, and uses its public key as an HMAC secret. */
async function confusedToken(): Promise<string> {
  const { keys } = (await (await fetch(system.process('edge-1').env['AUTH_JWKS_URL']!)).json()) as { keys: JWK[] }
  const pem = await exportSPKI((await importJWK(keys[0]!, 'ES256', { extractable: true })) as Parameters<typeof exportSPKI>[0])
  return new SignJWT(claimsOf('customer')).setProtectedHeader({ alg: 'HS256', kid: keys[0]!.kid! }).sign(new TextEncoder().encode(pem))
}

function withSubject(token: string, sub: string): string {
  const [header, payload, signature] = token.split('.') as [string, string, string]
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as object
  return `${header}.${base64url({ ...claims, sub })}.${signature}`
}
