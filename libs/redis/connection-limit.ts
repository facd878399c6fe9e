import type { Redis } from 'ioredis'
import { ChatError } from '#libs/domain/errors.ts'

export type ConnectionLimiter = {
  /** Counts a connection of `userId`. @throws ChatError `too_many_connections` */
  enter(userId: string, connectionId: string): Promise<void>
  leave(userId: string, connectionId: string): void
  /** Says again that these are open; whatever is not said again is forgotten after `forgetAfterMs`. */
  refresh(connections: Iterable<{ readonly userId: string; readonly connectionId: string }>): Promise<void>
}

export type ConnectionLimitOptions = {
  readonly redis: Redis
  readonly keyPrefix: string
  readonly perUserMax: number
  /** A node that dies without a word frees its users' places after this. */
  readonly forgetAfterMs: number
  readonly nowMs: () => number
  readonly onFallback: (err: unknown) => void
}

// KEYS: the user's set. ARGV: now, expiry of this connection, its id, the limit, ttl. Gives 1 if there was room.
const ENTER = `
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
if redis.call('ZSCORE', KEYS[1], ARGV[3]) == false and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[4]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1`

/** Connections per user over all nodes; while Redis cannot be reached, per node. */
export function createConnectionLimiter({ redis, keyPrefix, perUserMax, forgetAfterMs, nowMs, onFallback }: ConnectionLimitOptions): ConnectionLimiter {
  const local = new Map<string, number>()
  const keyOf = (userId: string) => `${keyPrefix}connections:${userId}`

  return {
    async enter(userId, connectionId) {
      // Also where Redis answers: one user must not fill a node while Redis forgets.
      const here = local.get(userId) ?? 0
      if (here >= perUserMax) throw new ChatError('too_many_connections', undefined, { retryAfterMs: 5_000 })
      local.set(userId, here + 1)
      try {
        const now = nowMs()
        const entered = await redis.eval(ENTER, 1, keyOf(userId), now, now + forgetAfterMs, connectionId, perUserMax, forgetAfterMs)
        if (entered === 1) return
      } catch (err) {
        onFallback(err)
        return
      }
      leaveLocal(local, userId)
      throw new ChatError('too_many_connections', undefined, { retryAfterMs: 5_000 })
    },
    leave(userId, connectionId) {
      leaveLocal(local, userId)
      redis.zrem(keyOf(userId), connectionId).catch(onFallback)
    },
    async refresh(connections) {
      const pipeline = redis.pipeline()
      const expiresMs = nowMs() + forgetAfterMs
      for (const { userId, connectionId } of connections) {
        pipeline.zadd(keyOf(userId), expiresMs, connectionId)
        pipeline.pexpire(keyOf(userId), forgetAfterMs)
      }
      if (pipeline.length > 0) await pipeline.exec()
    },
  }
}

function leaveLocal(local: Map<string, number>, userId: string): void {
  const left = (local.get(userId) ?? 1) - 1
  if (left > 0) local.set(userId, left)
  else local.delete(userId)
}
