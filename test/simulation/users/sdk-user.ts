import { type ChatClient, createChatClient, MemoryOutboxStorage, type RoomEventFrame } from '#libs/client/index.ts'
import type { SocketConstructor } from '#libs/client/ports.ts'
import type { ClientMessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import { isShownRightly } from '../checks/shown.ts'
import type { Truth } from '../checks/truth.ts'
import { tokenOf } from '../parts/edge.ts'
import type { Network } from '../world/network.ts'
import type { Process } from '../world/process.ts'
import type { Wire } from '../world/wire.ts'
import type { World } from '../world/world.ts'
import type { SdkInbox } from './sdk-inbox.ts'

type Written = { readonly roomId: RoomId; readonly id: ClientMessageId; readonly text: string; end: 'acked' | 'failed' | undefined; code?: string }

const FAILURES = new Set(['room_read_only', 'not_a_participant', 'room_not_found', 'client_message_id_expired', 'room_left', 'invalid_request', 'message_not_allowed', 'not_allowed', 'room_frozen'])
const TOKEN_MS = 30_000

/** Somebody with our client: an app that keeps what it was given and its outbox over restarts, and retries by itself. */
export class SdkUser {
  readonly userId: UserId
  readonly written: Written[] = []
  /** What the app has kept of each room. */
  readonly seen = new Map<RoomId, RoomEventFrame[]>()
  wire: Wire | undefined
  readonly #world: World
  readonly #network: Network
  readonly #truth: Truth
  readonly #storage = new MemoryOutboxStorage()
  readonly #wanted: readonly RoomId[]
  readonly #orderId: RoomId | undefined
  readonly #startMs: number
  /** Undefined: his app shows no list. */
  readonly #inbox: SdkInbox | undefined
  #process: Process | undefined
  #client: ChatClient | undefined
  #starts = 0

  constructor(world: World, network: Network, truth: Truth, options: { readonly userId: UserId; readonly rooms: readonly RoomId[]; readonly oneRoom: boolean; readonly inbox: SdkInbox | undefined }) {
    this.#world = world
    this.#network = network
    this.#truth = truth
    this.userId = options.userId
    this.#wanted = options.oneRoom ? options.rooms.slice(0, 1) : options.rooms
    this.#orderId = options.oneRoom ? options.rooms[0] : undefined
    this.#startMs = world.nowMs
    this.#inbox = options.inbox
    for (const roomId of this.#wanted) this.seen.set(roomId, [])
  }

  get process(): Process | undefined {
    return this.#process
  }

  /** The app starts, or starts again after it was killed. */
  start(): void {
    const process = this.#world.process(`${this.userId}.${++this.#starts}`)
    this.#process = process
    const client = createChatClient({
      url: this.#orderId === undefined ? 'ws://any/ws/chat' : 'ws://any/chat',
      ...(this.#orderId !== undefined && { orderId: this.#orderId }),
      token: async () => tokenOf({ userId: this.userId, role: 'user', expiresAtMs: this.#world.nowMs + TOKEN_MS }),
      storage: this.#storage,
      ...(this.#inbox && { inboxStorage: this.#inbox.storage }),
      limits: { connectTimeoutMs: 5_000, requestTimeoutMs: 10_000 },
      ports: this.#ports(process),
    })
    this.#client = client
    client.on('acked', (ack) => this.#onEnd(ack.clientMessageId, 'acked'))
    client.on('failed', ({ clientMessageId, error }) => this.#onEnd(clientMessageId, 'failed', error.code))
    for (const roomId of this.#wanted) this.#join(roomId)
    this.#inbox?.begin(client)
    client.connect().catch(() => {})
    process.every(3_000, 'the app looks after its rooms', () => this.#lookAfter())
  }

  kill(): void {
    this.#process?.crash()
    this.#process = undefined
    this.#client = undefined
    this.#inbox?.end()
  }

  write(): void {
    const { random } = this.#world
    const roomId = random.pick(this.#wanted)
    const room = this.#client?.join(roomId, { since: this.seen.get(roomId)!.length })
    if (!room || !this.#process || this.#process.isPaused) return
    if (this.#inbox && random.chance(0.15)) return this.#inbox.set(roomId)
    const text = `${this.userId} ${this.written.length}${random.chance(0.2) ? ` ${'long '.repeat(random.int(1, 150))}` : ''}`
    const { clientMessageId: id } = room.send(text)
    this.#world.note(`${this.userId} writes ${id} to ${roomId}`)
    this.written.push({ roomId, id, text, end: undefined })
  }

  wakeUp(): void {
    if (!this.#process?.isPaused) this.#client?.wake()
  }

  /** @returns what is not as it must be once everything has come to its end */
  unsettled(): string | undefined {
    const client = this.#client
    if (!client) return `${this.userId} is not running`
    for (const roomId of this.#wanted) {
      const isMember = this.#truth.isMember(roomId, this.userId)
      const head = this.#truth.rooms.get(roomId)?.events.length ?? 0
      const seen = this.seen.get(roomId)!.length
      if (isMember && seen !== head) return `${this.userId} has ${seen} events of ${roomId}, the log ${head} (${client.state.state}, ${client.join(roomId).phase})`
    }
    // Whose only room is not his own any more is told so, and his app ends.
    const behind = client.state.state === 'closed' ? undefined : this.#inbox?.unsettled()
    if (behind) return behind
    const waiting = this.written.find(({ end, roomId }) => end === undefined && this.#truth.isMember(roomId, this.userId))
    return waiting && `${this.userId}'s message ${waiting.id} to ${waiting.roomId} has not ended (${client.state.state})`
  }

  /** Each message that was acked is in the log, as it was written, once. */
  check(): void {
    for (const { roomId, id, text, end, code } of this.written) {
      const events = this.#truth.rooms.get(roomId)?.events.filter((event) => event.type === 'messageSent' && event.clientMessageId === id && event.senderId === this.userId) ?? []
      const [event] = events
      if (end === 'acked' && (event?.type !== 'messageSent' || event.content !== text)) this.#world.fail('acked-is-durable', `${this.userId}'s ${id} was acked and is not in the log of ${roomId}`)
      if (end === 'failed' && !FAILURES.has(code ?? '')) this.#world.fail('message-ends', `${this.userId}'s ${id} has failed with ${code}`)
    }
    const written = new Set(this.written.map(({ id }) => id))
    for (const [roomId, { events }] of this.#truth.rooms) {
      const foreign = events.find((event) => event.type === 'messageSent' && event.senderId === this.userId && event.content.startsWith(`${this.userId} `) && !written.has(event.clientMessageId))
      if (foreign) this.#world.fail('message-ends', `${roomId} seq ${foreign.seq} was never written by ${this.userId}`)
    }
  }

  #lookAfter(): void {
    const client = this.#client!
    if (client.state.state === 'closed') client.connect().catch(() => {})
    for (const roomId of this.#wanted) if (client.join(roomId, { since: this.seen.get(roomId)!.length }).phase === 'left') this.#join(roomId)
  }

  #join(roomId: RoomId): void {
    const seen = this.seen.get(roomId)!
    const client = this.#client!
    const room = client.join(roomId, { since: seen.length })
    if (this.#listening.has(room)) return
    this.#listening.add(room)
    room.on('event', (event) => {
      if (event.seq !== seen.length + 1) this.#world.fail('client-order', `${this.userId}'s app is given ${roomId} seq ${event.seq} after ${seen.length}`)
      else if (!this.#isShownRightly(roomId, event)) this.#world.fail('equal-logs', `${this.userId}'s app is given ${JSON.stringify(event)}, the log has ${JSON.stringify(this.#truth.rooms.get(roomId)?.events[seen.length])}`)
      seen.push(event)
    })
  }

  #isShownRightly(roomId: RoomId, event: RoomEventFrame): boolean {
    return isShownRightly(roomId, this.#truth.rooms.get(roomId)?.events ?? [], event, { userId: this.userId, isStaff: false, visibleFrom: 1, joinedHead: 0 })
  }

  readonly #listening = new WeakSet<object>()

  #onEnd(id: ClientMessageId, end: 'acked' | 'failed', code?: string): void {
    const written = this.written.find((message) => message.id === id)
    if (!written) return this.#world.fail('message-ends', `${this.userId} hears of ${id}, which he has not written`)
    // After a restart, a message whose end the app was told, but not its storage, may end again in the same way.
    if (written.end !== undefined && written.end !== end && !(written.end === 'acked' && end === 'failed')) this.#world.fail('message-ends', `${this.userId}'s ${id} was ${written.end}, and now has ${end}`)
    this.#world.note(`${this.userId}: ${id} ${end} ${code ?? ''}`)
    written.end ??= end
    if (code !== undefined) written.code ??= code
  }

  #ports(process: Process) {
    const { random } = this.#world
    const user = this
    const network = this.#network
    const clock = {
      nowMs: () => process.clock.nowMs(),
      monotonicMs: () => process.clock.nowMs() - user.#startMs,
      setTimeout: (run: () => void, delayMs: number) => process.timer(delayMs, run),
      clearTimeout: (callOff: unknown) => (callOff as () => void)(),
    }
    return {
      WebSocket: socketOf(network, process, (wire) => (user.wire = wire)),
      fetch: (url: string, { headers }: { readonly headers: Record<string, string> }) => network.fetch(process, url.replace(/^http/, 'ws'), headers['Authorization']!.slice('Bearer '.length)),
      clock,
      random: () => random.next(),
      randomBytes: (length: number) => random.bytes(length),
    }
  }
}

type Handlers = { onopen: (() => void) | null; onmessage: ((event: { data: string }) => void) | null; onclose: ((event: { code: number; reason: string }) => void) | null }

/** The `WebSocket` of one device. */
function socketOf(network: Network, process: Process, onWire: (wire: Wire) => void): SocketConstructor {
  return class {
    readonly #wire: Wire

    constructor(url: string, protocols: string[]) {
      const handlers = this as unknown as Handlers
      this.#wire = network.connect(process, url, protocols, {
        opened: () => handlers.onopen?.(),
        received: (data) => handlers.onmessage?.({ data }),
        closed: (code, reason) => handlers.onclose?.({ code, reason }),
      })
      onWire(this.#wire)
    }

    send(data: string): void {
      this.#wire.sendUp(data)
    }

    close(): void {
      this.#wire.closeByClient()
    }
  } as unknown as SocketConstructor
}
