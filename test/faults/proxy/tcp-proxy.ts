import net from 'node:net'
import { HOST } from '../../../deploy/local/config.ts'

/** `up`: from who connects to the server; `down`: the server's answers. */
export type Direction = 'up' | 'down'

/** Cuts a stream into the pieces that are held or passed as wholes; default: as they arrive. */
export type Splitter = (chunk: Buffer) => readonly Buffer[]

export type ProxyOptions = {
  /** Tried in turn, from the one after the last that was taken: the first that accepts gets the connection. */
  readonly targets: readonly number[]
  /** Default: any free one. */
  readonly port?: number
  /** Made anew for each connection. */
  readonly split?: Partial<Record<Direction, () => Splitter>>
}

export type StallOptions = {
  readonly direction: Direction
  /** Which pieces start the stall of their stream; all behind them wait, too. Default: any. */
  readonly matches?: (piece: Buffer) => boolean
  /** The first so many connections that come to it; others pass. Default: all. */
  readonly connectionsMax?: number
}

export type Stall = {
  /** Connections that wait here. */
  readonly held: number
  /** Those that wait go on waiting; others pass from now on. */
  holdNoMore(): void
  /** Everything that waits goes on in order, even where the other end has gone meanwhile. */
  release(): void
}

export type Shape = { readonly delayMs: number; readonly bytesPerSecond: number }

const FAST: Shape = { delayMs: 0, bytesPerSecond: Number.POSITIVE_INFINITY }

/**
 * A TCP proxy that can stall, cut, delay, slow and refuse. Other than the proxies that one can get, it keeps what it
 * holds when the sender hangs up: the bytes arrive late, as those of a network that was slow.
 */
export class TcpProxy {
  readonly #options: ProxyOptions
  readonly #server: net.Server
  readonly #pipes = new Set<Pipe>()
  readonly #stalls = new Set<StallRule>()
  #next = 0
  #shape = FAST
  #isRefusing = false

  private constructor(options: ProxyOptions) {
    this.#options = options
    this.#server = net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => void this.#accept(client))
  }

  static async listen(options: ProxyOptions): Promise<TcpProxy> {
    const proxy = new TcpProxy(options)
    await new Promise<void>((resolve, reject) => proxy.#server.once('error', reject).listen(options.port ?? 0, HOST, resolve))
    return proxy
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port
  }

  get connections(): number {
    return this.#pipes.size / 2
  }

  stall(options: StallOptions): Stall {
    const rule: StallRule = { ...options, pipes: new Set(), isClosed: false }
    this.#stalls.add(rule)
    return {
      get held() {
        return rule.pipes.size
      },
      holdNoMore: () => {
        rule.isClosed = true
      },
      release: () => {
        this.#stalls.delete(rule)
        for (const pipe of this.#pipes) pipe.pump()
      },
    }
  }

  /** Both directions of every connection, those of later ones too. */
  shape(shape: Partial<Shape>): void {
    this.#shape = { ...FAST, ...shape }
  }

  /** Resets every connection; new ones are accepted. */
  cut(): void {
    for (const pipe of this.#pipes) pipe.destroy()
  }

  /** While true, new connections are reset at once. */
  refuse(on: boolean): void {
    this.#isRefusing = on
  }

  async close(): Promise<void> {
    this.#stalls.clear()
    this.cut()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  async #accept(client: net.Socket): Promise<void> {
    client.on('error', () => {
      // Its close follows.
    })
    const server = this.#isRefusing ? undefined : await this.#connect()
    if (!server) {
      client.resetAndDestroy()
      return
    }
    for (const [direction, from, to] of [['up', client, server], ['down', server, client]] as const) {
      const pipe: Pipe = new Pipe(from, to, {
        split: this.#options.split?.[direction]?.() ?? ((chunk) => [chunk]),
        isStalled: (piece) => this.#isStalled(pipe, direction, piece),
        shape: () => this.#shape,
        onEnd: () => this.#pipes.delete(pipe),
      })
      this.#pipes.add(pipe)
    }
  }

  async #connect(): Promise<net.Socket | undefined> {
    const { targets } = this.#options
    for (let i = 0; i < targets.length; i++) {
      const socket = net.connect({ host: HOST, port: targets[this.#next++ % targets.length]!, allowHalfOpen: true, noDelay: true })
      const connected = await new Promise<boolean>((resolve) => socket.once('connect', () => resolve(true)).once('error', () => resolve(false)))
      socket.on('error', () => {
        // Its close follows.
      })
      if (connected) return socket
    }
    return undefined
  }

  #isStalled(pipe: Pipe, direction: Direction, piece: Buffer): boolean {
    for (const rule of this.#stalls) {
      if (rule.direction !== direction) continue
      if (rule.pipes.has(pipe)) return true
      if (rule.isClosed || rule.pipes.size >= (rule.connectionsMax ?? Number.POSITIVE_INFINITY) || rule.matches?.(piece) === false) continue
      rule.pipes.add(pipe)
      return true
    }
    return false
  }
}

type StallRule = StallOptions & { readonly pipes: Set<Pipe>; isClosed: boolean }

type PipeOptions = {
  readonly split: Splitter
  readonly isStalled: (piece: Buffer) => boolean
  readonly shape: () => Shape
  readonly onEnd: () => void
}

const END = Buffer.alloc(0)

/** One direction of one connection: pieces in the order in which they came, each at its time. */
class Pipe {
  readonly #from: net.Socket
  readonly #to: net.Socket
  readonly #options: PipeOptions
  readonly #queue: { readonly piece: Buffer; readonly dueMs: number }[] = []
  #timer: NodeJS.Timeout | undefined
  #freeMs = 0
  #ended = false

  constructor(from: net.Socket, to: net.Socket, options: PipeOptions) {
    this.#from = from
    this.#to = to
    this.#options = options
    from.on('data', (chunk: Buffer) => {
      for (const piece of options.split(chunk)) this.#push(piece)
    })
    // A reset ends it like a farewell does: what was sent before is still on its way.
    from.once('close', () => this.#push(END)).once('end', () => this.#push(END))
    to.once('close', () => this.#finish())
    to.on('drain', () => this.pump())
  }

  #push(piece: Buffer): void {
    if (this.#ended) return
    const { delayMs, bytesPerSecond } = this.#options.shape()
    this.#freeMs = Math.max(this.#freeMs, Date.now()) + (piece.length / bytesPerSecond) * 1_000
    this.#queue.push({ piece, dueMs: this.#freeMs + delayMs })
    this.pump()
  }

  pump(): void {
    for (let head = this.#queue[0]; head !== undefined && !this.#ended; head = this.#queue[0]) {
      const waitMs = head.dueMs - Date.now()
      if (waitMs > 0) {
        clearTimeout(this.#timer)
        this.#timer = setTimeout(() => this.pump(), waitMs)
        return
      }
      if (this.#options.isStalled(head.piece) || this.#to.writableNeedDrain) return
      this.#queue.shift()
      if (head.piece === END) {
        this.#to.end()
        this.#finish()
      } else {
        this.#to.write(head.piece)
      }
    }
  }

  destroy(): void {
    this.#from.resetAndDestroy()
    this.#to.resetAndDestroy()
    this.#finish()
  }

  #finish(): void {
    if (this.#ended) return
    this.#ended = true
    clearTimeout(this.#timer)
    this.#queue.length = 0
    this.#options.onEnd()
  }
}
