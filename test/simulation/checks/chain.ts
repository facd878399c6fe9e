import { createHash } from 'node:crypto'
import type { RoomEvent } from '#libs/domain/room.ts'

/** Of a room's first event, as docs/architecture.md has it. */
export const firstHash = (roomId: string): string => sha256(`order-chat room ${roomId}`)

/** What the next event of the room has to name: the hash of this one without what may be erased, written here a second time. */
export function hashOf(roomId: string, event: RoomEvent): string {
  const kept = Object.entries(event).filter(([name]) => name !== 'content' && name !== 'salt' && name !== 'payload')
  return sha256(`${roomId}\0${canonical(Object.fromEntries(kept))}`)
}

/** JSON with its keys in order and nothing between them (RFC 8785). */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const fields = Object.entries(value).filter(([, field]) => field !== undefined)
  fields.sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${fields.map(([name, field]) => `${JSON.stringify(name)}:${canonical(field)}`).join(',')}}`
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
