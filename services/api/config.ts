import { type AuthConfig, authConfigFromEnv } from '#libs/auth/config.ts'
import { ChatError } from '#libs/domain/errors.ts'
import type { RoomLimits } from '#libs/domain/limits.ts'
import { type RegistryConfig, registryConfigFromEnv } from '#libs/kafka/avro.ts'
import { type KafkaConfig, kafkaConfigFromEnv } from '#libs/kafka/client.ts'
import { type PostgresConfig, postgresConfigFromEnv } from '#libs/postgres/config.ts'
import { pushHostsFromEnv, vapidPublicKeyFromEnv } from '#libs/push/config.ts'
import { type RedisConfig, redisConfigFromEnv } from '#libs/redis/client.ts'
import { type ServiceConfig, serviceConfigFromEnv } from '#libs/runtime/config.ts'
import { type Env, envInt, envList, envOptional, envText } from '#libs/runtime/env.ts'
import { conversationsPerUserMaxFromEnv, roomLimitsFromEnv } from '#libs/runtime/room-limits.ts'
import { type S3Config, s3ConfigFromEnv } from '#libs/s3/config.ts'

export type ApiConfig = ServiceConfig & {
  readonly host: string
  /** 0 picks a free port. */
  readonly port: number
  /** Browsers of no other origin may read our answers. */
  readonly allowedOrigins: readonly string[]
  readonly waiters: WaitersConfig
  readonly writes: WritesConfig
  /** Where set, its public part is served under /.well-known/jwks.json. For the local stack only. */
  readonly devKeyFile: string | undefined
  readonly auth: AuthConfig
  readonly postgres: PostgresConfig
  readonly kafka: KafkaConfig
  readonly registry: RegistryConfig
  readonly redis: RedisConfig
  readonly room: RoomLimits
  readonly conversationsPerUserMax: number
  readonly push: PushConfig
  /** Undefined: no uploads. */
  readonly s3: S3Config | undefined
}

export type WaitersConfig = {
  /** Long polls at once in this process: `unavailable` above. */
  readonly max: number
  /** Long polls at once of one user: `too_many_connections` above. */
  readonly perUserMax: number
  /** How often the heads of the awaited rooms are read, in one query for all. */
  readonly tickMs: number
}

export type PushConfig = {
  /** Hosts of push services that browsers may name: `invalid_request` for others, since our own servers call them later. */
  readonly hosts: readonly string[]
  /** For browsers that subscribe. Undefined: Web Push is not set up. */
  readonly vapidPublicKey: string | undefined
}

export type WritesConfig = {
  /** Of one user over all nodes (per node without Redis): `rate_limited` above. */
  readonly perSecondUser: number
  /** Commands at once in this process that wait for their answer: `unavailable` above. */
  readonly pendingMax: number
  /** Then `outcome_unknown`. */
  readonly answerTimeoutMs: number
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
    writes: {
      perSecondUser: envInt(env, 'API_WRITES_PER_SECOND_USER', 50, { min: 1 }),
      pendingMax: envInt(env, 'API_PENDING_MAX', 1_000, { min: 1 }),
      answerTimeoutMs: envInt(env, 'API_ANSWER_TIMEOUT_MS', 8_000, { min: 100 }),
    },
    devKeyFile: envOptional(env, 'AUTH_DEV_KEY_FILE'),
    auth: authConfigFromEnv(env),
    // Every statement here is a page by primary key: one that takes longer has met an outage.
    postgres: postgresConfigFromEnv(env, { applicationName: service.instanceId, statementTimeoutMs: 1_500 }),
    kafka: kafkaConfigFromEnv(env),
    registry: registryConfigFromEnv(env),
    redis: redisConfigFromEnv(env),
    room: roomLimitsFromEnv(env),
    conversationsPerUserMax: conversationsPerUserMaxFromEnv(env),
    push: {
      hosts: pushHostsFromEnv(env),
      vapidPublicKey: vapidPublicKeyFromEnv(env),
    },
    s3: s3ConfigFromEnv(env),
  }
}

function originsFromEnv(env: Env): readonly string[] {
  const origins = envList(env, 'API_ALLOWED_ORIGINS', [])
  const strange = origins.find((text) => URL.parse(text)?.origin !== text)
  if (strange === undefined) return origins
  throw new ChatError('config_invalid', `API_ALLOWED_ORIGINS holds origins like https://shop.example, not "${strange}"`)
}
