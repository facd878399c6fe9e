import type { RoomLimits } from '#libs/domain/limits.ts'
import { type KafkaConfig, kafkaConfigFromEnv } from '#libs/kafka/client.ts'
import { type RegistryConfig, registryConfigFromEnv } from '#libs/kafka/avro.ts'
import { type ServiceConfig, serviceConfigFromEnv } from '#libs/runtime/config.ts'
import { type Env, envInt } from '#libs/runtime/env.ts'
import { roomLimitsFromEnv } from '#libs/runtime/room-limits.ts'
import { defaultTaskLimits, type TaskLimits } from '#libs/streams/fenced-task.ts'

export type RoomStateConfig = {
  readonly service: ServiceConfig
  readonly kafka: KafkaConfig
  readonly registry: RegistryConfig
  readonly room: RoomLimits
  readonly task: TaskLimits
  readonly commitEveryMs: number
}

export function roomStateConfigFromEnv(env: Env): RoomStateConfig {
  return {
    service: serviceConfigFromEnv(env, 'room-state'),
    kafka: kafkaConfigFromEnv(env),
    registry: registryConfigFromEnv(env),
    room: roomLimitsFromEnv(env),
    task: {
      ...defaultTaskLimits,
      snapshotEveryMs: envInt(env, 'ROOM_SNAPSHOT_EVERY_MS', defaultTaskLimits.snapshotEveryMs, { min: 100 }),
      remarkEveryMs: envInt(env, 'ROOM_REMARK_EVERY_MS', defaultTaskLimits.remarkEveryMs, { min: 1_000, max: 3_600_000 }),
    },
    commitEveryMs: envInt(env, 'ROOM_COMMIT_EVERY_MS', 5_000, { min: 100 }),
  }
}
