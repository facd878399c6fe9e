import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ApiFixture, PersistedRoom, startFixture } from './api-fixture.ts'

let f: ApiFixture
beforeAll(async () => {
  f = await startFixture('api', { API_ALLOWED_ORIGINS: 'https://shop.example' })
})
afterAll(() => f.close())

const admin = { userId: 'boss', role: 'admin' }
const newRoom = (id: string) => new PersistedRoom(f.pool, id).open(['cust', 'customer'], ['shop', 'vendor'])
const seqsOf = (answer: { body: { messages: { seq: number }[] } }) => answer.body.messages.map(({ seq }) => seq)

describe('GET /rooms/:id', () => {
  test('gives the room to its participants', async () => {
    const room = await (await newRoom('one')).say('cust', 'hi')
    const { status, body, headers } = await f.get('/rooms/one', 'cust')
    expect(status).toBe(200)
    expect(body).toEqual({
      roomId: 'one',
      orderId: 'one',
      kind: 'order',
      name: null,
      metadata: {},
      subjectId: null,
      history: 'all',
      unread: 0,
      receipts: [{ userId: 'cust', delivered: 1, seen: 1 }],
      participants: [{ userId: 'cust', role: 'customer' }, { userId: 'shop', role: 'vendor' }],
      readOnly: false,
      frozen: false,
      closedReason: null,
      closeNote: null,
      headSeq: 2,
      messageCount: 1,
      openedAt: room.timeMs - 1_001,
      lastEventAt: room.timeMs,
    })
    expect(headers.get('x-content-type-options')).toBe('nosniff')
    expect(headers.get('cache-control')).toBe('no-store')
    await room.persist({ type: 'roomClosed', reason: 'delivered' })
    expect((await f.get('/rooms/one', 'shop')).body).toMatchObject({ readOnly: true, closedReason: 'delivered', headSeq: 3 })
  })

  test('refuses everyone else, each by its code', async () => {
    await newRoom('foreign')
    const refused = async (url: string, user?: Parameters<ApiFixture['get']>[1]) => {
      const { status, body } = await f.get(url, user)
      return [status, body.code, body.retriable]
    }
    expect(await refused('/rooms/foreign')).toEqual([401, 'token_missing', false])
    expect(await refused('/rooms/foreign', 'stranger')).toEqual([403, 'not_a_participant', false])
    expect(await refused('/rooms/unknown', 'cust')).toEqual([404, 'room_not_found', false])
    expect(await refused('/rooms/unknown', admin)).toEqual([404, 'room_not_found', false])
    expect(await refused('/rooms/bad%20id', 'cust')).toEqual([400, 'invalid_room_id', false])
    expect(await refused(`/rooms/${'x'.repeat(129)}`, 'cust')).toEqual([400, 'invalid_room_id', false])
    expect(await refused('/rooms/%zz', 'cust')).toEqual([400, 'invalid_request', false])
    expect(await refused('/nothing', 'cust')).toEqual([404, 'not_found', false])
  })

  test('takes the token from the header alone', async () => {
    await newRoom('by-header')
    const token = await f.tokenOf('cust')
    const ask = async (url: string, headers: Record<string, string> = {}) => {
      const response = await fetch(`http://127.0.0.1:${f.api.port}${url}`, { headers })
      return [response.status, ((await response.json()) as { code?: string }).code]
    }
    expect(await ask('/rooms/by-header', { authorization: `Bearer ${token}` })).toEqual([200, undefined])
    expect(await ask('/rooms/by-header', { authorization: `Bearer ${token}x` })).toEqual([401, 'token_invalid'])
    expect(await ask('/rooms/by-header', { authorization: token })).toEqual([401, 'token_missing'])
    expect(await ask(`/rooms/by-header?token=${token}`)).toEqual([401, 'token_missing'])
    expect(await ask('/rooms/by-header', { cookie: `token=${token}` })).toEqual([401, 'token_missing'])
  })
})

describe('GET /rooms/:id/messages', () => {
  beforeAll(async () => {
    const room = await newRoom('talk')
    for (let i = 1; i <= 5; i++) await room.say(i % 2 ? 'cust' : 'shop', `text ${i}`)
    await room.persist({ type: 'participantAdded', participant: { userId: 'rid' as never, role: 'rider' } })
  })

  test('gives messages in the form of newMessage', async () => {
    const { body } = await f.get('/rooms/talk/messages?limit=1', 'shop')
    expect(body).toEqual({
      roomId: 'talk',
      messages: [
        {
          roomId: 'talk',
          seq: 6,
          messageId: expect.stringMatching(/^[0-9a-f-]{36}$/),
          clientMessageId: '0197a0b0-0000-7000-8000-000000000005',
          senderId: 'cust',
          messageIndex: 5,
          content: 'text 5',
          timestamp: Date.UTC(2025, 5, 1) + 6 * 1_001,
        },
      ],
      headSeq: 7,
      nextAfter: 7,
      hasMore: true,
    })
  })

  test('pages in both directions, ascending each', async () => {
    const page = async (query: string) => {
      const answer = await f.get(`/rooms/talk/messages?${query}`, 'rid')
      return [seqsOf(answer), answer.body.nextAfter, answer.body.hasMore]
    }
    expect(await page('')).toEqual([[2, 3, 4, 5, 6], 7, false])
    expect(await page('after=0&limit=2')).toEqual([[2, 3], 3, true])
    expect(await page('after=3&limit=2')).toEqual([[4, 5], 5, true])
    expect(await page('after=5&limit=2')).toEqual([[6], 7, false])
    expect(await page('after=7')).toEqual([[], 7, false])
    expect(await page('after=99')).toEqual([[], 99, false])
    expect(await page('limit=2')).toEqual([[5, 6], 7, true])
    expect(await page('before=5&limit=2')).toEqual([[3, 4], 4, true])
    expect(await page('before=3&limit=2')).toEqual([[2], 2, false])
    expect(await page('before=0')).toEqual([[], 0, false])
  })

  test.each([
    'before=1&after=1', 'limit=0', 'limit=201', 'limit=x', 'after=-1', 'after=1.5', 'after=9007199254740993', 'after=',
    'waitMs=5', 'before=1&waitMs=5', 'after=1&waitMs=30001', 'afer=5', 'limit=1&limit=2', 'token=x',
  ])('%s is not valid', async (query) => {
    const { status, body } = await f.get(`/rooms/talk/messages?${query}`, 'cust')
    expect([status, body.code]).toEqual([400, 'invalid_request'])
  })

  test('an erased content is null, and its message stays', async () => {
    const room = await (await (await newRoom('erased')).say('cust', 'secret')).say('cust', 'other')
    await f.pool.query('SELECT erase_message_content($1, 2, $2, $3)', [room.roomId, 'dpo', 'request 17'])
    const { body } = await f.get('/rooms/erased/messages', 'shop')
    expect(body.messages.map((m: { content: string | null }) => m.content)).toEqual([null, 'other'])
    const events = await f.get('/admin/rooms/erased/events', admin)
    expect(events.body.events[1]).toMatchObject({ seq: 2, content: null, salt: null, erasedAt: expect.any(Number), body: { contentHash: 'hash-1' } })
    expect(events.body.events[2]).toMatchObject({ content: 'other', salt: 'salt-2', erasedAt: null })
  })

  test('whoever was removed reads nothing any more', async () => {
    const room = await newRoom('replaced')
    const rider = { userId: 'rid1' as never, role: 'rider' as const }
    await room.persist({ type: 'participantAdded', participant: rider })
    expect((await f.get('/rooms/replaced/messages', 'rid1')).status).toBe(200)
    await room.persist({ type: 'participantRemoved', participant: rider, reason: 'replaced' })
    for (const url of ['/rooms/replaced', '/rooms/replaced/messages', '/rooms/replaced/messages?after=0&waitMs=100']) {
      expect((await f.get(url, 'rid1')).body.code).toBe('not_a_participant')
    }
    expect((await f.get('/me/rooms', 'rid1')).body.rooms).toEqual([])
  })
})

describe('the rest of HTTP', () => {
  test('admins write nothing, and other methods do nothing', async () => {
    await newRoom('read-only')
    const authorization = `Bearer ${await f.tokenOf('boss', 'admin')}`
    for (const url of ['/rooms/read-only', '/rooms/read-only/messages', '/me/rooms', '/admin/rooms', '/admin/rooms/read-only/events']) {
      for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
        const headers = { authorization, 'content-type': 'application/json' }
        const response = await fetch(`http://127.0.0.1:${f.api.port}${url}`, { method, headers, body: '{"message":"hi"}' })
        const isWrite = ['PATCH /rooms/read-only', 'POST /rooms/read-only/messages'].includes(`${method} ${url}`)
        expect([response.status, await response.json()]).toMatchObject(isWrite ? [403, { code: 'admin_is_read_only' }] : [404, { code: 'not_found', retriable: false }])
      }
    }
    expect((await f.get('/rooms/read-only', 'cust')).body.headSeq).toBe(1)
  })

  test('headers that are too large are refused with a code', async () => {
    const response = await fetch(`http://127.0.0.1:${f.api.port}/me/rooms`, { headers: { authorization: `Bearer ${'x'.repeat(20_000)}` } })
    expect([response.status, await response.json()]).toMatchObject([431, { code: 'invalid_request' }])
  })

  test('browsers of allowed origins only', async () => {
    const ask = (method: string, origin: string) =>
      fetch(`http://127.0.0.1:${f.api.port}/me/rooms`, { method, headers: { origin, 'access-control-request-method': 'GET', 'access-control-request-headers': 'authorization' } })
    const preflight = await ask('OPTIONS', 'https://shop.example')
    expect(preflight.status).toBe(204)
    expect(preflight.headers.get('access-control-allow-origin')).toBe('https://shop.example')
    expect((await ask('GET', 'https://shop.example')).headers.get('access-control-allow-origin')).toBe('https://shop.example')
    for (const method of ['OPTIONS', 'GET']) {
      expect((await ask(method, 'https://evil.example')).headers.get('access-control-allow-origin')).toBeNull()
    }
  })

  test('a trace goes on where it came in, and begins where there is none', async () => {
    const traceId = '0af7651916cd43dd8448eb211c80319c'
    const url = `http://127.0.0.1:${f.api.port}/nothing`
    const traced = await fetch(url, { headers: { traceparent: `00-${traceId}-b7ad6b7169203331-01` } })
    expect(traced.headers.get('x-trace-id')).toBe(traceId)
    expect((await fetch(url)).headers.get('x-trace-id')).toMatch(/^[0-9a-f]{32}$/)
  })

  test('health and metrics are beside it, by route and status', async () => {
    await newRoom('measured')
    await f.get('/rooms/measured', 'cust')
    await f.get('/nothing-here', 'cust')
    const beside = async (path: string) => (await fetch(`http://127.0.0.1:${f.api.metricsPort}${path}`)).text()
    expect(await beside('/healthz')).toBe('ok\n')
    expect(await beside('/readyz')).toBe('ready\n')
    const metrics = await beside('/metrics')
    const has = (...parts: readonly string[]) => metrics.split('\n').some((line) => parts.every((part) => line.includes(part)))
    expect(has('http_request_duration_seconds_count', 'method="GET"', 'route="/rooms/:id"', 'status="200"')).toBe(true)
    expect(has('http_request_duration_seconds_count', 'method="GET"', 'route="none"', 'status="404"')).toBe(true)
    expect(has('postgres_pool_connections', 'state="idle"')).toBe(true)
    expect(has('api_long_poll_waiters', '} 0')).toBe(true)
    expect(metrics).not.toContain('nothing-here')
  })
})
