import { validate as isUuid } from 'uuid'
import type { AckFrame, ChatFields, ReplyFrame, RoomUpdatedFrame } from '#libs/domain/frames.ts'
import { type ClientMessageId, isRoomId, isUserId, type RoomId, type UserId } from '#libs/domain/ids.ts'
import { FOREVER_MS, type InboxTotals } from '#libs/domain/inbox.ts'
import { fixedLimits } from '#libs/domain/limits.ts'
import { type Metadata, reportReasons } from '#libs/domain/room.ts'
import type { Request } from '../requests.ts'

/** A request, other than a message, that becomes an event of a room, or a change of one's own list. */
export type OperationRequest = Extract<
  Request,
  {
    readonly type:
      | 'editMessage'
      | 'deleteMessage'
      | 'react'
      | 'addParticipant'
      | 'removeParticipant'
      | 'changeRoom'
      | 'inviteMediator'
      | 'acceptInvitation'
      | 'resolveDispute'
      | 'reportMessage'
      | 'createConversation'
      | 'setChat'
  }
>

/** One that waits. `clientMessageId` is its identity on every retry. */
export type Operation = {
  readonly clientMessageId: ClientMessageId
  /** Those of one lane are sent one after another: the room's id, or `OUTSIDE`. */
  readonly roomId: RoomId
  readonly request: OperationRequest
  /** Who asked, where that was known then: it is never sent as anybody else. */
  readonly senderId?: UserId
}

/** The lane of what can be asked without being in the room. No room has this id. */
export const OUTSIDE = '' as RoomId

/** Who accepts an invitation, or makes a conversation, is not in the room yet; one's own list needs no room to be joined. */
export const laneOf = (request: OperationRequest): RoomId =>
  request.type === 'createConversation' || request.type === 'acceptInvitation' || request.type === 'setChat' ? OUTSIDE : (request.roomId ?? OUTSIDE)

/** What the server said when it was durable, or was so already. */
export type OperationAck = {
  readonly roomId: RoomId
  readonly clientMessageId: ClientMessageId
  /** Of the event; where `unchanged`, of the room's head. */
  readonly seq: number
  /** True where an earlier try had arrived: `seq` is that of then, and there is no `event`. */
  readonly repeated: boolean
  /** True where it was so already: no event was made. */
  readonly unchanged: boolean
  /** As everybody else gets it; the room gives it as an `event` too, at its place. */
  readonly event?: RoomUpdatedFrame
  readonly timestamp?: number
  /** Of a `setChat` alone, which has no `seq`: 0. */
  readonly userSeq?: number
  readonly chat?: ChatFields
  readonly totals?: InboxTotals
}

export type Verdict =
  | { readonly kind: 'acked'; readonly ack: OperationAck }
  | { readonly kind: 'failed'; readonly code: string; readonly retriable: boolean; readonly message: string }
  /** It may pass: the same again, not before `retryAfterMs`. */
  | { readonly kind: 'again'; readonly retryAfterMs: number | undefined; readonly why: 'refused' | 'notJoined' | 'unreadable' }

const UNREADABLE: Verdict = { kind: 'again', retryAfterMs: undefined, why: 'unreadable' }

export function judgeReply({ clientMessageId, request }: Operation, reply: ReplyFrame): Verdict {
  if (reply.type === 'error') {
    const { code, retriable, retryAfterMs, message } = reply
    // The server lost our join, or took it for lost: the request is as good as before.
    if (code === 'not_joined') return { kind: 'again', retryAfterMs: undefined, why: 'notJoined' }
    return retriable ? { kind: 'again', retryAfterMs, why: 'refused' } : { kind: 'failed', code, retriable, message }
  }
  if (reply.type !== 'ack') return UNREADABLE
  const roomId = reply.roomId ?? ('roomId' in request ? request.roomId : undefined)
  if (!isRoomId(roomId) || !Number.isSafeInteger(request.type === 'setChat' ? reply.userSeq : reply.seq)) return UNREADABLE
  return { kind: 'acked', ack: ackOf(reply, roomId, clientMessageId) }
}

function ackOf({ seq = 0, repeated, unchanged, event, timestamp, userSeq, chat, totals }: AckFrame, roomId: RoomId, clientMessageId: ClientMessageId): OperationAck {
  const place = { roomId, clientMessageId, seq, repeated: repeated === true, unchanged: unchanged === true, ...(event && { event }), ...(timestamp !== undefined && { timestamp }) }
  return { ...place, ...(userSeq !== undefined && { userSeq }), ...(chat && { chat }), ...(totals && { totals }) }
}

const CLIENT_ID = /^[\x21-\x7e]{1,128}$/
const PARTICIPANTS_MAX = 1_000
export const WATCHED_PRODUCTS_MAX = 100

/**
 * What is wrong with a request, in words; undefined: nothing that can be told here. The server takes a frame that is not
 * of its shape for a broken client, and ends the connection of one that goes on sending them: so such a one is never sent.
 */
export function requestProblem(request: OperationRequest): string | undefined {
  switch (request.type) {
    case 'editMessage':
    case 'deleteMessage':
      return targetProblem(request.messageId)
    case 'react': {
      const { messageId, emoji } = request
      return targetProblem(messageId) ?? (isTextUpTo(emoji, fixedLimits.emojiCharsMax) && emoji !== '' ? undefined : `an emoji has 1 to ${fixedLimits.emojiCharsMax} characters`)
    }
    case 'addParticipant':
    case 'removeParticipant':
    case 'inviteMediator':
      return isUserId(request.userId) ? undefined : 'userId is 1 to 128 printable ASCII characters without spaces'
    case 'changeRoom':
      return nameProblem(request.name) ?? metadataProblem(request.metadata)
    case 'resolveDispute':
      return noteProblem(request.note)
    case 'acceptInvitation':
      return undefined
    case 'reportMessage':
      return targetProblem(request.messageId) ?? (reportReasons.includes(request.reason) ? noteProblem(request.note) : `a reason is one of ${reportReasons.join(', ')}`)
    case 'setChat':
      return settingsProblem(request)
    case 'createConversation':
      return conversationProblem(request) ?? nameProblem(request.name) ?? metadataProblem(request.metadata)
  }
}

const noteProblem = (note: string | undefined): string | undefined => (note === undefined || isTextUpTo(note, 4 * fixedLimits.noteCharsMax) ? undefined : 'the note is too long')
const targetProblem = (messageId: string): string | undefined => (isUuid(messageId) ? undefined : 'messageId is a UUID')
const isTextUpTo = (text: unknown, unitsMax: number): boolean => typeof text === 'string' && text.length <= unitsMax
/** The bound is in code points, of up to two units each; the log counts exactly. */
const nameProblem = (name: string | undefined): string | undefined => (name === undefined || isTextUpTo(name, 4 * fixedLimits.nameCharsMax) ? undefined : 'the name is too long')

function metadataProblem(metadata: Metadata | undefined): string | undefined {
  const { metadataKeyCharsMax, metadataValueCharsMax } = fixedLimits
  const fits = Object.entries(metadata ?? {}).every(([key, value]) => key.length <= metadataKeyCharsMax && isTextUpTo(value, metadataValueCharsMax))
  return fits ? undefined : `metadata has keys of at most ${metadataKeyCharsMax} and texts of at most ${metadataValueCharsMax} characters`
}

function settingsProblem({ roomId, mutedUntilMs, archived }: OperationRequest & { readonly type: 'setChat' }): string | undefined {
  if (!isRoomId(roomId)) return 'no room id'
  if (mutedUntilMs === undefined && archived === undefined) return 'mutedUntilMs or archived is needed'
  const isTime = mutedUntilMs === undefined || (Number.isSafeInteger(mutedUntilMs) && mutedUntilMs >= 0 && mutedUntilMs <= FOREVER_MS)
  return isTime ? undefined : 'mutedUntilMs is a time in ms, or 0'
}

function conversationProblem({ participants, clientId }: OperationRequest & { readonly type: 'createConversation' }): string | undefined {
  if (participants.length > PARTICIPANTS_MAX || new Set(participants).size !== participants.length || !participants.every(isUserId)) return 'participants are user ids, each once'
  return clientId === undefined || CLIENT_ID.test(clientId) ? undefined : 'clientId is 1 to 128 printable ASCII characters without spaces'
}
