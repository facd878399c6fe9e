import WebSocket from 'ws'

export type Frame = Readonly<Record<string, any>> & { readonly type: string }

export type ConnectOptions = {
  readonly token: string | undefined
  /** `/chat?orderId=`; left out: `/ws/chat`. */
  readonly orderId?: string
  readonly since?: number
  /** Raw path and query instead. */
  readonly path?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly protocols?: readonly string[]
  /** open: try again for some seconds while the room is not there yet. */
  readonly until?: 'open'
}

/** A refused upgrade: the status and the JSON body. */
export class RefusedError extends Error {
  readonly status: number
  readonly body: Frame

  constructor(status: number, body: Frame) {
    super(`refused with ${status} ${JSON.stringify(body)}`)
    this.status = status
    this.body = body
  }
}

const WAIT_MS = 15_000

/** A client that is not ours (`ws`): keeps every frame in order of arrival. */
export class ChatSocket {
  readonly frames: Frame[] = []
  readonly ws: WebSocket
  closed: { readonly code: number; readonly reason: string } | undefined
  /** What `ws` itself found wrong with the connection. */
  error: Error | undefined
  #nextId = 1
  #watchers = new Set<() => void>()

  private constructor(ws: WebSocket) {
    this.ws = ws
    ws.on('message', (data) => {
      this.frames.push(JSON.parse(data.toString()) as Frame)
      for (const watch of this.#watchers) watch()
    })
    ws.on('close', (code, reason) => {
      this.closed = { code, reason: reason.toString() }
      for (const watch of this.#watchers) watch()
    })
    ws.on('error', (err) => {
      // A close follows.
      this.error = err
    })
  }

  static async connect(edgeUrl: string, options: ConnectOptions): Promise<ChatSocket> {
    const deadlineMs = Date.now() + WAIT_MS
    for (;;) {
      try {
        return await ChatSocket.#connectOnce(edgeUrl, options)
      } catch (err) {
        const isEarly = err instanceof RefusedError && (err.status === 404 || err.status === 503)
        if (options.until !== 'open' || !isEarly || Date.now() > deadlineMs) throw err
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
    }
  }

  static #connectOnce(edgeUrl: string, options: ConnectOptions): Promise<ChatSocket> {
    const { token, orderId, since = 0 } = options
    const path = options.path ?? (orderId === undefined ? '/ws/chat' : `/chat?orderId=${encodeURIComponent(orderId)}&since=${since}`)
    const headers = { ...(token !== undefined && { authorization: `Bearer ${token}` }), ...options.headers }
    const ws = new WebSocket(`${edgeUrl.replace('http', 'ws')}${path}`, [...(options.protocols ?? [])], { headers })
    const socket = new ChatSocket(ws)
    return new Promise((resolve, reject) => {
      ws.once('open', () => resolve(socket))
      ws.once('error', reject)
      ws.once('unexpected-response', (_, res) => {
        const chunks: Buffer[] = []
        res.on('data', (chunk: Buffer) => chunks.push(chunk))
        res.on('end', () => reject(new RefusedError(res.statusCode ?? 0, parseBody(Buffer.concat(chunks).toString()))))
      })
    })
  }

  /** The first frame that matches, from those that came and those to come. Fails at the close. */
  waitFor(matches: (frame: Frame) => boolean, what = 'a frame', timeoutMs = WAIT_MS): Promise<Frame> {
    return new Promise((resolve, reject) => {
      let next = 0
      const stop = () => {
        clearTimeout(timer)
        this.#watchers.delete(watch)
      }
      const watch = () => {
        for (; next < this.frames.length; next++) {
          if (!matches(this.frames[next]!)) continue
          stop()
          resolve(this.frames[next]!)
          return
        }
        if (this.closed) {
          stop()
          reject(new Error(`closed with ${this.closed.code} ${this.closed.reason} while waiting for ${what}`, { cause: this.error }))
        }
      }
      const timer = setTimeout(() => {
        stop()
        reject(new Error(`no ${what} in ${timeoutMs} ms; the last frames: ${JSON.stringify(this.frames.slice(-5))}`))
      }, timeoutMs)
      this.#watchers.add(watch)
      watch()
    })
  }

  /** Sends a request under a new id, and gives its reply. */
  async request(frame: Readonly<Record<string, unknown>>, timeoutMs = WAIT_MS): Promise<Frame> {
    const id = `t${this.#nextId++}`
    this.ws.send(JSON.stringify({ id, ...frame }))
    return this.waitFor((reply) => reply['id'] === id, `a reply to ${JSON.stringify(frame)}`, timeoutMs)
  }

  sendMessage(message: string, extra: Readonly<Record<string, unknown>> = {}): Promise<Frame> {
    return this.request({ type: 'sendMessage', message, ...extra })
  }

  sendRaw(text: string | Buffer): void {
    this.ws.send(text)
  }

  waitForSeq(seq: number, roomId?: string): Promise<Frame> {
    return this.waitFor((f) => f['seq'] === seq && (roomId === undefined || f['roomId'] === roomId), `seq ${seq}`)
  }

  waitForType(type: string): Promise<Frame> {
    return this.waitFor((f) => f.type === type, type)
  }

  async waitForClose(timeoutMs = WAIT_MS): Promise<{ readonly code: number; readonly reason: string }> {
    const deadlineMs = Date.now() + timeoutMs
    while (!this.closed) {
      if (Date.now() > deadlineMs) throw new Error(`not closed in ${timeoutMs} ms; the last frames: ${JSON.stringify(this.frames.slice(-5))}`)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    return this.closed
  }

  /** Durable events of a room as this socket saw them: pushed, replayed, or as its own ack. */
  events(roomId?: string): Frame[] {
    return this.frames.filter((f) => ['newMessage', 'roomUpdated', 'ack'].includes(f.type) && f['seq'] !== undefined && f['repeated'] !== true && (roomId === undefined || f['roomId'] === roomId))
  }

  close(): void {
    this.ws.close()
  }

  terminate(): void {
    this.ws.terminate()
  }
}

function parseBody(text: string): Frame {
  try {
    return JSON.parse(text) as Frame
  } catch {
    return { type: 'text', text }
  }
}
