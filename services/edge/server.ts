import uws from 'uWebSockets.js'
import type { CloseName } from '#libs/domain/close-codes.ts'
import { ChatError } from '#libs/domain/errors.ts'
import type { Connection } from './core/connection.ts'
import { errorFrameOf } from './core/frames.ts'
import type { Sessions } from './core/sessions.ts'
import { UwsSocket } from './uws-socket.ts'
import { type Admitted, type HandshakeRequest, isOriginAllowed } from './handshake.ts'

type SocketData = { admitted: Admitted | undefined; connection?: Connection }
type Socket = uws.WebSocket<SocketData>

export type ServerOptions = {
  readonly host: string
  readonly port: number
  readonly allowedOrigins: readonly string[]
  readonly sessions: Sessions
  readonly handshake: (request: HandshakeRequest) => Promise<Admitted>
  /** The socket will not be made after all. */
  readonly abandon: (admitted: Admitted) => void
  readonly frameBytesMax: number
  readonly slowBufferBytes: number
  readonly observer: {
    handshake(code: string, tookMs: number): void
    frameIn(): void
    frameOut(): void
    closing(name: CloseName): void
    failed(err: unknown): void
  }
}

export type Server = {
  readonly port: number
  /** No new sockets; those that are open stay. */
  stopListening(): void
  /** Ends at once what is still open. */
  close(): void
}

/** Listening on a port that another process has is an error, not a share. */
const LISTEN_EXCLUSIVE_PORT = 1

/** The edge's public door: WebSocket on /chat and /ws/chat, and the same answers for plain GET. */
export async function startServer(options: ServerOptions): Promise<Server> {
  const app = uws.App()
  for (const path of ['/chat', '/ws/chat'] as const) {
    app.ws<SocketData>(path, { ...behavior(options), upgrade: (res, req, context) => upgrade(options, path, res, req, context) })
    app.get(path, (res, req) => probe(options, path, res, req))
    app.options(path, (res, req) => preflight(options, res, req))
  }
  app.any('/*', (res) => {
    answer(res, new ChatError('not_found'), '')
  })
  const socket = await listen(app, options)
  return {
    port: uws.us_socket_local_port(socket),
    stopListening: () => uws.us_listen_socket_close(socket),
    close: () => app.close(),
  }
}

function listen(app: uws.TemplatedApp, { host, port }: ServerOptions): Promise<uws.us_listen_socket> {
  return new Promise((resolve, reject) => {
    const done = (socket: uws.us_listen_socket | false) => {
      if (socket) resolve(socket)
      else reject(new ChatError('config_invalid', `EDGE_PORT ${port} on ${host} is in use, or not allowed`))
    }
    // The typings lack this form; the native side takes (host, port, options, callback).
    ;(app as unknown as { listen(host: string, port: number, options: number, cb: typeof done): unknown }).listen(host, port, LISTEN_EXCLUSIVE_PORT, done)
  })
}

function behavior({ sessions, frameBytesMax, slowBufferBytes, observer }: ServerOptions): uws.WebSocketBehavior<SocketData> {
  return {
    // A frame above our own limit is answered with an error; only what is far above it cuts the socket off.
    maxPayloadLength: frameBytesMax * 2,
    // Ours is lower: uWebSockets' own closing gives a bare 1006 and may let later sends pass.
    maxBackpressure: slowBufferBytes * 4,
    idleTimeout: 60,
    sendPingsAutomatically: true,
    compression: uws.DISABLED,
    open(ws) {
      const data = ws.getUserData()
      const { connectionId, identity, first } = data.admitted!
      // Of no use any more, and there may be very many sockets.
      data.admitted = undefined
      data.connection = sessions.open(connectionId, new UwsSocket(ws, slowBufferBytes, observer), identity, first)
    },
    message(ws, bytes, isBinary) {
      const { connection } = ws.getUserData()
      if (!connection) return
      observer.frameIn()
      if (isBinary) sessions.refuseMalformed(connection, undefined, new ChatError('malformed_frame', 'frames are text'))
      else if (bytes.byteLength > frameBytesMax) sessions.refuseMalformed(connection, undefined, new ChatError('frame_too_large', `${bytes.byteLength} bytes, the limit is ${frameBytesMax}`))
      // Copied into a string before anything awaits: the buffer is only lent.
      else sessions.receive(connection, Buffer.from(bytes).toString('utf8'))
    },
    drain(ws) {
      ws.getUserData().connection?.onDrain()
    },
    close(ws) {
      const { connection } = ws.getUserData()
      if (connection) sessions.closed(connection)
    },
  }
}

async function upgrade(options: ServerOptions, path: HandshakeRequest['path'], res: uws.HttpResponse, req: uws.HttpRequest, context: uws.us_socket_context_t): Promise<void> {
  const key = req.getHeader('sec-websocket-key')
  const extensions = req.getHeader('sec-websocket-extensions')
  const request = copyRequest(path, req)
  let aborted = false
  res.onAborted(() => {
    aborted = true
  })
  const startedMs = performance.now()
  try {
    const admitted = await options.handshake(request)
    if (aborted) {
      options.abandon(admitted)
      return
    }
    options.observer.handshake('ok', performance.now() - startedMs)
    uncorked(options.sessions, res, () => res.upgrade<SocketData>({ admitted }, key, admitted.protocol, extensions, context))
  } catch (err) {
    refused(options, err, startedMs)
    if (!aborted) answer(res, err, isOriginAllowed(options.allowedOrigins, request.origin) ? request.origin : '')
  }
}

/**
 * uWebSockets.js up to 20.51 must not upgrade inside the response's own cork: that ends by reading memory which is free by
 * then, and closes about one in 500 new sockets for what it finds there (uWebSockets#1928, mended by #1929). While another
 * socket is corked, `res.cork` only calls. The first socket of a node has no other, and costs a warning on stderr.
 */
function uncorked({ connections }: Sessions, res: uws.HttpResponse, upgradeNow: () => void): void {
  const [other] = connections
  if (other) other.socket.cork(() => res.cork(upgradeNow))
  else upgradeNow()
}

/** Browsers cannot read a refused upgrade; the same URL without one gives the same answer with a code. */
async function probe(options: ServerOptions, path: HandshakeRequest['path'], res: uws.HttpResponse, req: uws.HttpRequest): Promise<void> {
  const request = copyRequest(path, req)
  let aborted = false
  res.onAborted(() => {
    aborted = true
  })
  try {
    options.abandon(await options.handshake(request))
    throw new ChatError('upgrade_required')
  } catch (err) {
    if (!(err instanceof ChatError)) options.observer.failed(err)
    if (!aborted) answer(res, err, isOriginAllowed(options.allowedOrigins, request.origin) ? request.origin : '')
  }
}

function preflight({ allowedOrigins }: ServerOptions, res: uws.HttpResponse, req: uws.HttpRequest): void {
  const origin = req.getHeader('origin')
  res.writeStatus('204 No Content')
  if (origin !== '' && isOriginAllowed(allowedOrigins, origin)) {
    res.writeHeader('access-control-allow-origin', origin).writeHeader('access-control-allow-headers', 'authorization').writeHeader('access-control-max-age', '600').writeHeader('vary', 'origin')
  }
  res.endWithoutBody()
}

function copyRequest(path: HandshakeRequest['path'], req: uws.HttpRequest): HandshakeRequest {
  return {
    path,
    query: new URLSearchParams(req.getQuery()),
    authorization: req.getHeader('authorization'),
    origin: req.getHeader('origin'),
    protocols: req.getHeader('sec-websocket-protocol'),
  }
}

function refused(options: ServerOptions, err: unknown, startedMs: number): void {
  options.observer.handshake(err instanceof ChatError ? err.code : 'internal', performance.now() - startedMs)
  if (!(err instanceof ChatError)) options.observer.failed(err)
}

const statusTexts: Record<number, string> = {
  400: '400 Bad Request',
  401: '401 Unauthorized',
  403: '403 Forbidden',
  404: '404 Not Found',
  426: '426 Upgrade Required',
  429: '429 Too Many Requests',
  503: '503 Service Unavailable',
}

function answer(res: uws.HttpResponse, err: unknown, allowOrigin: string): void {
  const { type: _, ...body } = errorFrameOf(undefined, err)
  const status = err instanceof ChatError ? err.httpStatus : 500
  res.cork(() => {
    res.writeStatus(statusTexts[status] ?? '500 Internal Server Error').writeHeader('content-type', 'application/json')
    if (status === 426) res.writeHeader('upgrade', 'websocket')
    if (status === 401) res.writeHeader('www-authenticate', 'Bearer')
    if (body.retryAfterMs !== undefined) res.writeHeader('retry-after', String(Math.ceil(body.retryAfterMs / 1_000)))
    if (allowOrigin !== '') res.writeHeader('access-control-allow-origin', allowOrigin).writeHeader('vary', 'origin')
    res.end(JSON.stringify(body))
  })
}
