import { type CircuitBreakerPolicy, circuitBreaker, ConsecutiveBreaker, handleWhen, isBrokenCircuitError } from 'cockatiel'
import { ChatError, hasCode } from '#libs/domain/errors.ts'

export type BreakerOptions = {
  /** Failures in a row after which a provider is left alone. */
  readonly failuresMax: number
  /** How long it is left alone before one request tries it again. */
  readonly openMs: number
  readonly onState: (provider: string, isOpen: boolean) => void
}

/** A circuit breaker for each provider, so that one that is dead or slow costs nothing but its own deliveries. */
export class Breakers {
  readonly #options: BreakerOptions
  readonly #breakers = new Map<string, CircuitBreakerPolicy>()

  constructor(options: BreakerOptions) {
    this.#options = options
  }

  /**
   * Only `unavailable` counts as a failure: a provider that refuses is there.
   * @param provider of a bounded set of names
   * @throws ChatError `unavailable` at once where the provider is left alone; else what `work` throws
   */
  async run<T>(provider: string, work: () => Promise<T>): Promise<T> {
    try {
      return await this.#of(provider).execute(work)
    } catch (err) {
      if (isBrokenCircuitError(err)) throw new ChatError('unavailable', `${provider} has failed too often and is left alone for now`)
      throw err
    }
  }

  #of(provider: string): CircuitBreakerPolicy {
    const known = this.#breakers.get(provider)
    if (known) return known
    const { failuresMax, openMs, onState } = this.#options
    const breaker = circuitBreaker(
      handleWhen((err) => hasCode(err, 'unavailable')),
      { halfOpenAfter: openMs, breaker: new ConsecutiveBreaker(failuresMax) },
    )
    breaker.onBreak(() => onState(provider, true))
    breaker.onReset(() => onState(provider, false))
    onState(provider, false)
    this.#breakers.set(provider, breaker)
    return breaker
  }
}
