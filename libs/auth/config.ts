import { ChatError } from '#libs/domain/errors.ts'
import { type Env, envInt, envList, envText, envUrl } from '#libs/runtime/env.ts'

export type AuthConfig = {
  readonly jwksUrl: string
  readonly issuer: string
  readonly audience: string
  readonly algorithms: readonly Algorithm[]
  /** How far the issuer's clock may be off. */
  readonly clockToleranceS: number
  /** A token with an unknown `kid` makes us fetch the keys again, but at most once in this time. */
  readonly jwksCooldownMs: number
  /** Keys older than this are not trusted any more; from half of it on they are renewed in the background. */
  readonly jwksMaxAgeMs: number
}

/** Asymmetric ones only: with a symmetric one, whoever can verify can sign; `none` is no signature. */
export const algorithmsAllowed = [
  'ES256',
  'ES384',
  'ES512',
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'EdDSA',
  'Ed25519',
] as const
export type Algorithm = (typeof algorithmsAllowed)[number]

const isAlgorithm = (name: string): name is Algorithm => (algorithmsAllowed as readonly string[]).includes(name)

export function authConfigFromEnv(env: Env): AuthConfig {
  const jwksUrl = envUrl(env, 'AUTH_JWKS_URL')
  if (!/^https?:$/.test(new URL(jwksUrl).protocol)) throw new ChatError('config_invalid', 'AUTH_JWKS_URL must be http or https')
  const algorithms = envList(env, 'AUTH_ALGORITHMS', ['ES256', 'RS256', 'EdDSA'])
  const strange = algorithms.find((name) => !isAlgorithm(name))
  if (strange !== undefined) {
    throw new ChatError('config_invalid', `AUTH_ALGORITHMS may hold ${algorithmsAllowed.join(', ')}, not "${strange}"`)
  }
  return {
    jwksUrl,
    issuer: envText(env, 'AUTH_ISSUER'),
    audience: envText(env, 'AUTH_AUDIENCE'),
    algorithms: algorithms.filter(isAlgorithm),
    clockToleranceS: envInt(env, 'AUTH_CLOCK_TOLERANCE_S', 5, { max: 300 }),
    jwksCooldownMs: envInt(env, 'AUTH_JWKS_COOLDOWN_MS', 30_000),
    jwksMaxAgeMs: envInt(env, 'AUTH_JWKS_MAX_AGE_MS', 600_000, { min: 1_000 }),
  }
}
