import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js'
import canonicalize from 'canonicalize'
import type { RoomId } from './ids.ts'
import { type Entry, isRoomEvent, type RoomEvent, type RoomState } from './room.ts'

/** What the first event of a room has for `prevHash`. */
export const genesisHash = (roomId: RoomId): string => hashOf(`order-chat room ${roomId}`)

/**
 * SHA-256 (hex) of the room's id, a zero byte, and the event as canonical JSON (RFC 8785) without content, salt and payload:
 * these are in it by their `contentHash`, so that an erasure leaves the chain whole. `prevHash` is in it, which makes it one.
 */
export function eventHash(roomId: RoomId, event: RoomEvent): string {
  return ofDecided.get(event) ?? hashOf(`${roomId}\0${canonical(audited(event))}`)
}

/** Without what can be erased. */
export function audited(event: RoomEvent): object {
  const { content: _, salt: __, payload: ___, ...rest } = event as RoomEvent & { content?: string; salt?: string; payload?: string }
  return rest
}

/** Of several events of one decision, whose hashes `chained` needs at once: they are not made again when they are applied. */
const ofDecided = new WeakMap<RoomEvent, string>()

/** Total: what is not well-formed Unicode is hashed as the log will have it, since UTF-8 cannot say it. */
function canonical(value: object): string {
  return flatCanonical(value) ?? canonicalize(JSON.parse(JSON.stringify(value, (_, part) => (typeof part === 'string' ? part.toWellFormed() : part))))!
}

/** Of nearly all events, whose fields are plain values: the same text for a fifth of the time. Undefined: it is no such. */
function flatCanonical(value: object): string | undefined {
  const sorted: Record<string, unknown> = {}
  for (const key of Object.keys(value).sort()) {
    const part: unknown = value[key as keyof object]
    if (typeof part === 'object' || typeof part === 'number' && !Number.isFinite(part)) return undefined
    sorted[key] = part
  }
  const text = JSON.stringify(sorted)
  // As lone surrogates are written.
  return /\\u[dD]/.test(text) ? undefined : text
}

const hashOf = (text: string): string => bytesToHex(sha256(utf8ToBytes(text)))

/** Gives each event the hash of the one before it. A room of before the chain begins it with its next event, without one. */
export function chained(state: RoomState | undefined, roomId: RoomId, entries: readonly Entry[]): readonly Entry[] {
  let before: RoomEvent | undefined
  return entries.map((entry) => {
    if (!isRoomEvent(entry)) return entry
    const prevHash = before ? remembered(roomId, before) : entry.seq === 1 ? genesisHash(roomId) : (state?.headHash ?? null)
    before = prevHash === null ? entry : { ...entry, prevHash }
    return before
  })
}

function remembered(roomId: RoomId, event: RoomEvent): string {
  const hash = eventHash(roomId, event)
  ofDecided.set(event, hash)
  return hash
}
