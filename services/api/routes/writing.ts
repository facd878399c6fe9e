import type { FastifyReply, FastifyRequest } from 'fastify'
import type { ClientMessageId, RoomId } from '#libs/domain/ids.ts'
import { ChatError } from '#libs/domain/errors.ts'
import type { RoomCommandBody } from '#libs/domain/inputs.ts'
import type { RoomLimits } from '#libs/domain/limits.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import type { RateLimiter } from '#libs/redis/rate-limit.ts'
import { identityOf } from '../access.ts'
import { clientMessageIdOr, type Commands } from '../commands.ts'
import { type CommandAnswer, statusOf } from '../core/command-answer.ts'
import { errorResponses } from '../schemas.ts'
import { commandAnswer } from '../write-schemas.ts'

export type WriteDeps = { readonly db: Queryable; readonly commands: Commands; readonly limits: RoomLimits; readonly conversationsPerUserMax: number }

/** Bodies of the larger requests; all others are within the server's own limit. */
export const BODY_BYTES_MAX = { message: 128 * 1_024, newRoom: 256 * 1_024 } as const

/** Hook of every route on which people write, after `authenticate`. */
export async function writersOnly(request: FastifyRequest): Promise<void> {
  const { role } = identityOf(request)
  if (role === 'admin') throw new ChatError('admin_is_read_only')
  if (role === 'moderator') throw new ChatError('not_allowed', 'a moderator writes by /moderation alone')
}

/** Hook of every route that writes, after those that say who may. */
export const notTooOften =
  (writers: RateLimiter) =>
  async (request: FastifyRequest): Promise<void> => {
    await writers.consume(identityOf(request).userId)
  }

/** Hook before validation: a write whose body has nothing to say may leave it out. */
export async function allowNoBody(request: FastifyRequest): Promise<void> {
  request.body ??= {}
}

export const writeResponses = { 200: commandAnswer, 201: commandAnswer, ...errorResponses } as const

/** Does what `body` says, and gives its answer. @throws ChatError as Commands.run */
export function run({ commands }: Pick<WriteDeps, 'commands'>, request: FastifyRequest, roomId: RoomId, body: RoomCommandBody, clientMessageId: ClientMessageId = clientMessageIdOr(clientMessageIdIn(request))): Promise<CommandAnswer> {
  return commands.run({ roomId, senderId: identityOf(request).userId, clientMessageId, traceId: request.id }, body)
}

/** As `run`; 201 where it made something. */
export async function create(deps: Pick<WriteDeps, 'commands'>, request: FastifyRequest, reply: FastifyReply, roomId: RoomId, body: RoomCommandBody, clientMessageId?: ClientMessageId): Promise<CommandAnswer> {
  const answer = await run(deps, request, roomId, body, clientMessageId)
  reply.code(statusOf(answer))
  return answer
}

/** As the client named it; every body has a place for it. */
export const clientMessageIdIn = ({ body }: FastifyRequest): string | undefined => (body as { clientMessageId?: string }).clientMessageId
