import { isDeepStrictEqual } from 'node:util'
import type { ChatClient, InboxSnapshot } from '#libs/client/index.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { fieldsOf } from '../checks/inbox-wires.ts'
import type { Users } from '../checks/users.ts'
import type { World } from '../world/world.ts'

/** Somebody's own list in his app, which keeps it over restarts. */
export class SdkInbox {
  readonly #world: World
  readonly #users: Users
  readonly #userId: UserId
  #kept: string | undefined
  #client: ChatClient | undefined

  constructor(world: World, users: Users, userId: UserId) {
    this.#world = world
    this.#users = users
    this.#userId = userId
  }

  get storage() {
    return {
      load: async (): Promise<InboxSnapshot | undefined> => (this.#kept === undefined ? undefined : JSON.parse(this.#kept)),
      save: async (snapshot: InboxSnapshot): Promise<void> => {
        this.#kept = JSON.stringify(snapshot)
      },
    }
  }

  begin(client: ChatClient): void {
    this.#client = client
    const { inbox } = client
    inbox.on('synced', () => this.#check())
    inbox.on('change', () => this.#check())
    inbox.start()
  }

  end(): void {
    this.#client = undefined
  }

  /** Says something about one of his chats, or of none. */
  set(roomId: RoomId): void {
    const { random, nowMs } = this.#world
    const inbox = this.#client?.inbox
    if (random.chance(0.5)) inbox?.archive(roomId, random.chance(0.7)).catch(() => {})
    else inbox?.mute(roomId, random.pick([0, nowMs + 5_000, undefined])).catch(() => {})
  }

  unsettled(): string | undefined {
    if (!this.#client) return undefined
    const { phase, cursor } = this.#client.inbox
    const head = this.#users.headOf(this.#userId)
    return phase === 'live' && cursor === head ? undefined : `the app of ${this.#userId} has his list up to ${cursor} (${phase}), the log has ${head}`
  }

  /** While it is live it is, at each moment, what the log has up to its cursor; what was let go of may be in it still. */
  #check(): void {
    const { phase, cursor, chats, totals } = this.#client!.inbox
    if (phase !== 'live') return
    const fail = (message: string) => this.#world.fail('inbox-shown', `${this.#userId}'s app has at ${cursor} ${message}`)
    const due = this.#users.chatsAt(this.#userId, cursor)
    const has = new Map(chats.map((chat) => [chat.roomId, chat]))
    for (const [roomId, chat] of due) {
      const fields = chat.status === 'left' ? undefined : JSON.parse(JSON.stringify(fieldsOf(chat)))
      if (!isDeepStrictEqual(has.get(roomId), fields)) fail(`${JSON.stringify(has.get(roomId))}, the log ${JSON.stringify(fields)}`)
    }
    for (const { roomId, closed } of chats) if (!due.has(roomId) && !closed) fail(`the chat ${roomId}, the log has none`)
    if (chats.some(({ lastActivityMs }, i) => i > 0 && lastActivityMs > chats[i - 1]!.lastActivityMs)) fail('its chats out of order')
    if (!isDeepStrictEqual({ ...totals }, { ...this.#users.totalsAt(this.#userId, cursor) })) fail(`${JSON.stringify(totals)}, the log ${JSON.stringify(this.#users.totalsAt(this.#userId, cursor))}`)
  }
}
