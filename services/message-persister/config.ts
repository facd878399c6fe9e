import { type RegistryConfig, registryConfigFromEnv } from '#libs/kafka/avro.ts'
import { type KafkaConfig, kafkaConfigFromEnv } from '#libs/kafka/client.ts'
import { type PostgresConfig, postgresConfigFromEnv } from '#libs/postgres/config.ts'
import { type ServiceConfig, serviceConfigFromEnv } from '#libs/runtime/config.ts'
import { type Env, envInt } from '#libs/runtime/env.ts'

export type PersisterConfig = {
  readonly service: ServiceConfig
  readonly kafka: KafkaConfig
  readonly registry: RegistryConfig
  readonly postgres: PostgresConfig
  readonly commitEveryMs: number
  readonly batchRecordsMax: number
  /** How long records may wait for company before they go to Postgres together. */
  readonly fetchWaitMs: number
}

export function persisterConfigFromEnv(env: Env): PersisterConfig {
  return {
    service: serviceConfigFromEnv(env, 'message-persister'),
    kafka: kafkaConfigFromEnv(env),
    registry: registryConfigFromEnv(env),
    // Large batches take their time on a busy disk, and nobody waits for one.
    postgres: postgresConfigFromEnv(env, { poolMax: 6, statementTimeoutMs: 30_000, applicationName: 'message-persister' }),
    commitEveryMs: envInt(env, 'PERSISTER_COMMIT_EVERY_MS', 5_000, { min: 100 }),
    fetchWaitMs: envInt(env, 'PERSISTER_FETCH_WAIT_MS', 200, { min: 1, max: 5_000 }),
    batchRecordsMax: envInt(env, 'PERSISTER_BATCH_RECORDS_MAX', 2_000, { min: 1, max: 10_000 }),
  }
}
