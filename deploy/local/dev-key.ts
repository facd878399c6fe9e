// The development key that signs local tokens. As a program: node dev-key.ts <file>
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, type JWK } from 'jose'

/** An ES256 private key as a JWK with `kid`; made the first time, the same ever after. */
export async function ensureDevKey(file: string): Promise<JWK> {
  if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8')) as JWK
  const { privateKey } = await generateKeyPair('ES256', { extractable: true })
  const jwk = await exportJWK(privateKey)
  const key = { ...jwk, kid: await calculateJwkThumbprint(jwk), alg: 'ES256', use: 'sig' }
  mkdirSync(path.dirname(file), { recursive: true })
  const fresh = `${file}.${process.pid}`
  writeFileSync(fresh, `${JSON.stringify(key, null, 2)}\n`, { mode: 0o600 })
  renameSync(fresh, file)
  return key
}

const [, program, file] = process.argv
if (program === fileURLToPath(import.meta.url) && file !== undefined) await ensureDevKey(file)
