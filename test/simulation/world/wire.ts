import { closeCodes, type CloseName, closeReason } from '#libs/domain/close-codes.ts'
import type { Identity } from '#libs/auth/verifier.ts'
import type { ClientSocket, Connection } from '../../../services/edge/core/connection.ts'
import type { HandshakeRequest } from '../../../services/edge/handshake.ts'
import type { Door, Network } from './network.ts'
import type { Process } from './process.ts'

/** What the client's side hears. */
export type ClientEnd = {
  opened(): void
  received(text: string): void
  closed(code: number, reason: string): void
}

type Down = { readonly kind: 'open' } | { readonly kind: 'text'; readonly text: string } | { readonly kind: 'close'; readonly code: number; readonly reason: string }

/** So long a server may not notice that a client has gone. */
const UNNOTICED_MS = 20_000

/** One socket: two directions, each in order; it can stall, be cut, and be cut unnoticed. */
export class Wire implements ClientSocket {
  readonly client: Process
  /** Whom the edge has let in. */
  identity: Identity | undefined
  connection: Connection | undefined
  onReceived: (text: string) => void = () => {}
  onClosed: () => void = () => {}
  readonly #network: Network
  readonly #end: ClientEnd
  #server: Process | undefined
  readonly #up: string[] = []
  readonly #down: Down[] = []
  /** What the network has not taken: the client does not read. */
  #held: Down[] = []
  #heldBytes = 0
  #stalled = false
  #serverGone = false
  #clientGone = false

  constructor(network: Network, client: Process, end: ClientEnd) {
    this.#network = network
    this.client = client
    this.#end = end
    client.onEnd(() => this.#clientVanished())
  }

  get isOpen(): boolean {
    return !this.#serverGone && !this.#clientGone && this.connection !== undefined
  }

  get server(): Process | undefined {
    return this.#server
  }

  arrive(door: Door, request: HandshakeRequest): void {
    this.#server = door.process
    door.process.onEnd(() => this.#serverVanished())
    void door.upgrade(request, this)
  }

  /** True where the client still wants it. */
  accept(): boolean {
    if (this.#clientGone || this.#serverGone) return false
    this.#toClient({ kind: 'open' })
    return true
  }

  refuse(): void {
    this.#serverEnds()
    this.#toClient({ kind: 'close', code: 1006, reason: '' })
  }

  // The client's side

  sendUp(text: string): void {
    const { server } = this
    if (this.#clientGone || !server) return
    this.#up.push(text)
    server.hear(this.client.latencyMs(), `frame from ${this.client.name}`, () => {
      // Whichever comes first takes the first: the order holds.
      const first = this.#up.shift()
      if (first === undefined || this.#serverGone) return
      this.#network.tap?.fromClient(this, first)
      this.onReceived(first)
    })
  }

  closeByClient(): void {
    if (this.#clientGone) return
    this.#clientGone = true
    this.#server?.hear(this.client.latencyMs(), `close by ${this.client.name}`, () => this.#serverEnds())
    this.client.hear(this.client.latencyMs(), 'closed', () => this.#end.closed(1000, ''))
  }

  // The server's side

  send(frame: string): void {
    if (this.#serverGone) return
    this.#network.tap?.fromServer(this, frame)
    this.#toClient({ kind: 'text', text: frame })
  }

  bufferedBytes(): number {
    return this.#serverGone ? 0 : this.#heldBytes
  }

  cork(work: () => void): void {
    work()
  }

  close(name: CloseName, retryAfterMs?: number): void {
    if (this.#serverGone) return
    this.#toClient({ kind: 'close', code: closeCodes[name].code, reason: closeReason(name, retryAfterMs) })
    this.#serverEnds()
  }

  // What befalls it

  /** The client reads nothing for a while. */
  stall(ms: number): void {
    if (this.#stalled) return
    this.#stalled = true
    this.#network.world.note(`the socket of ${this.client.name} stalls for ${Math.round(ms)} ms`)
    this.#network.world.act(ms, `the socket of ${this.client.name} flows again`, () => {
      this.#stalled = false
      for (const item of this.#held.splice(0)) this.#toClient(item)
      this.#heldBytes = 0
      this.#server?.hear(0, `drain of ${this.client.name}`, () => this.connection?.onDrain())
    })
  }

  /** `isSilent`: the client hears nothing of it. */
  cut(isSilent: boolean): void {
    if (this.#clientGone) return
    const { random } = this.#network.world
    this.#clientGone = true
    this.#up.length = 0
    this.#network.world.note(`the socket of ${this.client.name} is cut${isSilent ? ' silently' : ''}`)
    if (!isSilent) this.client.hear(this.client.latencyMs(), 'connection lost', () => this.#end.closed(1006, ''))
    this.#server?.hear(random.next() * UNNOTICED_MS, `${this.client.name} is gone`, () => this.#serverEnds())
  }

  #toClient(item: Down): void {
    if (this.#stalled) {
      this.#held.push(item)
      this.#heldBytes += item.kind === 'text' ? item.text.length : 0
      return
    }
    this.#down.push(item)
    this.client.hear(this.client.latencyMs(), 'frame', () => {
      const first = this.#down.shift()
      if (!first || this.#clientGone) return
      this.#network.world.note(`${this.client.name} hears ${first.kind === 'text' ? first.text : JSON.stringify(first)}`)
      if (first.kind === 'open') this.#end.opened()
      else if (first.kind === 'text') this.#end.received(first.text)
      else {
        this.#clientGone = true
        this.#end.closed(first.code, first.reason)
      }
    })
  }

  #serverEnds(): void {
    if (this.#serverGone) return
    this.#serverGone = true
    this.#network.wires.delete(this)
    this.#network.tap?.closed(this)
    this.onClosed()
  }

  #serverVanished(): void {
    if (this.#serverGone) return
    this.#serverGone = true
    this.#network.wires.delete(this)
    this.#network.tap?.closed(this)
    // Where the machine itself is gone, nobody tells the client.
    if (this.#network.world.random.chance(0.8)) this.#toClient({ kind: 'close', code: 1006, reason: '' })
  }

  #clientVanished(): void {
    if (this.#clientGone) return
    this.#clientGone = true
    this.#server?.hear(this.#network.world.random.next() * UNNOTICED_MS, `${this.client.name} is gone`, () => this.#serverEnds())
  }
}
