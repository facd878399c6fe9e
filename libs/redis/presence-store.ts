import type { Redis } from 'ioredis'
import type { PresenceFields } from '#libs/domain/frames.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { NodeId, PresenceChange, PresenceEvent, Stance } from '#libs/domain/presence.ts'
import { BEAT, CLAIM, REAP, SAY, SEEN, WATCH } from './presence-scripts.ts'

export type PresenceStoreOptions = {
  readonly redis: Redis
  readonly keyPrefix: string
  /** Named in comings and goings that this process notices. */
  readonly edgeId: string
  readonly limits: PresenceStoreLimits
}

export type PresenceStoreLimits = {
  /** Rooms of one user that are remembered for those who want to know of him; above, the oldest are forgotten. */
  readonly roomsPerUserMax: number
  /** How long a room is remembered after it was joined last. */
  readonly roomKeptMs: number
  readonly lastSeenKeptMs: number
  /** Comings and goings that wait to be published; above, the oldest are forgotten. */
  readonly pendingMax: number
}

const DAY_MS = 24 * 3_600_000

export const presenceStoreLimits: PresenceStoreLimits = { roomsPerUserMax: 1_000, roomKeptMs: DAY_MS, lastSeenKeptMs: 90 * DAY_MS, pendingMax: 100_000 }

type Said = { readonly userId: UserId; readonly stance: Stance | undefined; readonly rooms: readonly RoomId[]; readonly repeat: boolean }

/**
 * Who is there, over all nodes. Each call is one script, and so one moment; times are Redis' own, so that it does not
 * matter what the nodes' clocks say. Keys, below `<prefix>presence:`:
 *
 * - `nodes`: sorted set of the nodes by their last heartbeat; `node:<id>`: set of the users of one
 * - `user:<id>`: hash of what each of his nodes has of him (`o` online, `a` away; `h` behind it: hides when he was last seen)
 * - `rooms:<id>`: sorted set of the rooms whose people want to know of him, by when they were last joined
 * - `seen:<id>`: when he was last there
 * - `pending`: sorted set of comings and goings that are not published yet
 * - `claim:<what>`: the node that does it
 */
export function createPresenceStore({ redis, keyPrefix, edgeId, limits }: PresenceStoreOptions) {
  const prefix = `${keyPrefix}presence:`
  const pendingKey = `${prefix}pending`
  const ask = async (script: string, ...args: (string | number)[]): Promise<any> => JSON.parse((await redis.eval(script, 0, prefix, ...args)) as string)

  return {
    async beat(node: NodeId, deadMs: number): Promise<{ isNew: boolean; dead: readonly NodeId[] }> {
      const { isNew, dead } = await ask(BEAT, node, deadMs)
      return { isNew, dead: list(dead) }
    },
    async say(node: NodeId, said: readonly Said[]): Promise<readonly PresenceChange[] | undefined> {
      const items = said.map(({ userId, stance, rooms, repeat }) => ({ userId, stance: stance ? codeOf(stance) : '', rooms, repeat }))
      const { known, changes } = await ask(SAY, node, edgeId, JSON.stringify(items), limits.roomsPerUserMax, limits.roomKeptMs, limits.pendingMax)
      return known ? changesOf(changes) : undefined
    },
    async reap(dead: NodeId, deadMs: number, limit: number): Promise<{ changes: readonly PresenceChange[]; left: number }> {
      const { changes, left } = await ask(REAP, dead, edgeId, deadMs, limit, limits.pendingMax)
      return { changes: changesOf(changes), left }
    },
    async claim(what: string, node: NodeId, forMs: number): Promise<boolean> {
      return (await ask(CLAIM, what, node, forMs)).claimed
    },
    async watch(rooms: readonly { readonly roomId: RoomId; readonly userIds: readonly UserId[] }[]): Promise<{ atMs: number; users: ReadonlyMap<UserId, PresenceFields> }> {
      const roomsOf = new Map<UserId, RoomId[]>()
      for (const { roomId, userIds } of rooms) for (const userId of userIds) roomsOf.set(userId, [...(roomsOf.get(userId) ?? []), roomId])
      const wanted = [...roomsOf].map(([userId, names]) => ({ userId, rooms: names }))
      const { atMs, users } = await ask(WATCH, JSON.stringify(wanted), limits.roomsPerUserMax, limits.roomKeptMs)
      return { atMs, users: new Map(list<PresenceFields>(users).map((user) => [user.userId, user])) }
    },
    async setLastSeen(seen: readonly { readonly userId: UserId; readonly atMs: number | undefined }[]): Promise<void> {
      await ask(SEEN, JSON.stringify(seen), limits.lastSeenKeptMs)
    },
    async overdue(olderThanMs: number, limit: number): Promise<readonly PresenceEvent[]> {
      const [seconds = 0] = await redis.time()
      const found = await redis.zrangebyscore(pendingKey, '-inf', Number(seconds) * 1_000 - olderThanMs, 'LIMIT', 0, limit)
      return found.map(eventOf)
    },
    async published(events: readonly PresenceEvent[]): Promise<void> {
      if (events.length > 0) await redis.zrem(pendingKey, ...events.map(memberOf))
    },
    async abandon(node: NodeId, deadMs: number, inMs: number): Promise<void> {
      const [seconds = 0] = await redis.time()
      await redis.zadd(`${prefix}nodes`, 'XX', Number(seconds) * 1_000 - deadMs + inMs, node)
    },
  }
}

/** Redis' cjson writes an empty list as an object. */
const list = <T>(raw: unknown): T[] => (Array.isArray(raw) ? raw : [])

const codeOf = ({ status, hidesLastSeen }: Stance): string => `${status === 'online' ? 'o' : 'a'}${hidesLastSeen ? 'h' : ''}`

function changesOf(raw: unknown): PresenceChange[] {
  return list<PresenceChange>(raw).map((change) => ({ ...change, rooms: list<RoomId>(change.rooms) }))
}

// Neither a user id nor a number has a space; the rest is the edge's name.
const memberOf = ({ status, atMs, userId, edgeId }: PresenceEvent): string => `${status} ${atMs} ${userId} ${edgeId}`

function eventOf(member: string): PresenceEvent {
  const [status, atMs, userId, ...edgeId] = member.split(' ')
  return { status: status as PresenceEvent['status'], atMs: Number(atMs), userId: userId as UserId, edgeId: edgeId.join(' ') }
}
