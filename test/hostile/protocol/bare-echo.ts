import uws from 'uWebSockets.js'

/** What everything here is compared with: uWebSockets.js, the same build, and an echo; no line of ours. */
export async function startBareEcho({ port = 0, maxPayloadLength = 128 * 1024 }: { readonly port?: number; readonly maxPayloadLength?: number } = {}): Promise<{ readonly port: number; close(): void }> {
  const app = uws.App()
  app.ws('/*', {
    maxPayloadLength,
    maxBackpressure: 4 * 1024 * 1024,
    idleTimeout: 60,
    compression: uws.DISABLED,
    message: (ws, bytes, isBinary) => {
      ws.send(bytes, isBinary)
    },
  })
  const socket = await new Promise<uws.us_listen_socket | false>((resolve) => app.listen('127.0.0.1', port, resolve))
  if (!socket) throw new Error('the bare echo server cannot listen')
  return { port: uws.us_socket_local_port(socket), close: () => app.close() }
}
