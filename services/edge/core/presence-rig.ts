import type { PresenceFields, ProductFields } from '#libs/domain/frames.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { PresenceEvent } from '#libs/domain/presence.ts'
import type { Role } from '#libs/domain/room.ts'
import { VirtualTime } from '#libs/streams/memory-log.ts'
import { Connection, type Speaker } from './connection.ts'
import { MemorySocket } from './memory-edge.ts'
import type { RealtimeFrame } from './ports.ts'
import { type PresenceLimits, presenceLimits } from './presence.ts'
import { MemoryLive } from './presence-memory.ts'
import type { LiveRoom } from './presence-ports.ts'
import { LiveRealtime } from './presence-realtime.ts'
import { viewersLimits } from './presence-viewers.ts'
import { productWatchLimits } from './product-watch.ts'
import { emptyView, type RoomView } from './room-view.ts'
import { Subscription } from './subscription.ts'
import { typingLimits } from './typing.ts'

export const TICK_MS = 250
export const rigLimits: PresenceLimits = { ...presenceLimits, graceMs: 3_000, heartbeatMs: 5_000, deadMs: 15_000 }
const PARTITIONS = 4

export type World = {
  readonly time: VirtualTime
  readonly live: MemoryLive
  /** Who is in which room, as every node has read it. */
  readonly rooms: Map<RoomId, RoomView>
  readonly events: PresenceEvent[]
  /** Who has said in his settings that he hides. */
  readonly hiding: Set<UserId>
  /** What the history has. */
  readonly products: Map<string, ProductFields>
  kafkaDown?: boolean
  historyDown?: Error
}

export function roomOfPeople(roles: Readonly<Record<string, Role>>, more: Partial<RoomView> = {}): RoomView {
  return { ...emptyView, headSeq: 1, ...more, participants: new Map(Object.entries(roles).map(([userId, role]) => [userId as UserId, { role, sinceSeq: 1 }])) }
}

/** Order 1 of ann and bob, order 2 of ann and cleo, order 3 of dan and cleo. */
export function newWorld(): World {
  const time = new VirtualTime()
  const rooms = new Map([
    ['order-1' as RoomId, roomOfPeople({ ann: 'customer', bob: 'vendor' })],
    ['order-2' as RoomId, roomOfPeople({ ann: 'customer', cleo: 'vendor' })],
    ['order-3' as RoomId, roomOfPeople({ dan: 'customer', cleo: 'vendor' })],
  ])
  return { time, live: new MemoryLive(() => time.nowMs()), rooms, events: [], hiding: new Set(), products: new Map() }
}

export type RigClient = {
  readonly socket: MemorySocket
  readonly connection: Connection
  request(frame: RealtimeFrame): Promise<void>
  /** What this client thinks that others are. */
  sees(userId: string): PresenceFields['status'] | undefined
}

/** One life of an edge, with its sockets and rooms, but without a log. */
export class RigNode {
  readonly connections = new Set<Connection>()
  readonly realtime: LiveRealtime
  readonly troubles: unknown[] = []
  readonly #world: World
  readonly #rooms = new Map<RoomId, { view: RoomView; subscriptions: Set<Subscription> }>()
  readonly #bus: ReturnType<MemoryLive['bus']>
  #alive = true

  constructor(world: World, name: string, limits: PresenceLimits = rigLimits) {
    this.#world = world
    const { time, live } = world
    const nowMs = () => time.nowMs()
    this.#bus = live.bus((text) => this.#alive && this.realtime.heard(text))
    let lives = 0
    this.realtime = new LiveRealtime({
      bus: this.#bus,
      rooms: { room: (roomId) => this.room(roomId) },
      partitionOf: (roomId) => [...roomId].reduce((sum, c) => sum + c.charCodeAt(0), 0) % PARTITIONS,
      nowMs,
      lingerMs: 60_000,
      typingLimits,
      viewersLimits: { ...viewersLimits, rereadAfterMs: 2 * limits.heartbeatMs },
      presence: {
        edgeId: name,
        newNodeId: () => `${name}-${lives++}`,
        store: live.store(name),
        sockets: this,
        publish: async (event) => {
          if (world.kafkaDown) throw new Error('Kafka')
          world.events.push(event)
        },
        hidesLastSeen: async (userId) => world.hiding.has(userId),
        limits,
      },
      products: {
        load: async (ids) => {
          if (world.historyDown) throw world.historyDown
          return ids.flatMap((id) => world.products.get(id) ?? [])
        },
        follow: async () => {},
        limits: productWatchLimits,
      },
      onTrouble: (err) => this.troubles.push(err),
    })
    this.#run()
  }

  room(roomId: RoomId): LiveRoom | undefined {
    const view = this.#world.rooms.get(roomId)
    const room = this.#rooms.get(roomId)
    if (room && view) room.view = view
    return room
  }

  connect(userId: string, ...roomIds: string[]): RigClient {
    return this.connectAs({ userId: userId as UserId, role: 'user', expiresAtMs: Number.POSITIVE_INFINITY }, ...roomIds)
  }

  connectAs(speaker: Speaker, ...roomIds: string[]): RigClient {
    const socket = new MemorySocket()
    const connection = new Connection({ id: `c${this.connections.size}`, socket, speaker, defaultRoom: undefined, nextHeartbeatMs: 0 })
    this.connections.add(connection)
    this.realtime.opened(connection)
    for (const roomId of roomIds) this.join(connection, roomId)
    return {
      socket,
      connection,
      request: async (frame) => this.realtime.handle(connection, frame),
      sees: (userId) => socket.ofType('presence').flatMap(({ users }) => users as PresenceFields[]).findLast((user) => user.userId === userId)?.status,
    }
  }

  join(connection: Connection, roomId: string): Subscription {
    const id = roomId as RoomId
    const room = this.#rooms.get(id) ?? { view: this.#world.rooms.get(id)!, subscriptions: new Set<Subscription>() }
    this.#rooms.set(id, room)
    const subscription = new Subscription(connection, id, 0)
    subscription.mode = 'live'
    room.subscriptions.add(subscription)
    connection.subscriptions.set(id, subscription)
    this.realtime.joined(connection, id)
    return subscription
  }

  leave(connection: Connection, roomId: string): void {
    const subscription = connection.subscriptions.get(roomId as RoomId)!
    subscription.end()
    connection.subscriptions.delete(roomId as RoomId)
    this.#rooms.get(roomId as RoomId)!.subscriptions.delete(subscription)
    this.realtime.left(connection, roomId as RoomId)
  }

  close(connection: Connection): void {
    connection.onClosed()
    this.connections.delete(connection)
    for (const roomId of [...connection.subscriptions.keys()]) this.leave(connection, roomId)
    this.realtime.closed(connection)
  }

  /** Without a word. */
  kill(): void {
    this.#alive = false
    this.#bus.drop()
  }

  /** The bus' connection breaks; it is back when the rig says so. */
  loseBus(): void {
    this.#bus.drop()
    this.realtime.lost()
  }

  #run(): void {
    if (!this.#alive) return
    this.realtime.tick().catch((err: unknown) => this.troubles.push(err))
    this.#world.time.at(TICK_MS, () => this.#run())
  }
}
