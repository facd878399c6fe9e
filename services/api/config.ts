import { type AuthConfig, authConfigFromEnv } from '#libs/auth/config.ts'
import { ChatError } from '#libs/domain/errors.ts'
import { type PostgresConfig, postgresConfigFromEnv } from '#libs/postgres/config.ts'
import { type ServiceConfig, serviceConfigFromEnv } from '#libs/runtime/config.ts'
import { type Env, envInt, envList, envOptional, envText } from '#libs/runtime/env.ts'

export type ApiConfig = ServiceConfig & {
  readonly host: string
  /** 0 picks a free port. */
  readonly port: number
  /** Browsers of no other origin may read our answers. */
  readonly allowedOrigins: readonly string[]
  readonly waiters: WaitersConfig
  /** Where set, its public part is served under /.well-known/jwks.json. For the local stack only. */
  readonly devKeyFile: string | undefined
  readonly auth: AuthConfig
  readonly postgres: PostgresConfig
}

export type WaitersConfig = {
  /** Long polls at once in this process: `unavailable` above. */
  readonly max: number
  /** Long polls at once of one user: `too_many_connections` above. */
  readonly perUserMax: number
  /** How often the heads of the awaited rooms are read, in one query for all. */
  readonly tickMs: number
}

export function apiConfigFromEnv(env: Env): ApiConfig {
  const service = serviceConfigFromEnv(env, 'api')
  return {
    ...service,
    host: envText(env, 'API_HOST', '127.0.0.1'),
    port: envInt(env, 'API_PORT', 7100, { max: 65_535 }),
    allowedOrigins: originsFromEnv(env),
    waiters: {
      max: envInt(env, 'API_WAITERS_MAX', 5_000),
      perUserMax: envInt(env, 'API_WAITERS_PER_USER_MAX', 100, { min: 1 }),
      tickMs: envInt(env, 'API_WAITERS_TICK_MS', 200, { min: 10 }),
    },
    devKeyFile: envOptional(env, 'AUTH_DEV_KEY_FILE'),
    auth: authConfigFromEnv(env),
    // Every statement here is a page by primary key: one that takes longer has met an outage.
    postgres: postgresConfigFromEnv(env, { applicationName: service.instanceId, statementTimeoutMs: 1_500 }),
  }
}

function originsFromEnv(env: Env): readonly string[] {
  const origins = envList(env, 'API_ALLOWED_ORIGINS', [])
  const strange = origins.find((text) => URL.parse(text)?.origin !== text)
  if (strange === undefined) return origins
  throw new ChatError('config_invalid', `API_ALLOWED_ORIGINS holds origins like https://shop.example, not "${strange}"`)
}
