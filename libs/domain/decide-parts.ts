import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js'
import type { ErrorCode } from './errors.ts'
import { type ClientMessageId, messageIdOf, type RoomId, type UserId } from './ids.ts'
import type { RoomLimits } from './limits.ts'
import { payloadText } from './payload.ts'
import { blockKey, type BlockWord, type Entry, type MessageSentBody, type RoomEventBody, type RoomState } from './room.ts'

/** Gives consecutive seqs, from the room's next one on. */
export function inSequence(state: RoomState | undefined, timestampMs: number, bodies: readonly RoomEventBody[]): readonly Entry[] {
  const headSeq = state?.headSeq ?? 0
  return bodies.map((body, i) => ({ ...body, seq: headSeq + 1 + i, timestampMs }))
}

export const ignored = (reason: string): readonly Entry[] => [{ type: 'ignored', reason }]

export const refused = (code: ErrorCode): readonly Entry[] => [{ type: 'refused', code }]

export const unchanged = (state: RoomState): readonly Entry[] => [{ type: 'unchanged', headSeq: state.headSeq }]

export const toSecond = (timeMs: number): number => Math.floor(timeMs / 1_000)

/** SHA-256 (hex) of salt, a zero byte and content, and where there is a payload another zero byte and it; all as UTF-8. */
export function contentHashOf(salt: string, content: string, payload?: string): string {
  return bytesToHex(sha256(utf8ToBytes(payload === undefined ? `${salt}\0${content}` : `${salt}\0${content}\0${payload}`)))
}

/** Why a message with this content is refused. The edge asks before it bothers the log; the answer that counts is the log's. */
export function contentRefusal(content: string, limits: RoomLimits, mayBeEmpty = false): ErrorCode | undefined {
  const chars = codePoints(content, limits.contentCharsMax)
  if (chars === 0 && !mayBeEmpty) return 'content_empty'
  if (chars > limits.contentCharsMax) return 'content_too_long'
  // Postgres cannot store U+0000, and a lone surrogate would not survive UTF-8.
  return isStorable(content) ? undefined : 'content_invalid'
}

export const isStorable = (text: string): boolean => !text.includes('\0') && text.isWellFormed()

/** Counts Unicode code points; stops just above `max`. */
export function codePoints(text: string, max: number): number {
  if (text.length <= max) return text.length === 0 ? 0 : 1
  let count = 0
  for (const _ of text) if (++count > max) break
  return count
}

/**
 * One word about a block, from whatever way it came: an event and a note of its time, or a note alone where it changes
 * nothing. `opening`: what has to come before it.
 */
export function decideBlock(state: RoomState | undefined, timeMs: number, word: BlockWord, opening: readonly RoomEventBody[] = []): readonly Entry[] {
  const { blockerId, blockedId, on, occurredAtMs } = word
  const key = blockKey(blockerId, blockedId)
  const stands = state?.blocks.has(key) ?? false
  const lastMs = state?.blockTimes.get(key)
  if (occurredAtMs !== undefined && lastMs !== undefined && (occurredAtMs < lastMs || (occurredAtMs === lastMs && (!on || stands)))) {
    return ignored('a later word about this block was said')
  }
  if (stands !== on) return inSequence(state, timeMs, [...opening, { type: 'blockSet', blockerId, blockedId, on, ...(occurredAtMs !== undefined && { occurredAtMs }) }])
  if (occurredAtMs === undefined) return ignored(on ? 'the block stands already' : 'there is no such block')
  return [...inSequence(state, timeMs, opening), { type: 'blockStands', blockerId, blockedId, occurredAtMs }]
}

export type OrderCard = { readonly roomId: RoomId; readonly senderId: UserId; readonly clientMessageId: ClientMessageId; readonly orderId: string; readonly messageIndex: number }

/** It has no secret, so its salt may be known: the id of the card, which makes it the same for the same event. */
export function orderCardOf({ roomId, senderId, clientMessageId, orderId, messageIndex }: OrderCard): MessageSentBody {
  const messageId = messageIdOf(roomId, senderId, clientMessageId)
  const payload = payloadText({ orderId })!
  return {
    type: 'messageSent',
    messageId,
    clientMessageId,
    senderId,
    messageIndex,
    messageType: 'orderCard',
    payload,
    content: '',
    salt: messageId,
    contentHash: contentHashOf(messageId, '', payload),
  }
}
