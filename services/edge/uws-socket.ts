import type uws from 'uWebSockets.js'
import { type CloseName, closeCodes, closeReason } from '#libs/domain/close-codes.ts'
import type { ClientSocket } from './core/connection.ts'

/** What `send` gives where nothing had to wait: 0 is buffered, 2 is dropped. */
const TAKEN = 1

export type SocketObserver = { frameOut(): void; closing(name: CloseName): void }

/** Never touches a socket after its close: uWebSockets.js throws there. A class, since there may be very many of them. */
export class UwsSocket implements ClientSocket {
  readonly #ws: uws.WebSocket<unknown>
  readonly #slowBufferBytes: number
  readonly #observer: SocketObserver
  #ending = false

  constructor(ws: uws.WebSocket<unknown>, slowBufferBytes: number, observer: SocketObserver) {
    this.#ws = ws
    this.#slowBufferBytes = slowBufferBytes
    this.#observer = observer
  }

  send(frame: string): void {
    if (this.#ending) return
    this.#observer.frameOut()
    // Whatever it is: who asks and never reads would have his answers dropped in the end, and nobody would notice.
    if (this.#ws.send(frame, false) !== TAKEN && this.#ws.getBufferedAmount() > this.#slowBufferBytes) this.close('slow_consumer')
  }

  bufferedBytes(): number {
    return this.#ending ? 0 : this.#ws.getBufferedAmount()
  }

  cork(work: () => void): void {
    if (this.#ending) work()
    else this.#ws.cork(work)
  }

  close(name: CloseName, retryAfterMs?: number): void {
    if (this.#ending) return
    this.#ending = true
    this.#observer.closing(name)
    // Calls our close handler at once; what is buffered still goes out, the close frame behind it.
    this.#ws.end(closeCodes[name].code, closeReason(name, retryAfterMs))
  }
}
