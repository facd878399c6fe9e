import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'
import { type ErrorCode, errorCatalogue } from '#libs/domain/errors.ts'
import { ServerModel } from './server-model.ts'

type HandshakeRefusal = { readonly code: ErrorCode; readonly retryAfterMs?: number }

/** The model behind real sockets, with the handshake of chat.v1 and its probe. */
export class WsServer {
  readonly model: ServerModel
  readonly handshakes: { readonly path: string; readonly token: string }[] = []
  readonly probes: { readonly path: string; readonly token: string | undefined }[] = []
  /** Decides about each handshake, and its probe. */
  refuse: (token: string) => HandshakeRefusal | undefined = () => undefined
  port = 0
  readonly #http: Server
  readonly #sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'chat.v1' })

  private constructor(nowMs: () => number) {
    this.model = new ServerModel(nowMs)
    this.#http = createServer((request, response) => {
      const token = request.headers.authorization?.replace('Bearer ', '')
      this.probes.push({ path: request.url!, token })
      const refusal = this.refuse(token ?? '') ?? { code: 'upgrade_required' as const }
      const { httpStatus, message, retriable } = errorCatalogue[refusal.code]
      response.writeHead(httpStatus, { 'content-type': 'application/json' }).end(JSON.stringify({ ...refusal, message, retriable }))
    })
    this.#http.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head))
  }

  static async start(nowMs: () => number): Promise<WsServer> {
    const server = new WsServer(nowMs)
    await new Promise<void>((resolve) => server.#http.listen(0, '127.0.0.1', resolve))
    server.port = (server.#http.address() as AddressInfo).port
    return server
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}/ws/chat`
  }

  /** Cuts every socket without a word, as a dying node does. */
  cut(): void {
    for (const socket of this.#sockets.clients) socket.terminate()
  }

  async stop(): Promise<void> {
    this.cut()
    this.#http.closeAllConnections()
    await new Promise((resolve) => this.#http.close(resolve))
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const token = request.headers['sec-websocket-protocol']?.split(/, ?/).find((name) => name.startsWith('bearer.'))?.slice('bearer.'.length) ?? ''
    const path = request.url!
    this.handshakes.push({ path, token })
    const refusal = this.refuse(token)
    if (refusal) {
      socket.end(`HTTP/1.1 ${errorCatalogue[refusal.code].httpStatus} Refused\r\nConnection: close\r\n\r\n`)
      return
    }
    const query = new URL(path, 'http://h').searchParams
    const roomId = query.get('orderId')
    this.#sockets.handleUpgrade(request, socket, head, (ws) => {
      const wire = { send: (text: string) => ws.send(text), close: (code: number, reason: string) => ws.close(code, reason) }
      const connection = this.model.open(token, wire, roomId === null ? undefined : { roomId, since: Number(query.get('since')) })
      ws.on('message', (data) => this.model.receive(connection, String(data)))
      ws.on('close', () => this.model.closed(connection))
      ws.on('error', () => {})
    })
  }
}
