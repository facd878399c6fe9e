import { chmod, link, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'
import { newId, systemClock } from '#libs/runtime/clock.ts'

/** A key of the local stack: whoever can read the file can sign tokens. Never used where AUTH_DEV_KEY_FILE is not set. */
const ALGORITHM = 'ES256'

/** The private key in `file`, made (readable by its owner only) if there is none. Several processes get the same one. */
export async function loadOrCreateDevKey(file: string): Promise<JWK> {
  const existing = await read(file)
  if (existing) return existing
  const { privateKey } = await generateKeyPair(ALGORITHM, { extractable: true })
  const jwk = await exportJWK(privateKey)
  const key: JWK = { ...jwk, alg: ALGORITHM, use: 'sig', kid: await calculateJwkThumbprint(jwk) }
  await mkdir(path.dirname(file), { recursive: true })
  const fresh = `${file}.${newId()}`
  await writeFile(fresh, `${JSON.stringify(key)}\n`, { mode: 0o600 })
  await chmod(fresh, 0o600)
  try {
    // Unlike a rename, a link never replaces a key that another process has just made.
    await link(fresh, file)
    return key
  } catch (err) {
    const theirs = await read(file)
    if (!theirs) throw err
    return theirs
  } finally {
    await rm(fresh, { force: true })
  }
}

async function read(file: string): Promise<JWK | undefined> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw err
  }
  const key = parse(text)
  if (!key || typeof key.d !== 'string' || typeof key.kid !== 'string' || key.alg !== ALGORITHM) {
    throw new Error(`${file} is not a development key: delete it, and a new one is made`)
  }
  return key
}

function parse(text: string): JWK | undefined {
  try {
    return JSON.parse(text) as JWK
  } catch {
    return undefined
  }
}

/** The public part, as a JWKS document. */
export async function devJwks(file: string): Promise<{ readonly keys: readonly JWK[] }> {
  const { kty, crv, x, y, kid, alg, use } = await loadOrCreateDevKey(file)
  return { keys: [{ kty, crv, x, y, kid, alg, use } as JWK] }
}

export async function signDevToken(options: {
  readonly file: string
  readonly issuer: string
  readonly audience: string
  readonly userId: string
  /** Claim `role`; only admin and moderator mean something to us (verifier.ts). */
  readonly role: string
  readonly ttlS: number
}): Promise<string> {
  const key = await loadOrCreateDevKey(options.file)
  const nowS = Math.floor(systemClock.nowMs() / 1000)
  return new SignJWT({ role: options.role })
    .setProtectedHeader({ alg: ALGORITHM, kid: key.kid as string, typ: 'JWT' })
    .setSubject(options.userId)
    .setIssuer(options.issuer)
    .setAudience(options.audience)
    .setIssuedAt(nowS)
    .setExpirationTime(nowS + options.ttlS)
    .sign(key)
}
