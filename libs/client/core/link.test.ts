import fc from 'fast-check'
import { expect, test } from 'vitest'
import { closeCodes, closeReason } from '#libs/domain/close-codes.ts'
import { errorCatalogue } from '#libs/domain/errors.ts'
import { defaultBackoff, retryDelayMs } from './backoff.ts'
import { afterClose, afterProbe, connecting, connectingAnew, offline, online, STABLE_MS } from './link.ts'
import { judgeProbe, probeUrl } from './probe.ts'
import { renewDelayMs } from './renewal.ts'
import { newClientMessageId, serverNowMs } from './message-id.ts'
import { clientMessageIdTimeMs, parseClientMessageId } from '#libs/domain/ids.ts'
import { parseServerFrame } from './server-frame.ts'

const at = (nowMs: number) => ({ nowMs, random: 0.5 })

test('a retry is never sooner than the minimum or retryAfterMs, and never later than the maximum on top', () => {
  fc.assert(
    fc.property(fc.nat(100), fc.double({ min: 0, max: 0.999_999, noNaN: true }), fc.nat(60_000), (failures, random, retryAfterMs) => {
      const plain = retryDelayMs(failures, random)
      expect(plain).toBeGreaterThanOrEqual(defaultBackoff.delayMsMin)
      expect(plain).toBeLessThanOrEqual(defaultBackoff.delayMsMax)
      const asked = retryDelayMs(failures, random, { retryAfterMs })
      expect(asked).toBeGreaterThanOrEqual(retryAfterMs)
      expect(asked).toBeLessThanOrEqual(retryAfterMs + defaultBackoff.delayMsMax)
    }),
  )
})

test.each(Object.entries(closeCodes))('close code %s does what its table says', (name, { code, reconnect }) => {
  const link = afterClose(online(connectingAnew(), 0), { code, reason: closeReason(name as keyof typeof closeCodes) }, at(1_000))
  expect(link.phase).toBe(reconnect ? 'offline' : 'closed')
  expect(link.reason).toEqual({ code: name, closeCode: code })
})

test('a close without a readable reason is a lost connection', () => {
  for (const reason of ['', 'Going Away', '[]', '"x"', 'null', '{"code":1}']) {
    expect(afterClose(online(connectingAnew(), 0), { code: 1006, reason }, at(0))).toMatchObject({ phase: 'offline', reason: { code: 'connection_lost', closeCode: 1006 } })
  }
})

test('failures add up until it has been online for a while', () => {
  let link = connectingAnew()
  for (let i = 0; i < 4; i++) link = connecting(offline(link, { code: 'x' }, at(0)))
  expect(link.failures).toBe(4)
  expect(offline(online(link, 0), { code: 'x' }, at(STABLE_MS - 1)).failures).toBe(5)
  expect(offline(online(link, 0), { code: 'x' }, at(STABLE_MS)).failures).toBe(1)
})

test('a token that is refused as expired is asked for again once', () => {
  const expired = judgeProbe(401, JSON.stringify({ code: 'token_expired', retriable: false }))
  const first = afterProbe(connectingAnew(), expired, at(0))
  expect(first).toMatchObject({ phase: 'offline', tokenExpired: true })
  expect(afterProbe(connecting(first), expired, at(0))).toMatchObject({ phase: 'closed', reason: { code: 'token_expired' } })
})

test.each(['token_missing', 'token_invalid', 'user_id_mismatch', 'origin_not_allowed', 'not_a_participant', 'room_not_found', 'invalid_room_id'] as const)('probe: %s is final', (code) => {
  const { httpStatus, retriable, message } = errorCatalogue[code]
  expect(judgeProbe(httpStatus, JSON.stringify({ code, message, retriable }))).toEqual({ kind: 'terminal', code, message })
})

test('probe: what may pass is trouble, and so is what our server did not say', () => {
  expect(judgeProbe(426, '{"code":"upgrade_required","retriable":false}').kind).toBe('trouble')
  expect(judgeProbe(429, '{"code":"too_many_connections","retriable":true,"retryAfterMs":900}')).toEqual({ kind: 'trouble', code: 'too_many_connections', retryAfterMs: 900 })
  expect(judgeProbe(503, '{"code":"shutting_down","retriable":true}').kind).toBe('trouble')
  for (const status of [200, 302, 401, 403, 404, 502]) expect(judgeProbe(status, '<html>')).toEqual({ kind: 'trouble', code: 'connect_failed' })
})

test('the probe goes to the same URL by HTTP', () => {
  expect(probeUrl('ws://127.0.0.1:7001/ws/chat')).toBe('http://127.0.0.1:7001/ws/chat')
  expect(probeUrl('wss://h/chat?orderId=ws:1')).toBe('https://h/chat?orderId=ws:1')
})

test('a token is renewed before it expires, however short it lives', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10 ** 9 }), fc.double({ min: 0, max: 0.999, noNaN: true }), (remainingMs, random) => {
      const delayMs = renewDelayMs(remainingMs, random)
      expect(delayMs).toBeLessThan(remainingMs)
      expect(delayMs).toBeGreaterThanOrEqual(remainingMs - Math.max(120_000, remainingMs / 3))
    }),
  )
  expect(renewDelayMs(-5, 0)).toBe(0)
})

test('message ids are UUIDv7 of server time, by a clock that only goes forward', () => {
  const known = { serverTimeMs: 1_800_000_000_000, atMonotonicMs: 500 }
  const nowMs = serverNowMs(known, { nowMs: 7, monotonicMs: 2_500.7 })
  const id = newClientMessageId(nowMs, Uint8Array.from({ length: 16 }, (_, i) => i))
  expect(parseClientMessageId(id)).toBe(id)
  expect(clientMessageIdTimeMs(id)).toBe(1_800_000_002_000)
  expect(serverNowMs(undefined, { nowMs: 7, monotonicMs: 1 })).toBe(7)
})

test('the frame parser takes anything, and lets only whole frames through', () => {
  fc.assert(fc.property(fc.anything(), (data) => ['frame', 'unknown', 'bad'].includes(parseServerFrame(data).kind)))
  fc.assert(fc.property(fc.json(), (data) => parseServerFrame(data).kind !== 'frame'))
  expect(parseServerFrame('{"type":"ofANewerServer"}').kind).toBe('unknown')
  expect(parseServerFrame('{"type":"typing"}').kind).toBe('bad')
  expect(parseServerFrame('{"id":1,"type":"ack","roomId":"r","seq":3,"event":{"seq":"3"}}').kind).toBe('bad')
  expect(parseServerFrame('{"type":"newMessage","roomId":"r","seq":1.5}').kind).toBe('bad')
  expect(parseServerFrame('{"type":"caughtUp","roomId":"r","seq":3}')).toEqual({ kind: 'frame', frame: { type: 'caughtUp', roomId: 'r', seq: 3 } })
})
