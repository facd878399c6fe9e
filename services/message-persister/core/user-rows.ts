import { ChatError } from '#libs/domain/errors.ts'
import type { UserId } from '#libs/domain/ids.ts'
import { type Chat, ENDED_CHAT_KEPT_MS, type InboxTotals, type UserDecision } from '#libs/domain/inbox.ts'
import type { AppliedRecord } from './persister-task.ts'

export type AppliedUserRecord = AppliedRecord<UserDecision>

/** What a batch leaves of a user who is in it. */
export type UserHeadRow = { readonly userId: UserId; readonly userSeq: number } & InboxTotals
export type UserChatRow = { readonly userId: UserId; readonly userSeq: number; readonly chat: Chat }
/** A chat came at `userSeq`: of those that were not touched since, some may have gone for it. */
export type EvictionRow = { readonly userId: UserId; readonly userSeq: number; readonly endedBeforeMs: number }

export type UserRows = {
  readonly events: number
  readonly heads: readonly UserHeadRow[]
  readonly chats: readonly UserChatRow[]
  readonly evictions: readonly EvictionRow[]
}

/**
 * The last word of a batch on each user and each chat.
 * @throws ChatError `log_corrupt` where a user's numbers have a hole or a repeat
 */
export function userRowsOf(applied: readonly AppliedUserRecord[]): UserRows {
  const heads = new Map<UserId, UserHeadRow>()
  const chats = new Map<string, UserChatRow>()
  const evictions = new Map<UserId, EvictionRow>()
  let events = 0
  for (const { offset, decision } of applied) {
    const { userId, entries } = decision
    for (const entry of entries) {
      if (entry.type !== 'chatChanged') continue
      const { userSeq, chat, totals, cause, timestampMs } = entry
      const before = heads.get(userId)
      if (before && userSeq !== before.userSeq + 1) throw new ChatError('log_corrupt', `offset ${offset}: userSeq ${userSeq} of ${userId} comes behind ${before.userSeq}`)
      events++
      heads.set(userId, { userId, userSeq, ...totals })
      chats.set(`${userId} ${chat.roomId}`, { userId, userSeq, chat })
      if (cause === 'added' || cause === 'invited') evictions.set(userId, { userId, userSeq, endedBeforeMs: timestampMs - ENDED_CHAT_KEPT_MS })
    }
  }
  return { events, heads: [...heads.values()], chats: [...chats.values()], evictions: [...evictions.values()] }
}
