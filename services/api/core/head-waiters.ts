import type { RoomId, UserId } from '#libs/domain/ids.ts'

/** moved: the room's head is above `after`. timeout, stopped: it is not, as far as we know. */
export type WaitOutcome = 'moved' | 'timeout' | 'aborted' | 'stopped'

export type Waiter = {
  readonly roomId: RoomId
  readonly userId: UserId
  /** The seq that the client has; it waits for any above. */
  readonly after: number
  readonly settle: (outcome: WaitOutcome) => void
  readonly fail: (err: Error) => void
}

export type Bounds = { readonly max: number; readonly perUserMax: number }

/** Who waits for which room. Knows no time and no database. */
export class HeadWaiters {
  readonly #byRoom = new Map<RoomId, Set<Waiter>>()
  readonly #perUser = new Map<UserId, number>()
  readonly #bounds: Bounds
  #size = 0

  constructor(bounds: Bounds) {
    this.#bounds = bounds
  }

  get size(): number {
    return this.#size
  }

  add(waiter: Waiter): 'added' | 'full' | 'user_full' {
    const ofUser = this.#perUser.get(waiter.userId) ?? 0
    if (this.#size >= this.#bounds.max) return 'full'
    if (ofUser >= this.#bounds.perUserMax) return 'user_full'
    const ofRoom = this.#byRoom.get(waiter.roomId)
    if (ofRoom) ofRoom.add(waiter)
    else this.#byRoom.set(waiter.roomId, new Set([waiter]))
    this.#perUser.set(waiter.userId, ofUser + 1)
    this.#size++
    return 'added'
  }

  /** False if it is not there (any more): of settle, fail and remove only the first counts. */
  remove(waiter: Waiter): boolean {
    const ofRoom = this.#byRoom.get(waiter.roomId)
    if (!ofRoom?.delete(waiter)) return false
    if (ofRoom.size === 0) this.#byRoom.delete(waiter.roomId)
    const ofUser = (this.#perUser.get(waiter.userId) ?? 1) - 1
    if (ofUser === 0) this.#perUser.delete(waiter.userId)
    else this.#perUser.set(waiter.userId, ofUser)
    this.#size--
    return true
  }

  /** What one query has to ask: each awaited room with the lowest seq that somebody waits to see passed. */
  asked(): { readonly roomIds: readonly RoomId[]; readonly afters: readonly number[] } {
    const roomIds = [...this.#byRoom.keys()]
    const afters = roomIds.map((roomId) => {
      let lowest = Number.MAX_SAFE_INTEGER
      for (const { after } of this.#byRoom.get(roomId) ?? []) lowest = Math.min(lowest, after)
      return lowest
    })
    return { roomIds, afters }
  }

  /** Settles everyone whose room's head is above what he has. */
  moved(heads: Iterable<{ readonly roomId: RoomId; readonly headSeq: number }>): void {
    for (const { roomId, headSeq } of heads) {
      for (const waiter of [...(this.#byRoom.get(roomId) ?? [])]) {
        if (headSeq > waiter.after && this.remove(waiter)) waiter.settle('moved')
      }
    }
  }

  takeAll(): readonly Waiter[] {
    const all = [...this.#byRoom.values()].flatMap((waiters) => [...waiters])
    for (const waiter of all) this.remove(waiter)
    return all
  }
}
