import { describe, expect, test } from 'vitest'
import { ChatError, type ErrorCode, errorCatalogue } from '#libs/domain/errors.ts'
import { errorAnswer } from './error-answer.ts'
import { mayRead } from './may-read.ts'

describe('the answer to an error', () => {
  test('of ours has its code, its status and whether to try again', () => {
    for (const code of Object.keys(errorCatalogue) as ErrorCode[]) {
      const { status, body } = errorAnswer(new ChatError(code))
      expect(status).toBe(errorCatalogue[code].httpStatus)
      expect(body).toMatchObject({ code, message: errorCatalogue[code].message, retriable: errorCatalogue[code].retriable })
      expect(body.retryAfterMs === undefined).toBe(!errorCatalogue[code].retriable)
    }
  })

  test('says what was wrong with a request, but nothing of what went wrong inside', () => {
    expect(errorAnswer(new ChatError('invalid_request', 'before and after')).body.message).toContain('before and after')
    expect(errorAnswer(new ChatError('unavailable', 'postgres://secret')).body.message).not.toContain('secret')
    expect(errorAnswer(new Error('SELECT secret')).body).toMatchObject({ code: 'internal', message: errorCatalogue.internal.message })
    expect(errorAnswer('thrown text').body.code).toBe('internal')
    expect(errorAnswer(new ChatError('unavailable', undefined, { retryAfterMs: 4_321 })).body.retryAfterMs).toBe(4_321)
  })

  test('of the framework is one of the catalogue too', () => {
    const invalid = { message: 'querystring/limit must be <= 200', statusCode: 400, validation: [{}], validationContext: 'querystring' }
    expect(errorAnswer(invalid).body).toMatchObject({ code: 'invalid_request', message: 'the request is not valid: limit must be <= 200' })
    expect(errorAnswer({ ...invalid, validationContext: 'params' }).body.code).toBe('invalid_room_id')
    expect(errorAnswer(Object.assign(new Error('x'), { statusCode: 413 }))).toMatchObject({ status: 400, body: { code: 'invalid_request' } })
    expect(errorAnswer(Object.assign(new Error('x'), { statusCode: 500 }))).toMatchObject({ status: 500, body: { code: 'internal' } })
  })
})

test('participants of now and admins may read; moderators and strangers not', () => {
  const room = { participants: [{ userId: 'a', role: 'customer' }] } as unknown as Parameters<typeof mayRead>[1]
  const as = (userId: string, role: string) => mayRead({ userId, role } as Parameters<typeof mayRead>[0], room)
  expect([as('a', 'user'), as('b', 'user'), as('b', 'moderator'), as('b', 'admin')]).toEqual([true, false, false, true])
})
