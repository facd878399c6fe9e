import type { NewMessageFrame, ProductFields } from '#libs/domain/frames.ts'
import type { MessageId, UserId } from '#libs/domain/ids.ts'
import { parsePayload } from '#libs/domain/payload.ts'
import type { MessageType } from '#libs/domain/room.ts'

/** One message as Postgres has it, for one viewer: its last revision, and nothing of what was deleted. */
export type MessageRow = Pick<NewMessageFrame, 'roomId' | 'seq' | 'messageId' | 'clientMessageId' | 'senderId' | 'messageIndex' | 'content' | 'timestamp'> & {
  readonly messageType: MessageType | null
  readonly payload: string | null
  readonly replyTo: MessageId | null
  readonly replyToSeq: number | null
  readonly mentions: readonly UserId[] | null
  readonly revision: number | null
  readonly deleted: boolean
  /** Why a moderator has taken it away; it is `deleted` then too. */
  readonly redacted: string | null
  readonly hidden: boolean
  readonly reactions: readonly ReactionCount[] | null
}

/** `own`: the viewer is one of those. */
export type ReactionCount = { readonly emoji: string; readonly count: number; readonly own: boolean }

/** As a socket would have got it in a replay, with what a page wants beside it. */
export type MessageView = Omit<NewMessageFrame, 'type'> & {
  readonly reactions?: readonly ReactionCount[]
  /** What the product of a card is now; left out where nothing is known of it. */
  readonly product?: ProductFields
}

export function messageView(row: MessageRow): MessageView {
  const { messageType, payload, replyTo, replyToSeq, mentions, revision, deleted, redacted, hidden, reactions, ...fields } = row
  return {
    ...fields,
    ...(messageType !== null && { messageType }),
    ...(replyTo !== null && { replyTo }),
    ...(replyToSeq !== null && { replyToSeq }),
    ...(mentions !== null && { mentions }),
    ...(revision !== null && revision > 0 && { revision }),
    ...(hidden && { hidden }),
    ...(reactions !== null && reactions.length > 0 && { reactions }),
    ...(deleted ? { content: null, deleted, ...(redacted !== null && { redacted }) } : parsePayload(payload ?? undefined)),
  }
}

export function productIdsOf(messages: readonly MessageView[]): readonly string[] {
  return [...new Set(messages.flatMap(({ productId }) => productId ?? []))]
}

export function withProducts(messages: readonly MessageView[], products: ReadonlyMap<string, ProductFields>): readonly MessageView[] {
  if (products.size === 0) return messages
  return messages.map((message) => {
    const product = message.productId === undefined ? undefined : products.get(message.productId)
    return product ? { ...message, product } : message
  })
}
