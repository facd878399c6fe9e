import { describe, expect, test } from 'vitest'
import { ChatError, type ErrorCode, errorCatalogue } from '#libs/domain/errors.ts'
import { errorAnswer, ToldError } from './error-answer.ts'
import { mayRead, visibleFrom } from './may-read.ts'

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
    expect(errorAnswer(new ToldError('unavailable', 'uploads are not set up here')).body.message).toContain('not set up')
    expect(errorAnswer(new Error('SELECT secret')).body).toMatchObject({ code: 'internal', message: errorCatalogue.internal.message })
    expect(errorAnswer('thrown text').body.code).toBe('internal')
    expect(errorAnswer(new ChatError('unavailable', undefined, { retryAfterMs: 4_321 })).body.retryAfterMs).toBe(4_321)
  })

  test('of the framework is one of the catalogue too', () => {
    const invalid = { message: 'querystring/limit must be <= 200', statusCode: 400, validation: [{}], validationContext: 'querystring' }
    expect(errorAnswer(invalid).body).toMatchObject({ code: 'invalid_request', message: 'the request is not valid: limit must be <= 200' })
    for (const instancePath of ['/id', '/chatId']) {
      expect(errorAnswer({ ...invalid, validation: [{ instancePath }], validationContext: 'params' }).body.code).toBe('invalid_room_id')
    }
    const emoji = { message: 'params/emoji must be shorter', statusCode: 400, validation: [{ instancePath: '/emoji' }], validationContext: 'params' }
    expect(errorAnswer(emoji).body).toMatchObject({ code: 'invalid_request', message: 'the request is not valid: emoji must be shorter' })
    expect(errorAnswer(Object.assign(new Error('x'), { statusCode: 413 }))).toMatchObject({ status: 413, body: { code: 'frame_too_large' } })
    expect(errorAnswer(Object.assign(new Error('x'), { statusCode: 415 }))).toMatchObject({ status: 400, body: { code: 'invalid_request' } })
    expect(errorAnswer(Object.assign(new Error('x'), { statusCode: 500 }))).toMatchObject({ status: 500, body: { code: 'internal' } })
  })
})

test('participants of now, admins and moderators may read; strangers not', () => {
  const room = { participants: [{ userId: 'a', role: 'customer' }] } as unknown as Parameters<typeof mayRead>[1]
  const as = (userId: string, role: string) => mayRead({ userId, role } as Parameters<typeof mayRead>[0], room)
  expect([as('a', 'user'), as('b', 'user'), as('b', 'moderator'), as('b', 'admin')]).toEqual([true, false, true, true])
})

test('newcomers of a room that shows nothing of before see it from where they came in', () => {
  const participants = [{ userId: 'a', role: 'owner', sinceSeq: 1 }, { userId: 'b', role: 'member', sinceSeq: 9 }]
  const from = (userId: string, role: string, history: string) => visibleFrom({ userId, role } as never, { participants, history } as never)
  expect([from('a', 'user', 'fromJoin'), from('b', 'user', 'fromJoin'), from('b', 'user', 'all'), from('z', 'admin', 'fromJoin'), from('z', 'moderator', 'fromJoin')]).toEqual([1, 9, 1, 1, 1])
})
