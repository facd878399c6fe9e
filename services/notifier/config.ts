import { ChatError } from '#libs/domain/errors.ts'
import { type RegistryConfig, registryConfigFromEnv } from '#libs/kafka/avro.ts'
import { type KafkaConfig, kafkaConfigFromEnv } from '#libs/kafka/client.ts'
import { type PostgresConfig, postgresConfigFromEnv } from '#libs/postgres/config.ts'
import { pushHostsFromEnv, vapidFromEnv } from '#libs/push/config.ts'
import type { WebPushConfig } from '#libs/push/web-push.ts'
import { secretProblem, type WebhookConfig } from '#libs/push/webhook.ts'
import { type RedisConfig, redisConfigFromEnv } from '#libs/redis/client.ts'
import { type ServiceConfig, serviceConfigFromEnv } from '#libs/runtime/config.ts'
import { type Env, envBool, envInt, envOptional, envSecret, envUrl } from '#libs/runtime/env.ts'
import { type SqsConfig, sqsConfigFromEnv } from '#libs/sqs/queue.ts'

const DAY_MS = 24 * 3_600_000

export type NotifierConfig = {
  readonly service: ServiceConfig
  readonly kafka: KafkaConfig
  readonly registry: RegistryConfig
  readonly postgres: PostgresConfig
  readonly redis: RedisConfig
  readonly presenceDeadMs: number
  readonly graceMs: number
  readonly staleMs: number
  readonly windowMax: number
  readonly fetchWaitMs: number
  readonly preview: boolean
  readonly keptMs: number
  readonly deliveries: {
    readonly attemptsMax: number
    readonly ttlMs: number
    readonly concurrency: number
    readonly timeoutMs: number
    readonly breaker: { readonly failuresMax: number; readonly openMs: number }
    readonly pollMs: number
    readonly deadMs: number
  }
  /** Undefined: this way out is not used. */
  readonly sqs: SqsConfig | undefined
  readonly webhook: WebhookConfig | undefined
  readonly webPush: WebPushConfig | undefined
}

export function notifierConfigFromEnv(env: Env): NotifierConfig {
  const timeoutMs = envInt(env, 'NOTIFIER_TIMEOUT_MS', 10_000, { min: 100, max: 60_000 })
  const vapid = vapidFromEnv(env)
  const graceMs = envInt(env, 'NOTIFIER_GRACE_MS', 5_000, { max: 600_000 })
  return {
    service: serviceConfigFromEnv(env, 'notifier'),
    kafka: kafkaConfigFromEnv(env),
    registry: registryConfigFromEnv(env),
    postgres: postgresConfigFromEnv(env, { poolMax: 10, statementTimeoutMs: 10_000, applicationName: 'notifier' }),
    redis: redisConfigFromEnv(env),
    presenceDeadMs: envInt(env, 'EDGE_PRESENCE_DEAD_MS', 15_000, { min: 3_000, max: 20_000 }),
    graceMs,
    staleMs: envInt(env, 'NOTIFIER_STALE_MS', DAY_MS, { min: 1_000 }),
    windowMax: envInt(env, 'NOTIFIER_WINDOW_MAX', 20_000, { min: 1 }),
    // What comes within a grace must have been read when it is over.
    fetchWaitMs: envInt(env, 'NOTIFIER_FETCH_WAIT_MS', Math.min(1_000, Math.max(1, Math.floor(graceMs / 4))), { min: 1, max: 5_000 }),
    preview: envBool(env, 'NOTIFIER_PREVIEW', false),
    keptMs: envInt(env, 'NOTIFIER_KEPT_DAYS', 30, { min: 1, max: 3_650 }) * DAY_MS,
    deliveries: {
      attemptsMax: envInt(env, 'NOTIFIER_ATTEMPTS_MAX', 8, { min: 1, max: 20 }),
      ttlMs: envInt(env, 'NOTIFIER_TTL_MS', DAY_MS, { min: 1_000, max: 28 * DAY_MS }),
      concurrency: envInt(env, 'NOTIFIER_CONCURRENCY', 10, { min: 1, max: 100 }),
      timeoutMs,
      breaker: {
        failuresMax: envInt(env, 'NOTIFIER_BREAKER_FAILURES', 5, { min: 1 }),
        openMs: envInt(env, 'NOTIFIER_BREAKER_OPEN_MS', 30_000, { min: 100 }),
      },
      pollMs: envInt(env, 'NOTIFIER_POLL_MS', 1_000, { min: 50 }),
      deadMs: envInt(env, 'NOTIFIER_DEAD_MS', 30_000, { min: 1_000 }),
    },
    sqs: sqsFromEnv(env),
    webhook: webhookFromEnv(env, timeoutMs),
    webPush: vapid && { ...vapid, hosts: pushHostsFromEnv(env), timeoutMs },
  }
}

function sqsFromEnv(env: Env): SqsConfig | undefined {
  const url = envOptional(env, 'NOTIFIER_SQS_QUEUE_URL')
  if (url === undefined) return undefined
  if (url.endsWith('.fifo')) throw new ChatError('config_invalid', 'NOTIFIER_SQS_QUEUE_URL must be a standard queue: versions give the order')
  return sqsConfigFromEnv({ ...env, SQS_QUEUE_URL: envUrl(env, 'NOTIFIER_SQS_QUEUE_URL') })
}

function webhookFromEnv(env: Env, timeoutMs: number): WebhookConfig | undefined {
  if (envOptional(env, 'NOTIFIER_WEBHOOK_URL') === undefined) return undefined
  const url = envUrl(env, 'NOTIFIER_WEBHOOK_URL')
  if (!/^https?:$/.test(new URL(url).protocol)) throw new ChatError('config_invalid', 'NOTIFIER_WEBHOOK_URL must be https://… or http://…')
  const secret = envSecret(env, 'NOTIFIER_WEBHOOK_SECRET') ?? ''
  const problem = secretProblem(secret)
  if (problem !== undefined) throw new ChatError('config_invalid', `NOTIFIER_WEBHOOK_SECRET ${problem}`)
  return { url, secret, timeoutMs }
}
