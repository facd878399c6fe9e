import type { MessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import { type Chat, type ChatCause, type ChatChanged, FOREVER_MS, unreadOf, type UserDecision } from '#libs/domain/inbox.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { headerNames, OWNERSHIP_MARKER } from '#libs/streams/topics.ts'

export const me = 'me' as UserId
export const other = 'other' as UserId
export const T0 = 1_800_000_000_000

export type Act =
  | { readonly type: 'said'; readonly by: UserId; readonly mentions?: boolean }
  | { readonly type: 'read'; readonly upTo?: number }
  | { readonly type: 'mute' | 'unmute' | 'archive' | 'leave' | 'enter' | 'invite' }

const fresh = (roomId: RoomId): Chat => ({ roomId, roomSeq: 0, status: 'in', kind: 'group', messageCount: 0, seen: 0, mentions: [], lastActivityMs: T0, closed: false, mutedUntilMs: 0, archived: false })

/** What the feed would say of what happens to users in their rooms. */
export class InboxWorld {
  readonly chats = new Map<string, Chat>()
  readonly #seqs = new Map<UserId, number>()

  chat(userId: UserId, roomId: RoomId): Chat {
    return this.chats.get(`${userId} ${roomId}`) ?? fresh(roomId)
  }

  /** Undefined: it changes nothing. */
  act(userId: UserId, roomId: RoomId, act: Act, timestampMs: number): UserDecision | undefined {
    const before = this.chat(userId, roomId)
    const [cause, change] = changeOf(before, userId, act, timestampMs)
    if (!change) return undefined
    const chat: Chat = { ...before, ...change, roomSeq: before.roomSeq + 1, lastActivityMs: timestampMs }
    this.chats.set(`${userId} ${roomId}`, chat)
    const userSeq = (this.#seqs.get(userId) ?? 0) + 1
    this.#seqs.set(userId, userSeq)
    const mine = [...this.chats].flatMap(([key, one]) => (key.startsWith(`${userId} `) && one.status === 'in' ? [one] : []))
    const totals = { unread: mine.reduce((sum, one) => sum + unreadOf(one), 0), mentions: mine.reduce((sum, one) => sum + one.mentions.length, 0), chats: mine.length }
    const event: ChatChanged = { type: 'chatChanged', userSeq, timestampMs, cause, chat, totals }
    return { userId, commandId: undefined, entries: [event] }
  }
}

function changeOf(chat: Chat, userId: UserId, act: Act, timestampMs: number): [ChatCause, Partial<Chat> | undefined] {
  const isIn = chat.status === 'in'
  switch (act.type) {
    case 'said': {
      if (!isIn) return ['messages', undefined]
      const messageIndex = chat.messageCount + 1
      const last = { seq: chat.roomSeq + 1, messageIndex, messageId: `m${messageIndex}` as MessageId, senderId: act.by, timestampMs }
      const own = act.by === userId
      return ['messages', { last, messageCount: messageIndex, archived: chat.archived && chat.mutedUntilMs > timestampMs, ...(own ? { seen: messageIndex, mentions: [] } : act.mentions && { mentions: [...chat.mentions, messageIndex] }) }]
    }
    case 'read': {
      const seen = Math.min(act.upTo ?? chat.messageCount, chat.messageCount)
      return ['read', isIn && seen > chat.seen ? { seen, mentions: chat.mentions.filter((index) => index > seen) } : undefined]
    }
    case 'mute':
      return ['set', { mutedUntilMs: FOREVER_MS }]
    case 'unmute':
      return ['set', { mutedUntilMs: 0 }]
    case 'archive':
      return ['set', { archived: true }]
    case 'leave':
      return ['removed', chat.status === 'left' ? undefined : { status: 'left' }]
    case 'enter':
      return ['added', isIn ? undefined : { status: 'in', seen: chat.messageCount, mentions: [] }]
    case 'invite':
      return ['invited', isIn ? undefined : { status: 'invited' }]
  }
}

export const EPOCH = 0n
export const marker: InRecord = { offset: EPOCH, key: null, value: Buffer.from('{}'), headers: { [headerNames.eventType]: Buffer.from(OWNERSHIP_MARKER) }, timestampMs: T0 }

/** As it lies in the log, in JSON instead of Avro. */
export const recordOf = (offset: bigint, decision: UserDecision, epoch = EPOCH): InRecord => ({
  offset,
  key: decision.userId,
  value: Buffer.from(JSON.stringify(decision)),
  headers: { [headerNames.ownerEpoch]: Buffer.from(epoch.toString()), [headerNames.source]: Buffer.from(`inbox-updates:${offset}`), [headerNames.eventType]: Buffer.from('chatChanged') },
  timestampMs: T0,
})

export const jsonCodec = { decode: (bytes: Buffer): unknown => JSON.parse(bytes.toString()), learn: () => undefined }
export const jsonDecided = (value: unknown): UserDecision | undefined => ('entries' in (value as object) ? (value as UserDecision) : undefined)
