import { type CryptoKey, createRemoteJWKSet, customFetch, errors, type JWTVerifyGetKey } from 'jose'
import { ChatError } from '#libs/domain/errors.ts'
import type { Clock } from '#libs/runtime/clock.ts'
import type { AuthConfig } from './config.ts'

const FETCH_TIMEOUT_MS = 3_000
/** Without any keys nobody gets in, so a failed fetch is tried again soon, but not by every request. */
const RETRY_AFTER_FAILURE_MS = 1_000

/**
 * The issuer's public keys, fetched when first needed and kept for `jwksMaxAgeMs`. However many tokens come, with known
 * or unknown `kid`, the issuer is asked at most once per cooldown while we hold keys, and once a second while we hold none.
 *
 * @throws ChatError `unavailable` where the keys cannot be fetched, `token_invalid` where none of them fits the token
 */
export function createKeys(config: AuthConfig, clock: Clock): JWTVerifyGetKey<CryptoKey> & { readonly warmUp: () => Promise<void> } {
  let fetchedAtMs = Number.NEGATIVE_INFINITY
  let failedAtMs = Number.NEGATIVE_INFINITY

  const remote = createRemoteJWKSet(new URL(config.jwksUrl), {
    timeoutDuration: FETCH_TIMEOUT_MS,
    cooldownDuration: config.jwksCooldownMs,
    cacheMaxAge: config.jwksMaxAgeMs,
    // jose has a cooldown after a success only: while the issuer is down, every unknown kid would ask it again.
    [customFetch]: async (url, options) => {
      const pauseMs = remote.fresh ? config.jwksCooldownMs : Math.min(RETRY_AFTER_FAILURE_MS, config.jwksCooldownMs)
      if (clock.nowMs() < failedAtMs + pauseMs) throw new Error('the last fetch of the keys has just failed')
      try {
        const response = await fetch(url, options)
        if (response.status !== 200) throw new Error(`the issuer's keys: HTTP ${response.status}`)
        fetchedAtMs = clock.nowMs()
        return response
      } catch (err) {
        failedAtMs = clock.nowMs()
        throw err
      }
    },
  })

  const getKey: JWTVerifyGetKey<CryptoKey> = async (header, token) => {
    try {
      const key = await remote(header, token)
      const isOld = clock.nowMs() > fetchedAtMs + config.jwksMaxAgeMs / 2
      // So that a short outage of the issuer is not noticed by anyone.
      if (isOld && !remote.reloading) remote.reload().catch(() => {})
      return key
    } catch (err) {
      if (isAboutToken(err)) throw new ChatError('token_invalid', undefined, { cause: err })
      throw new ChatError('unavailable', "the token issuer's keys", { cause: err })
    }
  }
  return Object.assign(getKey, { warmUp: () => remote.reload() })
}

const isAboutToken = (err: unknown): boolean =>
  err instanceof errors.JWKSNoMatchingKey || err instanceof errors.JWKSMultipleMatchingKeys || err instanceof errors.JOSENotSupported
