import { createHash } from 'node:crypto'
import { errors, type JWTPayload, jwtVerify } from 'jose'
import { ChatError } from '#libs/domain/errors.ts'
import { isUserId, type UserId } from '#libs/domain/ids.ts'
import { type Clock, systemClock } from '#libs/runtime/clock.ts'
import type { AuthConfig } from './config.ts'
import { createKeys } from './keys.ts'

export type IdentityRole = 'admin' | 'moderator' | 'user'

export type Identity = {
  /** Claim `pid` if present, else `sub`. */
  readonly userId: UserId
  readonly subject: string
  /** Claim `role`; anything unknown counts as `user`. */
  readonly role: IdentityRole
  readonly expiresAtMs: number
}

export type TokenVerifier = {
  /** @throws ChatError `token_missing`, `token_invalid`, `token_expired`, or `unavailable` where the keys cannot be fetched */
  verify(token: string | undefined): Promise<Identity>
  /** Fetches the keys ahead of the first token, which then need not wait for them. Rejects where it cannot. */
  warmUp(): Promise<void>
}

/** Longer ones are refused unread. */
const TOKEN_BYTES_MAX = 8_192
/** RFC 8725 section 3.11: what else the issuer signs with the same keys (logout tokens, security events) opens nothing here. */
const ACCESS_TOKEN_TYPE = /^(application\/)?(at\+)?jwt$/i
const CACHE = { entriesMax: 10_000, keepMs: 60_000 } as const

export function createTokenVerifier(config: AuthConfig, clock: Clock = systemClock): TokenVerifier {
  const keys = createKeys(config, clock)
  const verified = new VerifiedTokens(clock)
  return {
    warmUp: () => keys.warmUp(),
    async verify(token) {
      if (token === undefined || token === '') throw new ChatError('token_missing')
      if (Buffer.byteLength(token) > TOKEN_BYTES_MAX) throw new ChatError('token_invalid')
      const known = verified.get(token)
      if (known) return known
      const payload = await verifiedPayload(token)
      const identity = identityOf(payload)
      verified.set(token, identity)
      return identity
    },
  }

  async function verifiedPayload(token: string): Promise<JWTPayload> {
    try {
      const { payload, protectedHeader } = await jwtVerify(token, keys, {
        algorithms: [...config.algorithms],
        issuer: config.issuer,
        audience: config.audience,
        clockTolerance: config.clockToleranceS,
        currentDate: new Date(clock.nowMs()),
        requiredClaims: ['exp', 'sub'],
      })
      const { typ } = protectedHeader
      if (typ !== undefined && !(typeof typ === 'string' && ACCESS_TOKEN_TYPE.test(typ))) throw new ChatError('token_invalid')
      return payload
    } catch (err) {
      if (err instanceof ChatError) throw err
      // Any other failure, of whatever class, means that the token has not been shown to be valid.
      throw new ChatError(err instanceof errors.JWTExpired ? 'token_expired' : 'token_invalid', undefined, { cause: err })
    }
  }
}

function identityOf(payload: JWTPayload): Identity {
  const { sub, exp, role } = payload
  const userId = 'pid' in payload ? payload['pid'] : sub
  const expiresAtMs = Math.floor((exp ?? Number.NaN) * 1000)
  if (!isUserId(userId) || typeof sub !== 'string' || !Number.isSafeInteger(expiresAtMs)) throw new ChatError('token_invalid')
  return { userId, subject: sub, role: role === 'admin' || role === 'moderator' ? role : 'user', expiresAtMs }
}

/**
 * What was verified within the last minute, so that a reconnect storm costs a hash instead of a signature. A key that
 * its issuer has withdrawn may therefore count for a minute more. Holds no token, only its hash.
 */
class VerifiedTokens {
  readonly #entries = new Map<string, { readonly identity: Identity; readonly untilMs: number }>()
  readonly #clock: Clock

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get(token: string): Identity | undefined {
    const key = hashOf(token)
    const entry = this.#entries.get(key)
    if (!entry) return undefined
    if (this.#clock.nowMs() < entry.untilMs) return entry.identity
    this.#entries.delete(key)
    return undefined
  }

  set(token: string, identity: Identity): void {
    const nowMs = this.#clock.nowMs()
    const untilMs = Math.min(identity.expiresAtMs, nowMs + CACHE.keepMs)
    if (untilMs <= nowMs) return
    // The oldest goes first: all live equally long, so it is also the next to end.
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size < CACHE.entriesMax) break
      this.#entries.delete(oldest)
    }
    this.#entries.set(hashOf(token), { identity, untilMs })
  }
}

const hashOf = (token: string): string => createHash('sha256').update(token).digest('base64')
