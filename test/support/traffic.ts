import { expect, vi } from 'vitest'
import { PersistentUser } from './persistent-user.ts'
import { readRoomsFromTopic } from './read-log.ts'
import type { System } from './system.ts'

export type TrafficOptions = {
  /** Begins the ids of its rooms and users. */
  readonly name: string
  readonly rooms: number
  /** Of each user; two users a room. */
  readonly messagesPerSecond: number
}

/** Customers and vendors who talk in many rooms until they are told to stop, whatever is killed meanwhile. */
export class Traffic {
  readonly users: PersistentUser[] = []
  readonly #system: System
  readonly #options: TrafficOptions
  readonly #sent: Promise<unknown>[] = []
  #timers: NodeJS.Timeout[] = []

  private constructor(system: System, options: TrafficOptions) {
    this.#system = system
    this.#options = options
  }

  static async start(system: System, options: TrafficOptions): Promise<Traffic> {
    const traffic = new Traffic(system, options)
    const edges = [...system.processes.keys()].filter((id) => id.startsWith('edge-')).map((_, i) => system.edgeUrl(i + 1))
    const roomIds = Array.from({ length: options.rooms }, (_, i) => `${options.name}-${i}`)
    for (const roomId of roomIds) await system.order('accepted', roomId, { customerId: `c-${roomId}`, vendorId: `v-${roomId}` })
    for (const roomId of roomIds) {
      for (const [i, userId] of [`c-${roomId}`, `v-${roomId}`].entries()) {
        const user = new PersistentUser({ userId, roomId, token: await system.token(userId), edgeUrls: edges })
        traffic.users.push(user)
        user.start(i)
      }
    }
    await vi.waitFor(() => expect(traffic.users.every((user) => user.lastSeq > 0)).toBe(true), { timeout: 30_000, interval: 50 })
    traffic.#timers = traffic.users.map((user, i) => traffic.#talk(user, i))
    return traffic
  }

  get sent(): number {
    return this.#sent.length
  }

  /** The longest time in which nobody saw anything new, ms. */
  longestSilenceMs(): number {
    const times = this.users.flatMap((user) => user.seenAtMs).sort((a, b) => a - b)
    return Math.max(0, ...times.slice(1).map((time, i) => time - times[i]!))
  }

  /** How many events all users have seen so far. */
  get seen(): number {
    return this.users.reduce((sum, user) => sum + user.seen.length, 0)
  }

  /**
   * Stops talking, waits until every message is acked and everybody has caught up, and compares: acked = what each
   * client saw = Postgres = the topic; gapless, each message once.
   */
  async finishAndCheck(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer)
    await vi.waitFor(() => expect(this.users.filter((user) => user.unacked > 0).map((user) => user.options.userId)).toEqual([]), { timeout: 60_000, interval: 100 })
    const topic = new Map([...(await readRoomsFromTopic(this.#system))].filter(([roomId]) => roomId.startsWith(`${this.#options.name}-`)))
    await vi.waitFor(() => expect(this.users.filter((user) => user.lastSeq < topic.get(user.options.roomId)!.length).map((user) => user.options.userId)).toEqual([]), { timeout: 30_000, interval: 100 })
    await vi.waitFor(() => this.#checkPostgres(topic), { timeout: 30_000, interval: 200 })
    for (const user of this.users) this.#checkUser(user, topic.get(user.options.roomId)!)
    await Promise.all(this.users.map((user) => user.stop()))
  }

  #talk(user: PersistentUser, i: number): NodeJS.Timeout {
    let n = 0
    return setInterval(() => this.#sent.push(user.send(`message ${n++} of ${i}`)), 1_000 / this.#options.messagesPerSecond)
  }

  #checkUser(user: PersistentUser, inTopic: readonly { seq: number; type: string; messageId?: string }[]): void {
    const { userId } = user.options
    expect(user.anomalies, userId).toEqual([])
    expect(user.seen.map((e) => [e.seq, e.messageId]), userId).toEqual(inTopic.map((e) => [e.seq, e.messageId]))
    expect(inTopic.map((e) => e.seq), userId).toEqual(inTopic.map((_, at) => at + 1))
    const ids = user.seen.flatMap((e) => e.clientMessageId ?? [])
    expect(new Set(ids).size, `${userId}: a message twice`).toBe(ids.length)
    for (const [id, ack] of user.acks) {
      expect(user.seen.find((e) => e.clientMessageId === id)?.seq, `${userId}: acked message ${id}`).toBe(ack['seq'])
    }
  }

  async #checkPostgres(topic: ReadonlyMap<string, readonly { seq: number; type: string; messageId?: string }[]>): Promise<void> {
    for (const [roomId, events] of topic) {
      const stored = await this.#system.storedEvents(roomId)
      expect(stored.map((e) => [e.seq, e.type, e.messageId])).toEqual(events.map((e) => [e.seq, e.type, e.messageId ?? null]))
    }
  }
}
