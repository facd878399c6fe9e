import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { ChatError, isRetriable } from '#libs/domain/errors.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { fixedLimits } from '#libs/domain/limits.ts'
import { hasConversationsMax } from '#libs/postgres/conversations.ts'
import { identityOf } from '../access.ts'
import { clientMessageIdOr } from '../commands.ts'
import { type ConversationRequest, newConversation } from '../core/conversations.ts'
import { checkText } from '../core/message-command.ts'
import { roomParams } from '../schemas.ts'
import { selectSettings } from '../sql/receipts.ts'
import { bareBody, marksBody, newRoomBody, participantBody, participantParams, roomChangeBody } from '../write-schemas.ts'
import { BODY_BYTES_MAX, create, run, type WriteDeps, writeResponses } from './writing.ts'

export const roomWriteRoutes: FastifyPluginCallbackTypebox<WriteDeps> = (app, deps, done) => {
  app.post(
    '/rooms',
    {
      bodyLimit: BODY_BYTES_MAX.newRoom,
      schema: {
        tags: ['conversations'],
        summary: 'A conversation of two, or a group',
        description: 'The same pair always gets the same room, and so does the same (creator, clientId): 200 with `unchanged` where it is there already.',
        body: newRoomBody,
        response: writeResponses,
      },
    },
    async (request, reply) => {
      const clientMessageId = clientMessageIdOr(request.body.clientMessageId)
      checkText('name', request.body.name, fixedLimits.nameCharsMax)
      const { userId } = identityOf(request)
      const { roomId, body } = newConversation(userId, request.body as unknown as ConversationRequest, clientMessageId)
      if (await isFull(deps, userId, roomId)) throw new ChatError('too_many_rooms', `${deps.conversationsPerUserMax} conversations`)
      return create(deps, request, reply, roomId, body, clientMessageId)
    },
  )
  app.patch(
    '/rooms/:id',
    {
      bodyLimit: BODY_BYTES_MAX.message,
      schema: { tags: ['conversations'], summary: 'Renames a group, or gives it other metadata', description: 'For its owners. An empty name takes it away.', params: roomParams, body: roomChangeBody, response: writeResponses },
    },
    async (request) => {
      const { name, metadata } = request.body
      if (name === undefined && metadata === undefined) throw new ChatError('invalid_request', 'name or metadata')
      checkText('name', name, fixedLimits.nameCharsMax)
      return run(deps, request, request.params.id as RoomId, { type: 'changeRoom', ...(name !== undefined && { name }), ...(metadata && { metadata }) })
    },
  )
  app.post(
    '/rooms/:id/participants',
    { schema: { tags: ['conversations'], summary: 'Adds somebody to a group, or gives him another role', description: 'For its owners.', params: roomParams, body: participantBody, response: writeResponses } },
    (request, reply) => {
      const { userId, role = 'member' } = request.body
      return create(deps, request, reply, request.params.id as RoomId, { type: 'addParticipant', userId: userId as UserId, role })
    },
  )
  app.delete(
    '/rooms/:id/participants/:userId',
    { schema: { tags: ['conversations'], summary: 'Removes somebody from a group; oneself: leaves', params: participantParams, body: bareBody, response: writeResponses } },
    (request) => run(deps, request, request.params.id as RoomId, { type: 'removeParticipant', userId: request.params.userId as UserId }),
  )
  app.post(
    '/rooms/:id/marks',
    { schema: { tags: ['messages'], summary: "Moves one's cursors of what was delivered and seen", description: 'They only go up. Seen is delivered too.', params: roomParams, body: marksBody, response: writeResponses } },
    async (request) => {
      const { delivered, seen, hidden = false } = request.body
      if (delivered === undefined && seen === undefined) throw new ChatError('invalid_request', 'delivered or seen')
      const isHidden = hidden || (await hidesReceipts(deps, identityOf(request).userId))
      return run(deps, request, request.params.id as RoomId, { type: 'mark', ...(delivered !== undefined && { delivered }), ...(seen !== undefined && { seen }), ...(isHidden && { hidden: true }) })
    },
  )
  done()
}

/** Where it is not known nobody is kept from talking: how often he writes is bounded all the same. */
async function isFull({ db, conversationsPerUserMax }: WriteDeps, userId: UserId, roomId: RoomId): Promise<boolean> {
  try {
    return await hasConversationsMax(db, userId, roomId, conversationsPerUserMax)
  } catch (err) {
    if (isRetriable(err)) return false
    throw err
  }
}

/** Where it is not known, the more private counts. */
async function hidesReceipts({ db }: WriteDeps, userId: UserId): Promise<boolean> {
  try {
    return (await selectSettings(db, userId)).hideReceipts
  } catch {
    return true
  }
}
