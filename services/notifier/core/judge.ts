import { v5 as uuidV5 } from 'uuid'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { type Chat, type ChatChanged, type InboxTotals, unreadOf } from '#libs/domain/inbox.ts'
import type { RoomKind } from '#libs/domain/room.ts'
import type { Due, Known } from './window.ts'

export type NotificationKind = 'message' | 'mention' | 'invitation'
/** Why a notification is of no more use. */
export type ClosedBy = 'read' | 'muted' | 'archived' | 'left' | 'answered'

/** A notification as it is to be, if it is told at all. */
export type Notice = {
  readonly notificationId: string
  readonly userId: UserId
  readonly roomId: RoomId
  readonly kind: NotificationKind
  /** messageIndexes; undefined: an invitation. */
  readonly firstIndex: number | undefined
  readonly lastIndex: number | undefined
  readonly lastSeq: number
  readonly count: number
  readonly senderId: UserId | undefined
  readonly roomKind: RoomKind
  readonly roomName: string | undefined
  readonly badge: number
  readonly userSeq: number
}

/** What a chat's open notification is to be measured against. */
export type Settlement = {
  readonly userId: UserId
  readonly roomId: RoomId
  readonly userSeq: number
  readonly seen: number
  readonly count: number
  readonly badge: number
  /** Whatever it is about. */
  readonly closes: ClosedBy | undefined
  /** Invitations, which end where he is in. */
  readonly closesInvitation: boolean
}

/** Why nothing is told of an event. */
export type Silence = 'own' | 'read' | 'muted' | 'archived' | 'left' | 'known' | 'stale'
export type Judged = { readonly notice: Notice } | { readonly silence: Silence }

const NAMESPACE = '6a4de6a8-5d9c-5b1e-9b5c-0c8a5a0d7a3e'
/** None of them has a space. */
export const notificationIdOf = (userId: UserId, roomId: RoomId, what: string): string => uuidV5(`${userId} ${roomId} ${what}`, NAMESPACE)

/**
 * Whether an event is to be told to a user who is away, by what is known when its grace is over. One notice tells all that is
 * known by then, so that what follows within the grace adds nothing.
 */
export function judge({ userId, event, isNew }: Due, known: Known, nowMs: number, staleMs: number): Judged {
  const { chat } = known
  if (nowMs - event.timestampMs > staleMs) return { silence: 'stale' }
  if (event.cause === 'invited') return chat.status === 'invited' ? { notice: invitationOf(userId, event, known) } : { silence: 'left' }
  const last = event.chat.last
  if (!last || !isNew) return { silence: 'known' }
  if (last.senderId === userId) return { silence: 'own' }
  if (chat.status !== 'in') return { silence: 'left' }
  if (unreadOf(chat) === 0 || chat.seen >= last.messageIndex) return { silence: 'read' }
  if (isMuted(event.chat, event.timestampMs) || isMuted(chat, nowMs)) return { silence: 'muted' }
  if (chat.archived) return { silence: 'archived' }
  return { notice: messageNoticeOf(userId, last, known) }
}

const isMuted = ({ mutedUntilMs }: Chat, atMs: number): boolean => mutedUntilMs > atMs

function invitationOf(userId: UserId, { chat }: ChatChanged, { userSeq, totals }: Known): Notice {
  const { roomId, roomSeq } = chat
  const id = notificationIdOf(userId, roomId, `invitation ${roomSeq}`)
  return { notificationId: id, kind: 'invitation', firstIndex: undefined, lastIndex: undefined, lastSeq: roomSeq, count: 0, senderId: undefined, ...commonOf(userId, chat, totals, userSeq) }
}

function messageNoticeOf(userId: UserId, first: NonNullable<Chat['last']>, { chat, userSeq, totals }: Known): Notice {
  // His own last one is read by him; where others wrote after it, theirs is the last.
  const last = chat.last && chat.last.seq >= first.seq && chat.last.senderId !== userId ? chat.last : first
  return {
    notificationId: notificationIdOf(userId, chat.roomId, String(first.messageIndex)),
    kind: chat.mentions.length > 0 ? 'mention' : 'message',
    firstIndex: first.messageIndex,
    lastIndex: last.messageIndex,
    lastSeq: last.seq,
    count: unreadOf(chat),
    senderId: last.senderId,
    ...commonOf(userId, chat, totals, userSeq),
  }
}

const commonOf = (userId: UserId, { roomId, kind, name }: Chat, { unread }: InboxTotals, userSeq: number) => ({ userId, roomId, roomKind: kind, roomName: name, badge: unread, userSeq })

/** Those of events that can close what is open, the last of each (user, room). */
export function settlementsOf(events: readonly { readonly userId: UserId; readonly event: ChatChanged }[], nowMs: number): readonly Settlement[] {
  const settlements = new Map<string, Settlement>()
  for (const { userId, event } of events) {
    const { cause, chat } = event
    // Messages of others raise a count only when they are told.
    if (cause === 'invited' || (cause === 'messages' && chat.last?.senderId !== userId)) continue
    settlements.set(`${userId} ${chat.roomId}`, settlementOf(userId, event, nowMs))
  }
  return [...settlements.values()]
}

function settlementOf(userId: UserId, { chat, userSeq, totals }: ChatChanged, nowMs: number): Settlement {
  const closes = chat.status === 'left' ? 'left' : isMuted(chat, nowMs) ? 'muted' : chat.archived ? 'archived' : undefined
  return { userId, roomId: chat.roomId, userSeq, seen: chat.seen, count: unreadOf(chat), badge: totals.unread, closes, closesInvitation: chat.status === 'in' }
}

/** Of each (user, room) the last: it tells what those before it do, under the id of the first. */
export function collapsed(notices: readonly Notice[]): readonly Notice[] {
  const last = new Map<string, Notice>()
  for (const notice of notices) {
    const key = `${notice.userId} ${notice.roomId}`
    const first = last.get(key)
    const isOne = first !== undefined && first.kind !== 'invitation' && notice.kind !== 'invitation'
    last.set(key, isOne ? { ...notice, notificationId: first.notificationId, firstIndex: first.firstIndex } : notice)
  }
  return [...last.values()]
}
