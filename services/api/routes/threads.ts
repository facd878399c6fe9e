import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { ChatError } from '#libs/domain/errors.ts'
import type { MessageId, RoomId } from '#libs/domain/ids.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import { auditAdmin, identityOf, readableRoom } from '../access.ts'
import { visibleFrom } from '../core/may-read.ts'
import { checkPageQuery, PAGE, pageRange, toPage } from '../core/message-page.ts'
import { seenBy, visibleReceipts } from '../core/receipts.ts'
import { viewsOf } from '../reading.ts'
import { errorResponses, messageParams, messagesPage, repliesQuery, roomParams, seenByAnswer, threadsPage, threadsQuery } from '../schemas.ts'
import { type MessagePlace, selectMessagePlace, selectMessages, selectMessagesAt, selectThreads } from '../sql/messages.ts'
import { selectReceipts } from '../sql/receipts.ts'

/** What is about single messages, and the threads below them. */
export const threadRoutes: FastifyPluginCallbackTypebox<{ readonly db: Queryable }> = (app, { db }, done) => {
  app.get(
    '/rooms/:id/threads',
    {
      schema: {
        tags: ['rooms'],
        summary: 'The threads of a room',
        description: "By the last reply, newest first, each with one's unread replies.",
        params: roomParams,
        querystring: threadsQuery,
        response: { 200: threadsPage, ...errorResponses },
      },
    },
    async (request) => {
      const roomId = request.params.id as RoomId
      const identity = identityOf(request)
      const { before, limit = PAGE.limitDefault } = request.query
      await auditAdmin(db, request, 'read_threads', roomId)
      const from = visibleFrom(identity, await readableRoom(db, identity, roomId))
      const found = await selectThreads(db, identity.userId, roomId, { visibleFrom: from, before, limit })
      const threads = found.slice(0, limit)
      const seqs = [...new Set(threads.flatMap(({ rootSeq, lastSeq }) => (rootSeq < from ? [lastSeq] : [rootSeq, lastSeq])))]
      const views = await viewsOf(db, await selectMessagesAt(db, identity.userId, seqs.map((seq) => ({ roomId, seq }))))
      const bySeq = new Map(views.map((view) => [view.seq, view]))
      return {
        roomId,
        threads: threads.map(({ rootSeq, replies, unread, lastSeq }) => ({ rootSeq, root: bySeq.get(rootSeq) ?? null, replies, unread, lastReply: bySeq.get(lastSeq)! })),
        nextBefore: found.length > limit ? (threads.at(-1)?.lastSeq ?? null) : null,
      }
    },
  )
  app.get(
    '/rooms/:id/messages/:messageId/replies',
    {
      schema: {
        tags: ['rooms'],
        summary: 'The thread below a message',
        description: 'Pages as `/rooms/{id}/messages`, without waiting.',
        params: messageParams,
        querystring: repliesQuery,
        response: { 200: messagesPage, ...errorResponses },
      },
    },
    async (request) => {
      const roomId = request.params.id as RoomId
      const identity = identityOf(request)
      checkPageQuery(request.query)
      await auditAdmin(db, request, 'read_threads', roomId)
      const found = await readableRoom(db, identity, roomId)
      const { seq } = await placeOf(db, roomId, request.params.messageId)
      const range = pageRange(request.query, found.headSeq, visibleFrom(identity, found))
      const page = toPage(range, range.above < range.upTo ? await selectMessages(db, identity.userId, roomId, range, seq) : [])
      return { roomId, headSeq: found.headSeq, ...page, messages: await viewsOf(db, page.messages) }
    },
  )
  seenByRoute(app, { db })
  done()
}

/** Of the same plugin. */
function seenByRoute(app: Parameters<typeof threadRoutes>[0], { db }: { readonly db: Queryable }): void {
  app.get(
    '/rooms/:id/messages/:messageId/seen-by',
    {
      schema: {
        tags: ['rooms'],
        summary: 'Who has seen a message',
        params: messageParams,
        response: { 200: seenByAnswer, ...errorResponses },
      },
    },
    async (request) => {
      const roomId = request.params.id as RoomId
      const identity = identityOf(request)
      await auditAdmin(db, request, 'read_receipts', roomId)
      const found = await readableRoom(db, identity, roomId)
      const place = await placeOf(db, roomId, request.params.messageId)
      if (place.seq < visibleFrom(identity, found)) throw new ChatError('message_not_found')
      const receipts = visibleReceipts(identity, await selectReceipts(db, roomId), found.participants)
      return { roomId, messageId: request.params.messageId.toLowerCase(), messageIndex: place.messageIndex, ...seenBy(receipts, place) }
    },
  )
}

async function placeOf(db: Queryable, roomId: RoomId, messageId: string): Promise<MessagePlace> {
  const place = await selectMessagePlace(db, roomId, messageId as MessageId)
  if (!place) throw new ChatError('message_not_found')
  return place
}
