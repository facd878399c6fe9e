import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FetchSession, type SessionRequest, type WantedTopic } from './fetch-session.ts'

const want = (offsets: Readonly<Record<number, number>>, topic = 't'): WantedTopic => ({
  topic,
  partitions: Object.entries(offsets).map(([partition, offset]) => ({ partition: Number(partition), fetchOffset: String(offset), maxBytes: 1_000 })),
})

/** What a broker keeps of a session: by partition, the offset it was last told. */
class BrokerSession {
  readonly offsets = new Map<string, string>()

  apply({ sessionEpoch, topics, forgottenTopics }: SessionRequest): void {
    if (sessionEpoch === 0) this.offsets.clear()
    for (const { topic, partitions } of topics) for (const { partition, fetchOffset } of partitions) this.offsets.set(`${topic}/${partition}`, fetchOffset)
    for (const { topic, partitions } of forgottenTopics) for (const partition of partitions) this.offsets.delete(`${topic}/${partition}`)
  }
}

describe('a fetch session', () => {
  test('begins with all that is wanted, and then names only what has changed', () => {
    const session = new FetchSession()
    expect(session.next([want({ 0: 5, 1: 7 })])).toEqual({ sessionId: 0, sessionEpoch: 0, topics: [want({ 0: 5, 1: 7 })], forgottenTopics: [] })
    session.answered(42)
    expect(session.next([want({ 0: 6, 1: 7 })])).toEqual({ sessionId: 42, sessionEpoch: 1, topics: [want({ 0: 6 })], forgottenTopics: [] })
    session.answered(42)
    expect(session.next([want({ 1: 7, 2: 0 })])).toEqual({ sessionId: 42, sessionEpoch: 2, topics: [want({ 2: 0 })], forgottenTopics: [{ topic: 't', partitions: [0] }] })
  })

  test('begins anew after a failure, and where the broker keeps none', () => {
    const session = new FetchSession()
    session.next([want({ 0: 5 })])
    session.answered(42)
    session.next([want({ 0: 6 })])
    session.reset()
    expect(session.next([want({ 0: 6 })])).toMatchObject({ sessionId: 0, sessionEpoch: 0, topics: [want({ 0: 6 })] })
    session.answered(0)
    expect(session.next([want({ 0: 6 })])).toMatchObject({ sessionId: 0, sessionEpoch: 0, topics: [want({ 0: 6 })] })
  })

  test('whatever is wanted, answered and lost: the broker reads just what is wanted now', () => {
    const wanted = fc.array(fc.record({ a: fc.dictionary(fc.constantFrom('0', '1', '2'), fc.nat(3)), b: fc.dictionary(fc.constantFrom('0', '1'), fc.nat(3)), isLost: fc.boolean() }), { minLength: 1, maxLength: 30 })
    fc.assert(
      fc.property(wanted, (rounds) => {
        const session = new FetchSession()
        const broker = new BrokerSession()
        for (const { a, b, isLost } of rounds) {
          const topics = [want(a, 'a'), want(b, 'b')].filter(({ partitions }) => partitions.length > 0)
          broker.apply(session.next(topics))
          expect(Object.fromEntries(broker.offsets)).toEqual(Object.fromEntries(topics.flatMap(({ topic, partitions }) => partitions.map((p) => [`${topic}/${p.partition}`, p.fetchOffset]))))
          if (isLost) session.reset()
          else session.answered(7)
        }
      }),
    )
  })
})
