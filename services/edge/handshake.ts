import { bearerToken } from '#libs/auth/bearer.ts'
import type { Identity, TokenVerifier } from '#libs/auth/verifier.ts'
import { ChatError } from '#libs/domain/errors.ts'
import { BEARER_SUBPROTOCOL_PREFIX, SUBPROTOCOL } from '#libs/domain/frames.ts'
import { parseRoomId, type RoomId, type UserId } from '#libs/domain/ids.ts'
import type { ConnectionLimiter } from '#libs/redis/connection-limit.ts'
import type { Rooms } from './core/rooms.ts'

/** What of the upgrade request counts, copied: uWebSockets.js' request is gone after the first await. */
export type HandshakeRequest = {
  readonly path: '/chat' | '/ws/chat'
  readonly query: URLSearchParams
  readonly authorization: string
  readonly origin: string
  /** Offered subprotocols, comma-separated. */
  readonly protocols: string
}

export type Admitted = {
  readonly connectionId: string
  readonly identity: Identity
  readonly first: { readonly roomId: RoomId; readonly since: number } | undefined
  /** The one subprotocol that is echoed: never the token. */
  readonly protocol: typeof SUBPROTOCOL | ''
}

export type HandshakeDeps = {
  readonly verifier: TokenVerifier
  readonly rooms: Rooms
  readonly connectionLimiter: ConnectionLimiter
  /** Rejects with `rate_limited` when an upgrade exceeds the rate of its user's requests. */
  readonly consume: (userId: UserId) => Promise<void>
  readonly allowedOrigins: readonly string[]
  readonly newId: () => string
}

/** Every reason to refuse a socket, before it is one. A success holds one of the user's places. */
export async function handshake(deps: HandshakeDeps, request: HandshakeRequest): Promise<Admitted> {
  const offered = request.protocols.split(',').map((name) => name.trim()).filter((name) => name !== '')
  checkOrigin(deps.allowedOrigins, request.origin)
  const identity = await deps.verifier.verify(tokenOf(request, offered))
  const { userId } = identity
  // Every one: what is between us and the client may go by another than the first.
  if (request.query.getAll('user_id').some((claimed) => claimed !== userId)) throw new ChatError('user_id_mismatch')
  const first = firstRoom(request)
  // A refusal costs the log and Postgres as much as an admission.
  await deps.consume(userId)
  if (first) await deps.rooms.admit(identity, first.roomId, first.since)
  const connectionId = deps.newId()
  await deps.connectionLimiter.enter(userId, connectionId)
  return { connectionId, identity, first, protocol: offered.includes(SUBPROTOCOL) ? SUBPROTOCOL : '' }
}

/** A browser always sends its origin, and cannot be made to lie about it. */
export function isOriginAllowed(allowed: readonly string[], origin: string): boolean {
  return origin === '' || allowed.includes('*') || allowed.includes(origin)
}

function checkOrigin(allowed: readonly string[], origin: string): void {
  if (!isOriginAllowed(allowed, origin)) throw new ChatError('origin_not_allowed')
}

/** Header first, then subprotocol, then query: the further down, the more places it may be written to on its way. */
function tokenOf({ authorization, query }: HandshakeRequest, offered: readonly string[]): string | undefined {
  const ofProtocol = offered.find((name) => name.startsWith(BEARER_SUBPROTOCOL_PREFIX))?.slice(BEARER_SUBPROTOCOL_PREFIX.length)
  if (authorization !== '') return bearerToken(authorization)
  return ofProtocol ?? query.get('token') ?? undefined
}

function firstRoom({ path, query }: HandshakeRequest): { roomId: RoomId; since: number } | undefined {
  if (path !== '/chat') return undefined
  const raw = query.get('orderId') ?? query.get('roomId')
  if (raw === null) throw new ChatError('invalid_room_id', 'orderId is missing')
  const since = query.get('since') ?? '0'
  if (!/^\d{1,15}$/.test(since)) throw new ChatError('invalid_request', 'since must be a seq')
  return { roomId: parseRoomId(raw), since: Number(since) }
}
