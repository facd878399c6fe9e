import { type ContentRules, DEDUPE_WINDOW_MS } from '#libs/domain/limits.ts'
import type { RoomEvent, RoomState } from '#libs/domain/room.ts'
import { MODERATORS } from '../users/commands.ts'

type Problem = readonly [invariant: string, message: string]

/** What a moderator may do and has done, and what nobody may do after him, by the events before it. */
export function moderationProblem(events: readonly RoomEvent[], event: RoomEvent, before: RoomState | undefined): Problem | undefined {
  switch (event.type) {
    case 'messageRedacted': {
      if (!isOfModerator(event.by)) return ['moderation', `${event.by} redacts`]
      return targetProblem(events, event, event.timestampMs)
    }
    case 'roomFrozen': {
      if (!isOfModerator(event.by)) return ['moderation', `${event.by} freezes`]
      return isFrozen(events) === event.on ? ['moderation', `it is so already: ${event.on}`] : undefined
    }
    case 'messageReported':
      if (!before?.participants.has(event.by)) return ['moderation', `${event.by} reports, and is not in the room`]
      return targetProblem(events, event, event.timestampMs)
    default:
      if (event.type === 'participantRemoved' && event.reason === 'moderated') return isOfModerator(event.by) ? undefined : ['moderation', `${event.by} expels`]
      return isFrozen(events) && writes(event) ? ['frozen', 'comes while the room is frozen'] : undefined
  }
}

const isOfModerator = (by: string | undefined): boolean => MODERATORS.includes(by ?? '')

export const isFrozen = (events: readonly RoomEvent[]): boolean => events.findLast((event) => event.type === 'roomFrozen')?.on ?? false

/** What participants do by writing. What orders and the relay do goes on, cursors go on, and whoever wants may go. */
function writes(event: RoomEvent): boolean {
  if (event.type === 'messageSent') return event.messageType !== 'orderCard'
  if (event.type === 'participantRemoved' && event.by === event.participant.userId) return false
  return 'by' in event && event.by !== undefined
}

/** The same text of one sender in a row, too often within the window. */
export function isFlood(events: readonly RoomEvent[], { senderId, content, payload, timestampMs }: RoomEvent & { readonly type: 'messageSent' }, { duplicatesMax, duplicatesWindowMs }: ContentRules): boolean {
  const said = events.filter((event) => event.type === 'messageSent' && event.senderId === senderId) as (RoomEvent & { readonly type: 'messageSent' })[]
  const last = said.slice(-duplicatesMax)
  return last.length === duplicatesMax && last.every((event) => event.content === content && event.payload === payload) && last[0]!.timestampMs > timestampMs - duplicatesWindowMs
}

/** There is such a message; and of what was deleted or redacted while a room remembers it, there is nothing left to say. */
function targetProblem(events: readonly RoomEvent[], { messageSeq, messageId }: { readonly messageSeq: number; readonly messageId: string }, nowMs: number): Problem | undefined {
  const target = events[messageSeq - 1]
  if (target?.type !== 'messageSent' || target.messageId !== messageId) return ['changes', `is about ${JSON.stringify(target)}`]
  const end = events.find((e) => (e.type === 'messageDeleted' || e.type === 'messageRedacted') && e.messageSeq === messageSeq)
  return end && nowMs - end.timestampMs <= DEDUPE_WINDOW_MS ? ['changes', `the message has ended with ${end.type} before`] : undefined
}
