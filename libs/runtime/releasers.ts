/** What was acquired, released in reverse order, every one, even where one fails. */
export class Releasers {
  readonly #stack: (() => Promise<void> | void)[] = []

  add(release: () => Promise<void> | void): void {
    this.#stack.push(release)
  }

  /** @throws AggregateError of everything that failed */
  async releaseAll(): Promise<void> {
    const errors: unknown[] = []
    for (const release of this.#stack.splice(0).reverse()) {
      try {
        await release()
      } catch (err) {
        errors.push(err)
      }
    }
    if (errors.length > 0) throw new AggregateError(errors, 'shutdown failed')
  }
}
