import uws from 'uWebSockets.js'
import type { UserId } from '#libs/domain/ids.ts'
import type { CloseName } from '#libs/domain/close-codes.ts'
import type { ClientSocket, Connection } from '../../../services/edge/core/connection.ts'
import type { Sessions } from '../../../services/edge/core/sessions.ts'
import { startServer } from '../../../services/edge/server.ts'

export type EchoOptions = {
  readonly port?: number
  readonly frameBytesMax?: number
  readonly slowBufferBytes?: number
  /** What a text frame is answered with; by default itself. */
  readonly answer?: (text: string) => string
}

/**
 * The edge's own server.ts (its app, its upgrade path, its WebSocket settings, its handlers) with an echo where the chat's
 * rules would be. What the edge refuses above the protocol, binary frames and large ones, is echoed before its handler
 * sees it: for that alone the app is wrapped, from outside.
 */
export async function startEchoingEdge({ port = 0, frameBytesMax = 64 * 1024, slowBufferBytes = 1024 * 1024, answer = (text) => text }: EchoOptions = {}) {
  const closings: CloseName[] = []
  const counts = { sent: 0, bufferedMax: 0, ids: 0 }
  const connections = new Set<Connection>()
  const sessions = {
    connections,
    open: (_: string, socket: ClientSocket) => {
      const connection = { socket, onDrain: () => {} } as unknown as Connection
      connections.add(connection)
      return connection
    },
    receive: ({ socket }: Connection, text: string) => {
      if (closings.length === 0) counts.sent++
      socket.send(answer(text))
      counts.bufferedMax = Math.max(counts.bufferedMax, socket.bufferedBytes())
    },
    closed: (connection: Connection) => connections.delete(connection),
  } as unknown as Sessions
  const unwrap = wrapApp(frameBytesMax)
  try {
    const server = await startServer({
      host: '127.0.0.1',
      port,
      allowedOrigins: ['*'],
      sessions,
      // As a real one does, it takes a while.
      handshake: async () => {
        await new Promise((resolve) => setImmediate(resolve))
        return { connectionId: `echo-${counts.ids++}`, identity: { userId: 'echo' as UserId, subject: 'echo', role: 'user', expiresAtMs: Number.MAX_SAFE_INTEGER }, first: undefined, protocol: '' }
      },
      abandon: () => {},
      frameBytesMax,
      slowBufferBytes,
      observer: { handshake: () => {}, frameIn: () => {}, frameOut: () => {}, closing: (name) => closings.push(name), failed: (err) => console.error(err) },
    })
    return {
      port: server.port,
      closings,
      get sent() {
        return counts.sent
      },
      get bufferedMax() {
        return counts.bufferedMax
      },
      close: () => server.close(),
    }
  } finally {
    unwrap()
  }
}

/** Until it is undone, apps echo binary and large messages themselves. */
function wrapApp(frameBytesMax: number): () => void {
  const { App } = uws
  uws.App = () => {
    const app = App()
    const ws = app.ws.bind(app)
    app.ws = ((pattern: string, behavior: uws.WebSocketBehavior<unknown>) => {
      const message: NonNullable<typeof behavior.message> = (socket, bytes, isBinary) => {
        if (isBinary || bytes.byteLength > frameBytesMax) socket.send(bytes, isBinary)
        else void behavior.message?.(socket, bytes, isBinary)
      }
      return ws(pattern, { ...behavior, message })
    }) as typeof app.ws
    return app
  }
  return () => {
    uws.App = App
  }
}
