import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import { adminOnly, auditAdmin, identityOf, readableRoom } from '../access.ts'
import { decodeCursor, roomsPage } from '../core/cursor.ts'
import { PAGE } from '../core/message-page.ts'
import { adminRooms, adminRoomsQuery, errorResponses, eventsPage, eventsQuery, roomParams } from '../schemas.ts'
import { selectEvents } from '../sql/events.ts'
import { selectRooms, selectRoomsOf } from '../sql/rooms.ts'

/** For the role admin, and only for reading. Every request is in admin_audit before it is answered. */
export const adminRoutes: FastifyPluginCallbackTypebox<{ readonly db: Queryable }> = (app, { db }, done) => {
  app.addHook('onRequest', adminOnly)
  app.get(
    '/admin/rooms/:id/events',
    {
      schema: {
        tags: ['admin'],
        summary: 'Every event of a room, as it was persisted',
        params: roomParams,
        querystring: eventsQuery,
        response: { 200: eventsPage, ...errorResponses },
      },
    },
    async (request) => {
      const roomId = request.params.id as RoomId
      const { after = 0, limit = PAGE.limitDefault } = request.query
      await auditAdmin(db, request, 'read_events', roomId)
      const { headSeq } = await readableRoom(db, identityOf(request), roomId)
      const found = await selectEvents(db, roomId, { after, limit })
      const events = found.slice(0, limit)
      return { roomId, events, headSeq, nextAfter: events.at(-1)?.seq ?? after, hasMore: found.length > limit }
    },
  )
  app.get(
    '/admin/rooms',
    {
      schema: {
        tags: ['admin'],
        summary: 'All rooms',
        description: 'By the time of opening, newest first.',
        querystring: adminRoomsQuery,
        response: { 200: adminRooms, ...errorResponses },
      },
    },
    async (request) => {
      const { status, participant, cursor, limit = PAGE.limitDefault } = request.query
      const from = cursor === undefined ? undefined : decodeCursor(cursor)
      await auditAdmin(db, request, 'list_rooms')
      const readOnly = status && status === 'closed'
      const page = { cursor: from, limit }
      const found = participant === undefined ? selectRooms(db, page, readOnly) : selectRoomsOf(db, participant as UserId, page, readOnly)
      return roomsPage(await found, limit)
    },
  )
  done()
}
