import { ChatError } from '#libs/domain/errors.ts'
import { type ClientMessageId, directRoomId, disputeRoomId, groupRoomId, jobRoomId, type RoomId, type UserId } from '#libs/domain/ids.ts'
import type { RoomCommandBody } from '#libs/domain/inputs.ts'
import type { HistoryRule, Metadata, Participant, RoomKind } from '#libs/domain/room.ts'

export type NewRoom = { readonly roomId: RoomId; readonly body: RoomCommandBody & { readonly type: 'createRoom' } }

export type ConversationRequest = {
  readonly kind: 'direct' | 'group'
  readonly participants: readonly UserId[]
  readonly clientId?: string
  readonly name?: string
  readonly metadata?: Metadata
  readonly history?: HistoryRule
}

/** @throws ChatError `invalid_request` for what a 1:1 conversation cannot have */
export function newConversation(creatorId: UserId, request: ConversationRequest, clientMessageId: ClientMessageId): NewRoom {
  const { kind, participants, clientId, name, metadata, history } = request
  const others = participants.filter((userId) => userId !== creatorId)
  if (kind === 'direct') {
    const [other] = others
    if (other === undefined || others.length > 1) throw new ChatError('invalid_request', 'a direct conversation has one other participant')
    if ([clientId, name, metadata, history].some((value) => value !== undefined)) throw new ChatError('invalid_request', 'clientId, name, metadata and history are of groups')
    // In the order that an order event would give it, whoever asks.
    const both = [creatorId, other].sort().map((userId): Participant => ({ userId, role: 'member' }))
    return { roomId: directRoomId(creatorId, other), body: { type: 'createRoom', kind, participants: both } }
  }
  const all: Participant[] = [{ userId: creatorId, role: 'owner' }, ...others.map((userId): Participant => ({ userId, role: 'member' }))]
  const body: NewRoom['body'] = { type: 'createRoom', kind, participants: all, ...(name !== undefined && { name }), ...(metadata && { metadata }), ...(history && { history }) }
  return { roomId: groupRoomId(creatorId, clientId ?? clientMessageId), body }
}

export type JobRequest = { readonly clientId: UserId; readonly providerId: UserId; readonly jobId: string }

/** @throws ChatError `not_allowed` for who is neither of the two, `invalid_request` where they are one */
export function newJob(callerId: UserId, { clientId, providerId, jobId }: JobRequest): NewRoom {
  if (callerId !== clientId && callerId !== providerId) throw new ChatError('not_allowed', 'a job is created by its client or its provider')
  if (clientId === providerId) throw new ChatError('invalid_request', 'client and provider are two people')
  const participants: Participant[] = [
    { userId: clientId, role: 'client' },
    { userId: providerId, role: 'provider' },
  ]
  return { roomId: jobRoomId(jobId), body: { type: 'createRoom', kind: 'job', participants, subjectId: jobId } }
}

export type Subject = {
  readonly roomId: RoomId
  readonly kind: RoomKind
  readonly readOnly: boolean
  readonly participants: readonly Participant[]
  readonly subjectId: string | null
}

/** A room of its own, of those who are in the other one now. @throws ChatError `wrong_room_kind` */
export function newDispute(subject: Subject): NewRoom {
  const { roomId, kind, readOnly, participants, subjectId } = subject
  if (kind !== 'order' && kind !== 'job') throw new ChatError('wrong_room_kind', 'a dispute is about an order or a job')
  if (kind === 'order' && !readOnly) throw new ChatError('wrong_room_kind', 'a dispute about an order is opened once the order has ended')
  const both = participants.map(({ userId, role }): Participant => ({ userId, role }))
  return { roomId: disputeRoomId(roomId), body: { type: 'createRoom', kind: 'dispute', participants: both, subjectId: subjectId ?? roomId } }
}
