import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { Queryable } from '#libs/postgres/pool.ts'
import { auditAdmin, identityOf } from '../access.ts'
import { decodeCursor, roomsPage } from '../core/cursor.ts'
import { PAGE } from '../core/message-page.ts'
import { errorResponses, myRooms, roomsQuery } from '../schemas.ts'
import { selectRoomsOf } from '../sql/rooms.ts'

export const myRoomRoutes: FastifyPluginCallbackTypebox<{ readonly db: Queryable }> = (app, { db }, done) => {
  app.get(
    '/me/rooms',
    {
      schema: {
        tags: ['rooms'],
        summary: 'The rooms that one is in',
        description:
          'By the time of opening, newest first. That order never changes, so pages neither skip nor repeat a room while people talk; ' +
          'a room opened meanwhile comes before the first page.',
        querystring: roomsQuery,
        response: { 200: myRooms, ...errorResponses },
      },
    },
    async (request) => {
      const { cursor, limit = PAGE.limitDefault } = request.query
      const from = cursor === undefined ? undefined : decodeCursor(cursor)
      await auditAdmin(db, request, 'list_own_rooms')
      return roomsPage(await selectRoomsOf(db, identityOf(request).userId, { cursor: from, limit }), limit)
    },
  )
  done()
}
