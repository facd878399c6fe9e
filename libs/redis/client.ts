import { Redis } from 'ioredis'
import { type Env, envFile, envInt, envSecret, envText } from '#libs/runtime/env.ts'
import { ChatError } from '#libs/domain/errors.ts'
import type { Logger } from '#libs/runtime/logger.ts'

export type RedisConfig = {
  /** `rediss://` for TLS. */
  readonly url: string
  readonly ca: string | undefined
  /** Before every key. */
  readonly prefix: string
  /** A command that takes longer fails: what Redis gives must never hold up chat. */
  readonly commandTimeoutMs: number
}

export function redisConfigFromEnv(env: Env): RedisConfig {
  const url = envSecret(env, 'REDIS_URL') ?? envText(env, 'REDIS_URL')
  if (!/^rediss?:\/\//.test(url)) throw new ChatError('config_invalid', 'REDIS_URL must be redis://… or rediss://…')
  return {
    url,
    ca: envFile(env, 'REDIS_SSL_CA_FILE'),
    prefix: envText(env, 'REDIS_KEY_PREFIX', 'order-chat:'),
    commandTimeoutMs: envInt(env, 'REDIS_COMMAND_TIMEOUT_MS', 200, { min: 10 }),
  }
}

/**
 * Connects in the background and for ever again. Commands fail at once while there is no connection: everything in
 * Redis is ephemeral, and every user of it has a way to go on without.
 */
export function createRedis(config: RedisConfig, logger: Logger): Redis {
  const redis = new Redis(config.url, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: config.commandTimeoutMs,
    connectTimeout: 2_000,
    retryStrategy: (attempt) => Math.min(100 * 2 ** attempt, 2_000),
    ...(config.url.startsWith('rediss:') && { tls: { ...(config.ca !== undefined && { ca: config.ca }) } }),
  })
  let down = false
  redis.on('error', (err: Error) => {
    // Once per outage, not once per attempt.
    if (!down) logger.warn({ err: { message: err.message } }, 'Redis cannot be reached: no typing, no presence, limits per node')
    down = true
  })
  redis.on('ready', () => {
    if (down) logger.info('Redis is back')
    down = false
  })
  return redis
}
