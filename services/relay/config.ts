import { type RegistryConfig, registryConfigFromEnv } from '#libs/kafka/avro.ts'
import { type KafkaConfig, kafkaConfigFromEnv } from '#libs/kafka/client.ts'
import { type PostgresConfig, postgresConfigFromEnv } from '#libs/postgres/config.ts'
import { type ServiceConfig, serviceConfigFromEnv } from '#libs/runtime/config.ts'
import { type Env, envInt } from '#libs/runtime/env.ts'

export type RelayConfig = {
  readonly service: ServiceConfig
  readonly kafka: KafkaConfig
  readonly registry: RegistryConfig
  readonly postgres: PostgresConfig
  /** How often positions are written down: what came after is read again by the next one, and changes nothing. */
  readonly commitEveryMs: number
  /** How long records may wait for company: nearly all of them are none of its business. */
  readonly fetchWaitMs: number
}

export function relayConfigFromEnv(env: Env): RelayConfig {
  return {
    service: serviceConfigFromEnv(env, 'relay'),
    kafka: kafkaConfigFromEnv(env),
    registry: registryConfigFromEnv(env),
    postgres: postgresConfigFromEnv(env, { poolMax: 4, statementTimeoutMs: 10_000, applicationName: 'relay' }),
    commitEveryMs: envInt(env, 'RELAY_COMMIT_EVERY_MS', 2_000, { min: 100 }),
    fetchWaitMs: envInt(env, 'RELAY_FETCH_WAIT_MS', 250, { min: 1, max: 5_000 }),
  }
}
