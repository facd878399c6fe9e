import { type RegistryConfig, registryConfigFromEnv } from '#libs/kafka/avro.ts'
import { type KafkaConfig, kafkaConfigFromEnv } from '#libs/kafka/client.ts'
import { type PostgresConfig, postgresConfigFromEnv } from '#libs/postgres/config.ts'
import { type ServiceConfig, serviceConfigFromEnv } from '#libs/runtime/config.ts'
import { type Env, envInt } from '#libs/runtime/env.ts'
import { defaultTaskLimits, type TaskLimits } from '#libs/streams/fenced-task.ts'

export type InboxConfig = {
  readonly service: ServiceConfig
  readonly kafka: KafkaConfig
  readonly registry: RegistryConfig
  readonly postgres: PostgresConfig
  readonly task: TaskLimits
  /** How often the fan-out's positions are written down: what came after is read again by the next one, and changes nothing. */
  readonly commitEveryMs: number
  /** How long room events may wait for company before they are fanned out: people see unread counts that much later. */
  readonly fetchWaitMs: number
}

export function inboxConfigFromEnv(env: Env): InboxConfig {
  return {
    service: serviceConfigFromEnv(env, 'inbox'),
    kafka: kafkaConfigFromEnv(env),
    registry: registryConfigFromEnv(env),
    postgres: postgresConfigFromEnv(env, { poolMax: 2, statementTimeoutMs: 10_000, applicationName: 'inbox' }),
    task: {
      ...defaultTaskLimits,
      snapshotEveryMs: envInt(env, 'INBOX_SNAPSHOT_EVERY_MS', defaultTaskLimits.snapshotEveryMs, { min: 100 }),
      remarkEveryMs: envInt(env, 'INBOX_REMARK_EVERY_MS', defaultTaskLimits.remarkEveryMs, { min: 1_000, max: 3_600_000 }),
    },
    commitEveryMs: envInt(env, 'INBOX_COMMIT_EVERY_MS', 2_000, { min: 100 }),
    fetchWaitMs: envInt(env, 'INBOX_FETCH_WAIT_MS', 100, { min: 1, max: 5_000 }),
  }
}
