import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { ChatError } from '#libs/domain/errors.ts'
import type { MessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import { fixedLimits } from '#libs/domain/limits.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import { auditAdmin, readersOfAll } from '../access.ts'
import { decodeReportCursor, encodeReportCursor, pageOf } from '../core/cursor.ts'
import { checkText } from '../core/message-command.ts'
import { PAGE } from '../core/message-page.ts'
import { freezeBody, moderatedRoomParams, redactionBody, removalBody, reportBody, reportsPage, reportsQuery } from '../moderation-schemas.ts'
import { errorResponses, messageParams } from '../schemas.ts'
import { selectReports } from '../sql/reports.ts'
import { seqOf } from './message-writes.ts'
import { create, run, type WriteDeps, writeResponses } from './writing.ts'

export const moderationRoutes: FastifyPluginCallbackTypebox<{ readonly db: Queryable }> = (app, { db }, done) => {
  app.addHook('onRequest', readersOfAll)
  app.get(
    '/moderation/reports',
    {
      schema: {
        tags: ['moderation'],
        summary: 'Messages that were reported',
        description: 'The newest report first. For moderators and admins; each request is logged.',
        querystring: reportsQuery,
        response: { 200: reportsPage, ...errorResponses },
      },
    },
    async (request) => {
      const { state, roomId, cursor, limit = PAGE.limitDefault } = request.query
      const from = cursor === undefined ? undefined : decodeReportCursor(cursor)
      await auditAdmin(db, request, 'list_reports', roomId as RoomId | undefined)
      const { rows, nextCursor } = pageOf(await selectReports(db, { state, roomId: roomId as RoomId | undefined, cursor: from, limit }), limit, encodeReportCursor)
      return { reports: rows, nextCursor }
    },
  )
  done()
}

/** After `moderatorOnly`. All of them are commands: what they do is in the log, with who asked and why. */
export const moderationWriteRoutes: FastifyPluginCallbackTypebox<WriteDeps> = (app, deps, done) => {
  const { noteCharsMax } = fixedLimits
  app.post(
    '/moderation/rooms/:id/freeze',
    {
      schema: { tags: ['moderation'], summary: 'Freezes a room, or lets it go on', description: 'While it is frozen its people read and mark, and write nothing.', params: moderatedRoomParams, body: freezeBody, response: writeResponses },
    },
    async (request) => {
      const { on, reason } = request.body
      checkText('reason', reason, noteCharsMax)
      return run(deps, request, request.params.id as RoomId, { type: 'freezeRoom', on, ...(reason !== undefined && { reason }) })
    },
  )
  app.post(
    '/moderation/rooms/:id/redactions',
    {
      schema: { tags: ['moderation'], summary: 'Takes a message away', description: 'Nobody is shown any revision of it any more, but for the record. Also in a room that has closed.', params: moderatedRoomParams, body: redactionBody, response: writeResponses },
    },
    async (request) => {
      const { reason } = request.body
      checkReason(reason)
      const roomId = request.params.id as RoomId
      const messageId = request.body.messageId.toLowerCase() as MessageId
      const messageSeq = await seqOf(deps.db, roomId, messageId)
      return run(deps, request, roomId, { type: 'redactMessage', messageId, ...(messageSeq !== undefined && { messageSeq }), reason })
    },
  )
  app.post(
    '/moderation/rooms/:id/removals',
    { schema: { tags: ['moderation'], summary: 'Takes somebody out of a room', params: moderatedRoomParams, body: removalBody, response: writeResponses } },
    async (request) => {
      const { userId, reason } = request.body
      checkReason(reason)
      return run(deps, request, request.params.id as RoomId, { type: 'expelParticipant', userId: userId as UserId, reason })
    },
  )
  done()
}

function checkReason(reason: string): void {
  if (reason === '') throw new ChatError('invalid_request', 'reason must not be empty')
  checkText('reason', reason, fixedLimits.noteCharsMax)
}

/** By the people of the room. */
export const reportWriteRoutes: FastifyPluginCallbackTypebox<WriteDeps> = (app, deps, done) => {
  app.post(
    '/rooms/:id/messages/:messageId/reports',
    {
      schema: { tags: ['messages'], summary: 'Reports a message to the moderators', description: 'The others of the room are not told.', params: messageParams, body: reportBody, response: writeResponses },
    },
    async (request, reply) => {
      const { reason, note } = request.body
      checkText('note', note, fixedLimits.noteCharsMax)
      const roomId = request.params.id as RoomId
      const messageId = request.params.messageId.toLowerCase() as MessageId
      const messageSeq = await seqOf(deps.db, roomId, messageId)
      return create(deps, request, reply, roomId, { type: 'reportMessage', messageId, ...(messageSeq !== undefined && { messageSeq }), reason, ...(note !== undefined && { note }) })
    },
  )
  done()
}
