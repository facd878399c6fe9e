import type { PresenceFields } from '#libs/domain/frames.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { isBlocked } from '#libs/domain/room.ts'
import type { NewsItem, PresenceNews } from './presence.ts'
import type { Connections, LiveRoom, LiveRooms, PresenceStore } from './presence-ports.ts'
import type { Connection } from './connection.ts'
import type { Subscription } from './subscription.ts'

export type ViewersOptions = {
  readonly rooms: LiveRooms
  readonly sockets: Connections
  readonly store: Pick<PresenceStore, 'watch'>
  /** Whether changes of the room's people would be heard. */
  readonly isHeard: (roomId: RoomId) => boolean
  readonly nowMs: () => number
  readonly limits: ViewersLimits
  readonly onTrouble: (err: unknown) => void
}

export type ViewersLimits = {
  /** Of a room, the first so many of its people are shown at a join. */
  readonly participantsMax: number
  /** Users asked about in one call, and calls of one tick. */
  readonly usersPerReadMax: number
  readonly readsPerTickMax: number
  /** How long a change is remembered, so that nothing older is shown after it; and how many are. */
  readonly recentMs: number
  readonly recentMax: number
  /** From when the bus is back until everything is read again: the other nodes say anew meanwhile what was lost. */
  readonly rereadAfterMs: number
  /** Even if nothing was missed: what is remembered of rooms elsewhere does not last for ever. */
  readonly rereadEveryMs: number
}

export const viewersLimits = { participantsMax: 200, usersPerReadMax: 500, readsPerTickMax: 2, recentMs: 10_000, recentMax: 20_000, rereadEveryMs: 6 * 3_600_000 } as const

/** What people see of each other: everybody of a room once after its join, then whoever changes. */
export class Viewers {
  readonly #options: ViewersOptions
  /** Subscriptions that have yet to be told who is there. */
  readonly #waiting = new Set<Subscription>()
  /** The last changes, by user, in order of arrival. */
  readonly #recent = new Map<UserId, { readonly fields: PresenceFields; readonly atMs: number; readonly heardMs: number }>()
  #rereadAtMs: number
  #reading: Promise<void> | undefined

  constructor(options: ViewersOptions) {
    this.#options = options
    this.#rereadAtMs = options.nowMs() + options.limits.rereadEveryMs
  }

  joined(connection: Connection, roomId: RoomId): void {
    const subscription = connection.subscriptions.get(roomId)
    if (subscription) this.#waiting.add(subscription)
  }

  /** Changes may have been missed. */
  missed(): void {
    this.#rereadAtMs = Math.min(this.#rereadAtMs, this.#options.nowMs() + this.#options.limits.rereadAfterMs)
  }

  /** What some node has announced. */
  heard({ changes }: PresenceNews): void {
    const byRoom = new Map<RoomId, PresenceFields[]>()
    for (const change of changes) {
      const fields = this.#learn(change)
      if (!fields) continue
      for (const roomId of change.rooms) {
        const users = byRoom.get(roomId)
        if (users) users.push(fields)
        else byRoom.set(roomId, [fields])
      }
    }
    for (const [roomId, users] of byRoom) {
      const room = this.#options.rooms.room(roomId)
      if (room && room.subscriptions.size > 0) show(roomId, room, users, room.subscriptions)
    }
  }

  /** Reads what those who joined want to know. One reading at a time. */
  tick(): Promise<void> {
    const { nowMs, limits } = this.#options
    for (const [userId, { heardMs }] of this.#recent) {
      if (heardMs + limits.recentMs > nowMs() && this.#recent.size <= limits.recentMax) break
      this.#recent.delete(userId)
    }
    if (nowMs() >= this.#rereadAtMs) {
      this.#rereadAtMs = nowMs() + limits.rereadEveryMs
      for (const { subscriptions } of this.#options.sockets.connections) for (const subscription of subscriptions.values()) this.#waiting.add(subscription)
    }
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined
    })
    return this.#reading
  }

  /** Undefined for what is older than what is known. */
  #learn({ userId, status, lastSeenMs, atMs }: NewsItem): PresenceFields | undefined {
    const known = this.#recent.get(userId)
    if (known && known.atMs > atMs) return undefined
    const fields = { userId, status, ...(lastSeenMs !== undefined && { lastSeenMs }) }
    this.#recent.delete(userId)
    this.#recent.set(userId, { fields, atMs, heardMs: this.#options.nowMs() })
    return fields
  }

  async #read(): Promise<void> {
    for (let read = 0; read < this.#options.limits.readsPerTickMax; read++) {
      const greeted = this.#takeReady()
      if (greeted.size === 0) return
      const wanted = [...greeted].map(([roomId, { userIds }]) => ({ roomId, userIds }))
      try {
        const { atMs, users } = await this.#options.store.watch(wanted)
        for (const [roomId, { userIds, subscriptions }] of greeted) this.#greet(roomId, userIds, subscriptions, users, atMs)
      } catch (err) {
        this.#options.onTrouble(err)
        // All of them are read anew once the store has been back for a while.
        this.missed()
        return
      }
    }
  }

  #greet(roomId: RoomId, userIds: readonly UserId[], subscriptions: readonly Subscription[], users: ReadonlyMap<UserId, PresenceFields>, atMs: number): void {
    const room = this.#options.rooms.room(roomId)
    if (!room) return
    const present = userIds.flatMap((userId) => {
      const recent = this.#recent.get(userId)
      return (recent && recent.atMs > atMs ? recent.fields : users.get(userId)) ?? []
    })
    show(roomId, room, present, subscriptions)
  }

  /** Those who can be told now, by room: some of all, so that one call asks about few users. */
  #takeReady(): Map<RoomId, { readonly userIds: readonly UserId[]; readonly subscriptions: Subscription[] }> {
    const { rooms, isHeard, limits } = this.#options
    const ready = new Map<RoomId, { readonly userIds: readonly UserId[]; readonly subscriptions: Subscription[] }>()
    let users = 0
    for (const subscription of this.#waiting) {
      const { roomId, mode } = subscription
      const room = mode === 'ended' ? undefined : rooms.room(roomId)
      if (!room) {
        this.#waiting.delete(subscription)
        continue
      }
      if (mode !== 'live' || !isHeard(roomId)) continue
      const known = ready.get(roomId)
      if (!known) {
        const userIds = [...room.view.participants.keys()].slice(0, limits.participantsMax)
        if (users > 0 && users + userIds.length > limits.usersPerReadMax) break
        users += userIds.length
        ready.set(roomId, { userIds, subscriptions: [subscription] })
      } else known.subscriptions.push(subscription)
      this.#waiting.delete(subscription)
    }
    return ready
  }
}

/** To live subscriptions; everybody is told of the others, and only of people who are in the room and with whom there is no block. */
function show(roomId: RoomId, room: LiveRoom, users: readonly PresenceFields[], subscriptions: Iterable<Subscription>): void {
  const { blocks } = room.view
  const here = users.filter(({ userId }) => room.view.participants.has(userId))
  let text: string | undefined
  for (const { mode, connection } of subscriptions) {
    if (mode !== 'live') continue
    const { userId } = connection.speaker
    const isShown = (user: PresenceFields) => user.userId !== userId && !isBlocked(blocks, userId, user.userId)
    const others = here.every(isShown) ? here : here.filter(isShown)
    if (others.length === 0) continue
    if (others === here) connection.sendText((text ??= frameOf(roomId, here)))
    else connection.sendText(frameOf(roomId, others))
  }
}

const frameOf = (roomId: RoomId, users: readonly PresenceFields[]): string => JSON.stringify({ type: 'presence', roomId, users })
