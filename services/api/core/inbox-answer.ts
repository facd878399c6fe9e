import { chatFields } from '#libs/domain/chat-fields.ts'
import { ChatError } from '#libs/domain/errors.ts'
import type { ChatFields } from '#libs/domain/frames.ts'
import type { RoomId } from '#libs/domain/ids.ts'
import type { InboxTotals, UserDecision } from '#libs/domain/inbox.ts'

/** What has become of a chat in one's own list. */
export type InboxAnswer = {
  readonly roomId: RoomId
  /** Of the change; where nothing changed, the last one of the list. */
  readonly userSeq: number
  readonly chat?: ChatFields
  readonly totals?: InboxTotals
  readonly unchanged?: true
}

/** @throws ChatError the log's refusal; `outcome_unknown` where it answers in words that this version does not know */
export function inboxAnswerOf(roomId: RoomId, { entries }: UserDecision): InboxAnswer {
  for (const entry of entries.toReversed()) {
    switch (entry.type) {
      case 'chatChanged':
        return { roomId, userSeq: entry.userSeq, chat: chatFields(entry.chat), totals: entry.totals }
      case 'inboxUnchanged':
        return { roomId, userSeq: entry.userSeq, unchanged: true }
      case 'inboxRefused':
        throw new ChatError(entry.code)
    }
  }
  throw new ChatError('outcome_unknown')
}
