import { type ErrorCode, errorCatalogue } from '#libs/domain/errors.ts'

export type Reply = Readonly<Record<string, unknown>>

/** Codes that an answer to a frame may have: docs/protocol.md, less what belongs to the handshake, the api and our own faults. */
const codesOfFrames: ReadonlySet<string> = new Set<ErrorCode>([
  'malformed_frame', 'unknown_type', 'frame_too_large', 'invalid_room_id', 'invalid_request', 'invalid_client_message_id', 'client_message_id_expired', 'content_empty', 'content_too_long',
  'content_invalid', 'token_invalid', 'token_expired', 'not_a_participant', 'admin_is_read_only', 'room_not_found', 'room_read_only', 'not_joined', 'rate_limited', 'too_many_pending', 'too_many_rooms',
  'invalid_attachment', 'message_not_found', 'message_deleted', 'message_not_allowed', 'edit_window_over', 'not_allowed', 'not_invited', 'wrong_room_kind', 'too_many_participants', 'too_many_changes',
])

/** The id under which a frame must be answered exactly once; undefined where it has none that counts. Written from docs/protocol.md alone. */
export function idOf(text: string): string | number | undefined {
  let frame: unknown
  try {
    frame = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof frame !== 'object' || frame === null || Array.isArray(frame) || !Object.hasOwn(frame, 'id')) return undefined
  const { id } = frame as { id: unknown }
  if (typeof id === 'number') return Number.isInteger(id) && Math.abs(id) <= Number.MAX_SAFE_INTEGER ? id : undefined
  return typeof id === 'string' && id.length >= 1 && id.length <= 64 ? id : undefined
}

/** What a reply or an error without an id has wrong in itself. */
export function faultOf(reply: Reply): string | undefined {
  if (reply['type'] !== 'error') return ['ack', 'joined'].includes(reply['type'] as string) ? undefined : `a reply of type ${reply['type']}`
  const code = reply['code'] as ErrorCode
  if (!codesOfFrames.has(code)) return `code ${code}`
  if (reply['retriable'] !== errorCatalogue[code].retriable) return `${code} with retriable ${reply['retriable']}`
  return typeof reply['message'] === 'string' ? undefined : `${code} without a message`
}

const keyOf = (id: unknown): string => JSON.stringify(id === 0 ? 0 : id)

/** Ids that did not get exactly as many replies as they were sent requests. */
export function miscounted(sent: readonly (string | number | undefined)[], replies: readonly Reply[]): string[] {
  const counts = new Map<string, number>()
  for (const id of sent) if (id !== undefined) counts.set(keyOf(id), (counts.get(keyOf(id)) ?? 0) + 1)
  for (const { id } of replies) counts.set(keyOf(id), (counts.get(keyOf(id)) ?? 0) - 1)
  return [...counts].filter(([, n]) => n !== 0).map(([id, n]) => `${id}: ${n > 0 ? `${n} replies missing` : `${-n} replies too many`}`)
}

/** How often each kind of reply came: that the frames got everywhere. */
export class Tally {
  readonly byKind: Record<string, number> = {}

  count({ type, code }: Reply): void {
    const kind = type === 'error' ? String(code) : String(type)
    this.byKind[kind] = (this.byKind[kind] ?? 0) + 1
  }
}
