import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { signDevToken } from '#libs/auth/dev-key.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import { apiConfigFromEnv } from '../../services/api/config.ts'
import { startApi } from '../../services/api/service.ts'
import { type ApiFixture, PersistedRoom, startFixture } from './api-fixture.ts'

let f: ApiFixture
beforeAll(async () => {
  f = await startFixture('api-outage')
  await (await new PersistedRoom(f.pool, 'room').open(['cust', 'customer'])).say('cust', 'hi')
})
afterAll(() => f.close())

/** Others may need this machine too. */
const SOON = { timeout: 15_000 }
const admin = { userId: 'boss', role: 'admin' }
const URLS = ['/rooms/room', '/rooms/room/messages', '/rooms/room/messages?after=2&waitMs=5000', '/me/rooms'] as const

describe('while Postgres cannot be reached', () => {
  test.each(['down', 'mute'] as const)('(%s) every read is refused as retriable soon; afterwards all is well', async (state) => {
    f.link.set('up')
    await expect.poll(async () => (await f.get('/rooms/room', 'cust')).status, SOON).toBe(200)
    f.link.set(state)
    const startedMs = systemClock.nowMs()
    const refused = await Promise.all([
      ...URLS.map((url) => f.get(url, 'cust')),
      ...[...URLS, '/admin/rooms', '/admin/rooms/room/events'].map((url) => f.get(url, admin)),
    ])
    for (const { status, body } of refused) {
      expect([status, body]).toMatchObject([503, { code: 'history_unavailable', retriable: true, retryAfterMs: expect.any(Number) }])
    }
    // 1.8 s on a machine that has nothing else to do.
    expect(systemClock.nowMs() - startedMs).toBeLessThan(6_000)
    for (const path of ['/healthz', '/readyz']) {
      expect((await fetch(`http://127.0.0.1:${f.api.metricsPort}${path}`)).status).toBe(200)
    }
    f.link.set('up')
    await expect.poll(async () => (await f.get('/rooms/room', 'cust')).status, SOON).toBe(200)
    expect((await f.get('/admin/rooms', admin)).status).toBe(200)
  })

  test('the refusal of who is not allowed in stays what it is', async () => {
    f.link.set('down')
    expect((await f.get('/rooms/room')).body.code).toBe('token_missing')
    expect((await f.get('/admin/rooms', 'cust')).body.code).toBe('admin_only')
    f.link.set('up')
  })

  test('the service starts, and serves once it is back', async () => {
    f.link.set('down')
    const api = await startApi(apiConfigFromEnv(f.env))
    const headers = { authorization: `Bearer ${await f.tokenOf('cust')}` }
    const ask = async () => (await fetch(`http://127.0.0.1:${api.port}/rooms/room`, { headers })).status
    expect(await ask()).toBe(503)
    f.link.set('up')
    await expect.poll(ask, SOON).toBe(200)
    await api.close()
  })
})

describe('while Kafka cannot be reached', () => {
  test('the service starts and reads; writes are refused as retriable, and settings are none of its business', async () => {
    const api = await startApi(apiConfigFromEnv({ ...f.env, KAFKA_BROKERS: '127.0.0.1:1', SCHEMA_REGISTRY_URL: 'http://127.0.0.1:1', REDIS_URL: 'redis://127.0.0.1:1' }))
    const authorization = `Bearer ${await f.tokenOf('cust')}`
    const ask = async (method: string, url: string, body?: string) => {
      const response = await fetch(`http://127.0.0.1:${api.port}${url}`, { method, headers: { authorization, ...(body && { 'content-type': 'application/json' }) }, body: body ?? null })
      return [response.status, await response.json()]
    }
    expect(await ask('GET', '/rooms/room/messages')).toMatchObject([200, { messages: [{ content: 'hi' }] }])
    expect(await ask('POST', '/rooms/room/messages', '{"message":"hi"}')).toMatchObject([503, { code: 'unavailable', retriable: true, retryAfterMs: expect.any(Number) }])
    expect(await ask('PUT', '/me/settings', '{"hideReceipts":false}')).toMatchObject([200, { hideReceipts: false }])
    const startedMs = systemClock.nowMs()
    await api.close()
    expect(systemClock.nowMs() - startedMs).toBeLessThan(5_000)
  })

  test('where the set-up has not run, it waits for it', async () => {
    expect(await f.send('POST', '/rooms/room/messages', 'cust', { message: 'hi' })).toMatchObject({ status: 503, body: { code: 'unavailable', retriable: true } })
  })
})

test('connections that the server ends, as a restart does, are replaced without anyone asking', async () => {
  const ask = async () => (await f.get('/rooms/room', 'cust')).status
  for (let i = 0; i < 3; i++) {
    await Promise.all(Array.from({ length: 5 }, ask))
    await f.pool.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'api-%'`,
    )
    // Whoever comes before the news is refused as retriable; nobody gets anything else.
    expect([200, 503]).toContain(await ask())
    await expect.poll(() => Promise.all(Array.from({ length: 5 }, ask)), SOON).toEqual([200, 200, 200, 200, 200])
  }
})

test('while the issuer of tokens cannot be reached, the answer says that it is not the token', async () => {
  const api = await startApi(apiConfigFromEnv({ ...f.env, AUTH_JWKS_URL: 'http://127.0.0.1:1/jwks' }))
  const response = await fetch(`http://127.0.0.1:${api.port}/me/rooms`, { headers: { authorization: `Bearer ${await f.tokenOf('cust')}` } })
  expect([response.status, await response.json()]).toMatchObject([503, { code: 'unavailable', retriable: true }])
  await api.close()
})

describe('with a development key', () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'order-chat-dev-'))
  const file = path.join(dir, 'key.json')
  afterAll(() => rmSync(dir, { recursive: true }))

  async function freePort(): Promise<number> {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    await new Promise((resolve) => server.close(resolve))
    return port
  }

  test('the api is its own issuer, and logs no token, wherever it stands', async () => {
    const port = await freePort()
    const lines: string[] = []
    const logger = pino({ level: 'trace' }, new Writable({ write: (line, _encoding, done) => (lines.push(String(line)), done()) }))
    const own = { API_PORT: String(port), AUTH_JWKS_URL: `http://127.0.0.1:${port}/.well-known/jwks.json`, AUTH_DEV_KEY_FILE: file }
    const api = await startApi(apiConfigFromEnv({ ...f.env, ...own }), logger)
    const url = `http://127.0.0.1:${port}`
    const { keys } = (await (await fetch(`${url}/.well-known/jwks.json`)).json()) as { keys: object[] }
    expect(keys).toHaveLength(1)
    expect(keys[0]).toMatchObject({ kty: 'EC', alg: 'ES256', kid: expect.any(String) })
    expect(keys[0]).not.toHaveProperty('d')
    const token = await signDevToken({ file, issuer: f.env['AUTH_ISSUER']!, audience: 'order-chat', userId: 'cust', role: 'user', ttlS: 60 })
    const authorization = `Bearer ${token}`
    expect((await fetch(`${url}/rooms/room`, { headers: { authorization } })).status).toBe(200)
    for (const at of [`/rooms/room?token=${token}`, `/rooms/${token}`, `/nothing?token=${token}`, `/${token}`, `/%zz${token}`]) {
      await fetch(`${url}${at}`, { headers: { authorization } })
    }
    await fetch(`${url}/rooms/room`, { headers: { authorization: `Bearer ${token}x` } })
    await api.close()
    const log = lines.join('')
    expect(log).toContain('"roomId":"room"')
    expect(log).toMatch(/"traceId":"[0-9a-f]{32}"/)
    // The signature; the rest of a token is no secret of its own.
    expect(log).not.toContain(token.split('.')[2])
  })

  test('and without one there is no such page', async () => {
    expect((await f.get('/.well-known/jwks.json')).status).toBe(404)
  })
})
