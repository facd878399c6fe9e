import { decodeTime, isValid as isUlid } from 'ulid'
import { v5 as uuidV5, validate as isUuid, version as uuidVersion } from 'uuid'
import type { Brand } from './brand.ts'
import { ChatError } from './errors.ts'

/** `^[A-Za-z0-9._:-]{1,128}$`. An order's room has the order's id. */
export type RoomId = Brand<string, 'RoomId'>
/** Whom a token speaks for (claim `pid`, else `sub`): 1 to 128 printable characters without spaces. */
export type UserId = Brand<string, 'UserId'>
/** UUIDv5 of (room, sender, clientMessageId): a replay gives the same one. */
export type MessageId = Brand<string, 'MessageId'>
/** Canonical form: a lower-case UUIDv7 or an upper-case ULID. Carries its own time. */
export type ClientMessageId = Brand<string, 'ClientMessageId'>

const ROOM_ID = /^[A-Za-z0-9._:-]{1,128}$/
const USER_ID = /^[\x21-\x7e]{1,128}$/
const MESSAGE_NAMESPACE = '0b8a7a52-5f0e-5d39-9f0c-3f8f2d6c6a11'

export const isRoomId = (raw: unknown): raw is RoomId => typeof raw === 'string' && ROOM_ID.test(raw)
export const isUserId = (raw: unknown): raw is UserId => typeof raw === 'string' && USER_ID.test(raw)

/** @throws ChatError `invalid_room_id` */
export function parseRoomId(raw: unknown): RoomId {
  if (!isRoomId(raw)) throw new ChatError('invalid_room_id')
  return raw
}

/** @throws ChatError `invalid_request` */
export function parseUserId(raw: unknown): UserId {
  if (!isUserId(raw)) throw new ChatError('invalid_request', 'a user id is 1 to 128 printable ASCII characters without spaces')
  return raw
}

/** @throws ChatError `invalid_client_message_id` */
export function parseClientMessageId(raw: unknown): ClientMessageId {
  if (typeof raw === 'string') {
    if (isUuid(raw) && uuidVersion(raw) === 7) return raw.toLowerCase() as ClientMessageId
    // Above 7 the first digit overflows the 48 bits of the time.
    if (isUlid(raw) && raw.charAt(0) <= '7') return raw.toUpperCase() as ClientMessageId
  }
  throw new ChatError('invalid_client_message_id')
}

/** The time that the id itself carries, in ms since 1970. */
export function clientMessageIdTimeMs(id: ClientMessageId): number {
  if (id.length === 26) return decodeTime(id)
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)
}

export function messageIdOf(roomId: RoomId, senderId: UserId, clientMessageId: ClientMessageId): MessageId {
  // None of the three can contain a space, so the joined name is unambiguous.
  return uuidV5(`${roomId} ${senderId} ${clientMessageId}`, MESSAGE_NAMESPACE) as MessageId
}

const ROOM_NAMESPACE = 'd3b7c6a0-4f54-5a1c-8a35-6a0f4f6b1c52'

/** The direct room of two people: the same whoever asks. */
export function directRoomId(a: UserId, b: UserId): RoomId {
  return uuidV5(`direct ${[a, b].sort().join(' ')}`, ROOM_NAMESPACE) as RoomId
}

/** @param clientId the creator's own id for it: creating twice is creating once */
export const groupRoomId = (creatorId: UserId, clientId: string): RoomId => uuidV5(`group ${creatorId} ${clientId}`, ROOM_NAMESPACE) as RoomId
export const jobRoomId = (jobId: string): RoomId => uuidV5(`job ${jobId}`, ROOM_NAMESPACE) as RoomId
/** Of the room that the dispute is about. */
export const disputeRoomId = (subject: RoomId): RoomId => uuidV5(`dispute ${subject}`, ROOM_NAMESPACE) as RoomId

/** A UUIDv7 of `timeMs` that is the same for the same name: for messages that an event makes. */
export function clientMessageIdOf(name: string, timeMs: number): ClientMessageId {
  const time = Math.max(0, Math.floor(timeMs)).toString(16).padStart(12, '0')
  const hash = uuidV5(name, MESSAGE_NAMESPACE)
  return `${time.slice(0, 8)}-${time.slice(8)}-7${hash.slice(15)}` as ClientMessageId
}
