import fc from 'fast-check'
import { encodeTime, ulid } from 'ulid'
import { v4, v7, version } from 'uuid'
import { describe, expect, test } from 'vitest'
import { closeCodes, closeReason, shouldReconnect, type CloseName } from './close-codes.ts'
import { ChatError, errorCatalogue, type ErrorCode, isRetriable } from './errors.ts'
import { clientMessageIdTimeMs, isRoomId, isUserId, messageIdOf, parseClientMessageId, parseRoomId, parseUserId, type RoomId, type UserId } from './ids.ts'

const times = fc.integer({ min: 1, max: 2 ** 48 - 1 })

describe('clientMessageId', () => {
  test('a UUIDv7 and a ULID carry their time, in any case of letters, and become canonical', () => {
    fc.assert(
      fc.property(times, (msecs) => {
        const [uuid, id] = [v7({ msecs }), ulid(msecs)]
        expect(parseClientMessageId(uuid.toUpperCase())).toBe(uuid)
        expect(parseClientMessageId(id.toLowerCase())).toBe(id)
        expect(clientMessageIdTimeMs(parseClientMessageId(uuid))).toBe(msecs)
        expect(clientMessageIdTimeMs(parseClientMessageId(id.toLowerCase()))).toBe(msecs)
      }),
    )
  })

  test.each([v4(), '', 'x', '8ZZZZZZZZZZZZZZZZZZZZZZZZZ', `${encodeTime(1, 10)}UUUUUUUUUUUUUUUU`, ` ${v7()}`, `${v7()}\n`, 7, null, undefined, {}])('%j is none', (raw) => {
    expect(() => parseClientMessageId(raw)).toThrow(expect.objectContaining({ code: 'invalid_client_message_id' }))
  })

  test('any text is parsed or refused with a code', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary', maxLength: 40 }), fc.stringMatching(/^[0-9A-Za-z-]{26,36}$/)), (raw) => {
        try {
          expect(Number.isSafeInteger(clientMessageIdTimeMs(parseClientMessageId(raw)))).toBe(true)
        } catch (err) {
          expect(err).toMatchObject({ code: 'invalid_client_message_id' })
        }
      }),
      { numRuns: 60 },
    )
  })
})

describe('room and user ids', () => {
  test.each(['', 'a b', 'a/b', 'ä', 'a\n', 'x'.repeat(129), '../x', null, 5])('%j is no room id', (raw) => {
    expect(isRoomId(raw)).toBe(false)
    expect(() => parseRoomId(raw)).toThrow(expect.objectContaining({ code: 'invalid_room_id' }))
  })

  test.each(['', 'a b', 'a\n', 'ä', 'x'.repeat(129), null, 5])('%j is no user id', (raw) => {
    expect(isUserId(raw)).toBe(false)
    expect(() => parseUserId(raw)).toThrow(expect.objectContaining({ code: 'invalid_request' }))
  })

  test('messageId is a UUIDv5 of all three: the same again, another for any other', () => {
    const names = fc.tuple(fc.stringMatching(/^[A-Za-z0-9._:-]{1,8}$/), fc.stringMatching(/^[!-~]{1,8}$/), times)
    fc.assert(
      fc.property(names, names, (a, b) => {
        const idOf = ([roomId, userId, time]: typeof a) => messageIdOf(roomId as RoomId, userId as UserId, parseClientMessageId(`${encodeTime(time, 10)}0000000000000000`))
        expect(version(idOf(a))).toBe(5)
        expect(idOf(a) === idOf(b)).toBe(JSON.stringify(a) === JSON.stringify(b))
      }),
    )
  })
})

describe('the catalogues', () => {
  test('every error has a message, a status of its kind, and says whether it is retriable', () => {
    for (const [code, { message, httpStatus, retriable }] of Object.entries(errorCatalogue)) {
      expect(code).toMatch(/^[a-z][a-z_]+$/)
      expect(message.length).toBeGreaterThan(5)
      expect(httpStatus >= 400 && httpStatus < 600).toBe(true)
      // What is our trouble may pass, but for what an operator must mend.
      if (httpStatus === 503 || httpStatus === 429) expect(retriable || code === 'too_many_rooms').toBe(true)
      const err = new ChatError(code as ErrorCode, 'why')
      expect([err.retriable, isRetriable(err), err.httpStatus, err.message]).toEqual([retriable, retriable, httpStatus, `${message}: why`])
    }
    expect(isRetriable(new Error('a stranger'))).toBe(false)
  })

  test('close codes: unique, 4000–4499 reconnect, 4500–4999 do not', () => {
    const codes = Object.entries(closeCodes)
    expect(new Set(codes.map(([, { code }]) => code)).size).toBe(codes.length)
    for (const [name, { code, reconnect }] of codes) {
      expect(code >= 4_000 && code <= 4_999).toBe(true)
      expect(code < 4_500).toBe(reconnect)
      expect(shouldReconnect(code)).toBe(reconnect)
      expect(Buffer.byteLength(closeReason(name as CloseName, 120_000))).toBeLessThanOrEqual(123)
    }
    for (const code of [1_000, 1_001, 1_006, 1_011, 5_000]) expect(shouldReconnect(code)).toBe(true)
  })
})
