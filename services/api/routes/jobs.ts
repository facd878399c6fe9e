import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { ChatError } from '#libs/domain/errors.ts'
import { disputeRoomId, jobRoomId, type RoomId, type UserId } from '#libs/domain/ids.ts'
import { fixedLimits } from '#libs/domain/limits.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import { auditAdmin, identityOf, readableRoom } from '../access.ts'
import { clientMessageIdOr } from '../commands.ts'
import { type JobRequest, newDispute, newJob } from '../core/conversations.ts'
import { mayRead } from '../core/may-read.ts'
import { checkText } from '../core/message-command.ts'
import { errorResponses, job, roomParams } from '../schemas.ts'
import { isInvited } from '../sql/disputes.ts'
import { selectRoom } from '../sql/rooms.ts'
import { bareBody, disputeAnswer, disputeParams, jobAnswer, jobBody, jobParams, mediatorBody, resolveBody } from '../write-schemas.ts'
import { create, run, type WriteDeps, writeResponses } from './writing.ts'

export const jobRoutes: FastifyPluginCallbackTypebox<{ readonly db: Queryable }> = (app, { db }, done) => {
  app.get(
    '/jobs/:jobId',
    {
      schema: {
        tags: ['jobs'],
        summary: 'A job, and its dispute where there is one',
        description: 'For its client and its provider, mediators of its dispute who are invited or in, and admins.',
        params: jobParams,
        response: { 200: job, ...errorResponses },
      },
    },
    async (request) => {
      const { jobId } = request.params
      const identity = identityOf(request)
      const chatId = jobRoomId(jobId)
      const disputeId = disputeRoomId(chatId)
      await auditAdmin(db, request, 'read_job', chatId)
      const room = await selectRoom(db, chatId)
      if (!room) throw new ChatError('room_not_found')
      const dispute = await selectRoom(db, disputeId)
      const maySee = mayRead(identity, room) || (dispute && (mayRead(identity, dispute) || (await isInvited(db, identity.userId, disputeId))))
      if (!maySee) throw new ChatError('not_a_participant')
      return {
        jobId,
        chatId,
        disputeId: dispute ? disputeId : null,
        lsm_invited: dispute?.mediatorInvited ?? false,
        resolved: dispute?.closedReason === 'resolved',
      }
    },
  )
  done()
}

export const jobWriteRoutes: FastifyPluginCallbackTypebox<WriteDeps> = (app, deps, done) => {
  app.post(
    '/jobs/create',
    {
      schema: {
        tags: ['jobs'],
        summary: 'A job and its room, for a client and a provider',
        description: 'By one of the two. The same jobId gives the same room; left out, it is the clientMessageId.',
        body: jobBody,
        response: { 200: jobAnswer, 201: jobAnswer, ...errorResponses },
      },
    },
    async (request, reply) => {
      const clientMessageId = clientMessageIdOr(request.body.clientMessageId)
      const { jobId = clientMessageId, clientId, providerId } = request.body
      const { roomId, body } = newJob(identityOf(request).userId, { jobId, clientId, providerId } as JobRequest)
      const { roomId: chatId, ...answer } = await create(deps, request, reply, roomId, body, clientMessageId)
      return { jobId, chatId, ...answer }
    },
  )
  const disputeResponses = { 200: disputeAnswer, 201: disputeAnswer, ...errorResponses } as const
  app.post(
    '/jobs/:jobId/dispute',
    { schema: { tags: ['jobs'], summary: 'Opens a dispute about a job', description: 'By its client or its provider. There is one at most: opening it again gives the same.', params: jobParams, body: bareBody, response: disputeResponses } },
    (request, reply) => openDispute(deps, request, reply, jobRoomId(request.params.jobId)),
  )
  app.post(
    '/rooms/:id/dispute',
    {
      schema: {
        tags: ['jobs'],
        summary: 'Opens a dispute about an order that has ended, or about a job',
        description: "By a participant of its room, in a room of its own. There is one at most: opening it again gives the same.",
        params: roomParams,
        body: bareBody,
        response: disputeResponses,
      },
    },
    (request, reply) => openDispute(deps, request, reply, request.params.id as RoomId),
  )
  app.post(
    '/disputes/:chatId/mediators',
    {
      schema: { tags: ['jobs'], summary: 'Invites a mediator', description: 'By a side of the dispute. Everybody in it sees the invitation; the mediator finds it in /me/invitations.', params: disputeParams, body: mediatorBody, response: writeResponses },
    },
    (request, reply) => create(deps, request, reply, request.params.chatId as RoomId, { type: 'inviteMediator', userId: request.body.userId as UserId }),
  )
  app.post(
    '/disputes/:chatId/join',
    { schema: { tags: ['jobs'], summary: 'Comes in as a mediator who was invited', params: disputeParams, body: bareBody, response: writeResponses } },
    (request, reply) => create(deps, request, reply, request.params.chatId as RoomId, { type: 'acceptInvitation' }),
  )
  app.post(
    '/disputes/:chatId/resolve',
    {
      schema: { tags: ['jobs'], summary: 'Ends the dispute', description: 'By a mediator where there is one, else by a side. Takes the mediators out, and keeps the record.', params: disputeParams, body: resolveBody, response: writeResponses },
    },
    async (request) => {
      const { note } = request.body
      checkText('note', note, fixedLimits.noteCharsMax)
      return run(deps, request, request.params.chatId as RoomId, { type: 'resolveDispute', ...(note !== undefined && { note }) })
    },
  )
  done()
}

async function openDispute(deps: WriteDeps, request: FastifyRequest, reply: FastifyReply, subjectRoomId: RoomId) {
  const { roomId, body } = newDispute(await readableRoom(deps.db, identityOf(request), subjectRoomId))
  const { roomId: chatId, ...answer } = await create(deps, request, reply, roomId, body)
  return { disputeId: chatId, chatId, ...answer }
}
