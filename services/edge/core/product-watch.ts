import { ChatError, hasCode } from '#libs/domain/errors.ts'
import type { ProductFields } from '#libs/domain/frames.ts'
import type { Connection } from './connection.ts'

export type ProductWatchOptions = {
  /** The cards that the history has of these, in any order. @throws ChatError `unavailable` */
  readonly load: (productIds: readonly string[]) => Promise<readonly ProductFields[]>
  /** Updates of the product come from the moment at which this resolves. @throws ChatError `unavailable` */
  readonly follow: (productId: string) => Promise<void>
  readonly limits: ProductWatchLimits
}

export type ProductWatchLimits = {
  /** Updates that are remembered although nobody watched: the history may not have them yet when somebody does. */
  readonly recentMax: number
  /** Products that are watched on this node at once: `unavailable` above. */
  readonly watchedMax: number
}

export const productWatchLimits: ProductWatchLimits = { recentMax: 2_000, watchedMax: 200_000 }

type Watched = { readonly watchers: Set<Connection>; card: ProductFields | undefined }

/** Which sockets show which products, and what these are now: of two cards of a product the later `updatedAtMs` counts. */
export class ProductWatch {
  readonly #options: ProductWatchOptions
  readonly #watched = new Map<string, Watched>()
  readonly #ofConnection = new Map<Connection, readonly string[]>()
  /** The oldest first. */
  readonly #recent = new Map<string, ProductFields>()

  constructor(options: ProductWatchOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#watched.size
  }

  /** Of the products that somebody watches. */
  ids(): Iterable<string> {
    return this.#watched.keys()
  }

  /**
   * From now on the socket gets updates of these products and of no others; gives the present cards of those that are
   * known. Refused, it watches what it did before. @throws ChatError `history_unavailable`, `unavailable`
   */
  async watch(connection: Connection, wanted: readonly string[]): Promise<readonly ProductFields[]> {
    const productIds = [...new Set(wanted)]
    const before = this.#ofConnection.get(connection) ?? []
    this.#replace(connection, productIds)
    try {
      if (this.#watched.size > this.#options.limits.watchedMax) throw new ChatError('unavailable', 'this node watches as many products as it can')
      // First: what changes after the reading must come by the other way.
      await Promise.all(productIds.map((id) => this.#options.follow(id)))
      const stored = productIds.length > 0 ? await fromHistory(this.#options.load(productIds)) : []
      // The log may be behind the history: then this is news for the others too.
      for (const card of stored) if (this.#learn(card)) this.#push(card, connection)
    } catch (err) {
      if (!connection.closed) this.#replace(connection, before)
      throw err
    }
    return productIds.flatMap((id) => this.#watched.get(id)?.card ?? [])
  }

  forget(connection: Connection): void {
    this.#replace(connection, [])
  }

  /** A product's data, new or repeated, in any order. */
  updated(card: ProductFields): void {
    if (this.#learn(card)) this.#push(card)
  }

  #push(card: ProductFields, except?: Connection): void {
    const watched = this.#watched.get(card.productId)
    if (!watched) return
    const text = JSON.stringify({ type: 'cardUpdated', productId: card.productId, product: card })
    for (const connection of watched.watchers) if (connection !== except) connection.sendText(text)
  }

  /** False where it is no news. */
  #learn(card: ProductFields): boolean {
    const watched = this.#watched.get(card.productId)
    const known = watched?.card ?? this.#recent.get(card.productId)
    if (known && known.updatedAtMs >= card.updatedAtMs) return false
    if (watched) watched.card = card
    else this.#remember(card)
    return true
  }

  #remember(card: ProductFields): void {
    this.#recent.delete(card.productId)
    this.#recent.set(card.productId, card)
    if (this.#recent.size > this.#options.limits.recentMax) this.#recent.delete(this.#recent.keys().next().value!)
  }

  #replace(connection: Connection, productIds: readonly string[]): void {
    const next = new Set(productIds)
    for (const id of this.#ofConnection.get(connection) ?? []) {
      if (next.has(id)) continue
      const watched = this.#watched.get(id)
      watched?.watchers.delete(connection)
      if (watched?.watchers.size !== 0) continue
      this.#watched.delete(id)
      if (watched.card) this.#remember(watched.card)
    }
    for (const id of next) {
      const watched = this.#watched.get(id)
      if (watched) watched.watchers.add(connection)
      else this.#watched.set(id, { watchers: new Set([connection]), card: this.#recent.get(id) })
    }
    if (next.size > 0) this.#ofConnection.set(connection, [...next])
    else this.#ofConnection.delete(connection)
  }
}

async function fromHistory<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer
  } catch (err) {
    throw hasCode(err, 'unavailable') ? new ChatError('history_unavailable', undefined, { cause: err }) : err
  }
}
