import type { ReplyFrame } from '#libs/domain/frames.ts'
import { retryDelayMs } from './core/backoff.ts'
import { renewDelayMs } from './core/renewal.ts'
import { ChatClientError, toClientError } from './errors.ts'
import type { Ports, TokenProvider } from './ports.ts'
import type { Request } from './requests.ts'
import { Timer } from './timer.ts'

export type TokenRenewalOptions = {
  readonly ports: Pick<Ports, 'clock' | 'random'>
  readonly token: TokenProvider
  readonly request: (request: Request, onReply: (reply: ReplyFrame) => void) => void
  readonly serverNowMs: () => number
  readonly onError: (error: ChatClientError) => void
}

/**
 * Renews the token on the open socket ahead of its expiry. Where that fails, the server closes the socket at the expiry
 * (4010) and the next connection asks for a token anyway.
 */
export class TokenRenewal {
  readonly #options: TokenRenewalOptions
  readonly #timer: Timer
  #expiresAtMs = 0
  #failures = 0
  #generation = 0

  constructor(options: TokenRenewalOptions) {
    this.#options = options
    this.#timer = new Timer(options.ports.clock)
  }

  start(expiresAtMs: number): void {
    this.stop()
    this.#expiresAtMs = expiresAtMs
    this.#failures = 0
    this.#schedule()
  }

  stop(): void {
    this.#generation++
    this.#timer.stop()
  }

  #schedule(): void {
    const { random } = this.#options.ports
    const dueMs = renewDelayMs(this.#expiresAtMs - this.#options.serverNowMs(), random())
    const pauseMs = this.#failures === 0 ? 0 : retryDelayMs(this.#failures, random())
    this.#timer.start(Math.max(dueMs, pauseMs), () => void this.#renew(this.#generation))
  }

  async #renew(generation: number): Promise<void> {
    try {
      const token = await this.#options.token({ expired: false })
      if (generation !== this.#generation) return
      this.#options.request({ type: 'authenticate', token }, (reply) => this.#onReply(reply))
    } catch (err) {
      if (generation === this.#generation) this.#failed(toClientError(err, 'token_unavailable'), true)
    }
  }

  #onReply(reply: ReplyFrame): void {
    if (reply.type === 'error') {
      // Another token may do where this one has expired; one that is not valid here is the provider's mistake.
      this.#failed(new ChatClientError(reply.code, { retriable: reply.retriable }), reply.retriable || reply.code === 'token_expired')
      return
    }
    const expiresAtMs = reply.type === 'ack' && Number.isFinite(reply.expiresAtMs) ? reply.expiresAtMs! : 0
    // A provider that gives the same token again must not be asked in a circle.
    this.#failures = expiresAtMs > this.#expiresAtMs ? 0 : this.#failures + 1
    this.#expiresAtMs = Math.max(expiresAtMs, this.#expiresAtMs)
    this.#schedule()
  }

  #failed(error: ChatClientError, tryAgain: boolean): void {
    this.#options.onError(error)
    this.#failures++
    if (tryAgain) this.#schedule()
  }
}
