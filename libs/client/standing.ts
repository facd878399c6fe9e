import type { ReplyFrame } from '#libs/domain/frames.ts'
import { retryDelayMs } from './core/backoff.ts'
import { ChatClientError } from './errors.ts'
import type { Ports } from './ports.ts'
import type { Request } from './requests.ts'
import { Timer } from './timer.ts'

export type StandingRequestOptions = {
  readonly ports: Pick<Ports, 'clock' | 'random'>
  readonly isOnline: () => boolean
  readonly request: (request: Request, onReply: (reply: ReplyFrame) => void) => void
  readonly onError: (error: ChatClientError) => void
}

/** Something that a server knows only as long as the socket lasts: told when it changes, and again on each new socket. The last one counts. */
export class StandingRequest {
  readonly #options: StandingRequestOptions
  readonly #timer: Timer
  #request: Request | undefined
  #refusals = 0

  constructor(options: StandingRequestOptions) {
    this.#options = options
    this.#timer = new Timer(options.ports.clock)
  }

  set(request: Request): void {
    this.#request = request
    this.tell()
  }

  /** Also to be called when a socket has come up. */
  tell(): void {
    this.#timer.stop()
    const said = this.#request
    if (!said || !this.#options.isOnline()) return
    this.#options.request(said, (reply) => {
      // A later one is on its way already.
      if (said !== this.#request) return
      if (reply.type === 'error') this.#onRefused(reply)
      else this.#refusals = 0
    })
  }

  onOffline(): void {
    this.#timer.stop()
  }

  #onRefused({ code, message, retriable, retryAfterMs }: ReplyFrame & { readonly type: 'error' }): void {
    const { ports, onError } = this.#options
    if (retriable) this.#timer.start(retryDelayMs(this.#refusals++, ports.random(), { retryAfterMs }), () => this.tell())
    else onError(new ChatClientError(code, { retriable, detail: message }))
  }
}
