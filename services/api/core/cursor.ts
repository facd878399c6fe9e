import { ChatError } from '#libs/domain/errors.ts'
import { isRoomId, type RoomId } from '#libs/domain/ids.ts'

/**
 * Where a list of rooms goes on: after the room that was opened at this time under this id. Neither ever changes, so
 * pages neither skip nor repeat a room, whatever happens in the rooms meanwhile (by last activity they would).
 */
export type RoomCursor = {
  /** Microseconds since 1970: all that a timestamptz holds, so that no two of them become one. */
  readonly openedAtUs: number
  readonly roomId: RoomId
}

export function encodeCursor({ openedAtUs, roomId }: RoomCursor): string {
  return Buffer.from(`${openedAtUs} ${roomId}`).toString('base64url')
}

/** @throws ChatError `invalid_request` for anything that we did not make */
export function decodeCursor(text: string): RoomCursor {
  const [openedAt = '', roomId, ...rest] = Buffer.from(text, 'base64url').toString('utf8').split(' ')
  const openedAtUs = Number(openedAt)
  if (!/^-?\d{1,16}$/.test(openedAt) || !Number.isSafeInteger(openedAtUs) || !isRoomId(roomId) || rest.length > 0) {
    throw new ChatError('invalid_request', 'cursor must be a nextCursor of an earlier answer')
  }
  return { openedAtUs, roomId }
}

/** `found`: up to limit + 1 rooms in the order of the cursor. */
export function roomsPage<R extends RoomCursor>(found: readonly R[], limit: number): { rooms: R[]; nextCursor: string | null } {
  const rooms = found.slice(0, limit)
  const last = rooms.at(-1)
  return { rooms, nextCursor: found.length > limit && last ? encodeCursor(last) : null }
}
