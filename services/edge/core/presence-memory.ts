import type { PresenceFields } from '#libs/domain/frames.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { type NodeId, type PresenceChange, type PresenceEvent, presenceEventOf, type PresenceStatus, type Stance, statusOf } from '#libs/domain/presence.ts'
import type { LiveBus, PresenceStore, Said } from './presence-ports.ts'

/** The store and the bus of all nodes, in memory: what libs/redis does, without a server. Counts what it is asked. */
export class MemoryLive {
  readonly #nowMs: () => number
  /** Neither can be reached. */
  down = false
  /** What is asked is done, and the answer lost. */
  answersLost = false
  calls = 0
  published = 0
  readonly nodes = new Map<NodeId, number>()
  readonly users = new Map<UserId, Map<NodeId, Stance>>()
  readonly rooms = new Map<UserId, Set<RoomId>>()
  readonly seen = new Map<UserId, number>()
  readonly claims = new Map<string, { readonly node: NodeId; readonly untilMs: number }>()
  pending: PresenceEvent[] = []
  readonly #listeners = new Set<{ readonly partitions: Set<number>; readonly hear: (text: string) => void }>()

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs
  }

  /** As a server that starts empty. */
  wipe(): void {
    for (const data of [this.nodes, this.users, this.rooms, this.seen, this.claims]) data.clear()
    this.pending = []
  }

  statusOf(userId: UserId): PresenceStatus {
    return statusOf(this.users.get(userId)?.values() ?? [])
  }

  bus(hear: (text: string) => void): LiveBus & { readonly drop: () => void } {
    const listener = { partitions: new Set<number>(), hear }
    this.#listeners.add(listener)
    return {
      publish: async (partition, text) => {
        this.#reach()
        this.published++
        // At once for nobody: what is published arrives later.
        for (const { partitions, hear: tell } of this.#listeners) if (partitions.has(partition)) queueMicrotask(() => tell(text))
      },
      subscribe: async (partition) => {
        this.#reach()
        listener.partitions.add(partition)
      },
      unsubscribe: async (partition) => {
        this.#reach()
        listener.partitions.delete(partition)
      },
      drop: () => listener.partitions.clear(),
    }
  }

  store(edgeId: string): PresenceStore {
    return {
      beat: (node, deadMs) =>
        this.#ask(() => {
          const nowMs = this.#nowMs()
          const isNew = !this.nodes.has(node)
          this.nodes.set(node, nowMs)
          return { isNew, dead: [...this.nodes].filter(([, beatMs]) => beatMs < nowMs - deadMs).map(([id]) => id) }
        }),
      say: (node, said) => this.#ask(() => (this.nodes.has(node) ? said.flatMap((one) => this.#say(node, one, edgeId) ?? []) : undefined)),
      reap: (dead, deadMs, limit) => this.#ask(() => this.#reap(dead, deadMs, limit, edgeId)),
      claim: (what, node, forMs) =>
        this.#ask(() => {
          const claim = this.claims.get(what)
          if (claim && claim.untilMs > this.#nowMs()) return claim.node === node
          this.claims.set(what, { node, untilMs: this.#nowMs() + forMs })
          return true
        }),
      watch: (rooms) => this.#ask(() => ({ atMs: this.#nowMs(), users: new Map(rooms.flatMap(({ roomId, userIds }) => userIds.map((userId) => [userId, this.#watch(roomId, userId)]))) })),
      setLastSeen: (seen) =>
        this.#ask(() => {
          for (const { userId, atMs } of seen) {
            if (atMs === undefined) this.seen.delete(userId)
            else this.seen.set(userId, atMs)
          }
        }),
      overdue: (olderThanMs, limit) => this.#ask(() => this.pending.filter(({ atMs }) => atMs <= this.#nowMs() - olderThanMs).slice(0, limit)),
      published: (events) =>
        this.#ask(() => {
          this.pending = this.pending.filter((one) => !events.some(({ userId, atMs, status }) => one.userId === userId && one.atMs === atMs && one.status === status))
        }),
      abandon: (node, deadMs, inMs) =>
        this.#ask(() => {
          this.nodes.set(node, this.#nowMs() - deadMs + inMs)
        }),
    }
  }

  async #ask<T>(work: () => T): Promise<T> {
    this.#reach()
    this.calls++
    const answer = work()
    if (this.answersLost) throw new Error('timed out')
    return answer
  }

  #reach(): void {
    if (this.down) throw new Error('not connected')
  }

  #say(node: NodeId, { userId, stance, rooms, repeat }: Said, edgeId: string): PresenceChange | undefined {
    const before = this.statusOf(userId)
    const hides = !stance && this.users.get(userId)?.get(node)?.hidesLastSeen === true
    this.#put(userId, node, stance)
    for (const roomId of rooms) this.#remember(userId, roomId)
    return this.#changeOf(userId, before, hides, repeat, edgeId)
  }

  #reap(dead: NodeId, deadMs: number, limit: number, edgeId: string): { changes: PresenceChange[]; left: number } {
    const beatMs = this.nodes.get(dead)
    if (beatMs === undefined || beatMs >= this.#nowMs() - deadMs) return { changes: [], left: 0 }
    const has = () => [...this.users].filter(([, nodes]) => nodes.has(dead)).map(([userId]) => userId)
    const changes = has().slice(0, limit).flatMap((userId) => {
      const before = this.statusOf(userId)
      const hides = this.users.get(userId)!.get(dead)!.hidesLastSeen
      this.#put(userId, dead, undefined)
      return this.#changeOf(userId, before, hides, false, edgeId) ?? []
    })
    const left = has().length
    if (left === 0) this.nodes.delete(dead)
    return { changes, left }
  }

  #put(userId: UserId, node: NodeId, stance: Stance | undefined): void {
    const nodes = this.users.get(userId) ?? new Map<NodeId, Stance>()
    if (stance) nodes.set(node, stance)
    else nodes.delete(node)
    if (nodes.size > 0) this.users.set(userId, nodes)
    else this.users.delete(userId)
  }

  #remember(userId: UserId, roomId: RoomId): void {
    const rooms = this.rooms.get(userId) ?? new Set<RoomId>()
    rooms.add(roomId)
    this.rooms.set(userId, rooms)
  }

  #changeOf(userId: UserId, before: PresenceStatus, hidesLastSeen: boolean, repeat: boolean, edgeId: string): PresenceChange | undefined {
    const after = this.statusOf(userId)
    if (before === after && !repeat) return undefined
    const change = { userId, before, after, atMs: this.#nowMs(), hidesLastSeen, rooms: [...(this.rooms.get(userId) ?? [])] }
    const event = presenceEventOf(change, edgeId)
    if (event) this.pending.push(event)
    return change
  }

  #watch(roomId: RoomId, userId: UserId): PresenceFields {
    this.#remember(userId, roomId)
    const status = this.statusOf(userId)
    const lastSeenMs = status === 'offline' ? this.seen.get(userId) : undefined
    return { userId, status, ...(lastSeenMs !== undefined && { lastSeenMs }) }
  }
}
