import { type AuthConfig, authConfigFromEnv } from '#libs/auth/config.ts'
import type { RoomLimits } from '#libs/domain/limits.ts'
import { type RegistryConfig, registryConfigFromEnv } from '#libs/kafka/avro.ts'
import { type KafkaConfig, kafkaConfigFromEnv } from '#libs/kafka/client.ts'
import { type PostgresConfig, postgresConfigFromEnv } from '#libs/postgres/config.ts'
import { type RedisConfig, redisConfigFromEnv } from '#libs/redis/client.ts'
import { type ServiceConfig, serviceConfigFromEnv } from '#libs/runtime/config.ts'
import { type Env, envInt, envList, envText } from '#libs/runtime/env.ts'
import { conversationsPerUserMaxFromEnv, roomLimitsFromEnv } from '#libs/runtime/room-limits.ts'
import type { RoomsLimits } from './core/rooms.ts'
import type { PresenceLimits } from './core/presence.ts'
import type { SessionLimits } from './core/sessions.ts'

export type EdgeConfig = {
  readonly service: ServiceConfig
  readonly kafka: KafkaConfig
  readonly registry: RegistryConfig
  readonly postgres: PostgresConfig
  readonly redis: RedisConfig
  readonly auth: AuthConfig
  readonly host: string
  /** 0 picks a free port. */
  readonly port: number
  /** Browsers' origins that may connect; `*` allows all. Clients that send no Origin are no browsers. */
  readonly allowedOrigins: readonly string[]
  readonly room: RoomLimits
  readonly conversationsPerUserMax: number
  readonly rooms: RoomsLimits
  readonly sessions: SessionLimits
  readonly pendingPerSocketMax: number
  readonly answerTimeoutMs: number
  readonly connectionsPerUserMax: number
  readonly requestsPerSecond: { readonly connection: number; readonly user: number }
  readonly presence: Pick<PresenceLimits, 'graceMs' | 'heartbeatMs' | 'deadMs'>
  /** Over how long a stopping node closes its sockets. */
  readonly drainMs: number
}

export function edgeConfigFromEnv(env: Env): EdgeConfig {
  return {
    service: serviceConfigFromEnv(env, 'edge'),
    kafka: kafkaConfigFromEnv(env),
    registry: registryConfigFromEnv(env),
    postgres: postgresConfigFromEnv(env, { applicationName: 'edge' }),
    redis: redisConfigFromEnv(env),
    auth: authConfigFromEnv(env),
    host: envText(env, 'EDGE_HOST', '127.0.0.1'),
    port: envInt(env, 'EDGE_PORT', 7001, { max: 65_535 }),
    allowedOrigins: envList(env, 'EDGE_ALLOWED_ORIGINS', []),
    room: roomLimitsFromEnv(env),
    conversationsPerUserMax: conversationsPerUserMaxFromEnv(env),
    rooms: roomsLimitsFromEnv(env),
    sessions: {
      heartbeatMs: envInt(env, 'EDGE_HEARTBEAT_MS', 25_000, { min: 1_000, max: 120_000 }),
      frameBytesMax: envInt(env, 'EDGE_FRAME_BYTES_MAX', 64 * 1024, { min: 1_024, max: 1024 * 1024 }),
      requestTimeoutMs: envInt(env, 'EDGE_REQUEST_TIMEOUT_MS', 15_000, { min: 5_000 }),
      queuedPerSocketMax: envInt(env, 'EDGE_QUEUED_PER_SOCKET_MAX', 100, { min: 1 }),
      malformedMax: envInt(env, 'EDGE_MALFORMED_MAX', 20, { min: 1 }),
      refusalsMax: envInt(env, 'EDGE_REFUSALS_MAX', 200, { min: 1 }),
    },
    pendingPerSocketMax: envInt(env, 'EDGE_PENDING_PER_SOCKET_MAX', 100, { min: 1 }),
    answerTimeoutMs: envInt(env, 'EDGE_ANSWER_TIMEOUT_MS', 10_000, { min: 100 }),
    connectionsPerUserMax: envInt(env, 'EDGE_CONNECTIONS_PER_USER_MAX', 20, { min: 1 }),
    requestsPerSecond: {
      connection: envInt(env, 'EDGE_REQUESTS_PER_SECOND_CONNECTION', 30, { min: 1 }),
      user: envInt(env, 'EDGE_REQUESTS_PER_SECOND_USER', 100, { min: 1 }),
    },
    presence: presenceFromEnv(env),
    drainMs: envInt(env, 'EDGE_DRAIN_MS', 5_000),
  }
}

function presenceFromEnv(env: Env): EdgeConfig['presence'] {
  const deadMs = envInt(env, 'EDGE_PRESENCE_DEAD_MS', 15_000, { min: 3_000, max: 20_000 })
  return {
    graceMs: envInt(env, 'EDGE_PRESENCE_GRACE_MS', 3_000, { max: 10_000 }),
    // Two may be lost before anybody takes this node for dead.
    heartbeatMs: envInt(env, 'EDGE_PRESENCE_HEARTBEAT_MS', Math.floor(deadMs / 3), { min: 500, max: Math.floor(deadMs / 3) }),
    deadMs,
  }
}

function roomsLimitsFromEnv(env: Env): RoomsLimits {
  return {
    joinWaitMs: envInt(env, 'EDGE_JOIN_WAIT_MS', 2_000, { min: 100 }),
    replayPageEvents: envInt(env, 'EDGE_REPLAY_PAGE_EVENTS', 200, { min: 1, max: 5_000 }),
    replayBufferBytes: envInt(env, 'EDGE_REPLAY_BUFFER_BYTES', 64 * 1024, { min: 1_024 }),
    slowBufferBytes: envInt(env, 'EDGE_SLOW_BUFFER_BYTES', 1024 * 1024, { min: 64 * 1024 }),
    replayStallMs: envInt(env, 'EDGE_REPLAY_STALL_MS', 30_000, { min: 1_000 }),
    roomsPerSocketMax: envInt(env, 'EDGE_ROOMS_PER_SOCKET_MAX', 1_000, { min: 1 }),
    lingerMs: envInt(env, 'EDGE_LINGER_MS', 60_000, { min: 15_000 }),
    buffer: {
      recordsMax: envInt(env, 'EDGE_BUFFER_RECORDS_MAX', 50_000, { min: 1 }),
      bytesMax: envInt(env, 'EDGE_BUFFER_BYTES_MAX', 32 * 1024 * 1024, { min: 1_024 }),
    },
  }
}
