import { ChatError } from '#libs/domain/errors.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { Connection } from './connection.ts'
import { type LiveRooms, push } from './presence-ports.ts'
import { isStaff } from './room-view.ts'

export type TypingOptions = {
  readonly rooms: LiveRooms
  /** To all nodes that have the room, this one too. */
  readonly publish: (roomId: RoomId, news: TypingNews) => void
  readonly nowMs: () => number
  readonly limits: TypingLimits
}

export type TypingLimits = {
  /** How long "types" lasts where it is not said again. */
  readonly expiresMs: number
  /** Said again sooner than this it is not passed on. */
  readonly coalesceMs: number
  /** People who are shown as typing on this node at once; above, the oldest ends early. */
  readonly shownMax: number
  /** People who type on sockets of this node; above, the oldest is left to expire elsewhere. */
  readonly saidMax: number
}

export const typingLimits: TypingLimits = { expiresMs: 5_000, coalesceMs: 1_000, shownMax: 20_000, saidMax: 20_000 }

export type TypingNews = { readonly type: 'typing'; readonly roomId: RoomId; readonly userId: UserId; readonly on: boolean }

type Key = `${RoomId} ${UserId}`
const keyOf = (roomId: RoomId, userId: UserId): Key => `${roomId} ${userId}`

/**
 * Who is typing: of this node's sockets what is passed on, and of everybody what is shown here. Both sides forget by
 * themselves, so nothing has to be cleaned up after a node that dies or a message that is lost.
 */
export class Typing {
  readonly #options: TypingOptions
  /** In order of `publishedMs`. */
  readonly #said = new Map<Key, { readonly connection: Connection; readonly roomId: RoomId; readonly publishedMs: number }>()
  /** In order of `untilMs`. */
  readonly #shown = new Map<Key, { readonly roomId: RoomId; readonly userId: UserId; readonly untilMs: number }>()

  constructor(options: TypingOptions) {
    this.#options = options
  }

  get shown(): number {
    return this.#shown.size
  }

  /** @throws ChatError for who may not write in this room */
  say(connection: Connection, roomId: RoomId, on: boolean): void {
    const { nowMs, limits, publish } = this.#options
    this.#check(connection, roomId)
    const { userId } = connection.speaker
    const key = keyOf(roomId, userId)
    const said = this.#said.get(key)
    if (!on) {
      if (said) this.#stop(key)
      return
    }
    if (said && nowMs() - said.publishedMs < limits.coalesceMs) return
    this.#said.delete(key)
    this.#said.set(key, { connection, roomId, publishedMs: nowMs() })
    if (this.#said.size > limits.saidMax) this.#said.delete(this.#said.keys().next().value!)
    publish(roomId, { type: 'typing', roomId, userId, on: true })
  }

  /** He has sent what he was typing. */
  sent(roomId: RoomId, userId: UserId): void {
    if (this.#said.size > 0) this.#stop(keyOf(roomId, userId))
  }

  /** By leaving the room, or with the end of the socket. */
  left(connection: Connection, roomId: RoomId): void {
    if (this.#said.size === 0) return
    const key = keyOf(roomId, connection.speaker.userId)
    if (this.#said.get(key)?.connection === connection) this.#stop(key)
  }

  /** What some node has published. */
  heard({ roomId, userId, on }: TypingNews): void {
    const { limits, nowMs, rooms } = this.#options
    const key = keyOf(roomId, userId)
    if (!on) {
      this.#hide(key)
      return
    }
    const room = rooms.room(roomId)
    // Removed in between, or not in yet as far as this node has read.
    if (!room || room.subscriptions.size === 0 || !room.view.participants.has(userId)) return
    this.#shown.delete(key)
    this.#shown.set(key, { roomId, userId, untilMs: nowMs() + limits.expiresMs })
    push(room, { type: 'typing', roomId, userId, on: true }, userId)
    if (this.#shown.size > limits.shownMax) this.#hide(this.#shown.keys().next().value!)
  }

  tick(): void {
    const nowMs = this.#options.nowMs()
    for (const [key, { untilMs }] of this.#shown) {
      if (untilMs > nowMs) break
      this.#hide(key)
    }
    for (const [key, { publishedMs }] of this.#said) {
      if (publishedMs + this.#options.limits.expiresMs > nowMs) break
      this.#said.delete(key)
    }
  }

  #check({ speaker, subscriptions }: Connection, roomId: RoomId): void {
    if (isStaff(speaker)) throw new ChatError('admin_is_read_only')
    const room = this.#options.rooms.room(roomId)
    if (!subscriptions.has(roomId) || !room) throw new ChatError('not_joined')
    const member = room.view.participants.get(speaker.userId)
    if (!member) throw new ChatError('not_a_participant')
    if (room.view.readOnly) throw new ChatError('room_read_only')
    if (member.role === 'observer') throw new ChatError('not_allowed')
  }

  #stop(key: Key): void {
    const said = this.#said.get(key)
    if (!said) return
    this.#said.delete(key)
    const { roomId, connection } = said
    this.#options.publish(roomId, { type: 'typing', roomId, userId: connection.speaker.userId, on: false })
  }

  #hide(key: Key): void {
    const shown = this.#shown.get(key)
    if (!shown) return
    this.#shown.delete(key)
    const { roomId, userId } = shown
    const room = this.#options.rooms.room(roomId)
    if (room) push(room, { type: 'typing', roomId, userId, on: false }, userId)
  }
}
