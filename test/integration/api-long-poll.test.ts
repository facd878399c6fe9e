import { connect } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '#libs/runtime/clock.ts'
import { HeadWatch } from '../../services/api/head-watch.ts'
import { apiConfigFromEnv } from '../../services/api/config.ts'
import { startApi } from '../../services/api/service.ts'
import { type ApiFixture, PersistedRoom, silent, startFixture } from './api-fixture.ts'

let f: ApiFixture
let roomNumber = 0
let room: PersistedRoom
beforeAll(async () => {
  f = await startFixture('api-poll', { API_WAITERS_MAX: '4', API_WAITERS_PER_USER_MAX: '3' })
})
afterAll(() => f.close())
beforeEach(async () => {
  room = await new PersistedRoom(f.pool, `poll-${++roomNumber}`).open(['cust', 'customer'], ['shop', 'vendor'])
})

/** Others may need this machine too. */
const SOON = { timeout: 15_000 }
const poll = (after: number, waitMs: number, user = 'cust', signal?: AbortSignal) =>
  f.get(`/rooms/${room.roomId}/messages?after=${after}&waitMs=${waitMs}`, user, signal)
async function metricOf(metricsPort: number): Promise<number> {
  const metrics = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text()
  return Number(/^api_long_poll_waiters\{.*\} (\d+)$/m.exec(metrics)?.[1])
}
const waiting = () => metricOf(f.api.metricsPort)

async function timed<T>(work: Promise<T>): Promise<T & { tookMs: number }> {
  const startedMs = systemClock.nowMs()
  const result = await work
  return { ...result, tookMs: systemClock.nowMs() - startedMs }
}

describe('a long poll', () => {
  test('answers at once where there is something already', async () => {
    await room.say('shop', 'hi')
    const { body, tookMs } = await timed(poll(1, 30_000))
    expect(body).toMatchObject({ messages: [{ content: 'hi' }], headSeq: 2, nextAfter: 2 })
    expect(tookMs).toBeLessThan(10_000)
  })

  test('is woken by a message', async () => {
    const answer = timed(poll(1, 30_000))
    await expect.poll(waiting, SOON).toBe(1)
    await room.say('shop', 'now')
    const { body, tookMs } = await answer
    expect(body).toMatchObject({ messages: [{ content: 'now' }], nextAfter: 2, hasMore: false })
    expect(tookMs).toBeLessThan(20_000)
    expect(await waiting()).toBe(0)
  })

  test('is woken by an event that is no message, and its cursor passes it', async () => {
    const answer = poll(1, 30_000)
    await expect.poll(waiting, SOON).toBe(1)
    await room.persist({ type: 'roomClosed', reason: 'delivered' })
    expect((await answer).body).toMatchObject({ messages: [], headSeq: 2, nextAfter: 2 })
  })

  test('gives an empty page when its time is over', async () => {
    const { status, body, tookMs } = await timed(poll(1, 700))
    expect([status, body]).toMatchObject([200, { messages: [], headSeq: 1, nextAfter: 1, hasMore: false }])
    expect(tookMs).toBeGreaterThanOrEqual(690)
  })

  test('of a client that knows more than Postgres yet waits for what is new to it', async () => {
    const answer = poll(2, 30_000)
    await expect.poll(waiting, SOON).toBe(1)
    await room.say('shop', 'known already')
    await systemClock.sleep(600)
    await room.say('shop', 'new')
    expect((await answer).body).toMatchObject({ messages: [{ content: 'new' }], nextAfter: 3 })
  })

  test('of somebody who is removed meanwhile ends with 403', async () => {
    const rider = { userId: 'rid' as never, role: 'rider' as const }
    await room.persist({ type: 'participantAdded', participant: rider })
    const answers = [poll(2, 30_000, 'rid'), poll(2, 30_000)]
    await expect.poll(waiting, SOON).toBe(2)
    await room.persist({ type: 'participantRemoved', participant: rider, reason: 'replaced' })
    const [removed, stays] = await Promise.all(answers)
    expect([removed!.status, removed!.body.code]).toEqual([403, 'not_a_participant'])
    expect([stays!.status, stays!.body.nextAfter]).toEqual([200, 3])
  })

  test('frees its place when the client goes away', async () => {
    const controller = new AbortController()
    const answer = poll(1, 30_000, 'cust', controller.signal)
    await expect.poll(waiting, SOON).toBe(1)
    controller.abort()
    await expect(answer).rejects.toThrow()
    await expect.poll(waiting, SOON).toBe(0)
  })

  test('is refused where too many wait, in all and of one user', async () => {
    const controller = new AbortController()
    const held = [1, 2, 3].map(() => poll(1, 30_000, 'cust', controller.signal).catch(() => {}))
    await expect.poll(waiting, SOON).toBe(3)
    expect(await poll(1, 30_000)).toMatchObject({ status: 429, body: { code: 'too_many_connections', retriable: true } })
    held.push(poll(1, 30_000, 'shop', controller.signal).catch(() => {}))
    await expect.poll(waiting, SOON).toBe(4)
    const refused = await poll(1, 30_000, 'shop')
    expect(refused).toMatchObject({ status: 503, body: { code: 'unavailable', retriable: true, retryAfterMs: expect.any(Number) } })
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    // Those who do not wait are served all the same.
    expect((await f.get(`/rooms/${room.roomId}/messages`, 'shop')).status).toBe(200)
    controller.abort()
    await Promise.all(held)
    await expect.poll(waiting, SOON).toBe(0)
  })

  test('that meets an outage of Postgres ends with a retriable error', async () => {
    const answers = [poll(1, 30_000), poll(1, 30_000, 'shop')]
    await expect.poll(waiting, SOON).toBe(2)
    f.link.set('down')
    for (const { status, body } of await Promise.all(answers)) {
      expect([status, body]).toMatchObject([503, { code: 'history_unavailable', retriable: true, retryAfterMs: expect.any(Number) }])
    }
    f.link.set('up')
    await expect.poll(async () => (await poll(0, 0)).status, SOON).toBe(200)
  })

  test('is answered at once when the service stops, which then ends in time', async () => {
    const api = await startApi(apiConfigFromEnv(f.env))
    const headers = { authorization: `Bearer ${await f.tokenOf('cust')}` }
    const url = `http://127.0.0.1:${api.port}/rooms/${room.roomId}/messages?after=1&waitMs=30000`
    // Load balancers and browsers open connections in advance; no request ever comes on this one.
    const unused = connect(api.port, '127.0.0.1').on('error', () => {})
    const answers = [1, 2].map(async () => {
      const response = await fetch(url, { headers })
      return [response.status, await response.json(), response.headers.get('connection')]
    })
    await expect.poll(() => metricOf(api.metricsPort), SOON).toBe(2)
    const { tookMs } = await timed(api.close().then(() => ({})))
    expect(tookMs).toBeLessThan(10_000)
    for (const answer of await Promise.all(answers)) {
      expect(answer).toMatchObject([200, { messages: [], nextAfter: 1 }, 'close'])
    }
    await expect(api.finished).resolves.toBeUndefined()
    await expect(fetch(url)).rejects.toThrow()
    await expect.poll(() => unused.destroyed, SOON).toBe(true)
  })
})

test('however many wait, Postgres gets one query per tick, and none while nobody waits', async () => {
  let reads = 0
  const heads = new HeadWatch({ max: 1_000, perUserMax: 1_000, tickMs: 20 }, async () => {
    reads++
    return []
  }, silent)
  await systemClock.sleep(100)
  expect(reads).toBe(0)
  const wait = (n: number) => heads.wait({ roomId: `r${n % 50}` as never, userId: 'u' as never, after: 0, timeoutMs: 300, signal: new AbortController().signal })
  const outcomes = await Promise.all(Array.from({ length: 1_000 }, (_, n) => wait(n)))
  expect(new Set(outcomes)).toEqual(new Set(['timeout']))
  expect(reads).toBeGreaterThan(3)
  expect(reads).toBeLessThanOrEqual(16)
})
