import { createHmac } from 'node:crypto'
import { exportJWK, exportSPKI } from 'jose'
import type { ErrorCode } from '#libs/domain/errors.ts'
import { claimsOf, encoded, type Fields, type Issuer, type Key, newKey, signed } from './issuer.ts'

/** What a token must meet: a refusal, or `ok` where it is a good one after all. */
export type Verdict = ErrorCode | 'ok'
export type TokenCase = {
  readonly name: string
  readonly token: string
  readonly verdict: Verdict
  /** Where one way of travelling has a verdict of its own. */
  readonly byHeader?: Verdict
  readonly byFrame?: Verdict
}

/** Whom every token of the matrix speaks for, or claims to. */
export const USER = 'customer'
const TOKEN_BYTES_MAX = 8_192

/** Signed as it stands: headers and payloads that no library would write. */
async function signedText(header: string, payload: string, { privateKey }: Key): Promise<string> {
  const input = `${encoded(header)}.${encoded(payload)}`
  const signature = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, privateKey, Buffer.from(input))
  return `${input}.${Buffer.from(signature).toString('base64url')}`
}

function hmacSigned(header: Fields, secret: string | Buffer, hash = 'sha256'): string {
  const input = `${encoded(header)}.${encoded(claimsOf(USER, { role: 'admin' }))}`
  return `${input}.${createHmac(hash, secret).update(input).digest('base64url')}`
}

const invalid = async (name: string, token: string | Promise<string>, more: Partial<TokenCase> = {}): Promise<TokenCase> => ({ name, token: await token, verdict: 'token_invalid', ...more })
const good = async (name: string, token: string | Promise<string>): Promise<TokenCase> => ({ name, token: await token, verdict: 'ok' })

export async function tokenCases(issuer: Issuer, trap: string): Promise<TokenCase[]> {
  const groups = await Promise.all([goodOnes(issuer), unsigned(issuer), confused(issuer), wrongHeaders(issuer, trap), wrongClaims(issuer), damaged(issuer), sizes(issuer)])
  return groups.flat()
}

function goodOnes({ es, rs, ed }: Issuer): Promise<TokenCase[]> {
  const nowS = Math.floor(Date.now() / 1_000)
  const twice = JSON.stringify(claimsOf('somebody-else')).replace(/\}$/, `,"sub":"${USER}"}`)
  return Promise.all([
    ...[es, rs, ed].map((key) => good(`good, ${key.alg}`, signed(claimsOf(USER, { jti: key.alg }), key))),
    good('a header of 1,000 levels', signedText(`{"alg":"ES256","kid":"es-1","x":${'['.repeat(1_000)}${']'.repeat(1_000)}}`, JSON.stringify(claimsOf(USER)), es)),
    good('typ at+jwt', signed(claimsOf(USER), es, { typ: 'at+jwt' })),
    good('typ application/at+JWT', signed(claimsOf(USER), es, { typ: 'application/at+JWT' })),
    good('no typ', signed(claimsOf(USER), es, { typ: undefined })),
    good('one of several audiences', signed(claimsOf(USER, { aud: ['other', 'order-chat'] }), es)),
    good('expired within the tolerance', signed(claimsOf(USER, { exp: nowS - 1 }), es)),
    // RFC 7519 section 4: refuse, or take the last one. Whoever the issuer signed for last is meant, everywhere alike.
    good('sub twice: the last counts', signedText(JSON.stringify({ alg: 'ES256', kid: es.kid }), twice, es)),
  ])
}

function unsigned({ es }: Issuer): Promise<TokenCase[]> {
  const claims = encoded(claimsOf(USER, { role: 'admin' }))
  const nones = ['none', 'None', 'NONE', 'nOnE', ''].flatMap((alg) => [
    invalid(`alg "${alg}", no signature`, `${encoded({ alg, typ: 'JWT' })}.${claims}.`),
    invalid(`alg "${alg}" with a kid and a signature`, `${encoded({ alg, kid: es.kid })}.${claims}.${'A'.repeat(86)}`),
  ])
  return Promise.all([
    ...nones,
    ...[undefined, null, 5, ['none'], { none: 1 }].map((alg) => invalid(`alg ${JSON.stringify(alg)}`, `${encoded({ alg, kid: es.kid })}.${claims}.AAAA`)),
    // Of zeros only: some verifiers took r = s = 0 for valid.
    invalid('an all-zero signature', `${encoded({ alg: 'ES256', kid: es.kid })}.${claims}.${'A'.repeat(86)}`),
  ])
}

async function confused({ es, rs }: Issuer): Promise<TokenCase[]> {
  const secrets = await Promise.all([es, rs].map(async (key) => {
    const pem = await exportSPKI(key.publicKey)
    const der = Buffer.from(pem.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64')
    return { key, secrets: { PEM: pem, 'PEM without its last line end': pem.trimEnd(), DER: der, JWK: JSON.stringify(await exportJWK(key.publicKey)), 'published JWK': JSON.stringify(key.jwk) } }
  }))
  const hmacs = secrets.flatMap(({ key, secrets }) =>
    Object.entries(secrets).flatMap(([form, secret]) => [
      invalid(`HS256 with the ${key.alg} key as ${form}`, hmacSigned({ alg: 'HS256', kid: key.kid }, secret)),
      invalid(`HS512 with the ${key.alg} key as ${form}, no kid`, hmacSigned({ alg: 'HS512' }, secret, 'sha512')),
    ]),
  )
  const ps = await newKey(rs.kid, 'PS256')
  return Promise.all([
    ...hmacs,
    invalid('HS256 with an empty secret', hmacSigned({ alg: 'HS256', kid: es.kid }, '')),
    invalid('RS256 named, the ES256 key meant', signed(claimsOf(USER), rs, { kid: es.kid })),
    invalid('ES256 named, the RS256 key meant', signed(claimsOf(USER), es, { kid: rs.kid })),
    invalid('an algorithm that is not on the list', signed(claimsOf(USER), ps)),
  ])
}

async function wrongHeaders({ es }: Issuer, trap: string): Promise<TokenCase[]> {
  const own = await newKey('own', 'ES256')
  const own2 = { ...own, kid: es.kid }
  const claims = claimsOf(USER, { role: 'admin' })
  const kids = ['unknown', '', '../../../../dev/null', "' OR 1=1 --", '__proto__', 'constructor', 'x'.repeat(4_000), `${trap}/kid`]
  const text = (header: string) => signedText(header, JSON.stringify(claims), es)
  return Promise.all([
    ...kids.map((kid) => invalid(`kid ${JSON.stringify(kid.slice(0, 30))}`, signed(claims, { ...own, kid }))),
    ...[5, null, ['es-1'], { kid: 'es-1' }].map((kid) => invalid(`kid ${JSON.stringify(kid)}`, signed(claims, own, { kid }))),
    invalid('the kid of another key', signed(claims, own2)),
    invalid('its own key embedded as jwk', signed(claims, own2, { jwk: own.jwk })),
    invalid('its own key embedded as jwk, no kid', signed(claims, own, { kid: undefined, jwk: own.jwk })),
    invalid('its own key at jku', signed(claims, own, { jku: `${trap}/jwks` })),
    invalid('its own key at x5u', signed(claims, own, { x5u: `${trap}/cert` })),
    invalid('its own key as x5c', signed(claims, own2, { x5c: ['MIIB'] })),
    ...['JWE', 'logout+jwt', 'secevent+jwt', 'dpop+jwt', 'application/logout+jwt', 'at+jwt; x', ''].map((typ) => invalid(`typ ${JSON.stringify(typ)}`, signed(claims, es, { typ }))),
    ...['5', 'null', '["JWT"]', '{}'].map((typ) => invalid(`typ ${typ}`, text(`{"alg":"ES256","kid":"es-1","typ":${typ}}`))),
    invalid('an unknown critical header', text('{"alg":"ES256","kid":"es-1","crit":["exp"],"exp":1}')),
    invalid('crit that names a header that is not there', text('{"alg":"ES256","kid":"es-1","crit":["mystery"]}')),
    invalid('crit that is empty', text('{"alg":"ES256","kid":"es-1","crit":[]}')),
    invalid('an unencoded payload (b64)', text('{"alg":"ES256","kid":"es-1","crit":["b64"],"b64":false}')),
    invalid('alg twice: the last counts', text('{"alg":"ES256","kid":"es-1","alg":"none"}')),
    invalid('kid twice: the last counts', text('{"alg":"ES256","kid":"es-1","kid":"other"}')),
    invalid('a header that is no object', text('["ES256"]')),
    invalid('a header that is no JSON', text('{"alg":')),
  ])
}

async function wrongClaims({ es }: Issuer): Promise<TokenCase[]> {
  const nowS = Math.floor(Date.now() / 1_000)
  const claim = (name: string, value: unknown, more: Partial<TokenCase> = {}) => invalid(`${name} ${(JSON.stringify(value) ?? 'missing').slice(0, 40)}`, signed(claimsOf(USER, { [name]: value }), es), more)
  const payload = (name: string, text: string) => invalid(name, signedText(JSON.stringify({ alg: 'ES256', kid: es.kid }), text, es))
  const expired = { verdict: 'token_expired' } as const
  const each = (name: string, values: readonly unknown[]) => values.map((value) => claim(name, value))
  return Promise.all([
    ...each('iss', ['somebody-else', undefined, '', 'order-chat-dev/', 'Order-Chat-Dev', ['order-chat-dev'], 5, null]),
    ...each('aud', ['other', undefined, '', [], ['other'], ['order-chat '], { 0: 'order-chat' }, 5, null, [['order-chat']]]),
    ...each('exp', [undefined, null, '9999999999', [nowS + 60], {}, true, 1e300]),
    claim('exp', nowS - 3_600, expired),
    claim('exp', 0, expired),
    claim('exp', -1, expired),
    ...each('nbf', [nowS + 3_600, 1e300, 'soon', null]),
    ...each('sub', [undefined, null, '', 5, ['customer'], {}, 'a b', 'x'.repeat(129), 'cust\u0000omer', 'kundé', 'a\nb']),
    ...each('pid', ['', null, 5, ['customer'], {}, 'a b', 'x'.repeat(129)]),
    payload('exp twice, the last in the past', JSON.stringify(claimsOf(USER)).replace(/\}$/, ',"exp":1}')).then((one) => ({ ...one, ...expired })),
    payload('a payload that is a list', '[{"sub":"customer"}]'),
    payload('a payload that is a text', '"customer"'),
    payload('a payload that is null', 'null'),
    payload('a payload that is no JSON', '{"sub":'),
    payload('a payload of nothing', ''),
    payload('a payload of 1,000 levels', `{"sub":${'['.repeat(1_000)}${']'.repeat(1_000)}}`),
    invalid('a JWT in a JWT', signedText(JSON.stringify({ alg: 'ES256', kid: es.kid, cty: 'JWT' }), await signed(claimsOf(USER), es), es)),
    payload('claims behind __proto__', JSON.stringify(claimsOf(USER)).replace('"sub"', '"__proto__":{"sub":"customer"},"x"')),
  ])
}

async function damaged({ es }: Issuer): Promise<TokenCase[]> {
  const token = await signed(claimsOf(USER, { n: 'damaged' }), es)
  const [header, payload, signature] = token.split('.') as [string, string, string]
  return Promise.all([
    invalid('no JWT at all', 'garbage'),
    invalid('dots alone', '..'),
    invalid('two parts', `${header}.${payload}`),
    invalid('four parts', `${token}.${signature}`),
    invalid('five parts, as a JWE', `${header}.${payload}.${payload}.${signature}.${signature}`),
    invalid('a changed claim', `${header}.${encoded(claimsOf(USER, { role: 'admin' }))}.${signature}`),
    invalid('a changed header', `${encoded({ alg: 'ES256', kid: es.kid, typ: 'at+jwt' })}.${payload}.${signature}`),
    invalid('half a signature', `${header}.${payload}.${signature.slice(0, 43)}`),
    invalid('a signature and more', `${token}AAAA`),
    invalid('no signature', `${header}.${payload}.`),
    // What is no token in the header's grammar is as good as none there.
    invalid('a space within', `${header} .${payload}.${signature}`, { byHeader: 'token_missing' }),
    invalid('an emoji in UTF-8', `${header}.${Buffer.from('😀').toString('latin1')}.${signature}`, { byHeader: 'token_missing' }),
    invalid('quotes around it', `"${token}"`, { byHeader: 'token_missing' }),
    { name: 'nothing', token: '', verdict: 'token_missing', byFrame: 'malformed_frame' },
  ])
}

async function sizes({ es }: Issuer): Promise<TokenCase[]> {
  const large = [TOKEN_BYTES_MAX + 1, TOKEN_BYTES_MAX + 100, 15_000]
  return Promise.all([
    good(`${TOKEN_BYTES_MAX} bytes, good`, tokenOfSize(es, TOKEN_BYTES_MAX)),
    ...large.map(async (bytes) => invalid(`${bytes} bytes`, tokenOfSize(es, bytes), { byFrame: 'malformed_frame' })),
    invalid('60,000 bytes in a frame', 'x'.repeat(15_000), { byFrame: 'malformed_frame' }),
  ])
}

/** A good token of exactly so many bytes, filled up in a claim of its own and by the last digits in its header. */
async function tokenOfSize(key: Key, bytes: number): Promise<string> {
  const base = await signed(claimsOf(USER, { filler: '' }), key, { x: '' })
  for (let x = 0; x < 4; x++) {
    for (let filler = Math.max(0, Math.floor(((bytes - base.length) * 3) / 4) - 12); ; filler++) {
      const token = await signed(claimsOf(USER, { filler: 'f'.repeat(filler) }), key, { x: 'x'.repeat(x) })
      if (token.length === bytes) return token
      if (token.length > bytes) break
    }
  }
  throw new Error(`no token has ${bytes} bytes`)
}
