import { errorCatalogue } from '#libs/domain/errors.ts'
import type { ClientClock, Fetch, SocketConstructor, SocketLike } from '../ports.ts'
import type { ServerConnection, ServerModel } from './server-model.ts'

type Handlers = { onopen: (() => void) | null; onmessage: ((event: { data: string }) => void) | null; onclose: ((event: { code: number; reason: string }) => void) | null }

/** One connection through memory, with a latency by the given clock; each direction keeps its order. */
type Cable = { readonly connection: ServerConnection; cut(): void; silence(): void }

export class MemoryNetwork {
  readonly model: ServerModel
  readonly cables = new Set<Cable>()
  readonly WebSocket: SocketConstructor
  /** Upgrades are refused with this. */
  refuse: 'upgrade_required' | 'shutting_down' | undefined
  /** How often a frame of the server arrives. */
  copies: () => number = () => 1
  handshakes = 0
  readonly #clock: ClientClock
  readonly #latencyMs: number

  constructor(model: ServerModel, clock: ClientClock, latencyMs = 5) {
    this.model = model
    this.#clock = clock
    this.#latencyMs = latencyMs
    const network = this
    this.WebSocket = class {
      constructor(_url: string, protocols: string[]) {
        network.#open(this as unknown as SocketLike & Handlers, protocols[1]!.slice('bearer.'.length))
      }
    } as unknown as SocketConstructor
  }

  readonly fetch: Fetch = async () => {
    const code = this.refuse ?? 'upgrade_required'
    const { httpStatus, retriable } = errorCatalogue[code]
    return { status: httpStatus, text: async () => JSON.stringify({ code, retriable }) }
  }

  #open(socket: SocketLike & Handlers, token: string): void {
    this.handshakes++
    let open = true
    let silent = false
    const later = (run: () => void) => this.#clock.setTimeout(run, this.#latencyMs)
    const closeBoth = (code: number, reason: string) => {
      if (!open) return
      open = false
      if (cable) {
        this.cables.delete(cable)
        this.model.closed(cable.connection)
      }
      if (!silent) later(() => socket.onclose?.({ code, reason }))
    }
    let cable: Cable | undefined
    socket.send = (text) => void later(() => open && !silent && this.model.receive(cable!.connection, text))
    socket.close = () => closeBoth(1000, '')
    if (this.refuse) return closeBoth(1006, '')
    later(() => {
      if (!open) return
      socket.onopen?.()
      const deliver = (text: string) => {
        for (let i = this.copies(); i > 0; i--) later(() => !silent && open && socket.onmessage?.({ data: text }))
      }
      cable = { connection: this.model.open(token, { send: deliver, close: closeBoth }), cut: () => closeBoth(1006, ''), silence: () => void (silent = true) }
      this.cables.add(cable)
    })
  }
}
