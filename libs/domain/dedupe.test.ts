import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BUCKET_ENTRIES_MAX, type DedupeLedger, emptyLedger, remember, rememberedAck } from './dedupe.ts'
import type { ClientMessageId, MessageId, UserId } from './ids.ts'
import { CLIENT_CLOCK_AHEAD_MS, DEDUPE_WINDOW_MS } from './limits.ts'

const T0 = 1_700_000_000_000
const sender = 'customer' as UserId
const ackOf = (seq: number) => ({ messageId: `m${seq}` as MessageId, seq, messageIndex: seq, timestampMs: T0 })

function idAt(timeMs: number, nr: number): ClientMessageId {
  const time = timeMs.toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-${nr.toString(16).padStart(12, '0')}` as ClientMessageId
}

/** Steps of event time, and how old each id is; the bulk fills buckets. */
const courses = fc.array(fc.tuple(fc.constantFrom(0, 1_000, 3_600_000, DEDUPE_WINDOW_MS / 3), fc.integer({ min: -CLIENT_CLOCK_AHEAD_MS, max: DEDUPE_WINDOW_MS }), fc.constantFrom(1, 5, BUCKET_ENTRIES_MAX)), { maxLength: 20 })

test('remembers every id that has not expired, forgets only expired ones, and stays bounded', () => {
  fc.assert(
    fc.property(courses, (course) => {
      let ledger: DedupeLedger = emptyLedger
      let nowMs = T0
      const given: { id: ClientMessageId; timeMs: number; atMs: number; seq: number }[] = []
      for (const [stepMs, ageMs, count] of course) {
        nowMs += stepMs
        for (let i = 0; i < count; i++) {
          const seq = given.length + 1
          const id = idAt(nowMs - ageMs, seq)
          ledger = remember(ledger, sender, id, ackOf(seq), nowMs)
          given.push({ id, timeMs: nowMs - ageMs, atMs: nowMs, seq })
        }
      }
      for (const { id, timeMs, seq } of given) if (timeMs >= nowMs - DEDUPE_WINDOW_MS && rememberedAck(ledger, sender, id)?.seq !== seq) throw new Error(`${id} was forgotten`)
      expect(rememberedAck(ledger, 'vendor' as UserId, given[0]?.id ?? idAt(T0, 0))).toBeUndefined()
      // What was accepted longer ago than window and clock difference is gone, but for a bucket's worth on either side.
      const recent = given.filter((g) => g.atMs >= nowMs - DEDUPE_WINDOW_MS - CLIENT_CLOCK_AHEAD_MS).length
      const kept = ledger.buckets.reduce((sum, b) => sum + b.acks.size, 0)
      expect(kept).toBeLessThanOrEqual(recent + 2 * BUCKET_ENTRIES_MAX)
    }),
    { numRuns: 40 },
  )
})

test('a full bucket never changes again, nor its number; numbers are never used twice', () => {
  fc.assert(
    fc.property(courses, (course) => {
      let ledger: DedupeLedger = emptyLedger
      let nowMs = T0
      let seq = 0
      const byNumber = new Map<number, unknown>()
      for (const [stepMs, ageMs, count] of course) {
        nowMs += stepMs
        for (let i = 0; i < count; i++) {
          const before = ledger
          ledger = remember(ledger, sender, idAt(nowMs - ageMs, ++seq), ackOf(seq), nowMs)
          // Just one bucket is another than before: an append copies no more.
          if (ledger.firstBucket < before.firstBucket || ledger.buckets.filter((b) => !before.buckets.includes(b)).length !== 1) throw new Error(`append ${seq} changed more than a bucket`)
          ledger.buckets.forEach((bucket, at) => {
            const number = ledger.firstBucket + at
            if (byNumber.has(number) && bucket !== byNumber.get(number)) throw new Error(`the full bucket ${number} has changed`)
            if (bucket.acks.size === BUCKET_ENTRIES_MAX) byNumber.set(number, bucket)
          })
        }
      }
    }),
    { numRuns: 20 },
  )
})
