import { checkContent } from '#libs/domain/content-rules.ts'
import { isEmoji } from '#libs/domain/decide-command.ts'
import { ChatError } from '#libs/domain/errors.ts'
import type { ClientFrame } from '#libs/domain/frames.ts'
import { directRoomId, groupRoomId, type MessageId, type RoomId, type UserId } from '#libs/domain/ids.ts'
import type { RoomCommandBody } from '#libs/domain/inputs.ts'
import type { RoomLimits } from '#libs/domain/limits.ts'
import { payloadProblem, payloadText } from '#libs/domain/payload.ts'
import type { Participant } from '#libs/domain/room.ts'
import type { Connection } from './connection.ts'

type DurableType =
  | 'sendMessage'
  | 'editMessage'
  | 'deleteMessage'
  | 'react'
  | 'createConversation'
  | 'addParticipant'
  | 'removeParticipant'
  | 'changeRoom'
  | 'inviteMediator'
  | 'acceptInvitation'
  | 'resolveDispute'
  | 'reportMessage'

/** Requests that become events. `mark` does too, but is gathered first (marks.ts). */
export type DurableFrame = Extract<ClientFrame, { readonly type: DurableType }>

/** What may be asked for in a room that one is not in, or that is not there yet. */
export const needsNoJoin = ({ type }: DurableFrame): boolean => type === 'createConversation' || type === 'acceptInvitation'

/** @throws ChatError `malformed_frame` */
export function roomOf(connection: Connection, roomId: RoomId | undefined): RoomId {
  const room = roomId ?? connection.defaultRoom
  if (room === undefined) throw new ChatError('malformed_frame', 'roomId is needed on this socket')
  return room
}

/** The room that a request is about, also where its id is yet to be made. @throws ChatError `malformed_frame`, `invalid_request` */
export function roomOfRequest(connection: Connection, frame: DurableFrame): RoomId {
  if (frame.type !== 'createConversation') return roomOf(connection, frame.roomId)
  const { userId } = connection.speaker
  if (frame.kind === 'group') {
    if (frame.clientId === undefined) throw new ChatError('invalid_request', 'clientId is needed for a group')
    return groupRoomId(userId, frame.clientId)
  }
  const [other, ...more] = othersOf(frame, userId)
  if (other === undefined || more.length > 0) throw new ChatError('invalid_request', 'a direct conversation has one other participant')
  return directRoomId(userId, other)
}

/** A UUID may come in capitals, and the history finds it so; to the room a message has one spelling. */
export function inOwnSpelling(frame: DurableFrame): DurableFrame {
  if (isAboutMessage(frame)) return { ...frame, messageId: frame.messageId.toLowerCase() as MessageId }
  return frame.type === 'sendMessage' && frame.replyTo !== undefined ? { ...frame, replyTo: frame.replyTo.toLowerCase() as MessageId } : frame
}

/** The message that a request is about. */
export const targetOf = (frame: DurableFrame): MessageId | undefined => (isAboutMessage(frame) ? frame.messageId : undefined)

/** In others a field of this name is nobody's, and may be anything. */
const isAboutMessage = (frame: DurableFrame): frame is Extract<DurableFrame, { readonly messageId: MessageId }> =>
  frame.type === 'editMessage' || frame.type === 'deleteMessage' || frame.type === 'react' || frame.type === 'reportMessage'

export type BodyContext = { readonly roomId: RoomId; readonly senderId: UserId; readonly limits: RoomLimits; readonly newSalt: () => string }

/** What goes into the log. The log judges again; what is refused here costs it nothing. @throws ChatError */
export function bodyOf(frame: DurableFrame, context: BodyContext): RoomCommandBody {
  switch (frame.type) {
    case 'sendMessage':
      return messageBody(frame, context)
    case 'editMessage':
      checkContent(frame.message, context.limits)
      return { type: frame.type, messageId: frame.messageId, content: frame.message, salt: context.newSalt() }
    case 'deleteMessage':
      return { type: frame.type, messageId: frame.messageId }
    case 'react':
      if (!isEmoji(frame.emoji)) throw new ChatError('invalid_request', 'emoji is one word without spaces')
      return { type: frame.type, messageId: frame.messageId, emoji: frame.emoji, on: frame.on ?? true }
    case 'createConversation':
      return creationBody(frame, context)
    case 'addParticipant':
      return { type: frame.type, userId: frame.userId, role: frame.role ?? 'member' }
    case 'removeParticipant':
    case 'inviteMediator':
      return { type: frame.type, userId: frame.userId }
    case 'changeRoom':
      return { type: frame.type, ...(frame.name !== undefined && { name: frame.name }), ...(frame.metadata && { metadata: frame.metadata }) }
    case 'acceptInvitation':
      return { type: frame.type }
    case 'resolveDispute':
      return { type: frame.type, ...(frame.note !== undefined && { note: frame.note }) }
    case 'reportMessage':
      return { type: frame.type, messageId: frame.messageId, reason: frame.reason, ...(frame.note !== undefined && { note: frame.note }) }
  }
}

function messageBody(frame: DurableFrame & { readonly type: 'sendMessage' }, { roomId, limits, newSalt }: BodyContext): RoomCommandBody {
  const { message: content, messageType, replyTo, mentions } = frame
  const payload = payloadOf(frame, roomId, limits)
  checkContent(content, limits, payload)
  return {
    type: 'sendMessage',
    content,
    salt: newSalt(),
    ...(messageType !== undefined && { messageType }),
    ...(payload !== undefined && { payload }),
    ...(replyTo !== undefined && { replyTo }),
    ...(mentions && mentions.length > 0 && { mentions: [...new Set(mentions)] }),
  }
}

/** The request is judged as it came, since its shape is not known before; what is kept has the known fields alone. */
function payloadOf(frame: DurableFrame & { readonly type: 'sendMessage' }, roomId: RoomId, limits: RoomLimits): string | undefined {
  const { messageType, attachments, location, productId, orderId } = frame
  const given = attachments !== undefined || location !== undefined || productId !== undefined || orderId !== undefined
  if (!given && messageType === undefined) return undefined
  const problem = payloadProblem(roomId, messageType, given ? asText({ attachments, location, productId, orderId }) : undefined, limits)
  if (problem !== undefined) throw new ChatError('invalid_attachment', problem)
  return payloadText(frame)
}

/** JSON may be nested more deeply than it can be written again. */
function asText(value: object): string {
  try {
    return JSON.stringify(value)
  } catch {
    throw new ChatError('invalid_attachment', 'nested too deeply')
  }
}

function creationBody(frame: DurableFrame & { readonly type: 'createConversation' }, { senderId, limits }: BodyContext): RoomCommandBody {
  const { kind, name, metadata, history } = frame
  const others = othersOf(frame, senderId)
  if (others.length >= limits.participantsMax) throw new ChatError('too_many_participants')
  const participants: Participant[] =
    kind === 'direct'
      ? [senderId, ...others].sort().map((userId) => ({ userId, role: 'member' }))
      : [{ userId: senderId, role: 'owner' }, ...others.map((userId): Participant => ({ userId, role: 'member' }))]
  return { type: 'createRoom', kind, participants, ...(name !== undefined && { name }), ...(metadata && { metadata }), ...(history !== undefined && { history }) }
}

const othersOf = ({ participants }: DurableFrame & { readonly type: 'createConversation' }, userId: UserId): UserId[] => participants.filter((other) => other !== userId)
