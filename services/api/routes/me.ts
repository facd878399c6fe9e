import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { Queryable } from '#libs/postgres/pool.ts'
import { auditAdmin, identityOf } from '../access.ts'
import { decodeCursor, roomsPage } from '../core/cursor.ts'
import { PAGE } from '../core/message-page.ts'
import { chatsOf } from '../reading.ts'
import { errorResponses, invitations, myChats, myRooms, roomsQuery, settings } from '../schemas.ts'
import { selectInvitations } from '../sql/disputes.ts'
import { selectSettings, upsertSettings } from '../sql/receipts.ts'
import { selectRoomsOf } from '../sql/rooms.ts'
import { settingsBody } from '../write-schemas.ts'

const BY_OPENING =
  'By the time of opening, newest first. That order never changes, so pages neither skip nor repeat a room while people talk; ' +
  'a room opened meanwhile comes before the first page.'

export const meRoutes: FastifyPluginCallbackTypebox<{ readonly db: Queryable }> = (app, { db }, done) => {
  app.get(
    '/me/rooms',
    { schema: { tags: ['rooms'], summary: 'The rooms that one is in', description: BY_OPENING, querystring: roomsQuery, response: { 200: myRooms, ...errorResponses } } },
    async (request) => {
      const { cursor, limit = PAGE.limitDefault } = request.query
      const from = cursor === undefined ? undefined : decodeCursor(cursor)
      await auditAdmin(db, request, 'list_own_rooms')
      return roomsPage(await selectRoomsOf(db, identityOf(request).userId, { cursor: from, limit }), limit)
    },
  )
  app.get(
    '/chats',
    { schema: { tags: ['rooms'], summary: 'The same with unread counts and last messages', description: BY_OPENING, querystring: roomsQuery, response: { 200: myChats, ...errorResponses } } },
    async (request) => {
      const { cursor, limit = PAGE.limitDefault } = request.query
      const from = cursor === undefined ? undefined : decodeCursor(cursor)
      await auditAdmin(db, request, 'list_own_rooms')
      const { rooms: chats, nextCursor } = roomsPage(await chatsOf(db, identityOf(request).userId, { cursor: from, limit }), limit)
      return { chats, nextCursor }
    },
  )
  app.get(
    '/me/invitations',
    { schema: { tags: ['jobs'], summary: 'Disputes that one may join as a mediator', response: { 200: invitations, ...errorResponses } } },
    async (request) => {
      await auditAdmin(db, request, 'list_own_rooms')
      return { invitations: [...(await selectInvitations(db, identityOf(request).userId, PAGE.limitMax))] }
    },
  )
  app.get('/me/settings', { schema: { tags: ['settings'], summary: 'What others are not shown', response: { 200: settings, ...errorResponses } } }, (request) =>
    selectSettings(db, identityOf(request).userId),
  )
  done()
}

export const settingsWriteRoutes: FastifyPluginCallbackTypebox<{ readonly db: Queryable }> = (app, { db }, done) => {
  app.put(
    '/me/settings',
    {
      schema: {
        tags: ['settings'],
        summary: 'Changes what others are not shown',
        description: 'What is left out stays as it was. A node that has asked a moment ago goes by the old settings for up to 30 s; what was shown before is not taken back.',
        body: settingsBody,
        response: { 200: settings, ...errorResponses },
      },
    },
    ({ body: { clientMessageId: _, ...changed }, identity }) => upsertSettings(db, identity!.userId, changed as Parameters<typeof upsertSettings>[2]),
  )
  done()
}
