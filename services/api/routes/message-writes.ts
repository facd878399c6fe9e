import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { checkContent } from '#libs/domain/content-rules.ts'
import type { MessageId, RoomId } from '#libs/domain/ids.ts'
import type { RoomCommandBody } from '#libs/domain/inputs.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import { newSalt } from '#libs/runtime/clock.ts'
import { checkEmoji, type NewMessage, sendCommand } from '../core/message-command.ts'
import { messageParams, roomParams } from '../schemas.ts'
import { selectMessagePlace } from '../sql/messages.ts'
import { bareBody, editBody, messageBody, reactionParams } from '../write-schemas.ts'
import { BODY_BYTES_MAX, create, run, type WriteDeps, writeResponses } from './writing.ts'

export const messageWriteRoutes: FastifyPluginCallbackTypebox<WriteDeps> = (app, deps, done) => {
  const { db, limits } = deps
  app.post(
    '/rooms/:id/messages',
    { bodyLimit: BODY_BYTES_MAX.message, schema: { tags: ['messages'], summary: 'Sends a message', params: roomParams, body: messageBody, response: writeResponses } },
    async (request, reply) => {
      const roomId = request.params.id as RoomId
      const command = sendCommand(roomId, request.body as unknown as NewMessage, newSalt(), limits)
      const { replyTo } = command
      if (replyTo === undefined) return create(deps, request, reply, roomId, command)
      const target = replyTo.toLowerCase() as MessageId
      const replyToSeq = await seqOf(db, roomId, target)
      return create(deps, request, reply, roomId, { ...command, replyTo: target, ...(replyToSeq !== undefined && { replyToSeq }) })
    },
  )
  app.patch(
    '/rooms/:id/messages/:messageId',
    {
      bodyLimit: BODY_BYTES_MAX.message,
      schema: { tags: ['messages'], summary: "Edits a message of one's own", description: 'For a time (24 hours unless configured otherwise), and not in a closed room.', params: messageParams, body: editBody, response: writeResponses },
    },
    async (request) => {
      const { message: content } = request.body
      checkContent(content, limits)
      return run(deps, request, request.params.id as RoomId, { type: 'editMessage', messageId: messageOf(request), content, salt: newSalt() })
    },
  )
  app.delete(
    '/rooms/:id/messages/:messageId',
    { schema: { tags: ['messages'], summary: "Deletes a message of one's own", description: 'Within the same time as an edit. A tombstone stays in its place.', params: messageParams, body: bareBody, response: writeResponses } },
    (request) => run(deps, request, request.params.id as RoomId, { type: 'deleteMessage', messageId: messageOf(request) }),
  )
  const react = async (roomId: RoomId, messageId: MessageId, emoji: string, on: boolean): Promise<RoomCommandBody> => {
    checkEmoji(emoji)
    const messageSeq = await seqOf(db, roomId, messageId)
    return { type: 'react', messageId, ...(messageSeq !== undefined && { messageSeq }), emoji, on }
  }
  for (const [method, on, summary] of [['PUT', true, 'Reacts to a message'], ['DELETE', false, 'Takes a reaction back']] as const) {
    app.route({
      method,
      url: '/rooms/:id/messages/:messageId/reactions/:emoji',
      schema: { tags: ['messages'], summary, params: reactionParams, body: bareBody, response: writeResponses },
      handler: async (request) => {
        const roomId = request.params.id as RoomId
        return run(deps, request, roomId, await react(roomId, messageOf(request), request.params.emoji, on))
      },
    })
  }
  done()
}

const messageOf = ({ params }: { readonly params: { readonly messageId: string } }): MessageId => params.messageId.toLowerCase() as MessageId

/** For messages that the room itself does not remember any more. Without an answer the command goes without: it knows the newer ones. */
export async function seqOf(db: Queryable, roomId: RoomId, messageId: MessageId): Promise<number | undefined> {
  try {
    return (await selectMessagePlace(db, roomId, messageId))?.seq
  } catch {
    return undefined
  }
}
