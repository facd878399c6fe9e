import type { ClientFrame } from '#libs/domain/frames.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { Connection } from './connection.ts'
import type { Asker } from './pending-commands.ts'
import type { EdgeClock } from './ports.ts'

/** What one user has marked in one room, as one command. */
export type Mark = {
  readonly userId: UserId
  readonly roomId: RoomId
  /** messageIndexes; undefined: not marked. */
  readonly delivered: number | undefined
  readonly seen: number | undefined
  readonly hidden: boolean
  readonly askers: readonly Asker[]
}

export type MarksOptions = {
  readonly clock: EdgeClock
  readonly gatherMs: number
  /** Whether a user shows nobody what he has seen. Never rejects. */
  readonly isHidden: (userId: UserId) => Promise<boolean>
  readonly publish: (mark: Mark) => void
}

type Gathered = {
  delivered: number | undefined
  seen: number | undefined
  hidden: boolean
  readonly isHidden: Promise<boolean>
  askers: Asker[]
  readonly connections: Set<Connection>
}

/**
 * Gathers the marks of each user in each room, of all his sockets here, for a moment: of each cursor the highest goes into
 * the log. While a mark with an id is gathered, it counts as pending on its socket.
 */
export class Marks {
  readonly #options: MarksOptions
  readonly #byUser = new Map<UserId, Map<RoomId, Gathered>>()

  constructor(options: MarksOptions) {
    this.#options = options
  }

  add(connection: Connection, roomId: RoomId, { id, delivered, seen, hidden }: ClientFrame & { readonly type: 'mark' }): void {
    const gathered = this.#gather(connection.speaker.userId, roomId)
    gathered.delivered = highest(gathered.delivered, delivered)
    gathered.seen = highest(gathered.seen, seen)
    if (hidden) gathered.hidden = true
    gathered.connections.add(connection)
    if (id === undefined) return
    gathered.askers.push({ connection, requestId: id })
    connection.pending++
  }

  /** A socket has closed: nobody there waits for an answer, and what it has marked goes into the log at once. */
  forget(connection: Connection): void {
    const { userId } = connection.speaker
    for (const [roomId, gathered] of this.#byUser.get(userId) ?? []) {
      if (!gathered.connections.has(connection)) continue
      gathered.askers = gathered.askers.filter((asker) => asker.connection !== connection)
      this.#flush(userId, roomId, gathered)
    }
  }

  #gather(userId: UserId, roomId: RoomId): Gathered {
    let rooms = this.#byUser.get(userId)
    if (!rooms) this.#byUser.set(userId, (rooms = new Map()))
    const known = rooms.get(roomId)
    if (known) return known
    const { clock, gatherMs, isHidden } = this.#options
    // Asked for now, so that it is known when the time is over.
    const gathered: Gathered = { delivered: undefined, seen: undefined, hidden: false, isHidden: isHidden(userId), askers: [], connections: new Set() }
    rooms.set(roomId, gathered)
    void clock.sleep(gatherMs).then(() => this.#flush(userId, roomId, gathered))
    return gathered
  }

  #flush(userId: UserId, roomId: RoomId, gathered: Gathered): void {
    const rooms = this.#byUser.get(userId)
    if (rooms?.get(roomId) !== gathered) return
    rooms.delete(roomId)
    if (rooms.size === 0) this.#byUser.delete(userId)
    const publish = (hidden: boolean) => {
      const { delivered, seen, askers } = gathered
      const waiting = askers.filter(({ connection }) => !connection.closed)
      for (const { connection } of waiting) connection.pending--
      this.#options.publish({ userId, roomId, delivered, seen, hidden, askers: waiting })
    }
    // Without a wait where there is nothing to wait for: at the end of the process there is no time.
    if (gathered.hidden) publish(true)
    else void gathered.isHidden.then(publish)
  }
}

const highest = (a: number | undefined, b: number | undefined): number | undefined => (a === undefined || (b !== undefined && b > a) ? b : a)
