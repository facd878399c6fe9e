import { describe, expect, test } from 'vitest'
import { ChatError } from '#libs/domain/errors.ts'
import { isBroken, isUnavailable, mapError, sqlStateOf } from './errors.ts'

const withCode = (code: string, message = 'x') => Object.assign(new Error(message), { code })

describe('errors of Postgres', () => {
  test.each(['08006', '08P01', '53300', '57P01', '57P03', '57014', '40001', '40P01', '55P03', '25006', 'ECONNREFUSED', 'EPIPE', 'ENOTFOUND'])(
    '%s is unavailable',
    (code) => expect(mapError(withCode(code))).toMatchObject({ code: 'unavailable', retriable: true }),
  )

  test.each(['23505', '42P01', '22P02', '28P01', '3D000', '42501', 'ERR_SOMETHING'])('%s stays what it is', (code) => {
    const err = withCode(code)
    expect(mapError(err)).toBe(err)
  })

  test.each([
    'timeout exceeded when trying to connect',
    'Connection terminated unexpectedly',
    'Connection terminated due to connection timeout',
    'Query read timeout',
    'Client has encountered a connection error and is not queryable',
  ])('what pg says in words only is known: %s', (message) => expect(isUnavailable(new Error(message))).toBe(true))

  test('several addresses that all refuse are one refusal', () => {
    expect(isUnavailable(new AggregateError([withCode('ECONNREFUSED'), withCode('ECONNREFUSED')]))).toBe(true)
    expect(isUnavailable(new AggregateError([withCode('ECONNREFUSED'), new TypeError('bug')]))).toBe(false)
  })

  test('a connection is thrown away where its state is unknown, not where the server has answered', () => {
    expect(isBroken(new Error('Query read timeout'))).toBe(true)
    expect(isBroken(withCode('57P01'))).toBe(true)
    expect(isBroken(withCode('25006'))).toBe(true)
    expect(isBroken(withCode('40001'))).toBe(false)
    expect(isBroken(withCode('57014'))).toBe(false)
    expect(isBroken(withCode('23505'))).toBe(false)
  })

  test('the cause is kept for the log', () => {
    const err = withCode('57P01')
    expect((mapError(err) as ChatError).cause).toBe(err)
    expect(sqlStateOf(err)).toBe('57P01')
    expect(sqlStateOf(withCode('EPIPE'))).toBeUndefined()
  })
})
