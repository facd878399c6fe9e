import type { ConnectionOptions } from 'node:tls'
import { ChatError } from '#libs/domain/errors.ts'
import { type Env, envFile, envInt, envOneOf, envOptional, envSecret } from '#libs/runtime/env.ts'

export type PostgresConfig = {
  /** Without TLS parameters: they come from POSTGRES_SSL alone. */
  readonly url: string
  readonly ssl: false | ConnectionOptions
  readonly poolMax: number
  /** How long a query waits for a connection, its making included. */
  readonly connectTimeoutMs: number
  /** The server ends a statement after this; the client gives it up a little later, where the server does not answer. */
  readonly statementTimeoutMs: number
  readonly applicationName: string
}

/** What a service may want other than the defaults. */
export type PostgresDefaults = Partial<Pick<PostgresConfig, 'poolMax' | 'statementTimeoutMs' | 'applicationName'>>

/** These would silently overrule POSTGRES_SSL, the timeouts or the name. */
const REFUSED_PARAMETERS = /^(ssl.*|uselibpqcompat|options|statement_timeout|query_timeout|application_name|connectionTimeoutMillis|types)$/i

/** POSTGRES_URL and POSTGRES_PASSWORD may come from files (`…_FILE`), as secrets do. */
export function postgresConfigFromEnv(env: Env, defaults: PostgresDefaults = {}): PostgresConfig {
  return {
    url: urlFromEnv(env),
    ssl: sslFromEnv(env),
    poolMax: envInt(env, 'POSTGRES_POOL_MAX', defaults.poolMax ?? 10, { min: 1, max: 1_000 }),
    connectTimeoutMs: envInt(env, 'POSTGRES_CONNECT_TIMEOUT_MS', 2_000, { min: 50 }),
    statementTimeoutMs: envInt(env, 'POSTGRES_STATEMENT_TIMEOUT_MS', defaults.statementTimeoutMs ?? 5_000, { min: 50 }),
    applicationName: defaults.applicationName ?? 'order-chat',
  }
}

function urlFromEnv(env: Env): string {
  const text = envSecret(env, 'POSTGRES_URL')
  // The URL may hold a password, so no message repeats it.
  const bad = (problem: string) => new ChatError('config_invalid', `POSTGRES_URL ${problem} (docs/operations.md lists all variables)`)
  if (text === undefined) throw bad('is not set')
  const url = URL.parse(text)
  if (!url || !/^postgres(ql)?:$/.test(url.protocol)) throw bad('must be postgres://user@host:port/database')
  for (const name of url.searchParams.keys()) {
    if (REFUSED_PARAMETERS.test(name)) throw bad(`must not carry "${name}": use POSTGRES_SSL and the other POSTGRES_ variables`)
  }
  const password = envSecret(env, 'POSTGRES_PASSWORD')
  if (password !== undefined) url.password = encodeURIComponent(password)
  return url.href
}

/** As libpq has it: `require` encrypts, and verifies the chain only where a CA is given; `verify-full` verifies all. */
function sslFromEnv(env: Env): PostgresConfig['ssl'] {
  const ca = envFile(env, 'POSTGRES_SSL_CA_FILE')
  const mode = envOneOf(env, 'POSTGRES_SSL', ['disable', 'require', 'verify-full'], 'disable')
  if (mode === 'disable') {
    if (envOptional(env, 'POSTGRES_SSL_CA_FILE') === undefined) return false
    throw new ChatError('config_invalid', 'POSTGRES_SSL_CA_FILE is set, but POSTGRES_SSL is disable')
  }
  if (mode === 'verify-full') return { rejectUnauthorized: true, ...(ca && { ca }) }
  return ca ? { rejectUnauthorized: true, ca, checkServerIdentity: () => undefined } : { rejectUnauthorized: false }
}
