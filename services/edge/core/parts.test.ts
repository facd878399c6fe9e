import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { errorCatalogue } from '#libs/domain/errors.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { Connection } from './connection.ts'
import { MemorySocket, room, user } from './memory-edge.ts'
import { PartitionBuffer } from './partition-buffer.ts'
import { parseRequest } from './requests.ts'
import { Subscription } from './subscription.ts'

describe('parseRequest', () => {
  const values = fc.oneof(fc.jsonValue(), fc.constantFrom('join', 'order-1', -1, 0, 1.5, 2 ** 60, null, true, '', 'x'.repeat(65), '💥'.repeat(40)))
  const keys = fc.constantFrom('id', 'type', 'roomId', 'since', 'message', 'clientMessageId', 'messageId', 'userId', 'attachments', 'mentions', 'metadata', 'participants', 'token', '__proto__', 'constructor', 'x')
  const types = fc.constantFrom('join', 'leave', 'sendMessage', 'mark', 'react', 'createConversation', 'changeRoom', 'authenticate', 'ping', 'toString', '__proto__', 'hasOwnProperty', '')
  const frames = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 60 }),
    fc.json(),
    fc.tuple(fc.dictionary(keys, values, { maxKeys: 6 }), types).map(([object, type]) => JSON.stringify({ ...object, type })),
    fc.tuple(fc.dictionary(keys, values, { maxKeys: 6 }), types, fc.nat(100)).map(([object, type, cut]) => JSON.stringify({ type, ...object }).slice(0, cut)),
  )

  test('no frame makes it throw; each is a request that fits, or has a code', () => {
    fc.assert(
      fc.property(frames, (text) => {
        const parsed = parseRequest(text)
        if (!parsed.ok) {
          if (!(parsed.error.code in errorCatalogue)) throw new Error(parsed.error.code)
          return
        }
        const { frame } = parsed
        const { id } = frame
        const isId = id === undefined || Number.isSafeInteger(id) || (typeof id === 'string' && id.length > 0)
        const isFit = frame.type !== 'join' || (/^[A-Za-z0-9._:-]{1,128}$/.test(frame.roomId) && (frame.since === undefined || (Number.isSafeInteger(frame.since) && frame.since >= 0)))
        if (!isId || !isFit || (frame.type === 'sendMessage' && typeof frame.message !== 'string')) throw new Error(`let through: ${text}`)
      }),
      { numRuns: 10_000 },
    )
  })

  test.each([
    ['{', undefined, 'malformed_frame'],
    ['[]', undefined, 'malformed_frame'],
    ['null', undefined, 'malformed_frame'],
    ['{"id":7}', 7, 'unknown_type'],
    ['{"id":7,"type":"constructor"}', 7, 'unknown_type'],
    ['{"id":"a","type":"join"}', 'a', 'malformed_frame'],
    ['{"id":1,"type":"join","roomId":"a","since":-1}', 1, 'malformed_frame'],
    ['{"id":1.5,"type":"ping"}', undefined, 'malformed_frame'],
    ['{"id":"","type":"ping"}', undefined, 'malformed_frame'],
    [`${'['.repeat(50_000)}`, undefined, 'malformed_frame'],
  ])('%.40s: id %j, %s', (text, id, code) => {
    expect(parseRequest(text)).toMatchObject({ ok: false, id, error: { code } })
  })

  test('fields that are not known are allowed', () => {
    expect(parseRequest('{"id":1,"type":"ping","newer":{}}')).toMatchObject({ ok: true, frame: { id: 1, type: 'ping' } })
  })
})

describe('PartitionBuffer', () => {
  const steps = fc.array(fc.oneof(fc.tuple(fc.constant('push' as const), fc.constantFrom('a', 'b'), fc.nat(9)), fc.tuple(fc.constant('prune' as const), fc.constant(''), fc.nat(20))), { maxLength: 60 })

  test('holds exactly what was pushed at and above its floor, within its caps; the floor only rises', () => {
    fc.assert(
      fc.property(steps, fc.integer({ min: 1, max: 10 }), fc.integer({ min: 1, max: 40 }), (list, recordsMax, bytesMax) => {
        const buffer = new PartitionBuffer(3n, { recordsMax, bytesMax })
        const pushed: InRecord[] = []
        let next = 3n
        for (const [kind, key, n] of list) {
          const { floor } = buffer
          if (kind === 'push') {
            // Void records and markers leave holes.
            next += BigInt(n % 3)
            const record = { offset: next++, key, value: Buffer.alloc(n), headers: {}, timestampMs: 0 }
            pushed.push(record)
            buffer.push(record)
            // Rooms never prunes above what was read.
          } else buffer.prune(BigInt(n) < next ? BigInt(n) : next)
          expect(buffer.floor).toBeGreaterThanOrEqual(floor)
          const kept = pushed.filter((r) => r.offset >= buffer.floor)
          for (const id of ['a', 'b']) expect(buffer.ofKey(room(id))).toEqual(kept.filter((r) => r.key === id))
          expect(buffer.size).toBe(kept.length)
          expect(buffer.bytes).toBe(kept.reduce((sum, r) => sum + r.value!.length, 0))
          expect(buffer.size <= recordsMax && (buffer.bytes <= bytesMax || buffer.size === 1)).toBe(true)
        }
      }),
    )
  })

  test('thousands go through it without being kept', () => {
    const buffer = new PartitionBuffer(0n, { recordsMax: 10, bytesMax: 1_000 })
    for (let offset = 0n; offset < 5_000n; offset++) buffer.push({ offset, key: 'a', value: Buffer.alloc(1), headers: {}, timestampMs: 0 })
    expect([buffer.size, buffer.floor]).toEqual([10, 4_990n])
    expect(buffer.ofKey(room('a')).map((r) => r.offset)).toEqual(Array.from({ length: 10 }, (_, i) => 4_990n + BigInt(i)))
  })
})

describe('Subscription', () => {
  const newSubscription = (since: number) => {
    const socket = new MemorySocket()
    const speaker = { userId: user('a'), role: 'user' as const, expiresAtMs: 0 }
    const connection = new Connection({ id: 'c', socket, speaker, defaultRoom: undefined, nextHeartbeatMs: 0 })
    return { socket, subscription: new Subscription(connection, room('a'), since) }
  }

  test('takes only the next seq; an own ack takes its place; a repeat waits for its message', () => {
    const step = fc.oneof(fc.tuple(fc.constant('offer' as const), fc.nat(12)), fc.tuple(fc.constant('ack' as const), fc.nat(12)), fc.tuple(fc.constant('repeat' as const), fc.nat(12)))
    fc.assert(
      fc.property(fc.nat(3), fc.array(step, { maxLength: 60 }), (since, steps) => {
        const { socket, subscription } = newSubscription(since)
        const repeats: number[] = []
        const acks = new Set<number>()
        for (const [kind, seq] of steps) {
          const isNext = seq === subscription.lastSeq + 1
          if (kind === 'offer') expect(subscription.offer(seq, () => `{"event":${seq}}`)).toBe(isNext)
          else if (kind === 'repeat') {
            subscription.holdRepeat(seq, `{"repeat":${seq}}`)
            repeats.push(seq)
          } else if (seq > subscription.lastSeq && !acks.has(seq)) {
            subscription.holdAck(seq, `{"ack":${seq}}`)
            acks.add(seq)
          }
        }
        const before = socket.frames.length
        let last = since
        for (const { event, ack, repeat } of socket.frames) {
          if (repeat !== undefined) expect(repeat).toBeLessThanOrEqual(last)
          else expect(event ?? ack).toBe(++last)
        }
        subscription.end()
        // Whoever waits for an ack is told in the end, each once.
        const waiting = [...acks].filter((seq) => seq > last).length + repeats.filter((seq) => seq > last).length
        expect(socket.frames.length - before).toBe(waiting)
        expect(socket.frames.filter((f) => f.repeat !== undefined)).toHaveLength(repeats.length)
        expect(subscription.offer(last + 1, () => '{}')).toBe(false)
      }),
    )
  })
})
