import { BEARER_SUBPROTOCOL_PREFIX, type PushFrame, type ReplyFrame, type ServerFrame, SUBPROTOCOL } from '#libs/domain/frames.ts'
import { afterClose, afterProbe, closed, connecting, connectingAnew, idleLink, type Link, type LinkReason, type Moment, offline, online, probing } from './core/link.ts'
import { judgeProbe, probeUrl } from './core/probe.ts'
import { parseServerFrame } from './core/server-frame.ts'
import { ChatClientError, type ClientOnlyCode, toClientError } from './errors.ts'
import type { Ports, SocketLike, TokenProvider } from './ports.ts'
import { type Request, Requests } from './requests.ts'
import { Timer } from './timer.ts'

export type ConnectedFrame = PushFrame & { readonly type: 'connected' }

export type TransportOptions = {
  readonly ports: Ports
  /** Asked at every attempt, since a one-room URL carries `since`. */
  readonly url: () => string
  readonly token: TokenProvider
  /** For token, socket and `connected` together, and again for a probe. */
  readonly connectTimeoutMs: number
  readonly requestTimeoutMs: number
  readonly onLink: (link: Link) => void
  readonly onOnline: (connected: ConnectedFrame) => void
  /** Every valid frame after `connected`, except replies that a request waited for. */
  readonly onFrame: (frame: ServerFrame) => void
  readonly onOffline: () => void
  readonly onError: (error: ChatClientError) => void
}

/** A reply to a `ping` of `wake()` that takes longer than this means that the socket is dead. */
const WAKE_PING_MS = 5_000

/** Keeps one socket open: connects, probes refused upgrades, watches for silence, reconnects as core/link.ts decides. */
export class Transport {
  readonly #options: TransportOptions
  readonly #requests: Requests
  readonly #retryTimer: Timer
  readonly #connectTimer: Timer
  readonly #silenceTimer: Timer
  #link: Link = idleLink
  #socket: SocketLike | undefined
  /** Rises with each attempt and each end, so that what comes late from an earlier socket is known as such. */
  #generation = 0
  #silenceMs = 0
  #lastFrameMs = 0

  constructor(options: TransportOptions) {
    const { clock } = options.ports
    this.#options = options
    this.#requests = new Requests(clock, options.requestTimeoutMs, () => this.drop('request_timeout'))
    this.#retryTimer = new Timer(clock)
    this.#connectTimer = new Timer(clock)
    this.#silenceTimer = new Timer(clock)
  }

  get link(): Link {
    return this.#link
  }

  connect(): void {
    if (this.#link.phase === 'closed') this.#attempt(connectingAnew())
  }

  /** Offline: tries at once. Online: makes sure that the socket lives. */
  wake(): void {
    if (this.#link.phase === 'offline') this.#attempt(connecting(this.#link))
    else if (this.#link.phase === 'online') this.request({ type: 'ping' }, () => {}, WAKE_PING_MS)
  }

  close(reason: LinkReason): void {
    const socket = this.#detach()
    this.#move(closed(this.#link, reason))
    closeQuietly(socket, 1000)
  }

  /** Gives the present socket up and connects again. */
  drop(code: ClientOnlyCode): void {
    const socket = this.#detach()
    this.#move(offline(this.#link, { code }, this.#moment()))
    closeQuietly(socket, 3000)
  }

  /** Sends a request and calls `onReply` once with its reply, or never if the socket ends first. Nothing when not online. */
  request(request: Request, onReply: (reply: ReplyFrame) => void, timeoutMs?: number): void {
    if (this.#link.phase !== 'online' || !this.#socket) return
    const id = this.#requests.open(onReply, timeoutMs)
    this.#socket.send(JSON.stringify({ id, ...request }))
  }

  /** Sends a request that wants no reply; what is refused comes as an error without an id. Nothing when not online. */
  tell(request: Request): void {
    if (this.#link.phase === 'online') this.#socket?.send(JSON.stringify(request))
  }

  #attempt(link: Link): void {
    this.#retryTimer.stop()
    const generation = ++this.#generation
    this.#connectTimer.start(this.#options.connectTimeoutMs, () => this.drop('connect_timeout'))
    this.#move(link)
    void this.#open(generation, link.tokenExpired)
  }

  async #open(generation: number, expired: boolean): Promise<void> {
    let token: string
    try {
      token = await this.#options.token({ expired })
    } catch (err) {
      if (generation !== this.#generation) return
      this.#options.onError(toClientError(err, 'token_unavailable'))
      this.drop('token_unavailable')
      return
    }
    if (generation !== this.#generation) return
    const url = this.#options.url()
    try {
      this.#listen(new this.#options.ports.WebSocket(url, [SUBPROTOCOL, `${BEARER_SUBPROTOCOL_PREFIX}${token}`]), generation, url, token)
    } catch (err) {
      this.#options.onError(toClientError(err, 'connect_failed'))
      this.drop('connect_failed')
    }
  }

  #listen(socket: SocketLike, generation: number, url: string, token: string): void {
    let opened = false
    this.#socket = socket
    socket.onopen = () => {
      opened = true
    }
    socket.onmessage = ({ data }: { data: unknown }) => {
      if (generation === this.#generation) this.#receive(data)
    }
    // An error is always followed by a close, which says more.
    socket.onerror = () => {}
    socket.onclose = ({ code, reason }: { code: number; reason: string }) => {
      if (generation !== this.#generation) return
      this.#detach()
      if (opened) this.#move(afterClose(this.#link, { code, reason }, this.#moment()))
      else void this.#probe(url, token)
    }
  }

  /** A browser cannot read why an upgrade was refused: the same URL by plain HTTP answers the same, readably. */
  async #probe(url: string, token: string): Promise<void> {
    const generation = ++this.#generation
    this.#connectTimer.start(this.#options.connectTimeoutMs, () => this.drop('connect_timeout'))
    this.#move(probing(this.#link))
    try {
      const answer = await this.#options.ports.fetch(probeUrl(url), { headers: { Authorization: `Bearer ${token}` } })
      const body = await answer.text()
      if (generation !== this.#generation) return
      this.#detach()
      this.#move(afterProbe(this.#link, judgeProbe(answer.status, body), this.#moment()))
    } catch {
      // Not even HTTP gets through (or CORS hides the answer): trouble on the way.
      if (generation === this.#generation) this.drop('connect_failed')
    }
  }

  #receive(data: unknown): void {
    this.#lastFrameMs = this.#options.ports.clock.monotonicMs()
    const parsed = parseServerFrame(data)
    if (parsed.kind === 'unknown') return
    if (parsed.kind === 'bad') {
      this.#options.onError(new ChatClientError('bad_frame', { detail: parsed.detail }))
      return
    }
    const { frame } = parsed
    if (frame.type === 'connected' && this.#link.phase === 'connecting') this.#onConnected(frame)
    else if (this.#link.phase === 'online' && !this.#isReply(frame)) this.#options.onFrame(frame)
  }

  #isReply(frame: ServerFrame): boolean {
    return (frame.type === 'ack' || frame.type === 'error' || frame.type === 'joined' || frame.type === 'synced') && this.#requests.reply(frame)
  }

  #onConnected(frame: ConnectedFrame): void {
    const { ports, onOnline, onLink } = this.#options
    this.#connectTimer.stop()
    // Two heartbeats missed, and some slack, so that clients of a node that hangs do not all move at once.
    this.#silenceMs = frame.heartbeatMs * (2 + ports.random() / 2)
    this.#watch(this.#silenceMs)
    this.#link = online(this.#link, ports.clock.monotonicMs())
    // Before the app is told, so that what it then asks for finds everything in place.
    onOnline(frame)
    if (this.#link.phase === 'online') onLink(this.#link)
  }

  #watch(delayMs: number): void {
    this.#silenceTimer.start(delayMs, () => {
      const leftMs = this.#lastFrameMs + this.#silenceMs - this.#options.ports.clock.monotonicMs()
      if (leftMs > 0) this.#watch(leftMs)
      else this.drop('connection_silent')
    })
  }

  /** Forgets the socket and all that waits on it. */
  #detach(): SocketLike | undefined {
    const socket = this.#socket
    const wasOnline = this.#link.phase === 'online'
    this.#generation++
    this.#socket = undefined
    this.#requests.clear()
    for (const timer of [this.#connectTimer, this.#silenceTimer, this.#retryTimer]) timer.stop()
    if (wasOnline) this.#options.onOffline()
    return socket
  }

  #move(link: Link): void {
    this.#link = link
    if (link.phase === 'offline') {
      this.#retryTimer.start(link.retryAtMs! - this.#options.ports.clock.monotonicMs(), () => this.#attempt(connecting(link)))
    }
    this.#options.onLink(link)
  }

  #moment(): Moment {
    const { clock, random } = this.#options.ports
    return { nowMs: clock.monotonicMs(), random: random() }
  }
}

function closeQuietly(socket: SocketLike | undefined, code: number): void {
  try {
    socket?.close(code)
  } catch {
    // A socket that cannot even be closed is gone already.
  }
}
