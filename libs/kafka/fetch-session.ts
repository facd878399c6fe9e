/** What a consumer asks of one partition. `fetchOffset` is the next one that it wants. */
export type WantedPartition = { readonly partition: number; readonly fetchOffset: string; readonly maxBytes: number }
export type WantedTopic = { readonly topic: string; readonly partitions: readonly WantedPartition[] }

export type SessionRequest = {
  readonly sessionId: number
  readonly sessionEpoch: number
  /** In a new session all that is wanted; later what has changed since. */
  readonly topics: readonly WantedTopic[]
  readonly forgottenTopics: readonly { readonly topic: string; readonly partitions: readonly number[] }[]
}

type Known = { readonly topic: string; readonly wanted: WantedPartition }

const EPOCH_MAX = 2 ** 31 - 1
const NONE = { id: 0, epoch: 0 }

/**
 * One consumer's incremental fetch session with one broker (KIP-227): the broker remembers what is wanted, so a request
 * names only what has changed, and an answer only what has news. Requests follow one another. After any failure the next
 * request begins a new session; the broker drops the old one in time.
 */
export class FetchSession {
  #session = NONE
  #known: ReadonlyMap<string, Known> = new Map()
  #wanted: ReadonlyMap<string, Known> = new Map()

  next(topics: readonly WantedTopic[]): SessionRequest {
    this.#wanted = new Map(topics.flatMap(({ topic, partitions }) => partitions.map((wanted) => [`${topic}/${wanted.partition}`, { topic, wanted }])))
    const { id, epoch } = this.#session
    if (id === 0) return { sessionId: 0, sessionEpoch: 0, topics, forgottenTopics: [] }
    const changed = [...this.#wanted].filter(([key, { wanted }]) => !isSame(this.#known.get(key)?.wanted, wanted)).map(([, known]) => known)
    const forgotten = [...this.#known].filter(([key]) => !this.#wanted.has(key)).map(([, known]) => known)
    return {
      sessionId: id,
      sessionEpoch: epoch,
      topics: byTopic(changed).map(([topic, partitions]) => ({ topic, partitions })),
      forgottenTopics: byTopic(forgotten).map(([topic, partitions]) => ({ topic, partitions: partitions.map(({ partition }) => partition) })),
    }
  }

  /** The broker's answer to the last request came, without an error; 0: it keeps no session. */
  answered(sessionId: number): void {
    const { id, epoch } = this.#session
    this.#known = this.#wanted
    this.#session = { id: sessionId, epoch: sessionId !== id || epoch >= EPOCH_MAX ? 1 : epoch + 1 }
  }

  /** Nobody knows what the broker remembers. */
  reset(): void {
    this.#session = NONE
  }
}

const isSame = (known: WantedPartition | undefined, wanted: WantedPartition): boolean => known?.fetchOffset === wanted.fetchOffset && known.maxBytes === wanted.maxBytes

function byTopic(partitions: readonly Known[]): [string, WantedPartition[]][] {
  const topics = new Map<string, WantedPartition[]>()
  for (const { topic, wanted } of partitions) topics.set(topic, [...(topics.get(topic) ?? []), wanted])
  return [...topics]
}
