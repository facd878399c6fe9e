/** So many pieces of work at a time; what comes beyond waits for its turn, in order. */
export class Turns {
  readonly #width: number
  #waiting: (() => void)[] | undefined
  #running = 0

  constructor(width: number) {
    this.#width = width
  }

  async take<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running < this.#width) this.#running++
    // Who ends hands his place on.
    else await new Promise<void>((resolve) => (this.#waiting ??= []).push(resolve))
    try {
      return await work()
    } finally {
      const next = this.#waiting?.shift()
      if (next) next()
      else this.#running--
    }
  }
}
