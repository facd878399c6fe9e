import { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createSharedRateLimiter } from '#libs/redis/rate-limit.ts'
import { type Isolated, useStack } from '../support/stack.ts'

/** A budget that does not come back while the test runs. */
const RATE = { points: 8, durationS: 60 }
const limited = { code: 'rate_limited' }

let isolated: Isolated
let redis: Redis

beforeAll(async () => {
  isolated = await (await useStack()).isolate('rate-limit')
  redis = new Redis(isolated.redisUrl)
})

afterAll(async () => {
  redis?.disconnect()
  await isolated?.cleanup()
})

const consume = async (limiter: { consume(key: string): Promise<void> }, key: string, times: number) => {
  for (let i = 0; i < times; i++) await limiter.consume(key)
}

test('one node gives a key exactly its budget', async () => {
  const node = createSharedRateLimiter(redis, 'one', RATE)
  await consume(node, 'ann', 8)
  await expect(node.consume('ann')).rejects.toMatchObject(limited)
  await consume(node, 'bob', 8)
})

test('whoever uses no more than a quarter of the budget costs Redis nothing', async () => {
  const node = createSharedRateLimiter(redis, 'calm', RATE)
  await consume(node, 'ann', 2)
  expect(await redis.keys('calm*')).toEqual([])
  await consume(node, 'ann', 1)
  expect(await redis.get('calm:ann')).toBe('3')
})

test('a second node adds at most its own quarter', async () => {
  const [first, second] = [createSharedRateLimiter(redis, 'two', RATE), createSharedRateLimiter(redis, 'two', RATE)]
  await consume(first, 'ann', 8)
  await consume(second, 'ann', 2)
  await expect(second.consume('ann')).rejects.toMatchObject(limited)
})
