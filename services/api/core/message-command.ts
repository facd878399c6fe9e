import { checkContent } from '#libs/domain/content-rules.ts'
import { codePoints, isStorable } from '#libs/domain/decide-parts.ts'
import { isEmoji } from '#libs/domain/decide-command.ts'
import { ChatError } from '#libs/domain/errors.ts'
import type { MessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import type { RoomCommandBody } from '#libs/domain/inputs.ts'
import type { RoomLimits } from '#libs/domain/limits.ts'
import { type MessagePayload, payloadProblem, payloadText } from '#libs/domain/payload.ts'
import type { MessageType } from '#libs/domain/room.ts'

export type NewMessage = MessagePayload & {
  readonly message: string
  readonly messageType?: Exclude<MessageType, 'system'>
  readonly replyTo?: MessageId
  readonly mentions?: readonly UserId[]
}

/**
 * What is refused here need not bother the log, which would say the same.
 * @throws ChatError `content_…`, `invalid_attachment` with what is wrong
 */
export function sendCommand(roomId: RoomId, request: NewMessage, salt: string, limits: RoomLimits): RoomCommandBody & { readonly type: 'sendMessage' } {
  const { message: content, messageType, replyTo, mentions } = request
  const payload = payloadText(request)
  checkContent(content, limits, payload)
  const problem = payloadProblem(roomId, messageType, payload, limits)
  if (problem !== undefined) throw new ChatError('invalid_attachment', problem)
  return {
    type: 'sendMessage',
    content,
    salt,
    ...(messageType !== undefined && { messageType }),
    ...(payload !== undefined && { payload }),
    ...(replyTo !== undefined && { replyTo }),
    ...(mentions && mentions.length > 0 && { mentions }),
  }
}

/** @throws ChatError `invalid_request` */
export function checkEmoji(emoji: string): void {
  if (!isEmoji(emoji)) throw new ChatError('invalid_request', 'no emoji')
}

/** @throws ChatError `invalid_request` */
export function checkText(name: string, text: string | undefined, charsMax: number): void {
  if (text !== undefined && (!isStorable(text) || codePoints(text, charsMax) > charsMax)) throw new ChatError('invalid_request', `${name} has at most ${charsMax} characters`)
}

/** @throws ChatError `invalid_attachment` with what is wrong with a file that is to be uploaded */
export function checkUpload(roomId: RoomId, upload: { readonly key: string; readonly name: string; readonly mimeType: string; readonly bytes: number }, limits: RoomLimits): void {
  const problem = payloadProblem(roomId, 'file', payloadText({ attachments: [upload] }), limits)
  if (problem !== undefined) throw new ChatError('invalid_attachment', problem)
}
