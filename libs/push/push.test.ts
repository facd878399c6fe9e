import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Webhook } from 'standardwebhooks'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { ChatError } from '#libs/domain/errors.ts'
import { Breakers } from './breakers.ts'
import { vapidFromEnv } from './config.ts'
import { createWebPush } from './web-push.ts'
import { createWebhook, secretProblem } from './webhook.ts'

const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
let server: Server
let url: string
let status = 200
let requests: { headers: IncomingHttpHeaders; body: string }[] = []
beforeAll(async () => {
  server = createServer((req, res) => {
    let body = ''
    req.on('data', (chunk) => (body += chunk))
    req.on('end', () => {
      requests.push({ headers: req.headers, body })
      if (status !== 0) res.writeHead(status, { location: '/elsewhere' }).end('x'.repeat(1_000))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
})
afterAll(() => {
  server.close()
  server.closeAllConnections()
})

describe('a webhook', () => {
  const webhook = () => createWebhook({ url, secret, timeoutMs: 300 })

  test('is signed, and a repeat has the same id', async () => {
    requests = []
    status = 204
    await webhook().send('id.1', '{"a":"ü"}')
    const [{ headers, body }] = requests as [(typeof requests)[0]]
    expect(headers['webhook-id']).toBe('id.1')
    expect(new Webhook(secret).verify(body, headers as Record<string, string>)).toEqual({ a: 'ü' })
    expect(() => new Webhook(secret).verify('{"a":"u"}', headers as Record<string, string>)).toThrow()
  })

  test.each([
    [301, 'unavailable'], [401, 'unavailable'], [404, 'unavailable'], [429, 'unavailable'], [500, 'unavailable'], [503, 'unavailable'],
    [400, 'delivery_refused'], [410, 'delivery_refused'], [413, 'delivery_refused'], [422, 'delivery_refused'],
  ])('that answers %i is %s', async (answer, code) => {
    requests = []
    status = answer
    await expect(webhook().send('id', '{}')).rejects.toMatchObject({ code })
    // A redirect is not followed.
    expect(requests).toHaveLength(1)
  })

  test('that does not answer in time, or does not listen, is unavailable', async () => {
    status = 0
    await expect(webhook().send('id', '{}')).rejects.toMatchObject({ code: 'unavailable' })
    await expect(createWebhook({ url: 'http://127.0.0.1:2/', secret, timeoutMs: 300 }).send('id', '{}')).rejects.toThrow(/127\.0\.0\.1:2.*ECONNREFUSED/)
  })

  test.each(['', 'whsec_', 'whsec_short', `whsec_${Buffer.alloc(65).toString('base64')}`, Buffer.alloc(32).toString('base64')])('does not take "%s" for a secret', (bad) => {
    expect(secretProblem(bad)).toMatch('whsec_')
  })
})

test('a subscription whose keys cannot be used is refused, before any request', async () => {
  const env = { VAPID_SUBJECT: 'mailto:a@example.com', VAPID_PUBLIC_KEY: 'BM7aGlpV0GC2b8kQ4-TTDI1FvVwVNfKJqjkPjyHCQkLPGSTd7CmP6N5c5Pp7ZLdN6YYVvdBpo3ej2bE0uqhKXzE', VAPID_PRIVATE_KEY: Buffer.alloc(32, 1).toString('base64url') }
  const webPush = createWebPush({ ...vapidFromEnv(env)!, hosts: ['127.0.0.1:9'], timeoutMs: 300 })
  const message = { body: '{}', ttlS: 60, topic: 'a'.repeat(32), urgency: 'high' as const }
  const bad = { endpoint: 'https://127.0.0.1:9/', p256dh: Buffer.alloc(65).toString('base64url'), auth: Buffer.alloc(16).toString('base64url') }
  await expect(webPush.send(bad, message)).rejects.toMatchObject({ code: 'delivery_refused' })
  await expect(webPush.send({ ...bad, endpoint: 'https://127.0.0.1:10/' }, message)).rejects.toMatchObject({ code: 'delivery_refused' })
})

test.each([
  [{ VAPID_PUBLIC_KEY: 'x' }, /go together/],
  [{ VAPID_PUBLIC_KEY: 'x', VAPID_PRIVATE_KEY: 'secret' }, /VAPID_SUBJECT is not set/],
  [{ VAPID_PUBLIC_KEY: 'x', VAPID_PRIVATE_KEY: 'secret', VAPID_SUBJECT: 'mailto:a@example.com' }, /^(?!.*secret).*VAPID/s],
])('VAPID settings %j are refused by name', (env, message) => expect(() => vapidFromEnv(env)).toThrow(message))

test('a provider that fails in a row is left alone, and tried again later; another does not notice', async () => {
  vi.useFakeTimers()
  try {
    const states: [string, boolean][] = []
    const breakers = new Breakers({ failuresMax: 2, openMs: 1_000, onState: (provider, isOpen) => states.push([provider, isOpen]) })
    let calls = 0
    const fails = () => {
      calls++
      return Promise.reject(new ChatError('unavailable', 'down'))
    }
    for (let i = 0; i < 4; i++) await expect(breakers.run('a', fails)).rejects.toMatchObject({ code: 'unavailable' })
    expect(calls).toBe(2)
    expect(await breakers.run('b', async () => 'b')).toBe('b')
    vi.advanceTimersByTime(1_001)
    expect(await breakers.run('a', async () => 'a')).toBe('a')
    expect(states).toEqual([['a', false], ['a', true], ['b', false], ['a', false]])
    // Who refuses is there.
    for (let i = 0; i < 4; i++) await expect(breakers.run('b', () => Promise.reject(new ChatError('delivery_refused')))).rejects.toMatchObject({ code: 'delivery_refused' })
    expect(await breakers.run('b', async () => 'still')).toBe('still')
  } finally {
    vi.useRealTimers()
  }
})
