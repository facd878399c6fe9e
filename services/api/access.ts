import type { FastifyRequest } from 'fastify'
import { bearerToken } from '#libs/auth/bearer.ts'
import type { Identity, TokenVerifier } from '#libs/auth/verifier.ts'
import { ChatError } from '#libs/domain/errors.ts'
import type { RoomId } from '#libs/domain/ids.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import { mayRead, readsAll } from './core/may-read.ts'
import { type AdminAction, insertAdminAudit } from './sql/audit.ts'
import { type RoomRow, selectRoom } from './sql/rooms.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Who asks; null on public routes. */
    identity: Identity | null
    /** The long poll waited, so its duration says nothing about us. */
    hasWaited: boolean
  }
}

/** Hook of every route that is not public. Tokens come from the Authorization header only: URLs end up in logs. */
export const authenticate =
  (tokens: TokenVerifier) =>
  async (request: FastifyRequest): Promise<void> => {
    request.identity = await tokens.verify(bearerToken(request.headers.authorization))
  }

/** Hook after `authenticate`: for who reads everything, which moderators do too. */
export async function adminOnly(request: FastifyRequest): Promise<void> {
  if (!readsAll(identityOf(request))) throw new ChatError('admin_only')
}

/** Hook after `authenticate`: for what moderators need, which admins may see too. */
export async function readersOfAll(request: FastifyRequest): Promise<void> {
  if (!readsAll(identityOf(request))) throw new ChatError('moderator_only')
}

/** Hook after `authenticate`. */
export async function moderatorOnly(request: FastifyRequest): Promise<void> {
  const { role } = identityOf(request)
  if (role === 'admin') throw new ChatError('admin_is_read_only')
  if (role !== 'moderator') throw new ChatError('moderator_only')
}

/** Hook after `authenticate`: for who has chats of his own. */
export async function ownersOnly(request: FastifyRequest): Promise<void> {
  if (readsAll(identityOf(request))) throw new ChatError('not_allowed', 'admins and moderators have no chats of their own')
}

export function identityOf(request: FastifyRequest): Identity {
  if (!request.identity) throw new Error('a route that is not public lacks authenticate')
  return request.identity
}

/**
 * Writes down what an admin or a moderator is about to read, before anything is read: without the row there is no answer.
 * The row also stays where the answer then fails. Does nothing for other roles.
 */
export async function auditAdmin(db: Queryable, request: FastifyRequest, action: AdminAction, roomId?: RoomId): Promise<void> {
  const { role, userId } = identityOf(request)
  if (!readsAll({ role })) return
  const details = { traceId: request.id, query: request.query, ...(role !== 'admin' && { role }) }
  try {
    await insertAdminAudit(db, { actor: userId, action, roomId, details })
  } catch (err) {
    if (err instanceof ChatError) throw err
    throw new ChatError('unavailable', 'the audit log', { cause: err })
  }
}

/** The room as it is now. @throws ChatError `room_not_found`, `not_a_participant` */
export async function readableRoom(db: Queryable, identity: Identity, roomId: RoomId): Promise<RoomRow> {
  const room = await selectRoom(db, roomId)
  if (!room) throw new ChatError('room_not_found')
  if (!mayRead(identity, room)) throw new ChatError('not_a_participant')
  return room
}
