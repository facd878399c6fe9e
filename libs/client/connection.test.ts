import { expect, test, vi } from 'vitest'
import { eventually, isOffline, isOnline, reconnect, TEST_TIMEOUT_MS, useServer } from './test-support/fixture.ts'

vi.setConfig({ testTimeout: TEST_TIMEOUT_MS })
const on = useServer()

test('close code 4000 with retryAfterMs: not back before that', async () => {
  const client = on.newClient()
  await client.connect()
  for (const connection of on.server.model.connections) connection.close('shutting_down', 1_200)
  await isOffline(client)
  expect(client.state).toMatchObject({ reason: { code: 'shutting_down', closeCode: 4000 } })
  await on.clock.advance(1_199)
  expect(client.state.state).toBe('offline')
  await on.clock.advance(1_000)
  await isOnline(client)
})

test('a terminal close code: closed until the app connects again', async () => {
  const client = on.newClient()
  await client.connect()
  for (const connection of on.server.model.connections) connection.close('token_invalid')
  await eventually(() => expect(client.state).toEqual({ state: 'closed', reason: { code: 'token_invalid', closeCode: 4500 } }))
  expect(on.clock.timers).toBe(0)
  await client.connect()
  expect(client.state.state).toBe('online')
})

test('a refused upgrade is probed: 403 is final', async () => {
  on.server.refuse = () => ({ code: 'not_a_participant' })
  const client = on.newClient()
  await expect(client.connect()).rejects.toMatchObject({ code: 'not_a_participant' })
  expect(client.state).toMatchObject({ state: 'closed', reason: { code: 'not_a_participant' } })
  expect(on.server.probes).toEqual([{ path: '/ws/chat', token: 'alice' }])
})

test('a refused upgrade with 503 is tried again after retryAfterMs', async () => {
  on.server.refuse = () => ({ code: 'shutting_down', retryAfterMs: 5_000 })
  const client = on.newClient()
  void client.connect()
  await isOffline(client)
  expect(client.state).toMatchObject({ reason: { code: 'shutting_down' } })
  on.server.refuse = () => undefined
  await on.clock.advance(4_999)
  expect(on.server.handshakes.length).toBe(1)
  await on.clock.advance(1_000)
  await isOnline(client)
})

test('an expired token is asked for again once, and the provider is told why', async () => {
  const asked: boolean[] = []
  const client = on.newClient({ token: ({ expired }) => (asked.push(expired), expired ? 'fresh' : 'stale') })
  on.server.refuse = (token) => (token === 'stale' ? { code: 'token_expired' } : undefined)
  void client.connect()
  await reconnect(client, on.clock)
  expect(asked).toEqual([false, true])
  expect(client.userId).toBe('fresh')
})

test('a provider that only has expired tokens ends it', async () => {
  on.server.refuse = () => ({ code: 'token_expired' })
  const client = on.newClient()
  void client.connect()
  await isOffline(client)
  await on.clock.advance(1_000)
  await eventually(() => expect(client.state).toMatchObject({ state: 'closed', reason: { code: 'token_expired' } }))
})

test('a server that is not there is tried again, ever slower', async () => {
  await on.server.stop()
  const client = on.newClient()
  void client.connect()
  const pauses: number[] = []
  for (let i = 0; i < 4; i++) {
    await isOffline(client)
    if (client.state.state === 'offline') pauses.push(client.state.retryInMs)
    await on.clock.advance(pauses.at(-1)!)
  }
  expect(pauses).toEqual([375, 625, 1_125, 2_125])
})

test('a token provider that fails is tried again', async () => {
  let fail = true
  const client = on.newClient({ token: () => (fail ? Promise.reject(new Error('offline')) : 'alice') })
  void client.connect()
  await isOffline(client)
  expect(client.state).toMatchObject({ reason: { code: 'token_unavailable' } })
  fail = false
  await reconnect(client, on.clock)
})

test('a server that falls silent is left after two heartbeats', async () => {
  const client = on.newClient()
  await client.connect()
  await on.clock.advance(2 * 25_000)
  expect(client.state.state).toBe('online')
  await on.clock.advance(12_500)
  expect(client.states).toContainEqual(expect.objectContaining({ state: 'offline', reason: { code: 'connection_silent' } }))
})

test('heartbeats keep a quiet connection', async () => {
  const client = on.newClient()
  await client.connect()
  for (let i = 1; i <= 5; i++) {
    on.server.model.heartbeat()
    // The frame has arrived once the answer to something sent after it has.
    await client.join(`o-${i}`)
    await eventually(() => expect(client.join(`o-${i}`).phase).toBe('live'))
    await on.clock.advance(25_000)
  }
  expect(client.state.state).toBe('online')
})

test('close code 4010: back with a new token', async () => {
  const asked: boolean[] = []
  const client = on.newClient({ token: ({ expired }) => (asked.push(expired), 'alice') })
  await client.connect()
  for (const connection of on.server.model.connections) connection.close('token_expired')
  await reconnect(client, on.clock)
  expect(asked).toEqual([false, true])
})

test('wake tries at once instead of waiting', async () => {
  const client = on.newClient()
  await client.connect()
  on.server.cut()
  await isOffline(client)
  client.wake()
  await isOnline(client)
})
