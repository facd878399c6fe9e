import { type ClientMessageId, clientMessageIdTimeMs, type MessageId, messageIdOf, type RoomId, type UserId } from './ids.ts'
import { DEDUPE_WINDOW_MS } from './limits.ts'
import type { OriginalAck } from './room.ts'

/**
 * What a room remembers of sent clientMessageIds: immutable, in buckets, so that an append copies at most one bucket
 * and a snapshot rewrites only buckets that changed (a full one never changes again).
 */
export type DedupeLedger = {
  /** Number of the first bucket in `buckets`; bucket numbers only go up and are never used twice. */
  readonly firstBucket: number
  readonly buckets: readonly DedupeBucket[]
}

export type DedupeBucket = {
  /** The id times of the entries lie within these, ms since 1970. */
  readonly oldestMs: number
  readonly newestMs: number
  readonly acks: ReadonlyMap<DedupeKey, OriginalAck>
}

type DedupeKey = `${UserId} ${ClientMessageId}`

/** Each append copies a bucket, and each snapshot writes those that changed whole: small ones cost less than many cost more. */
export const BUCKET_ENTRIES_MAX = 32
export const emptyLedger: DedupeLedger = { firstBucket: 0, buckets: [] }

export function rememberedAck(ledger: DedupeLedger, senderId: UserId, id: ClientMessageId): OriginalAck | undefined {
  const timeMs = clientMessageIdTimeMs(id)
  const key: DedupeKey = `${senderId} ${id}`
  // From the newest: nearly every repeat is a retry of seconds ago.
  for (let i = ledger.buckets.length - 1; i >= 0; i--) {
    const bucket = ledger.buckets[i]!
    if (timeMs < bucket.oldestMs || timeMs > bucket.newestMs) continue
    const ack = bucket.acks.get(key)
    if (ack) return ack
  }
  return undefined
}

/** The remembered ack of the message itself, from whomever; a walk through what the room remembers, newest first. */
export function rememberedMessage(ledger: DedupeLedger, roomId: RoomId, messageId: MessageId): { readonly senderId: UserId; readonly ack: OriginalAck } | undefined {
  for (let i = ledger.buckets.length - 1; i >= 0; i--) {
    for (const [key, ack] of ledger.buckets[i]!.acks) {
      if (ack.messageId !== messageId) continue
      const space = key.indexOf(' ')
      const senderId = key.slice(0, space) as UserId
      // An edit of it remembers the same messageId, under an id of its own.
      if (messageIdOf(roomId, senderId, key.slice(space + 1) as ClientMessageId) === messageId) return { senderId, ack }
    }
  }
  return undefined
}

/** Remembers `ack`, and forgets leading buckets whose every id has expired at `eventTimeMs`. */
export function remember(
  ledger: DedupeLedger,
  senderId: UserId,
  id: ClientMessageId,
  ack: OriginalAck,
  eventTimeMs: number,
): DedupeLedger {
  const timeMs = clientMessageIdTimeMs(id)
  let { firstBucket } = ledger
  let from = 0
  while (from < ledger.buckets.length && ledger.buckets[from]!.newestMs < eventTimeMs - DEDUPE_WINDOW_MS) from++
  firstBucket += from
  const buckets = ledger.buckets.slice(from)
  const last = buckets.at(-1)
  const entry: [DedupeKey, OriginalAck] = [`${senderId} ${id}`, ack]
  if (last && last.acks.size < BUCKET_ENTRIES_MAX) {
    buckets[buckets.length - 1] = {
      oldestMs: Math.min(last.oldestMs, timeMs),
      newestMs: Math.max(last.newestMs, timeMs),
      acks: new Map([...last.acks, entry]),
    }
  } else {
    buckets.push({ oldestMs: timeMs, newestMs: timeMs, acks: new Map([entry]) })
  }
  return { firstBucket, buckets }
}
