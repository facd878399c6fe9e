import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { postgresConfigFromEnv } from './config.ts'
import { parseInt8 } from './pool.ts'

const POSTGRES_URL = 'postgres://chat@127.0.0.1:15432/chat'
const file = (text: string) => {
  const name = path.join(mkdtempSync(path.join(tmpdir(), 'order-chat-')), 'file')
  writeFileSync(name, text)
  return name
}

describe('the configuration of Postgres', () => {
  test('needs only the URL', () => {
    expect(postgresConfigFromEnv({ POSTGRES_URL })).toMatchObject({ url: POSTGRES_URL, ssl: false, poolMax: 10, connectTimeoutMs: 2_000 })
  })

  test.each([
    [{}, /POSTGRES_URL is not set/],
    [{ POSTGRES_URL: 'http://x/y' }, /POSTGRES_URL must be postgres:/],
    [{ POSTGRES_URL: `${POSTGRES_URL}?sslmode=disable` }, /must not carry "sslmode"/],
    [{ POSTGRES_URL: `${POSTGRES_URL}?options=-cstatement_timeout%3D0` }, /must not carry "options"/],
    [{ POSTGRES_URL, POSTGRES_SSL: 'prefer' }, /POSTGRES_SSL must be one of/],
    [{ POSTGRES_URL, POSTGRES_POOL_MAX: '0' }, /POSTGRES_POOL_MAX/],
    [{ POSTGRES_URL, POSTGRES_SSL_CA_FILE: file('ca') }, /POSTGRES_SSL is disable/],
    [{ POSTGRES_URL, POSTGRES_SSL: 'require', POSTGRES_SSL_CA_FILE: '/nowhere' }, /POSTGRES_SSL_CA_FILE/],
  ])('%j is refused by name', (env, message) => {
    expect(() => postgresConfigFromEnv(env)).toThrow(message)
  })

  test('no message repeats a password', () => {
    expect(() => postgresConfigFromEnv({ POSTGRES_URL: 'postgres://chat:geheim@[/chat' })).toThrow(/^(?!.*geheim).*$/s)
  })

  test('the password may come from a file', () => {
    const { url } = postgresConfigFromEnv({ POSTGRES_URL, POSTGRES_PASSWORD_FILE: file('p@ss/wörd\n') })
    expect(decodeURIComponent(new URL(url).password)).toBe('p@ss/wörd')
  })

  test('TLS is verified as libpq does it', () => {
    const ssl = (env: Record<string, string>) => postgresConfigFromEnv({ POSTGRES_URL, ...env }).ssl
    expect(ssl({ POSTGRES_SSL: 'require' })).toEqual({ rejectUnauthorized: false })
    expect(ssl({ POSTGRES_SSL: 'require', POSTGRES_SSL_CA_FILE: file('ca') })).toMatchObject({ rejectUnauthorized: true, ca: 'ca' })
    expect(ssl({ POSTGRES_SSL: 'verify-full' })).toEqual({ rejectUnauthorized: true })
    expect(ssl({ POSTGRES_SSL: 'verify-full', POSTGRES_SSL_CA_FILE: file('ca') })).toEqual({ rejectUnauthorized: true, ca: 'ca' })
  })
})

test('int8 is a number or an error, never nearly a number', () => {
  expect(parseInt8('9007199254740991')).toBe(9007199254740991)
  expect(parseInt8('-5')).toBe(-5)
  expect(() => parseInt8('9007199254740993')).toThrow(RangeError)
})
