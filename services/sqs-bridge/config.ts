import { type Env, envInt } from '#libs/runtime/env.ts'
import { type ServiceConfig, serviceConfigFromEnv } from '#libs/runtime/config.ts'
import { type KafkaConfig, kafkaConfigFromEnv } from '#libs/kafka/client.ts'
import { type RegistryConfig, registryConfigFromEnv } from '#libs/kafka/avro.ts'
import { type SqsConfig, sqsConfigsFromEnv } from '#libs/sqs/queue.ts'
import type { ReceiverConfig } from '#libs/sqs/receiver.ts'

export type SqsBridgeConfig = ServiceConfig & {
  readonly kafka: KafkaConfig
  readonly registry: RegistryConfig
  /** One queue for all event sources, or one each: a message says by itself what it is. */
  readonly queues: readonly SqsConfig[]
  readonly receiver: ReceiverConfig
  /** How long a message is held while Kafka cannot be reached, before it is given back to SQS. */
  readonly holdMaxMs: number
}

/** The last message in hand may be held 10 hours more, and SQS shows any message again 12 hours after its receipt. */
const HOLD_MAX_S = 3_600

export function sqsBridgeConfigFromEnv(env: Env): SqsBridgeConfig {
  return {
    ...serviceConfigFromEnv(env, 'sqs-bridge'),
    kafka: kafkaConfigFromEnv(env),
    registry: registryConfigFromEnv(env),
    queues: sqsConfigsFromEnv(env),
    receiver: {
      receivers: envInt(env, 'SQS_RECEIVERS', 4, { min: 1, max: 64 }),
      // A stop waits for the running long poll, so this stays well below STOP_TIMEOUT_MS.
      waitS: envInt(env, 'SQS_WAIT_TIME_S', 5, { max: 20 }),
      visibilityTimeoutS: envInt(env, 'SQS_VISIBILITY_TIMEOUT_S', 30, { min: 2, max: 3_600 }),
      inWorkMax: envInt(env, 'SQS_IN_WORK_MAX', 200, { min: 10, max: 10_000 }),
    },
    holdMaxMs: envInt(env, 'SQS_HOLD_MAX_S', 600, { max: HOLD_MAX_S }) * 1_000,
  }
}
