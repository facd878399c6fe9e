import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { Stance } from '#libs/domain/presence.ts'
import type { Connection } from './connection.ts'
import type { Said } from './presence-ports.ts'

/** What is known here of one user. There may be very many: what most of them do not have is not there. */
class LocalUser {
  /** Sockets. */
  devices = 0
  away: Set<Connection> | undefined
  hiding: Set<Connection> | undefined
  /** Until when he counts as online, or as away, on account of a device that has gone just now. */
  onlineUntilMs = 0
  awayUntilMs = 0
  /** What the store was told last; undefined: nothing, or that nobody is here. */
  said: Stance | undefined
  /** The store's answer was lost: what it was told may have been a change that nobody has heard of. */
  repeat = false
  /** Joined since it was told. */
  rooms: Set<RoomId> | undefined
  /** A session that hides counts until the user is gone from here. */
  hides = false
}

export type DevicesLimits = {
  /** How long a device that has gone still counts: who reconnects meanwhile has never been away. */
  readonly graceMs: number
  /** Users who are gone and of whom the store was not told yet (it cannot be reached). */
  readonly goneMax: number
}

/** The devices on this node, folded into what each user is here; and what of that the store has yet to be told. */
export class Devices {
  readonly #limits: DevicesLimits
  readonly #nowMs: () => number
  readonly #users = new Map<UserId, LocalUser>()
  readonly #dirty = new Set<UserId>()
  /** Whose last device (or last that was not away) has gone, in order of the end of the grace. */
  readonly #leaving = new Map<UserId, number>()
  #gone = 0

  constructor(limits: DevicesLimits, nowMs: () => number) {
    this.#limits = limits
    this.#nowMs = nowMs
  }

  /** Users with a device here. */
  get users(): number {
    return this.#users.size - this.#gone
  }

  /** More users have gone than can be remembered until the store hears of it. */
  get isOverrun(): boolean {
    return this.#gone > this.#limits.goneMax
  }

  opened({ speaker: { userId } }: Connection): void {
    let user = this.#users.get(userId)
    if (!user) {
      user = new LocalUser()
      this.#users.set(userId, user)
    } else if (user.devices === 0) this.#gone--
    user.devices++
    this.#dirty.add(userId)
  }

  closed(connection: Connection): void {
    const { userId } = connection.speaker
    const user = this.#users.get(userId)
    if (!user || user.devices === 0) return
    const untilMs = this.#nowMs() + this.#limits.graceMs
    if (user.away?.has(connection)) user.awayUntilMs = untilMs
    else user.onlineUntilMs = untilMs
    forget(user, connection)
    if (--user.devices === 0) this.#gone++
    this.#leaving.delete(userId)
    this.#leaving.set(userId, untilMs)
  }

  set(connection: Connection, status: 'online' | 'away', hidesLastSeen: boolean | undefined): void {
    const { userId } = connection.speaker
    const user = this.#users.get(userId)
    if (!user) return
    if (status === 'away') (user.away ??= new Set()).add(connection)
    else user.away?.delete(connection)
    if (user.away?.size === 0) user.away = undefined
    if (hidesLastSeen === true) (user.hiding ??= new Set()).add(connection)
    else if (hidesLastSeen === false) user.hiding?.delete(connection)
    user.hides = (user.hiding?.size ?? 0) > 0
    this.#dirty.add(userId)
  }

  joined({ speaker: { userId } }: Connection, roomId: RoomId): void {
    const user = this.#users.get(userId)
    if (!user) return
    ;(user.rooms ??= new Set()).add(roomId)
    this.#dirty.add(userId)
  }

  /** Takes at most `limit` things that the store has to be told. Each comes back by `told` or `untold`. */
  take(limit: number): Said[] {
    const nowMs = this.#nowMs()
    for (const [userId, untilMs] of this.#leaving) {
      if (untilMs > nowMs) break
      this.#leaving.delete(userId)
      this.#dirty.add(userId)
    }
    const taken: Said[] = []
    for (const userId of this.#dirty) {
      if (taken.length >= limit) break
      this.#dirty.delete(userId)
      const user = this.#users.get(userId)
      if (!user) continue
      const stance = stanceOf(user, nowMs)
      if (!user.repeat && !user.rooms && isSame(stance, user.said)) {
        if (!stance) this.#drop(userId, user)
        continue
      }
      taken.push({ userId, stance, rooms: [...(user.rooms ?? [])], repeat: user.repeat })
      user.rooms = undefined
      user.repeat = false
    }
    return taken
  }

  told(said: readonly Said[]): void {
    for (const { userId, stance } of said) {
      const user = this.#users.get(userId)
      if (!user) continue
      user.said = stance
      if (!stance && !stanceOf(user, this.#nowMs())) this.#drop(userId, user)
    }
  }

  /** The store may have heard it or not. */
  untold(said: readonly Said[]): void {
    for (const { userId, rooms } of said) {
      const user = this.#users.get(userId)
      if (!user) continue
      user.repeat = true
      for (const roomId of rooms) (user.rooms ??= new Set()).add(roomId)
      this.#dirty.add(userId)
    }
  }

  /** Perhaps the store knows nothing of this node any more: all of it is to be said anew. */
  restart(connections: Iterable<Connection>): void {
    for (const [userId, user] of this.#users) {
      const isHere = stanceOf(user, this.#nowMs()) !== undefined
      if (isHere) user.said = undefined
      // Who has gone is said to have gone, if the store was ever told that he was here.
      if (isHere || user.said || user.repeat) this.#dirty.add(userId)
      else this.#drop(userId, user)
    }
    for (const connection of connections) for (const roomId of connection.subscriptions.keys()) this.joined(connection, roomId)
  }

  /** Nobody has to be told of them: the node under whose name they were here is given up. */
  forgetGone(): void {
    for (const [userId, user] of this.#users) if (!stanceOf(user, this.#nowMs())) this.#drop(userId, user)
  }

  #drop(userId: UserId, user: LocalUser): void {
    if (user.devices > 0) return
    this.#users.delete(userId)
    this.#dirty.delete(userId)
    this.#leaving.delete(userId)
    this.#gone--
  }
}

function forget(user: LocalUser, connection: Connection): void {
  user.away?.delete(connection)
  user.hiding?.delete(connection)
  if (user.away?.size === 0) user.away = undefined
  if (user.hiding?.size === 0) user.hiding = undefined
}

function stanceOf(user: LocalUser, nowMs: number): Stance | undefined {
  const awake = user.devices - (user.away?.size ?? 0)
  if (awake > 0 || user.onlineUntilMs > nowMs) return { status: 'online', hidesLastSeen: user.hides }
  if (user.devices > 0 || user.awayUntilMs > nowMs) return { status: 'away', hidesLastSeen: user.hides }
  return undefined
}

const isSame = (a: Stance | undefined, b: Stance | undefined): boolean => a?.status === b?.status && a?.hidesLastSeen === b?.hidesLastSeen
