/** Typed events. A listener that throws never disturbs the others or the client: what it threw goes to `onThrown`. */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<(value: never) => void>>()
  readonly #onThrown: (err: unknown) => void

  constructor(onThrown: (err: unknown) => void) {
    this.#onThrown = onThrown
  }

  /** @returns takes the listener off again */
  on<K extends keyof Events>(name: K, listener: (value: Events[K]) => void): () => void {
    const listeners = this.#listeners.get(name) ?? new Set()
    this.#listeners.set(name, listeners)
    listeners.add(listener)
    return () => void listeners.delete(listener)
  }

  emit<K extends keyof Events>(name: K, value: Events[K]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        ;(listener as (value: Events[K]) => void)(value)
      } catch (err) {
        this.#onThrown(err)
      }
    }
  }
}
