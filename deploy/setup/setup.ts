import { AvroCodecs, type RegistryConfig, registryConfigFromEnv } from '#libs/kafka/avro.ts'
import { createKafkaClient, type KafkaConfig, kafkaConfigFromEnv } from '#libs/kafka/client.ts'
import { ensureTopics } from '#libs/kafka/topics-admin.ts'
import { type PostgresConfig, postgresConfigFromEnv } from '#libs/postgres/config.ts'
import { migrateJobs } from '#libs/postgres/job-runner.ts'
import { migrate, migrationsDir } from '#libs/postgres/migrate.ts'
import { type ServiceConfig, serviceConfigFromEnv } from '#libs/runtime/config.ts'
import type { Env } from '#libs/runtime/env.ts'
import { createLogger } from '#libs/runtime/logger.ts'

export type SetUpConfig = {
  readonly service: ServiceConfig
  readonly kafka: KafkaConfig
  readonly registry: RegistryConfig
  readonly postgres: PostgresConfig
}

export function setUpConfigFromEnv(env: Env): SetUpConfig {
  return {
    service: serviceConfigFromEnv(env, 'set-up'),
    kafka: kafkaConfigFromEnv(env),
    registry: registryConfigFromEnv(env),
    postgres: postgresConfigFromEnv(env),
  }
}

/** What must be there before any service starts: topics, schemas, tables. Run again, it changes nothing. */
export async function setUp(config: SetUpConfig): Promise<void> {
  const logger = createLogger('set-up', config.service.instanceId, config.service.logLevel)
  const kafka = createKafkaClient(config.kafka, 'set-up', logger)
  await Promise.all([
    ensureTopics(kafka).then(({ created }) => logger.info({ created }, 'topics are there')),
    // Here alone: first registrations at the same time can refuse each other.
    new AvroCodecs(config.registry, kafka).registerAll().then(() => logger.info('schemas are registered')),
    migrate(config.postgres, migrationsDir, logger)
      .then((applied) => logger.info({ applied }, 'tables are there'))
      .then(() => migrateJobs(config.postgres)),
  ])
}
