import canonicalize from 'canonicalize'
import { eventHash, genesisHash } from '#libs/domain/chain.ts'
import { contentHashOf } from '#libs/domain/decide-parts.ts'
import type { RoomId } from '#libs/domain/ids.ts'
import type { RoomEvent } from '#libs/domain/room.ts'

/** What a source has of an event's content; `erased`: taken away on purpose. */
export type StoredContent = { readonly content: string; readonly salt: string; readonly payload?: string | undefined } | 'erased' | 'missing'

/** An event as the audit log has it: without content, salt and payload. */
export type AuditedEvent = {
  readonly seq: number
  readonly event: RoomEvent
  /** Of messages and edits. */
  readonly content?: StoredContent
  /** What contradicts the event beside it, in words. */
  readonly contradiction?: string
  /** Where the topic has it. */
  readonly offset?: bigint
}

export type SourceName = 'postgres' | 'topic'
export type Source = {
  readonly name: SourceName
  /** In the order of their seq. */
  readonly events: readonly AuditedEvent[]
  /** Whether the source says that it has every event from the first on. */
  readonly fromFirst: boolean
  /** The head that the source itself claims. */
  readonly headSeq?: number
  /** Of the room's partition: what is below it in the topic, the source itself claims to have. */
  readonly nextOffset?: bigint
}

export type Break = { readonly source: SourceName | 'both'; readonly seq: number; readonly kind: 'gap' | 'hash' | 'unchained' | 'content' | 'row' | 'head' | 'differs'; readonly what: string }

export type Verified = {
  readonly source: SourceName
  readonly events: number
  readonly firstSeq: number | undefined
  readonly lastSeq: number | undefined
  /** From which event on each carries the hash of the one before; undefined: none does. */
  readonly chainBegins: number | undefined
  /** Of the last event: whoever has noted it earlier knows that all up to it is as it was. */
  readonly headHash: string | undefined
  readonly contentsVerified: number
  readonly contentsErased: number
  readonly breaks: readonly Break[]
}

/** Whether a source holds together. Its breaks in the order of their seq. */
export function verify(roomId: RoomId, { name, events, fromFirst, headSeq }: Source): Verified {
  const breaks: Break[] = []
  const found = (seq: number, kind: Break['kind'], what: string) => breaks.push({ source: name, seq, kind, what })
  const [first, last] = [events[0], events.at(-1)]
  const counts = { verified: 0, erased: 0 }
  let chainBegins: number | undefined
  let before: AuditedEvent | undefined
  if (first && fromFirst && first.seq !== 1) found(1, 'gap', `begins at ${first.seq}`)
  for (const one of events) {
    const { seq, event, contradiction } = one
    if (contradiction !== undefined) found(seq, 'row', contradiction)
    if (before && seq !== before.seq + 1) found(before.seq + 1, 'gap', seq > before.seq ? `${before.seq} is followed by ${seq}` : `${seq} comes after ${before.seq}`)
    if (event.prevHash === undefined) {
      if (chainBegins !== undefined) found(seq, 'unchained', `has no prevHash, though the chain begins at ${chainBegins}`)
    } else {
      chainBegins ??= seq
      const expected = seq === 1 ? genesisHash(roomId) : before?.seq === seq - 1 ? eventHash(roomId, before.event) : undefined
      if (expected !== undefined && event.prevHash !== expected) found(seq, 'hash', `its prevHash is not the hash of ${seq === 1 ? 'the room' : `event ${seq - 1}`}: that one, or this prevHash, was changed`)
    }
    const problem = contentProblem(one, counts)
    if (problem !== undefined) found(seq, 'content', problem)
    before = one
  }
  if (headSeq !== undefined && headSeq !== (last?.seq ?? 0)) found(Math.min(headSeq, last?.seq ?? 0) + 1, 'head', `the room's head is ${headSeq}, its last event ${last?.seq ?? 'none'}`)
  return {
    source: name,
    events: events.length,
    firstSeq: first?.seq,
    lastSeq: last?.seq,
    chainBegins,
    headHash: last && eventHash(roomId, last.event),
    contentsVerified: counts.verified,
    contentsErased: counts.erased,
    breaks: breaks.toSorted((a, b) => a.seq - b.seq),
  }
}

function contentProblem({ event, content }: AuditedEvent, counts: { verified: number; erased: number }): string | undefined {
  if (event.type !== 'messageSent' && event.type !== 'messageEdited') return undefined
  if (content === undefined || content === 'missing') return 'its content is missing, and was not erased'
  if (content === 'erased') {
    counts.erased++
    return undefined
  }
  if (contentHashOf(content.salt, content.content, content.payload) !== event.contentHash) return 'its content, salt or payload is not what its contentHash is of'
  counts.verified++
  return undefined
}

/**
 * Where both have an event, they must say the same; what the topic still holds of a room it holds to the end; and what
 * Postgres lacks there must be above its own position, or its last events were taken away, and its head with them.
 */
export function compare(postgres: Source, topic: Source): Break[] {
  const { events, nextOffset = 0n } = postgres
  const head = events.at(-1)?.seq ?? 0
  const taken = topic.events.filter(({ seq, offset }) => seq > head && offset !== undefined && offset < nextOffset)
  return [...differences(postgres, topic), ...taken.map(({ seq }): Break => ({ source: 'both', seq, kind: 'differs', what: 'is in the topic and below the position of Postgres, but not in Postgres' }))]
}

function differences(postgres: Source, topic: Source): Break[] {
  const inTopic = new Map(topic.events.map(({ seq, event }) => [seq, event]))
  const [first, last] = [topic.events[0]?.seq, topic.events.at(-1)?.seq]
  if (first === undefined || last === undefined) return []
  return postgres.events.flatMap(({ seq, event }): Break[] => {
    if (seq < first) return []
    const other = inTopic.get(seq)
    if (!other) return seq > last ? [{ source: 'both', seq, kind: 'differs', what: 'is in Postgres, but not in the topic' }] : []
    return canonicalize(event) === canonicalize(other) ? [] : [{ source: 'both', seq, kind: 'differs', what: 'is not the same in Postgres and in the topic' }]
  })
}
