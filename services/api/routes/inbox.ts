import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { chatFields } from '#libs/domain/chat-fields.ts'
import { ChatError } from '#libs/domain/errors.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import { identityOf, ownersOnly } from '../access.ts'
import type { InboxCommands } from '../commands.ts'
import { decodeActivityCursor, encodePlace, pageOf } from '../core/cursor.ts'
import { inboxAnswerOf } from '../core/inbox-answer.ts'
import { PAGE } from '../core/message-page.ts'
import { inboxChanges, inboxChangesQuery, inboxPage, inboxQuery, myChatAnswer, myChatBody, myChatParams } from '../inbox-schemas.ts'
import { type ShownMessage, viewsOf } from '../reading.ts'
import { errorResponses } from '../schemas.ts'
import { type ChatOfUser, selectInbox, selectInboxChanges } from '../sql/inbox.ts'
import { selectShownMessagesAt } from '../sql/messages.ts'

/** One's own list of chats. */
export const inboxRoutes: FastifyPluginCallbackTypebox<{ readonly db: Queryable }> = (app, { db }, done) => {
  app.addHook('onRequest', ownersOnly)
  app.get(
    '/me/inbox',
    {
      schema: {
        tags: ['inbox'],
        summary: "One's own list of chats",
        description: 'By last activity, newest first, with unread counts and last messages. What moves up while one pages is in /me/inbox/changes above the `userSeq` of the first page.',
        querystring: inboxQuery,
        response: { 200: inboxPage, ...errorResponses },
      },
    },
    async (request) => {
      const { status, archived, cursor, limit = PAGE.limitDefault } = request.query
      const { userId } = identityOf(request)
      const statuses = status === undefined ? (['in', 'invited'] as const) : [status]
      const found = await selectInbox(db, userId, { statuses, archived, cursor: cursor === undefined ? undefined : decodeActivityCursor(cursor), limit })
      const { rows, nextCursor } = pageOf(found.chats, limit, ({ lastActivityMs, roomId }) => encodePlace(lastActivityMs, roomId))
      return { userSeq: found.userSeq, totals: found.totals, chats: await shown(db, userId, rows), nextCursor }
    },
  )
  app.get(
    '/me/inbox/changes',
    {
      schema: {
        tags: ['inbox'],
        summary: 'What has changed in it',
        description: 'The same cursor as that of `sync` on a WebSocket. Ask again with `nextAfter`, at once while `hasMore`.',
        querystring: inboxChangesQuery,
        response: { 200: inboxChanges, ...errorResponses },
      },
    },
    async (request) => {
      const { after = 0, limit = PAGE.limitDefault } = request.query
      const { userId } = identityOf(request)
      const { userSeq, totals, chats } = await selectInboxChanges(db, userId, { after, limit })
      const page = chats.slice(0, limit)
      const hasMore = chats.length > limit
      // A complete page reaches the head, which may be the change of a chat that is there no more. The client may know more than Postgres does yet.
      const nextAfter = hasMore ? page.at(-1)!.userSeq : Math.max(after, userSeq)
      return { userSeq, totals, chats: await shown(db, userId, page), nextAfter, hasMore }
    },
  )
  done()
}

/** With the last message of each, for who is in its room: also by the room itself, which may know of his removal before his list does. */
async function shown(db: Queryable, userId: UserId, chats: readonly ChatOfUser[]) {
  const places = chats.flatMap(({ roomId, status, last }) => (status === 'in' && last ? [{ roomId, seq: last.seq }] : []))
  const views = new Map<string, ShownMessage>((await viewsOf(db, await selectShownMessagesAt(db, userId, places))).map((view) => [view.roomId, view]))
  return chats.map((chat) => ({ ...chatFields(chat), userSeq: chat.userSeq, lastMessage: views.get(chat.roomId) ?? null }))
}

export const inboxWriteRoutes: FastifyPluginCallbackTypebox<{ readonly inbox: InboxCommands }> = (app, { inbox }, done) => {
  app.patch(
    '/me/chats/:roomId',
    {
      schema: {
        tags: ['inbox'],
        summary: 'Mutes or archives a chat, for oneself alone',
        description: 'It says how the chat shall be, so that asking again is safe. Muted: no notifications; it is counted as before. Archived: until somebody else writes, unless it is muted.',
        params: myChatParams,
        body: myChatBody,
        response: { 200: myChatAnswer, ...errorResponses },
      },
    },
    async (request) => {
      const { mutedUntilMs, archived } = request.body
      if (mutedUntilMs === undefined && archived === undefined) throw new ChatError('invalid_request', 'mutedUntilMs or archived')
      const roomId = request.params.roomId as RoomId
      const change = { ...(mutedUntilMs !== undefined && { mutedUntilMs }), ...(archived !== undefined && { archived }) }
      const { userId } = identityOf(request)
      return inbox.ask((commandId) => ({ userId, commandId, type: 'setChat', roomId, ...change }), request.id, (decision) => inboxAnswerOf(roomId, decision))
    },
  )
  done()
}
