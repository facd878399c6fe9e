import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkPageQuery, type PageQuery, pageRange, toPage } from './message-page.ts'

/** A room: its head, and which of its seqs are messages. */
const room = fc.integer({ min: 1, max: 60 }).chain((headSeq) =>
  fc.record({
    headSeq: fc.constant(headSeq),
    seqs: fc.subarray(Array.from({ length: headSeq }, (_, i) => i + 1)),
  }),
)

/** What the SQL does. */
function read(seqs: readonly number[], query: PageQuery, headSeq: number) {
  const range = pageRange(query, headSeq)
  const found = seqs.filter((seq) => seq > range.above && seq <= range.upTo)
  const inOrder = range.take === 'oldest' ? found : found.toReversed()
  return toPage(range, inOrder.slice(0, range.limit + 1).map((seq) => ({ seq })))
}

describe('a page of messages', () => {
  test('read on by nextAfter: every message once, in order, and the cursor ends at the head', () => {
    fc.assert(
      fc.property(room, fc.integer({ min: 1, max: 7 }), ({ headSeq, seqs }, limit) => {
        const got: number[] = []
        let after = 0
        for (;;) {
          const page = read(seqs, { after, limit }, headSeq)
          got.push(...page.messages.map(({ seq }) => seq))
          after = page.nextAfter
          if (!page.hasMore) break
        }
        expect(got).toEqual(seqs)
        expect(after).toBe(headSeq)
      }),
    )
  })

  test('read backwards by before: every message once', () => {
    fc.assert(
      fc.property(room, fc.integer({ min: 1, max: 7 }), ({ headSeq, seqs }, limit) => {
        let got: number[] = []
        let page = read(seqs, { limit }, headSeq)
        expect(page.nextAfter).toBe(headSeq)
        for (;;) {
          got = [...page.messages.map(({ seq }) => seq), ...got]
          if (!page.hasMore) break
          page = read(seqs, { before: got[0]!, limit }, headSeq)
          expect(page.nextAfter).toBe(got[0]! - 1)
        }
        expect(got).toEqual(seqs)
      }),
    )
  })

  test('a client that knows more than Postgres does yet never gets a lower cursor', () => {
    expect(read([1, 2, 3], { after: 10 }, 5)).toEqual({ messages: [], nextAfter: 10, hasMore: false })
  })

  test('events that are no messages move the cursor too', () => {
    expect(read([1], { after: 1 }, 4)).toEqual({ messages: [], nextAfter: 4, hasMore: false })
  })

  test('what has no meaning is refused', () => {
    expect(() => checkPageQuery({ before: 1, after: 1 })).toThrow(/exclude/)
    expect(() => checkPageQuery({ before: 1, waitMs: 1 })).toThrow(/waitMs/)
    expect(() => checkPageQuery({ waitMs: 1 })).toThrow(/waitMs/)
    expect(() => checkPageQuery({ waitMs: 0 })).not.toThrow()
    expect(() => checkPageQuery({ after: 0, waitMs: 1 })).not.toThrow()
  })
})

test('nothing below what its reader may see is read', () => {
  expect(pageRange({ after: 3 }, 50, 20)).toMatchObject({ above: 19, upTo: 50 })
  expect(pageRange({ after: 30 }, 50, 20)).toMatchObject({ above: 30, upTo: 50 })
  expect(pageRange({}, 50, 20)).toMatchObject({ above: 19, upTo: 50 })
  expect(pageRange({ before: 10 }, 50, 20)).toMatchObject({ above: 19, upTo: 9 })
})
