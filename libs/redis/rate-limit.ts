import type { Redis } from 'ioredis'
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible'
import { ChatError } from '#libs/domain/errors.ts'

export type RateLimiter = {
  /** Takes one from the budget of `key`. @throws ChatError `rate_limited` with `retryAfterMs` when it is used up */
  consume(key: string): Promise<void>
}

export type Rate = { readonly points: number; readonly durationS: number }

/** The part of a budget that a node lets pass without asking Redis, as 1 / this. */
const UNASKED_PART = 4

/**
 * One budget per key over all nodes; while Redis cannot be reached, one per node. Redis hears of a key only once a node
 * has seen a quarter of its budget used, and then of all of it: those who send at people's pace cost it nothing. So a
 * key may have at most a quarter of its budget more on each further node.
 */
export function createSharedRateLimiter(redis: Redis, keyPrefix: string, { points, durationS: duration }: Rate): RateLimiter {
  const unasked = Math.floor(points / UNASKED_PART)
  const seenHere = new RateLimiterMemory({ keyPrefix, points: Number.MAX_SAFE_INTEGER, duration })
  const limiter = new RateLimiterRedis({
    storeClient: redis,
    keyPrefix,
    points,
    duration,
    // Who is above it is refused from memory, without asking Redis again.
    inMemoryBlockOnConsumed: points + 1,
    insuranceLimiter: new RateLimiterMemory({ keyPrefix, points, duration }),
  })
  return {
    consume: async (key) => {
      const { consumedPoints } = await seenHere.consume(key)
      if (consumedPoints > unasked) await consume(limiter, key, consumedPoints === unasked + 1 ? consumedPoints : 1)
    },
  }
}

export function createLocalRateLimiter({ points, durationS: duration }: Rate): RateLimiter {
  const limiter = new RateLimiterMemory({ points, duration })
  return { consume: (key) => consume(limiter, key) }
}

async function consume(limiter: RateLimiterMemory | RateLimiterRedis, key: string, points = 1): Promise<void> {
  try {
    await limiter.consume(key, points)
  } catch (err) {
    if (!(err instanceof RateLimiterRes)) throw err
    throw new ChatError('rate_limited', undefined, { retryAfterMs: Math.max(1, Math.ceil(err.msBeforeNext)) })
  }
}
