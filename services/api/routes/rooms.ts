import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FastifyPluginCallbackTypebox, Static } from '@fastify/type-provider-typebox'
import type { RoomId } from '#libs/domain/ids.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import { auditAdmin, identityOf, readableRoom } from '../access.ts'
import { visibleFrom } from '../core/may-read.ts'
import { checkPageQuery, pageRange, toPage } from '../core/message-page.ts'
import { unreadOf, visibleReceipts } from '../core/receipts.ts'
import type { HeadWatch } from '../head-watch.ts'
import { viewsOf } from '../reading.ts'
import { errorResponses, messagesPage, messagesQuery, room, roomParams } from '../schemas.ts'
import { selectMessages } from '../sql/messages.ts'
import { selectReceipts } from '../sql/receipts.ts'

export type RoomRouteDeps = { readonly db: Queryable; readonly heads: HeadWatch }

type MessagesRequest = FastifyRequest<{ Params: Static<typeof roomParams>; Querystring: Static<typeof messagesQuery> }>

export const roomRoutes: FastifyPluginCallbackTypebox<RoomRouteDeps> = (app, deps, done) => {
  app.get(
    '/rooms/:id',
    {
      schema: {
        tags: ['rooms'],
        summary: 'One room',
        description: 'For its participants, and for admins and moderators (whose reading is logged).',
        params: roomParams,
        response: { 200: room, ...errorResponses },
      },
    },
    async (request) => {
      // The schema has checked its form.
      const roomId = request.params.id as RoomId
      await auditAdmin(deps.db, request, 'read_room', roomId)
      return readRoom(deps.db, request, roomId)
    },
  )
  for (const url of ['/rooms/:id/messages', '/chat/:id/messages'] as const) {
    app.get(
      url,
      {
        schema: {
          tags: ['rooms'],
          summary: 'A page of messages, or a long poll for the next ones',
          description:
            'Without `before` and `after`: the newest. With `after` and `waitMs` it answers as soon as the room has moved past `after`, ' +
            'by whatever event (so `messages` can be empty while `nextAfter` has grown), and with an empty page when the time is over. ' +
            'Each message is in its last revision, also where the edit came after `headSeq`.' +
            (url.startsWith('/chat') ? ' The same as `/rooms/{id}/messages`.' : ''),
          params: roomParams,
          querystring: messagesQuery,
          response: { 200: messagesPage, ...errorResponses },
        },
      },
      (request, reply) => readMessages(deps, request, reply),
    )
  }
  done()
}

async function readRoom(db: Queryable, request: FastifyRequest, roomId: RoomId): Promise<Static<typeof room>> {
  const identity = identityOf(request)
  const found = await readableRoom(db, identity, roomId)
  const from = visibleFrom(identity, found)
  const rows = await selectReceipts(db, roomId)
  const isIn = found.participants.some(({ userId }) => userId === identity.userId)
  const seen = rows.find(({ userId }) => userId === identity.userId)?.seen ?? 0
  return {
    ...found,
    receipts: [...visibleReceipts(identity, rows, found.participants)],
    ...(isIn && { unread: unreadOf(found.messageCount, seen) }),
    ...(from > 1 && { visibleFrom: from }),
  }
}

async function readMessages({ db, heads }: RoomRouteDeps, request: MessagesRequest, reply: FastifyReply): Promise<Static<typeof messagesPage>> {
  const { query } = request
  const roomId = request.params.id as RoomId
  const identity = identityOf(request)
  checkPageQuery(query)
  await auditAdmin(db, request, 'read_messages', roomId)
  let found = await readableRoom(db, identity, roomId)
  const { after, waitMs: timeoutMs = 0 } = query
  if (after !== undefined && timeoutMs > 0 && found.headSeq <= after) {
    request.hasWaited = true
    const outcome = await heads.wait({ roomId, userId: identity.userId, after, timeoutMs, signal: goneSignal(reply) })
    // Read again, access too: what moved the room may be this user's removal.
    if (outcome === 'moved') found = await readableRoom(db, identity, roomId)
  }
  const range = pageRange(query, found.headSeq, visibleFrom(identity, found))
  const rows = range.above < range.upTo ? await selectMessages(db, identity.userId, roomId, range) : []
  const page = toPage(range, rows)
  return { roomId, headSeq: found.headSeq, ...page, messages: await viewsOf(db, page.messages) }
}

/** Aborts when the client closes its connection before it got its answer. */
function goneSignal(reply: FastifyReply): AbortSignal {
  const controller = new AbortController()
  // Also emitted after a whole answer; nobody listens then. The request's own 'close' only means that it was read.
  reply.raw.once('close', () => controller.abort())
  if (reply.raw.destroyed) controller.abort()
  return controller.signal
}
