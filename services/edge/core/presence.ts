import type { PresenceFields } from '#libs/domain/frames.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { type NodeId, type PresenceChange, type PresenceEvent, presenceEventOf } from '#libs/domain/presence.ts'
import type { Connection } from './connection.ts'
import { Devices } from './presence-devices.ts'
import type { Connections, PresenceStore } from './presence-ports.ts'
import { isStaff } from './room-view.ts'

export type PresenceOptions = {
  /** Named in the events: the process's own name. */
  readonly edgeId: string
  /** Of this life of the process: never the same twice. */
  readonly newNodeId: () => NodeId
  readonly store: PresenceStore
  readonly sockets: Connections
  readonly partitionOf: (roomId: RoomId) => number
  /** Resolves when all who listened to the partition were told. */
  readonly announce: (partition: number, news: PresenceNews) => Promise<void>
  /** Durable when it resolves. */
  readonly publish: (event: PresenceEvent) => Promise<void>
  /** What the user himself has set; where that cannot be known, the more private. Never rejects, answers soon. */
  readonly hidesLastSeen: (userId: UserId) => Promise<boolean>
  readonly nowMs: () => number
  readonly limits: PresenceLimits
  readonly onTrouble: (err: unknown) => void
  /** The store has lost what it knew of this node, and so perhaps of others too. */
  readonly onForgotten: () => void
  /** Changes that this node has made, or of users of a dead one. */
  readonly onChanges?: (changes: readonly PresenceChange[], reaped: boolean) => void
}

export type PresenceLimits = {
  /** How long a device that has gone still counts. */
  readonly graceMs: number
  readonly heartbeatMs: number
  /** A node that is silent for so long is dead: its users are taken off it. */
  readonly deadMs: number
  /** Users whom the store is told of in one call, taken off a dead node in one call; and calls of one flush. */
  readonly batchMax: number
  readonly batchesMax: number
  /** Users who are gone, and changes that are not announced yet, while Redis cannot be reached. */
  readonly goneMax: number
  readonly unannouncedMax: number
  /** Rooms named in one announcement, so that none gets too large. */
  readonly roomsPerNewsMax: number
  /** A coming or going that was not published after so long is published by whichever node finds it. */
  readonly overdueMs: number
}

export const presenceLimits = { batchMax: 100, batchesMax: 20, goneMax: 50_000, unannouncedMax: 10_000, roomsPerNewsMax: 1_000, overdueMs: 15_000 } as const

/** One user's change as it travels to the nodes that have some of the rooms. */
export type NewsItem = PresenceFields & { readonly atMs: number; readonly rooms: readonly RoomId[] }
export type PresenceNews = { readonly type: 'presence'; readonly changes: readonly NewsItem[] }

/**
 * This node's part in who is there: tells the store what its users are, announces the changes that the store says it has
 * made, and with the other nodes takes the users off those that die. While the store cannot be reached it only
 * remembers; afterwards it says everything that may have been lost.
 */
export class Presence {
  readonly #options: PresenceOptions
  readonly #devices: Devices
  #node: NodeId
  /** Whether the store knows this node, as far as we know. */
  #known = false
  /** An answer was lost that may have said that it does not. */
  #unsure = false
  #beatMs = Number.NEGATIVE_INFINITY
  /** Since when every heartbeat has reached the store: only who has heard it for so long can judge who is silent. */
  #heardSinceMs: number | undefined
  #unannounced: NewsItem[] = []
  #working: Promise<void> | undefined
  #stopped = false

  constructor(options: PresenceOptions) {
    this.#options = options
    this.#devices = new Devices(options.limits, options.nowMs)
    this.#node = options.newNodeId()
  }

  get users(): number {
    return this.#devices.users
  }

  // Admins only look on: nobody is told of them.
  opened(connection: Connection): void {
    if (!isStaff(connection.speaker)) this.#devices.opened(connection)
  }

  closed(connection: Connection): void {
    if (!isStaff(connection.speaker)) this.#devices.closed(connection)
  }

  joined(connection: Connection, roomId: RoomId): void {
    if (!isStaff(connection.speaker)) this.#devices.joined(connection, roomId)
  }

  set(connection: Connection, status: 'online' | 'away', hideLastSeen: boolean | undefined): void {
    if (!isStaff(connection.speaker)) this.#devices.set(connection, status, hideLastSeen)
  }

  /** Does what is due. Several times a second; one after the other, however long one takes. */
  tick(): Promise<void> {
    if (this.#stopped) return Promise.resolve()
    this.#working ??= this.#work().catch(this.#options.onTrouble).finally(() => {
      this.#working = undefined
    })
    return this.#working
  }

  /** The sockets are closed. What was not said by now the other nodes find, after the grace. */
  async stop(): Promise<void> {
    const { store, limits } = this.#options
    await this.tick()
    this.#stopped = true
    await store.abandon(this.#node, limits.deadMs, limits.graceMs).catch(this.#options.onTrouble)
  }

  async #work(): Promise<void> {
    const { nowMs, limits } = this.#options
    if (this.#devices.isOverrun) {
      this.#devices.forgetGone()
      this.#begin(this.#options.newNodeId())
    }
    if (!this.#known || nowMs() - this.#beatMs >= limits.heartbeatMs) await this.#beat()
    await this.#announce([])
    for (let batch = 0; batch < limits.batchesMax && this.#known; batch++) {
      const said = this.#devices.take(limits.batchMax)
      if (said.length === 0) return
      let changes: readonly PresenceChange[] | undefined
      try {
        changes = await this.#options.store.say(this.#node, said)
      } catch (err) {
        this.#devices.untold(said)
        this.#heardSinceMs = undefined
        throw err
      }
      if (!changes) {
        this.#begin(this.#node)
        return
      }
      this.#devices.told(said)
      await this.#changed(changes, false)
    }
  }

  /** The store may not know this node (any more): from the next heartbeat on all is said anew. */
  #begin(node: NodeId): void {
    this.#options.onForgotten()
    this.#node = node
    this.#known = false
    this.#devices.restart(this.#options.sockets.connections)
  }

  async #beat(): Promise<void> {
    const { store, limits, nowMs } = this.#options
    this.#beatMs = nowMs()
    let answer: Awaited<ReturnType<PresenceStore['beat']>>
    try {
      answer = await store.beat(this.#node, limits.deadMs)
    } catch (err) {
      this.#heardSinceMs = undefined
      this.#unsure = true
      throw err
    }
    if ((answer.isNew || this.#unsure) && this.#known) this.#begin(this.#node)
    this.#known = true
    this.#unsure = false
    this.#heardSinceMs ??= nowMs()
    if (nowMs() - this.#heardSinceMs < limits.deadMs) return
    for (const dead of answer.dead) if (dead !== this.#node) await this.#reap(dead)
    await this.#publishOverdue()
  }

  async #reap(dead: NodeId): Promise<void> {
    const { store, limits } = this.#options
    // A claim that lasts: should its owner die too, another goes on. Twice at once would do no harm, but twice the work.
    if (!(await store.claim(`reap:${dead}`, this.#node, limits.heartbeatMs))) return
    for (let left = 1; left > 0; ) {
      const reaped = await store.reap(dead, limits.deadMs, limits.batchMax)
      left = reaped.left
      await this.#changed(reaped.changes, true)
    }
  }

  async #changed(changes: readonly PresenceChange[], reaped: boolean): Promise<void> {
    if (changes.length === 0) return
    this.#options.onChanges?.(changes, reaped)
    const seen = await this.#rememberLastSeen(changes)
    const news = changes.map(({ userId, after, atMs, rooms }): NewsItem => {
      const lastSeenMs = seen.get(userId)
      return { userId, status: after, ...(lastSeenMs !== undefined && { lastSeenMs }), atMs, rooms }
    })
    await this.#announce(news)
    // Nobody waits for it: what is not published is overdue one day.
    this.#publish(changes.flatMap((change) => presenceEventOf(change, this.#options.edgeId) ?? [])).catch(this.#options.onTrouble)
  }

  /** Of those who went offline and let others know when. */
  async #rememberLastSeen(changes: readonly PresenceChange[]): Promise<ReadonlyMap<UserId, number>> {
    const { store, hidesLastSeen, onTrouble } = this.#options
    const gone = changes.filter(({ after }) => after === 'offline')
    const seen = new Map<UserId, number>()
    await Promise.all(
      gone.map(async ({ userId, atMs, hidesLastSeen: sessionHides }) => {
        if (!sessionHides && !(await hidesLastSeen(userId))) seen.set(userId, atMs)
      }),
    )
    if (gone.length > 0) await store.setLastSeen(gone.map(({ userId }) => ({ userId, atMs: seen.get(userId) }))).catch(onTrouble)
    return seen
  }

  /** Once for each partition, whatever has changed there. What does not get out is tried again. */
  async #announce(news: readonly NewsItem[]): Promise<void> {
    const { announce, limits, onTrouble } = this.#options
    const all = [...this.#unannounced, ...news]
    if (all.length === 0) return
    this.#unannounced = []
    const byPartition = new Map<number, NewsItem[]>()
    for (const item of all) {
      for (const [partition, rooms] of this.#byPartition(item.rooms)) {
        const items = byPartition.get(partition)
        if (items) items.push({ ...item, rooms })
        else byPartition.set(partition, [{ ...item, rooms }])
      }
    }
    const send = async (partition: number, changes: readonly NewsItem[]) => {
      try {
        await announce(partition, { type: 'presence', changes })
      } catch (err) {
        onTrouble(err)
        this.#unannounced.push(...changes)
      }
    }
    await Promise.all([...byPartition].flatMap(([partition, items]) => chunked(items, limits.roomsPerNewsMax).map((changes) => send(partition, changes))))
    const tooMany = this.#unannounced.length - limits.unannouncedMax
    if (tooMany > 0) this.#unannounced.splice(0, tooMany)
  }

  #byPartition(rooms: readonly RoomId[]): Map<number, RoomId[]> {
    const byPartition = new Map<number, RoomId[]>()
    for (const roomId of rooms) {
      const partition = this.#options.partitionOf(roomId)
      const list = byPartition.get(partition)
      if (list) list.push(roomId)
      else byPartition.set(partition, [roomId])
    }
    return byPartition
  }

  async #publish(events: readonly PresenceEvent[]): Promise<void> {
    if (events.length === 0) return
    const { publish, store, onTrouble } = this.#options
    const published: PresenceEvent[] = []
    await Promise.all(events.map((event) => publish(event).then(() => published.push(event), onTrouble)))
    if (published.length > 0) await store.published(published)
  }

  async #publishOverdue(): Promise<void> {
    const { store, limits } = this.#options
    const overdue = await store.overdue(limits.overdueMs, limits.batchMax)
    if (overdue.length > 0 && (await store.claim('overdue', this.#node, limits.heartbeatMs))) await this.#publish(overdue)
  }
}

/** In pieces that name at most so many rooms each; at least one item a piece. */
function chunked(items: readonly NewsItem[], roomsMax: number): NewsItem[][] {
  const chunks: NewsItem[][] = []
  let rooms = 0
  for (const item of items) {
    rooms += item.rooms.length
    const last = chunks.at(-1)
    if (last && rooms <= roomsMax) last.push(item)
    else {
      chunks.push([item])
      rooms = item.rooms.length
    }
  }
  return chunks
}

