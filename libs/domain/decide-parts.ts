import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js'
import type { ErrorCode } from './errors.ts'
import { rememberedMessage } from './dedupe.ts'
import { type ClientMessageId, type MessageId, messageIdOf, type RoomId, type UserId } from './ids.ts'
import { DEDUPE_WINDOW_MS, type RoomLimits } from './limits.ts'
import { payloadText } from './payload.ts'
import { blockKey, type BlockWord, type Entry, type MessageSentBody, type RoomEventBody, type RoomState, type Target } from './room.ts'

/**
 * The message that a command is about: remembered by the room, or, where it is older than that, as the history has it.
 * A code where there is none.
 */
export function targetOf(state: RoomState, messageId: MessageId, historySeq: number | undefined): Target | 'message_not_found' | 'message_deleted' {
  if (state.changes.get(messageId)?.deleted) return 'message_deleted'
  const messageSeq = rememberedMessage(state.dedupe, state.roomId, messageId)?.ack.seq ?? historySeq
  return messageSeq === undefined || messageSeq < 1 || messageSeq > state.headSeq ? 'message_not_found' : { messageId, messageSeq }
}

/** Those that nobody can change any more are forgotten with the next change, and do not stand in its way. */
export function isFullOfChanges({ changes }: RoomState, timeMs: number, { changedMessagesMax }: RoomLimits): boolean {
  if (changes.size < changedMessagesMax) return false
  return [...changes.values()].filter(({ changedMs }) => changedMs >= timeMs - DEDUPE_WINDOW_MS).length >= changedMessagesMax
}

/** Of a room that has closed so long ago it may be forgotten who was in; it stays so where a redaction has come since. */
export const mayBeStub = ({ status, participants, lastEventMs }: RoomState, timeMs: number): boolean =>
  status === 'closed' && (participants.size === 0 || timeMs - lastEventMs > DEDUPE_WINDOW_MS)

/** Gives consecutive seqs, from the room's next one on. */
export function inSequence(state: RoomState | undefined, timestampMs: number, bodies: readonly RoomEventBody[]): readonly Entry[] {
  const headSeq = state?.headSeq ?? 0
  return bodies.map((body, i) => ({ ...body, seq: headSeq + 1 + i, timestampMs }))
}

export const ignored = (reason: string): readonly Entry[] => [{ type: 'ignored', reason }]

export const refused = (code: ErrorCode): readonly Entry[] => [{ type: 'refused', code }]

export const unchanged = (state: RoomState): readonly Entry[] => [{ type: 'unchanged', headSeq: state.headSeq }]

/** What the room is to somebody who comes in; nothing where he is in already. */
export function entering({ participants, messageCount, history, receipts, kind, name }: RoomState, userId: UserId) {
  if (participants.has(userId)) return {}
  const seen = history === 'fromJoin' ? messageCount : (receipts.get(userId)?.seen ?? 0)
  return { messageCount, ...(seen > 0 && { seen }), ...(kind !== 'order' && { kind }), ...(name !== null && { name }) }
}

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

export const isText = (text: string, charsMax: number): boolean => codePoints(text, charsMax) <= charsMax && isStorable(text)

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
