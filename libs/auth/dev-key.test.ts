import { mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createLocalJWKSet, jwtVerify } from 'jose'
import { describe, expect, test } from 'vitest'
import { bearerToken } from './bearer.ts'
import { devJwks, loadOrCreateDevKey, signDevToken } from './dev-key.ts'

const newFile = () => path.join(mkdtempSync(path.join(tmpdir(), 'order-chat-')), 'deep', 'dev-key.json')

describe('the development key', () => {
  test('is made once, whoever comes first, and only its owner can read it', async () => {
    const file = newFile()
    const keys = await Promise.all(Array.from({ length: 8 }, () => loadOrCreateDevKey(file)))
    expect(new Set(keys.map(({ kid }) => kid)).size).toBe(1)
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(readdirSync(path.dirname(file))).toEqual(['dev-key.json'])
  })

  test('its private part is never published', async () => {
    const file = newFile()
    const { keys } = await devJwks(file)
    expect(Object.keys(keys[0]!).sort()).toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'])
    expect(JSON.stringify(keys)).not.toContain(JSON.parse(readFileSync(file, 'utf8')).d)
  })

  test('its tokens verify against its JWKS', async () => {
    const file = newFile()
    const token = await signDevToken({ file, issuer: 'i', audience: 'a', userId: 'u', role: 'admin', ttlS: 60 })
    const { payload } = await jwtVerify(token, createLocalJWKSet((await devJwks(file)) as { keys: [] }), { issuer: 'i', audience: 'a' })
    expect(payload).toMatchObject({ sub: 'u', role: 'admin' })
    expect(payload.exp! - payload.iat!).toBe(60)
  })

  test('a file that is something else is not overwritten', async () => {
    const file = path.join(mkdtempSync(path.join(tmpdir(), 'order-chat-')), 'key')
    for (const text of ['', '{}', 'no json']) {
      writeFileSync(file, text)
      await expect(loadOrCreateDevKey(file)).rejects.toThrow(/is not a development key/)
      expect(readFileSync(file, 'utf8')).toBe(text)
    }
  })
})

test.each([
  ['Bearer abc.def-g_h', 'abc.def-g_h'],
  ['bearer  abc', 'abc'],
  ['Basic abc', undefined],
  ['Bearer', undefined],
  ['Bearer a b', undefined],
  ['Bearer "a"', undefined],
  [undefined, undefined],
])('Authorization: %s gives %s', (header, token) => expect(bearerToken(header)).toBe(token))
