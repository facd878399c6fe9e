import { ChatError } from '#libs/domain/errors.ts'

export const PAGE = { limitDefault: 50, limitMax: 200, waitMsMax: 30_000 } as const

export type PageQuery = {
  readonly before?: number
  readonly after?: number
  readonly limit?: number
  readonly waitMs?: number
}

/** Which messages to read: from `above` (exclusive) to `upTo` (inclusive), the oldest or the newest `limit` of them. */
export type PageRange = {
  readonly above: number
  readonly upTo: number
  readonly take: 'oldest' | 'newest'
  readonly limit: number
}

/** @throws ChatError `invalid_request` for a combination that has no meaning */
export function checkPageQuery({ before, after, waitMs = 0 }: PageQuery): void {
  if (before !== undefined && after !== undefined) throw new ChatError('invalid_request', 'before and after exclude each other')
  if (waitMs > 0 && after === undefined) throw new ChatError('invalid_request', 'waitMs goes with after')
}

/**
 * `headSeq` bounds it: the room was read before its messages, so what came in between is left for the next page and
 * the page is one state of the room.
 * `visibleFrom`: what is below is not this reader's to see.
 */
export function pageRange(query: PageQuery, headSeq: number, visibleFrom = 1): PageRange {
  const { before, after, limit = PAGE.limitDefault } = query
  if (after !== undefined) return { above: Math.max(after, visibleFrom - 1), upTo: headSeq, take: 'oldest', limit }
  const upTo = before === undefined ? headSeq : Math.min(before - 1, headSeq)
  return { above: visibleFrom - 1, upTo: Math.max(upTo, 0), take: 'newest', limit }
}

export type Page<M> = {
  /** Ascending by seq. */
  readonly messages: readonly M[]
  /** `after=` this gives exactly what follows this page: a WebSocket's `since` too. Never below the `after` that was asked for. */
  readonly nextAfter: number
  /** Whether the range has more in the direction of reading: newer for `after`, else older. */
  readonly hasMore: boolean
}

/** `found`: up to limit + 1 messages of the range, in reading order, so newest first for `newest`. */
export function toPage<M extends { readonly seq: number }>(range: PageRange, found: readonly M[]): Page<M> {
  const hasMore = found.length > range.limit
  const messages = found.slice(0, range.limit)
  if (range.take === 'newest') return { messages: messages.toReversed(), nextAfter: range.upTo, hasMore }
  const last = messages.at(-1)
  // A complete page reaches the head, also past events that are no messages. The client may know more than Postgres does yet.
  const nextAfter = hasMore && last ? last.seq : Math.max(range.upTo, range.above)
  return { messages, nextAfter, hasMore }
}
