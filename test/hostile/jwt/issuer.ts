import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'
import { AUTH_AUDIENCE, AUTH_ISSUER } from '../../../deploy/local/service-env.ts'

export type Key = { readonly kid: string; readonly alg: string; readonly privateKey: CryptoKey; readonly publicKey: CryptoKey; readonly jwk: JWK }
export type Fields = Readonly<Record<string, unknown>>

export const encoded = (value: unknown): string => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

export const claimsOf = (userId: string, more: Fields = {}): Fields => {
  const nowS = Math.floor(Date.now() / 1_000)
  return { sub: userId, iss: AUTH_ISSUER, aud: AUTH_AUDIENCE, iat: nowS, exp: nowS + 3_600, ...more }
}

export async function newKey(kid: string, alg: string): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true })
  return { kid, alg, privateKey, publicKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } }
}

export function signed(claims: Fields, key: Key, header: Fields = {}): Promise<string> {
  return new SignJWT(claims).setProtectedHeader({ alg: key.alg, kid: key.kid, typ: 'JWT', ...header }).sign(key.privateKey)
}

/** A token issuer: three keys of three kinds, and a JWKS server that counts who asks and can fail or dawdle. */
export class Issuer {
  readonly es: Key
  readonly rs: Key
  readonly ed: Key
  /** When it was asked for its keys. */
  readonly askedAtMs: number[] = []
  status = 200
  delayMs = 0
  readonly #server: Server

  private constructor(keys: readonly [Key, Key, Key]) {
    ;[this.es, this.rs, this.ed] = keys
    const body = JSON.stringify({ keys: keys.map(({ jwk }) => jwk) })
    this.#server = createServer(async (_, res) => {
      this.askedAtMs.push(performance.now())
      await pause(this.delayMs)
      res.writeHead(this.status, { 'content-type': 'application/json' }).end(body)
    })
  }

  static async start(): Promise<Issuer> {
    const issuer = new Issuer(await Promise.all([newKey('es-1', 'ES256'), newKey('rs-1', 'RS256'), newKey('ed-1', 'EdDSA')]))
    await new Promise<void>((resolve) => issuer.#server.listen(0, '127.0.0.1', resolve))
    return issuer
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/jwks`
  }

  token(userId: string, more: Fields = {}): Promise<string> {
    return signed(claimsOf(userId, more), this.es)
  }

  close(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }
}
