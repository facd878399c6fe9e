import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { LastMessage } from '#libs/domain/inbox.ts'
import type { RoomEvent } from '#libs/domain/room.ts'

/** Of a chat all that the room's events alone say; what the user has set himself is not in them. */
export type ChatOfLog = {
  status: 'in' | 'invited' | 'left'
  kind: string
  role: string | undefined
  name: string | undefined
  messageCount: number
  seen: number
  mentions: number[]
  last: LastMessage | undefined
  lastActivityMs: number
  closed: boolean
}

type Room = { kind: string; name: string | undefined; messageCount: number; seen: Map<UserId, number> }

/**
 * Who has which chats, written a second time: from the whole events of a room, one after the other, without updates,
 * numbers or snapshots.
 */
export class ChatsOfLog {
  readonly chats = new Map<UserId, Map<RoomId, ChatOfLog>>()
  readonly #rooms = new Map<RoomId, Room>()

  add(roomId: RoomId, event: RoomEvent): void {
    const { timestampMs } = event
    const room = this.#rooms.get(roomId) ?? { kind: 'order', name: undefined, messageCount: 0, seen: new Map() }
    this.#rooms.set(roomId, room)
    switch (event.type) {
      case 'roomOpened':
        room.kind = event.kind ?? 'order'
        room.name = event.name || undefined
        for (const { userId, role } of event.participants) this.#enter(roomId, userId, role, 0, timestampMs)
        return
      case 'participantAdded': {
        const { participant: { userId, role }, messageCount, seen = 0 } = event
        const chat = this.#in(roomId, userId)
        if (messageCount === undefined && chat) chat.role = role
        else this.#enter(roomId, userId, role, seen, timestampMs)
        return
      }
      case 'participantRemoved': {
        const chat = this.#in(roomId, event.participant.userId)
        if (chat) Object.assign(chat, { status: 'left', mentions: [], lastActivityMs: Math.max(chat.lastActivityMs, timestampMs) })
        return
      }
      case 'messageSent':
        return this.#message(roomId, room, event)
      case 'receiptMoved':
        room.seen.set(event.userId, event.seen)
        return this.#see(this.#in(roomId, event.userId), event.seen)
      case 'roomChanged':
        if (event.name === undefined) return
        room.name = event.name || undefined
        for (const chat of this.#everybody(roomId, ['in'])) chat.name = room.name
        return
      case 'mediatorInvited': {
        if (this.#in(roomId, event.userId)) return
        const before = this.#of(event.userId).get(roomId)
        this.#of(event.userId).set(roomId, { ...this.#fresh(room, before, timestampMs), status: 'invited', role: undefined, name: undefined, messageCount: 0, seen: 0 })
        return
      }
      case 'roomClosed':
        for (const chat of this.#everybody(roomId, ['in', 'invited'])) Object.assign(chat, { closed: true, lastActivityMs: Math.max(chat.lastActivityMs, timestampMs) })
    }
  }

  #message(roomId: RoomId, room: Room, { seq, timestampMs, senderId, messageId, messageIndex, mentions = [], hiddenFor = [] }: RoomEvent & { readonly type: 'messageSent' }): void {
    room.messageCount = messageIndex
    room.seen.set(senderId, messageIndex)
    for (const [userId, chats] of this.chats) {
      const chat = chats.get(roomId)
      if (chat?.status !== 'in') continue
      chat.messageCount = messageIndex
      const isHidden = hiddenFor.includes(userId)
      if (!isHidden) Object.assign(chat, { last: { seq, messageIndex, messageId, senderId, timestampMs }, lastActivityMs: Math.max(chat.lastActivityMs, timestampMs) })
      if (!isHidden && mentions.includes(userId)) chat.mentions.push(messageIndex)
      if (userId === senderId) this.#see(chat, messageIndex)
    }
  }

  #see(chat: ChatOfLog | undefined, seen: number): void {
    if (!chat) return
    chat.seen = Math.max(chat.seen, seen)
    chat.mentions = chat.mentions.filter((index) => index > chat.seen)
  }

  #enter(roomId: RoomId, userId: UserId, role: string, seen: number, timestampMs: number): void {
    const room = this.#rooms.get(roomId)!
    this.#of(userId).set(roomId, { ...this.#fresh(room, this.#of(userId).get(roomId), timestampMs), status: 'in', role, name: room.name, messageCount: room.messageCount, seen })
  }

  #fresh({ kind }: Room, before: ChatOfLog | undefined, timestampMs: number) {
    return { kind, mentions: [], last: undefined, lastActivityMs: Math.max(timestampMs, before?.lastActivityMs ?? 0), closed: false }
  }

  #of(userId: UserId): Map<RoomId, ChatOfLog> {
    const chats = this.chats.get(userId) ?? new Map()
    this.chats.set(userId, chats)
    return chats
  }

  #in(roomId: RoomId, userId: UserId): ChatOfLog | undefined {
    const chat = this.chats.get(userId)?.get(roomId)
    return chat?.status === 'in' ? chat : undefined
  }

  #everybody(roomId: RoomId, statuses: readonly string[]): ChatOfLog[] {
    return [...this.chats.values()].flatMap((chats) => chats.get(roomId) ?? []).filter(({ status }) => statuses.includes(status))
  }
}

/** The same of a feed's chat. */
export function ofFeed(chat: { readonly [K in keyof ChatOfLog]?: unknown }): ChatOfLog {
  const { status, kind, role, name, messageCount, seen, mentions, last, lastActivityMs, closed } = chat as ChatOfLog
  return { status, kind, role, name, messageCount, seen, mentions: [...mentions], last, lastActivityMs, closed }
}
