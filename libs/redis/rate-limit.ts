import type { Redis } from 'ioredis'
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible'
import { ChatError } from '#libs/domain/errors.ts'

export type RateLimiter = {
  /** Takes one from the budget of `key`. @throws ChatError `rate_limited` with `retryAfterMs` when it is used up */
  consume(key: string): Promise<void>
}

export type Rate = { readonly points: number; readonly durationS: number }

/** One budget per key over all nodes; while Redis cannot be reached, one per node. */
export function createSharedRateLimiter(redis: Redis, keyPrefix: string, { points, durationS: duration }: Rate): RateLimiter {
  const limiter = new RateLimiterRedis({
    storeClient: redis,
    keyPrefix,
    points,
    duration,
    // Who is above it is refused from memory, without asking Redis again.
    inMemoryBlockOnConsumed: points + 1,
    insuranceLimiter: new RateLimiterMemory({ keyPrefix, points, duration }),
  })
  return { consume: (key) => consume(limiter, key) }
}

export function createLocalRateLimiter({ points, durationS: duration }: Rate): RateLimiter {
  const limiter = new RateLimiterMemory({ points, duration })
  return { consume: (key) => consume(limiter, key) }
}

async function consume(limiter: RateLimiterMemory | RateLimiterRedis, key: string): Promise<void> {
  try {
    await limiter.consume(key)
  } catch (err) {
    if (!(err instanceof RateLimiterRes)) throw err
    throw new ChatError('rate_limited', undefined, { retryAfterMs: Math.max(1, Math.ceil(err.msBeforeNext)) })
  }
}
