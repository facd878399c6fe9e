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

/** The same by last activity: what moves meanwhile is among what has changed since the first page. */
export type ActivityCursor = { readonly lastActivityMs: number; readonly roomId: RoomId }

/** By when it was made, which never changes. */
export type CreatedCursor = { readonly createdAtUs: number; readonly id: string }

export const encodeCursor = ({ openedAtUs, roomId }: RoomCursor): string => encodePlace(openedAtUs, roomId)

/** @throws ChatError `invalid_request` for anything that we did not make */
export function decodeCursor(text: string): RoomCursor {
  const { at, id } = decodePlace(text, isRoomId)
  return { openedAtUs: at, roomId: id }
}

/** @throws ChatError `invalid_request` for anything that we did not make */
export function decodeActivityCursor(text: string): ActivityCursor {
  const { at, id } = decodePlace(text, isRoomId)
  return { lastActivityMs: at, roomId: id }
}

const isUuid = (text: unknown): text is string => typeof text === 'string' && /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text)

/** @throws ChatError `invalid_request` for anything that we did not make */
export function decodeCreatedCursor(text: string): CreatedCursor {
  const { at, id } = decodePlace(text, isUuid)
  return { createdAtUs: at, id }
}

export function encodePlace(at: number, id: string): string {
  return Buffer.from(`${at} ${id}`).toString('base64url')
}

function decodePlace<Id extends string>(text: string, isId: (text: unknown) => text is Id): { at: number; id: Id } {
  const [time = '', id, ...rest] = Buffer.from(text, 'base64url').toString('utf8').split(' ')
  const at = Number(time)
  if (!/^-?\d{1,16}$/.test(time) || !Number.isSafeInteger(at) || !isId(id) || rest.length > 0) {
    throw new ChatError('invalid_request', 'cursor must be a nextCursor of an earlier answer')
  }
  return { at, id }
}

/** A report by when it was made, and by its place. */
export type ReportCursor = { readonly reportedAtUs: number; readonly roomId: RoomId; readonly seq: number }

export const encodeReportCursor = ({ reportedAtUs, roomId, seq }: ReportCursor): string => encodePlace(reportedAtUs, `${seq}/${roomId}`)

const isPlace = (text: unknown): text is string => typeof text === 'string' && /^\d{1,15}\/[^/]+$/.test(text) && isRoomId(text.slice(text.indexOf('/') + 1))

/** @throws ChatError `invalid_request` for anything that we did not make */
export function decodeReportCursor(text: string): ReportCursor {
  const { at, id } = decodePlace(text, isPlace)
  const slash = id.indexOf('/')
  return { reportedAtUs: at, roomId: id.slice(slash + 1) as RoomId, seq: Number(id.slice(0, slash)) }
}

/** `found`: up to limit + 1 rows in the order of the cursor. */
export function pageOf<Row>(found: readonly Row[], limit: number, cursorOf: (row: Row) => string): { rows: Row[]; nextCursor: string | null } {
  const rows = found.slice(0, limit)
  const last = rows.at(-1)
  return { rows, nextCursor: found.length > limit && last !== undefined ? cursorOf(last) : null }
}

/** `found`: up to limit + 1 rooms in the order of the cursor. */
export function roomsPage<R extends RoomCursor>(found: readonly R[], limit: number): { rooms: R[]; nextCursor: string | null } {
  const { rows: rooms, nextCursor } = pageOf(found, limit, encodeCursor)
  return { rooms, nextCursor }
}
