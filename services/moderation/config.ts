import { ChatError } from '#libs/domain/errors.ts'
import { parseUserId, type UserId } from '#libs/domain/ids.ts'
import { type RegistryConfig, registryConfigFromEnv } from '#libs/kafka/avro.ts'
import { type KafkaConfig, kafkaConfigFromEnv } from '#libs/kafka/client.ts'
import { type PostgresConfig, postgresConfigFromEnv } from '#libs/postgres/config.ts'
import { secretProblem, type WebhookConfig } from '#libs/push/webhook.ts'
import { type ServiceConfig, serviceConfigFromEnv } from '#libs/runtime/config.ts'
import { type Env, envInt, envOptional, envSecret, envText, envUrl } from '#libs/runtime/env.ts'

const DAY_MS = 24 * 3_600_000

export type ModerationConfig = {
  readonly service: ServiceConfig
  /** Undefined: nobody is asked, and the process idles. */
  readonly asked: AskedConfig | undefined
}

export type AskedConfig = {
  readonly kafka: KafkaConfig
  readonly registry: RegistryConfig
  readonly postgres: PostgresConfig
  readonly webhook: WebhookConfig
  /** Who redacts, as the log says it. */
  readonly senderId: UserId
  /** Requests on their way at once, over all partitions of this process. */
  readonly concurrency: number
  /** Nobody is asked about older messages, and they pass: the id of a redaction carries the message's time, and expires. */
  readonly ageMaxMs: number
  readonly breaker: { readonly failuresMax: number; readonly openMs: number }
  readonly commitEveryMs: number
  readonly fetchWaitMs: number
}

export function moderationConfigFromEnv(env: Env): ModerationConfig {
  const service = serviceConfigFromEnv(env, 'moderation')
  if (envOptional(env, 'MODERATION_WEBHOOK_URL') === undefined) return { service, asked: undefined }
  return {
    service,
    asked: {
      kafka: kafkaConfigFromEnv(env),
      registry: registryConfigFromEnv(env),
      postgres: postgresConfigFromEnv(env, { poolMax: 4, statementTimeoutMs: 10_000, applicationName: 'moderation' }),
      webhook: webhookFromEnv(env),
      senderId: parseUserId(envText(env, 'MODERATION_SENDER_ID', 'moderation')),
      concurrency: envInt(env, 'MODERATION_CONCURRENCY', 8, { min: 1, max: 1_000 }),
      ageMaxMs: envInt(env, 'MODERATION_AGE_MAX_MS', DAY_MS, { min: 1_000, max: 6 * DAY_MS }),
      breaker: {
        failuresMax: envInt(env, 'MODERATION_BREAKER_FAILURES', 5, { min: 1 }),
        openMs: envInt(env, 'MODERATION_BREAKER_OPEN_MS', 10_000, { min: 100 }),
      },
      commitEveryMs: envInt(env, 'MODERATION_COMMIT_EVERY_MS', 2_000, { min: 100 }),
      fetchWaitMs: envInt(env, 'MODERATION_FETCH_WAIT_MS', 250, { min: 1, max: 5_000 }),
    },
  }
}

function webhookFromEnv(env: Env): WebhookConfig {
  const url = envUrl(env, 'MODERATION_WEBHOOK_URL')
  if (!/^https?:$/.test(new URL(url).protocol)) throw new ChatError('config_invalid', 'MODERATION_WEBHOOK_URL must be https://… or http://…')
  const secret = envSecret(env, 'MODERATION_WEBHOOK_SECRET') ?? ''
  const problem = secretProblem(secret)
  if (problem !== undefined) throw new ChatError('config_invalid', `MODERATION_WEBHOOK_SECRET ${problem}`)
  return { url, secret, timeoutMs: envInt(env, 'MODERATION_TIMEOUT_MS', 5_000, { min: 100, max: 60_000 }) }
}
