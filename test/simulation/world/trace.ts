import { createHash } from 'node:crypto'

const KEPT = 60

/** Everything that happens, in order: its digest, and the end of it for people. */
export class Trace {
  readonly #hash = createHash('sha256')
  readonly #all: string[] | undefined
  #pending: string[] = []
  #recent: string[] = []
  #events = 0

  /** `keepAll`: for a replay that somebody reads. */
  constructor(keepAll: boolean) {
    this.#all = keepAll ? [] : undefined
  }

  get events(): number {
    return this.#events
  }

  add(line: string): void {
    this.#events++
    this.#all?.push(line)
    this.#pending.push(line)
    if (this.#pending.length >= 256) this.#flush()
  }

  /** Ends it. */
  digest(): string {
    this.#flush()
    return this.#hash.digest('hex')
  }

  lines(): readonly string[] {
    return this.#all ?? [...this.#recent, ...this.#pending].slice(-KEPT)
  }

  #flush(): void {
    this.#hash.update(this.#pending.join('\n'))
    this.#recent = [...this.#recent, ...this.#pending].slice(-KEPT)
    this.#pending = []
  }
}
