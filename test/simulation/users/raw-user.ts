import type { IdentityRole } from '#libs/auth/verifier.ts'
import type { ServerFrame } from '#libs/domain/frames.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { FOREVER_MS } from '#libs/domain/inbox.ts'
import { tokenOf } from '../parts/edge.ts'
import type { Network } from '../world/network.ts'
import type { Process } from '../world/process.ts'
import type { Wire } from '../world/wire.ts'
import type { World } from '../world/world.ts'
import { anyChange, type Conversation, GROUP_CLIENT_ID, type Known } from './commands.ts'

export type RawUserOptions = {
  readonly userId: UserId
  readonly rooms: readonly RoomId[]
  readonly role: IdentityRole
  readonly people: readonly UserId[]
  readonly conversations: readonly Conversation[]
  readonly withInbox: boolean
}

/** Somebody who speaks the protocol by hand, and not always well: outsiders, admins, careless retriers. */
export class RawUser {
  readonly userId: UserId
  readonly #world: World
  readonly #network: Network
  readonly #rooms: readonly RoomId[]
  readonly #role: IdentityRole
  readonly #process: Process
  /** Ids that were used before, to be used again. */
  readonly #sent: { readonly roomId: RoomId; readonly clientMessageId: string }[] = []
  readonly #last = new Map<RoomId, number>()
  readonly #wires: Wire[] = []
  readonly #people: readonly UserId[]
  readonly #conversations: readonly Conversation[]
  /** Messages that he was shown. */
  readonly #shown: Known[] = []
  readonly #withInbox: boolean
  /** Up to here he has his list. */
  #userSeq = 0
  #requests = 0

  constructor(world: World, network: Network, options: RawUserOptions) {
    this.#world = world
    this.#network = network
    this.userId = options.userId
    this.#rooms = options.rooms
    this.#role = options.role
    this.#people = options.people
    this.#conversations = options.conversations
    this.#withInbox = options.withInbox
    this.#process = world.process(options.userId)
  }

  /** Any one thing. */
  act(): void {
    const { random } = this.#world
    const wire = this.#wires.find((one) => one.isOpen)
    if (!wire || random.chance(0.05)) return this.#connect()
    const roomId = random.pick(this.#rooms)
    const action = random.weighted({ join: 3, send: 4, resend: 2, change: 2, create: this.#conversations.length > 0 ? 0.4 : 0, leave: 0.5, ping: 0.3, close: 0.5, stall: 0.5, sync: this.#withInbox ? 2 : 0, setChat: this.#withInbox ? 0.7 : 0 })
    if (action === 'join') this.#request(wire, { type: 'join', roomId, since: this.#since(roomId) })
    else if (action === 'send') this.#send(wire, { roomId, clientMessageId: this.#newId() })
    else if (action === 'resend') this.#resend()
    else if (action === 'change') this.#change(wire, roomId)
    else if (action === 'create') this.#create(wire, random.pick(this.#conversations))
    else if (action === 'leave') this.#request(wire, { type: 'leave', roomId })
    else if (action === 'ping') this.#request(wire, { type: 'ping' })
    else if (action === 'sync') this.#request(wire, { type: 'sync', ...(random.chance(0.9) && { cursor: this.#cursor() }) })
    else if (action === 'setChat') this.#setChat(wire, roomId)
    else if (action === 'close') wire.closeByClient()
    else wire.stall(random.between(500, 4_000))
  }

  /** From what he has; sometimes all, sometimes from further than there is. */
  #since(roomId: RoomId): number {
    const { random } = this.#world
    const last = this.#last.get(roomId) ?? 0
    return random.weighted({ last: 6, zero: 2, beyond: 1 }) === 'last' ? last : random.chance(0.6) ? 0 : last + random.int(1, 3)
  }

  /** Of his list, as `since` of a room. */
  #cursor(): number {
    const { random } = this.#world
    return random.weighted({ last: 6, zero: 3, beyond: 0.5 }) === 'last' ? this.#userSeq : random.chance(0.8) ? 0 : this.#userSeq + random.int(1, 3)
  }

  #setChat(wire: Wire, roomId: RoomId): void {
    const { random, nowMs } = this.#world
    const mutedUntilMs = random.pick([0, nowMs + 5_000, FOREVER_MS])
    this.#request(wire, { type: 'setChat', roomId, ...(random.chance(0.6) && { mutedUntilMs }), ...(random.chance(0.7) && { archived: random.chance(0.7) }) })
  }

  /** The same id once more, also where it was acked, also on two sockets at once. */
  #resend(): void {
    if (this.#sent.length === 0) return
    const message = this.#world.random.pick(this.#sent)
    for (const wire of this.#wires) if (wire.isOpen) this.#send(wire, message)
  }

  #send(wire: Wire, message: { readonly roomId: RoomId; readonly clientMessageId: string }): void {
    if (!this.#sent.includes(message)) this.#sent.push(message)
    this.#request(wire, { type: 'sendMessage', ...message, message: this.#world.random.chance(0.3) ? 'again' : `by ${this.userId} ${this.#requests}`, ...(this.#world.random.chance(0.15) && { mentions: [this.#world.random.pick(this.#people)] }) })
  }

  #change(wire: Wire, roomId: RoomId): void {
    const { random } = this.#world
    const { type, ...fields } = anyChange(random, roomId, this.#people, this.#shown)
    const { content, salt: _, ...rest } = fields as { content?: string; salt?: string }
    this.#request(wire, { type, roomId, ...rest, ...(content !== undefined && { message: content }), ...(type !== 'mark' && random.chance(0.6) && { clientMessageId: this.#newId() }) })
  }

  #create(wire: Wire, { kind, create: { participants, history } }: Conversation): void {
    if (kind === 'dispute') return
    const others = participants.map(({ userId }) => userId).filter((userId) => userId !== this.userId)
    this.#request(wire, { type: 'createConversation', kind, participants: kind === 'direct' ? others.slice(0, 1) : others, ...(kind === 'group' && { clientId: GROUP_CLIENT_ID, history }) })
  }

  #connect(): void {
    const { random } = this.#world
    const token = tokenOf({ userId: this.userId, role: this.#role, expiresAtMs: this.#world.nowMs + 600_000 })
    const roomId = random.pick(this.#rooms)
    const url = random.chance(0.4) ? `ws://any/chat?orderId=${roomId}&since=${this.#since(roomId)}` : 'ws://any/ws/chat'
    const wire = this.#network.connect(this.#process, url, ['chat.v1', `bearer.${token}`], { opened: () => {}, received: (text) => this.#received(text), closed: () => {} })
    this.#wires.push(wire)
    if (this.#wires.length > 3) this.#wires.shift()!.closeByClient()
  }

  #received(text: string): void {
    const frame = JSON.parse(text) as ServerFrame
    if (frame.type === 'newMessage') this.#shown.push(frame)
    if ('userSeq' in frame && (frame.type === 'synced' || frame.userSeq === this.#userSeq + 1)) this.#userSeq = frame.userSeq!
    if ((frame.type === 'newMessage' || frame.type === 'roomUpdated') && frame.seq === (this.#last.get(frame.roomId) ?? 0) + 1) this.#last.set(frame.roomId, frame.seq)
  }

  #request(wire: Wire, fields: object): void {
    wire.sendUp(JSON.stringify({ id: `${this.userId}-${this.#requests++}`, ...fields }))
  }

  /** Now and then of another time: too old, or from a clock that is ahead. */
  #newId(): string {
    const { random, nowMs } = this.#world
    const offMs = random.chance(0.05) ? random.pick([-8 * 86_400_000, 3 * 60_000, 10 * 60_000]) : 0
    const time = (nowMs + offMs).toString(16).padStart(12, '0')
    return `${time.slice(0, 8)}-${time.slice(8)}-7${random.hex(2).slice(1)}-8${random.hex(2).slice(1)}-${random.hex(6)}`
  }
}
