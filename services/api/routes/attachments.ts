import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { ChatError } from '#libs/domain/errors.ts'
import type { RoomId } from '#libs/domain/ids.ts'
import { attachmentKeyPrefix } from '#libs/domain/payload.ts'
import { newId } from '#libs/runtime/clock.ts'
import type { Presigner } from '#libs/s3/presigner.ts'
import { auditAdmin, identityOf, readableRoom } from '../access.ts'
import { ToldError } from '../core/error-answer.ts'
import { readsAll } from '../core/may-read.ts'
import { checkUpload } from '../core/message-command.ts'
import { errorResponses, roomParams } from '../schemas.ts'
import { isRedactedFile } from '../sql/messages.ts'
import { attachmentBody, attachmentParams, downloadAnswer, uploadAnswer } from '../write-schemas.ts'
import type { WriteDeps } from './writing.ts'

export type AttachmentDeps = Pick<WriteDeps, 'db' | 'limits'> & { readonly files: Presigner | undefined }

/** @throws ToldError `unavailable` */
function storeOf({ files }: AttachmentDeps): Presigner {
  if (!files) throw new ToldError('unavailable', 'no store of files is set up here, so there are no uploads')
  return files
}

export const attachmentRoutes: FastifyPluginCallbackTypebox<AttachmentDeps> = (app, deps, done) => {
  app.get(
    '/rooms/:id/attachments/:key',
    {
      schema: {
        tags: ['attachments'],
        summary: 'Where to get a file of a room',
        description: 'For who may read the room. The URL works without a token, for a short time. Files of a message that a moderator has taken away are for moderators and admins alone.',
        params: attachmentParams,
        response: { 200: downloadAnswer, ...errorResponses },
      },
    },
    async (request) => {
      const { id, key } = request.params
      const roomId = id as RoomId
      await auditAdmin(deps.db, request, 'read_attachment', roomId)
      await readableRoom(deps.db, identityOf(request), roomId)
      if (!isKeyOf(roomId, key)) throw new ChatError('not_found')
      if (!readsAll(identityOf(request)) && (await isRedactedFile(deps.db, roomId, fileOf(key)))) throw new ChatError('message_deleted')
      return storeOf(deps).get(key)
    },
  )
  done()
}

export const attachmentWriteRoutes: FastifyPluginCallbackTypebox<AttachmentDeps> = (app, deps, done) => {
  app.post(
    '/rooms/:id/attachments',
    {
      schema: {
        tags: ['attachments'],
        summary: 'Where to put a file for a message of a room',
        description: 'For participants of an open room. PUT just so many bytes of just this type to `url`, then send a message with an attachment of this `key`.',
        params: roomParams,
        body: attachmentBody,
        response: { 201: uploadAnswer, ...errorResponses },
      },
    },
    async (request, reply) => {
      const roomId = request.params.id as RoomId
      const { name, mimeType, bytes } = request.body
      const { userId } = identityOf(request)
      const room = await readableRoom(deps.db, identityOf(request), roomId)
      if (room.readOnly) throw new ChatError('room_read_only')
      if (room.frozen) throw new ChatError('room_frozen')
      if (room.participants.find((p) => p.userId === userId)?.role === 'observer') throw new ChatError('not_allowed')
      const key = `${attachmentKeyPrefix(roomId)}${newId()}`
      checkUpload(roomId, { key, name, mimeType, bytes }, deps.limits)
      const upload = await storeOf(deps).put({ key, mimeType, bytes })
      reply.code(201)
      return { key, ...upload }
    },
  )
  done()
}

const fileOf = (key: string): string => key.slice(key.lastIndexOf('/') + 1)

/** Of this room, and of the form that we give. */
function isKeyOf(roomId: RoomId, key: string): boolean {
  const prefix = attachmentKeyPrefix(roomId)
  return key.startsWith(prefix) && /^[0-9a-f-]{36}$/.test(key.slice(prefix.length))
}
