import type { Static } from '@fastify/type-provider-typebox'
import type { UserId } from '#libs/domain/ids.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import { type MessageRow, messageView, productIdsOf, withProducts } from './core/message-view.ts'
import type { message } from './schemas.ts'
import { type ChatRow, selectChatsOf, type RoomsQuery } from './sql/rooms.ts'
import { selectMessagesAt } from './sql/messages.ts'
import { selectProducts } from './sql/products.ts'

/** Of an answer. */
export type ShownMessage = Static<typeof message>

/** Rows as their reader sees them, cards with what their products are now. */
export async function viewsOf(db: Queryable, rows: readonly MessageRow[]): Promise<ShownMessage[]> {
  const views = rows.map(messageView)
  // The same, but for types that the schema cannot say: brands, and what may not be changed.
  return withProducts(views, await selectProducts(db, productIdsOf(views))) as readonly unknown[] as ShownMessage[]
}

export type Chat = ChatRow & { readonly lastMessage: ShownMessage | null }

/** One's rooms, each with the last message that one may see. Up to limit + 1. */
export async function chatsOf(db: Queryable, userId: UserId, query: RoomsQuery): Promise<readonly Chat[]> {
  const chats = await selectChatsOf(db, userId, query)
  const places = chats.flatMap(({ roomId, lastSeq }) => (lastSeq === null ? [] : [{ roomId, seq: lastSeq }]))
  const last = new Map<string, ShownMessage>((await viewsOf(db, await selectMessagesAt(db, userId, places))).map((view) => [view.roomId, view]))
  return chats.map((chat) => ({ ...chat, lastMessage: last.get(chat.roomId) ?? null }))
}
