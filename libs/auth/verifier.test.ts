import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createHmac } from 'node:crypto'
import { type CryptoKey, exportJWK, exportSPKI, generateKeyPair, type JWK, SignJWT } from 'jose'
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '#libs/runtime/clock.ts'
import { authConfigFromEnv } from './config.ts'
import { createTokenVerifier, type TokenVerifier } from './verifier.ts'

type Key = { readonly kid: string; readonly privateKey: CryptoKey; readonly publicKey: CryptoKey; readonly jwk: JWK }

async function newKey(kid: string, alg: string): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true })
  return { kid, privateKey, publicKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } }
}

let first: Key
let second: Key
let rsa: Key
beforeAll(async () => {
  ;[first, second, rsa] = await Promise.all([newKey('first', 'ES256'), newKey('second', 'ES256'), newKey('rsa', 'RS256')])
})

/** A real JWKS server. */
let server: Server
let fetches: number
let published: readonly JWK[]
let status: number
let nowOffsetMs: number
let url: string

beforeEach(async () => {
  fetches = 0
  status = 200
  nowOffsetMs = 0
  published = [first.jwk, rsa.jwk]
  server = createServer((_req, res) => {
    fetches++
    res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ keys: published }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks`
})
afterEach(async () => {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
})

const clock = { ...systemClock, nowMs: () => systemClock.nowMs() + nowOffsetMs }
const nowS = () => Math.floor(clock.nowMs() / 1000)

function newVerifier(env: Record<string, string> = {}): TokenVerifier {
  return createTokenVerifier(authConfigFromEnv({ AUTH_JWKS_URL: url, AUTH_ISSUER: 'us', AUTH_AUDIENCE: 'order-chat', ...env }), clock)
}

type Claims = Record<string, unknown>
const claims = (more: Claims = {}): Claims => ({ iss: 'us', aud: 'order-chat', sub: 'cust-1', exp: nowS() + 300, ...more })

function sign(payload: Claims, key: Key = first, header: Claims = {}): Promise<string> {
  const alg = key.jwk.alg as string
  return new SignJWT(payload).setProtectedHeader({ alg, kid: key.kid, ...header }).sign(key.privateKey)
}

const base64url = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')

describe('a token', () => {
  test('of ES256 and of RS256 is accepted', async () => {
    const verifier = newVerifier()
    const exp = nowS() + 300
    await expect(verifier.verify(await sign(claims({ exp })))).resolves.toEqual({
      userId: 'cust-1',
      subject: 'cust-1',
      role: 'user',
      expiresAtMs: exp * 1000,
    })
    await expect(verifier.verify(await sign(claims(), rsa))).resolves.toMatchObject({ userId: 'cust-1' })
    expect(fetches).toBe(1)
  })

  test('speaks for pid where it has one, else for sub', async () => {
    const verifier = newVerifier()
    await expect(verifier.verify(await sign(claims({ pid: 'rider-7' })))).resolves.toMatchObject({ userId: 'rider-7', subject: 'cust-1' })
    // A pid that is no user id never falls back to sub: that would be somebody else.
    for (const pid of ['', 'a b', 5, null, ['x']]) {
      await expect(verifier.verify(await sign(claims({ pid })))).rejects.toMatchObject({ code: 'token_invalid' })
    }
  })

  test('has a role only if it is a known one', async () => {
    const verifier = newVerifier()
    for (const [role, expected] of [['admin', 'admin'], ['moderator', 'moderator'], ['customer', 'user'], ['Admin', 'user'], [['admin'], 'user'], [undefined, 'user']]) {
      await expect(verifier.verify(await sign(claims({ role })))).resolves.toMatchObject({ role: expected })
    }
  })

  test('may say that it is an access token, and nothing else', async () => {
    const verifier = newVerifier()
    for (const typ of ['JWT', 'jwt', 'at+jwt', 'application/at+jwt', undefined]) {
      await expect(verifier.verify(await sign(claims({ typ }), first, { typ }))).resolves.toMatchObject({ userId: 'cust-1' })
    }
    for (const typ of ['logout+jwt', 'secevent+jwt', 'JWE', '', 5, ['JWT']]) {
      await expect(verifier.verify(await sign(claims(), first, { typ }))).rejects.toMatchObject({ code: 'token_invalid' })
    }
  })

  test('that is missing is said to be missing', async () => {
    for (const token of [undefined, '']) await expect(newVerifier().verify(token)).rejects.toMatchObject({ code: 'token_missing' })
  })

  test.each<[string, () => Promise<string>]>([
    ['no JWT at all', async () => 'abc'],
    ['alg none', async () => `${base64url({ alg: 'none' })}.${base64url(claims())}.`],
    ['alg none with a kid', async () => `${base64url({ alg: 'none', kid: 'first' })}.${base64url(claims())}.x`],
    ['another issuer', () => sign(claims({ iss: 'them' }))],
    ['another audience', () => sign(claims({ aud: ['other'] }))],
    ['no audience', () => sign(claims({ aud: undefined }))],
    ['no exp', () => sign(claims({ exp: undefined }))],
    ['an exp that is no time', () => sign(claims({ exp: 1e300 }))],
    ['no sub', () => sign(claims({ sub: undefined }))],
    ['a sub that is no user id', () => sign(claims({ sub: 'a b' }))],
    ['not valid yet', () => sign(claims({ nbf: nowS() + 60 }))],
    ['an unknown kid', () => sign(claims(), first, { kid: 'other' })],
    ['the kid of another key', () => sign(claims(), second, { kid: 'first' })],
    ['an unknown critical header', () => sign(claims(), first, { crit: ['b64'], b64: false }).catch(() => 'a.b.c')],
    ['an algorithm that is not allowed', async () => {
      const es384 = await newKey('es384', 'ES384')
      published = [first.jwk, es384.jwk]
      return sign(claims(), es384)
    }],
    ['changed after signing', async () => {
      const [header, , signature] = (await sign(claims())).split('.')
      return `${header}.${base64url(claims({ role: 'admin' }))}.${signature}`
    }],
  ])('is refused: %s', async (_name, make) => {
    await expect(newVerifier().verify(await make())).rejects.toMatchObject({ code: 'token_invalid', httpStatus: 401 })
  })

  test('signed by HS256 with the public key as secret is refused', async () => {
    const spki = await exportSPKI(rsa.publicKey)
    for (const kid of ['rsa', undefined]) {
      const input = `${base64url({ alg: 'HS256', kid })}.${base64url(claims({ role: 'admin' }))}`
      const token = `${input}.${createHmac('sha256', spki).update(input).digest('base64url')}`
      await expect(newVerifier().verify(token)).rejects.toMatchObject({ code: 'token_invalid' })
    }
  })

  test('longer than 8 KB is refused before anything is fetched', async () => {
    const token = await sign(claims({ filler: 'x'.repeat(8_192) }))
    await expect(newVerifier().verify(token)).rejects.toMatchObject({ code: 'token_invalid' })
    expect(fetches).toBe(0)
  })

  test('expires, after the tolerance, also where it was verified before', async () => {
    const verifier = newVerifier()
    const token = await sign(claims({ exp: nowS() + 10 }))
    await verifier.verify(token)
    nowOffsetMs = 14_000
    await verifier.verify(token)
    nowOffsetMs = 16_000
    await expect(verifier.verify(token)).rejects.toMatchObject({ code: 'token_expired' })
    // Who forges learns nothing about expiry.
    await expect(verifier.verify(await sign(claims({ exp: nowS() - 99 }), second, { kid: 'first' }))).rejects.toMatchObject({ code: 'token_invalid' })
  })
})

describe("the issuer's keys", () => {
  test('rotation: a new kid is fetched, once, and the old key then counts no more', async () => {
    const verifier = newVerifier({ AUTH_JWKS_COOLDOWN_MS: '0' })
    await verifier.verify(await sign(claims()))
    published = [second.jwk]
    const tokens = await Promise.all(Array.from({ length: 20 }, (_, i) => sign(claims({ i }), second)))
    await Promise.all(tokens.map((token) => verifier.verify(token)))
    expect(fetches).toBe(2)
    await expect(verifier.verify(await sign(claims({ another: 1 })))).rejects.toMatchObject({ code: 'token_invalid' })
  })

  test('a flood of unknown kids makes no fetch within the cooldown', async () => {
    const verifier = newVerifier()
    for (let i = 0; i < 50; i++) {
      await expect(verifier.verify(await sign(claims(), first, { kid: `no-${i}` }))).rejects.toMatchObject({ code: 'token_invalid' })
    }
    expect(fetches).toBe(1)
  })

  test('a flood of unknown kids makes one fetch per cooldown also while the issuer is down', async () => {
    const verifier = newVerifier({ AUTH_JWKS_COOLDOWN_MS: '50' })
    await verifier.verify(await sign(claims()))
    status = 500
    await systemClock.sleep(60)
    for (let i = 0; i < 20; i++) {
      await expect(verifier.verify(await sign(claims(), first, { kid: `no-${i}` }))).rejects.toMatchObject({ code: 'unavailable', retriable: true })
    }
    expect(fetches).toBeLessThanOrEqual(3)
    await expect(verifier.verify(await sign(claims({ known: 1 })))).resolves.toBeDefined()
  })

  test.each(['HTTP 500', 'no JWKS', 'nobody listens'])('that cannot be fetched (%s) are our fault, not the token\'s', async (how) => {
    if (how === 'HTTP 500') status = 500
    if (how === 'no JWKS') published = 'nonsense' as unknown as JWK[]
    if (how === 'nobody listens') await new Promise((resolve) => server.close(resolve))
    const verifier = newVerifier({ AUTH_JWKS_COOLDOWN_MS: '0' })
    await expect(verifier.verify(await sign(claims()))).rejects.toMatchObject({ code: 'unavailable', httpStatus: 503 })
    if (how === 'nobody listens') return
    status = 200
    published = [first.jwk]
    await expect(verifier.verify(await sign(claims()))).resolves.toBeDefined()
  })

  test('are renewed in the background before they get too old, so a short outage is not noticed', async () => {
    const verifier = newVerifier({ AUTH_JWKS_MAX_AGE_MS: '1000' })
    await verifier.verify(await sign(claims()))
    await systemClock.sleep(600)
    await verifier.verify(await sign(claims({ a: 1 })))
    await expect.poll(() => fetches).toBe(2)
  })

  test('a known token costs no key and no fetch', async () => {
    const verifier = newVerifier()
    const token = await sign(claims())
    await verifier.verify(token)
    await new Promise((resolve) => server.close(resolve))
    const startedMs = systemClock.nowMs()
    for (let i = 0; i < 10_000; i++) await verifier.verify(token)
    expect(systemClock.nowMs() - startedMs).toBeLessThan(1_000)
  })
})

describe('the configuration of tokens', () => {
  const env = { AUTH_JWKS_URL: 'http://127.0.0.1/jwks', AUTH_ISSUER: 'us', AUTH_AUDIENCE: 'order-chat' }

  test.each(['HS256', 'none', 'ES256,HS512', 'es256', 'A128KW'])('AUTH_ALGORITHMS=%s is refused', (AUTH_ALGORITHMS) => {
    expect(() => authConfigFromEnv({ ...env, AUTH_ALGORITHMS })).toThrow(/AUTH_ALGORITHMS/)
  })

  test('AUTH_JWKS_URL must be http or https', () => {
    expect(() => authConfigFromEnv({ ...env, AUTH_JWKS_URL: 'file:///etc/keys' })).toThrow(/AUTH_JWKS_URL/)
    expect(authConfigFromEnv(env)).toMatchObject({ algorithms: ['ES256', 'RS256', 'EdDSA'], clockToleranceS: 5, jwksCooldownMs: 30_000, jwksMaxAgeMs: 600_000 })
  })
})
