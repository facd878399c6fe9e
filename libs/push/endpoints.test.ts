import { expect, test } from 'vitest'
import { allowingHost, knownPushHosts, subscriptionProblem } from './endpoints.ts'

test.each([
  ['https://fcm.googleapis.com/fcm/send/abc', 'fcm.googleapis.com'],
  ['https://FCM.googleapis.com:443/fcm/send/abc', 'fcm.googleapis.com'],
  ['https://updates.push.services.mozilla.com/wpush/v2/x', 'updates.push.services.mozilla.com'],
  ['https://wns2-par02p.notify.windows.com/w/?token=x', '*.notify.windows.com'],
])('%s is let in by %s', (endpoint, entry) => expect(allowingHost(endpoint, knownPushHosts)).toBe(entry))

test.each([
  'http://fcm.googleapis.com/x',
  'https://fcm.googleapis.com:8443/x',
  'https://fcm.googleapis.com.evil.example/x',
  'https://evil.example/fcm.googleapis.com',
  'https://user@fcm.googleapis.com/x',
  'https://fcm.googleapis.com@127.0.0.1/x',
  'https://notify.windows.com/x',
  'https://.notify.windows.com/x',
  'https://evilnotify.windows.com/x',
  'https://127.0.0.1/x',
  'https://[::1]/x',
  'https://169.254.169.254/latest',
  'file:///etc/passwd',
  'nonsense',
  `https://fcm.googleapis.com/${'x'.repeat(2_048)}`,
])('%s is let in by none', (endpoint) => expect(allowingHost(endpoint, knownPushHosts)).toBeUndefined())

test('an entry with a port lets in this port alone', () => {
  expect(allowingHost('https://127.0.0.1:4433/x', ['127.0.0.1:4433'])).toBe('127.0.0.1:4433')
  expect(allowingHost('https://127.0.0.1:4434/x', ['127.0.0.1:4433'])).toBeUndefined()
  expect(allowingHost('https://127.0.0.1/x', ['127.0.0.1:4433'])).toBeUndefined()
})

test('keys have the lengths that the encryption needs', () => {
  const good = { endpoint: 'https://fcm.googleapis.com/x', p256dh: Buffer.alloc(65, 4).toString('base64url'), auth: Buffer.alloc(16).toString('base64url') }
  expect(subscriptionProblem(good, knownPushHosts)).toBeUndefined()
  expect(subscriptionProblem({ ...good, p256dh: good.auth }, knownPushHosts)).toMatch('p256dh')
  expect(subscriptionProblem({ ...good, auth: 'not base64url!' }, knownPushHosts)).toMatch('auth')
  expect(subscriptionProblem({ ...good, endpoint: 'https://127.0.0.1/' }, knownPushHosts)).toMatch('endpoint')
})
