import type { Redis } from 'ioredis'
import { ChatError } from '#libs/domain/errors.ts'
import type { UserId } from '#libs/domain/ids.ts'

export type ActiveUsersOptions = {
  readonly redis: Redis
  readonly keyPrefix: string
  /** A node that is silent for so long is dead: what it says of its users does not count. */
  readonly deadMs: number
}

/** Whose any device is online, not away, of these; keys as presence-store.ts has them. @throws ChatError `unavailable` */
export type ActiveUsers = (userIds: readonly UserId[]) => Promise<ReadonlySet<UserId>>

/** Reads only, and so is nobody's coming or going. */
export function createActiveUsers({ redis, keyPrefix, deadMs }: ActiveUsersOptions): ActiveUsers {
  const prefix = `${keyPrefix}presence:`
  return async (userIds) => {
    if (userIds.length === 0) return new Set()
    try {
      const [seconds = 0] = await redis.time()
      const asked = redis.pipeline().zrangebyscore(`${prefix}nodes`, Number(seconds) * 1_000 - deadMs, '+inf')
      for (const userId of userIds) asked.hgetall(`${prefix}user:${userId}`)
      const [nodes, ...users] = ((await asked.exec()) ?? []).map(([err, answer]) => {
        if (err) throw err
        return answer
      })
      const alive = new Set(nodes as string[])
      const isOnline = (codes: Record<string, string>) => Object.entries(codes).some(([node, code]) => code.startsWith('o') && alive.has(node))
      return new Set(userIds.filter((_, i) => isOnline(users[i] as Record<string, string>)))
    } catch (err) {
      throw new ChatError('unavailable', 'Redis', { cause: err })
    }
  }
}
