import type { ServerResponse } from 'node:http'

/** Requests that have begun and have not got their whole answer. */
export class InFlight {
  readonly #answers = new Set<ServerResponse>()
  #onDrained: (() => void) | undefined

  add(answer: ServerResponse): void {
    this.#answers.add(answer)
    // After the whole answer, and also where the client went away.
    answer.once('close', () => {
      this.#answers.delete(answer)
      if (this.#answers.size === 0) this.#onDrained?.()
    })
  }

  /** For the one who stops the server: resolves once nothing is under way. */
  drained(): Promise<void> {
    if (this.#answers.size === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#onDrained = resolve
    })
  }
}
