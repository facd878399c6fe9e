import { isDeepStrictEqual } from 'node:util'
import type { RoomEventFrame } from '#libs/domain/frames.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { RoomEvent } from '#libs/domain/room.ts'
import { eventFrame, type StoredEvent, type Variant } from '../../../services/edge/core/frames.ts'

/** Who is shown something, and what he asked for. */
export type Viewer = {
  readonly userId: UserId
  /** An admin or a moderator. */
  readonly isStaff: boolean
  /** The first seq that he may see. */
  readonly visibleFrom: number
  /** The head that he was told when he joined: nothing that was done up to there may be unknown to what he is shown. */
  readonly joinedHead: number
}

/**
 * Whether a frame is what the viewer may be shown of an event: the event, with what had been done to it by some moment
 * between the join (or the event itself) and now. The rule is written here a second time.
 */
export function isShownRightly(roomId: RoomId, events: readonly RoomEvent[], frame: RoomEventFrame, viewer: Viewer): boolean {
  const event = events[frame.seq - 1]
  if (!event) return false
  const variant = variantOf(event, viewer)
  const from = Math.max(event.seq, viewer.joinedHead)
  return versionsOf(events, event, from).some((version) => isDeepStrictEqual(frame, JSON.parse(JSON.stringify(eventFrame(roomId, version, variant)))))
}

function variantOf(event: RoomEvent, { userId, isStaff, visibleFrom }: Viewer): Variant {
  if (event.type === 'messageSent') return event.hiddenFor?.includes(userId) ? 'hidden' : 'plain'
  if (isStaff) return 'plain'
  if (event.type === 'messageReported') return event.by === userId ? 'plain' : 'private'
  if (event.type === 'receiptMoved') return event.hidden && event.userId !== userId ? 'private' : 'plain'
  if (event.type === 'blockSet') return event.blockerId === userId ? 'plain' : 'private'
  if ('messageSeq' in event) return event.messageSeq < visibleFrom ? 'private' : 'plain'
  return 'plain'
}

/** As it was known with the log up to `from`, and with each longer one. */
function* versionsFrom(events: readonly RoomEvent[], event: RoomEvent, from: number): Generator<StoredEvent> {
  const messageSeq = event.type === 'messageSent' ? event.seq : 'messageSeq' in event ? event.messageSeq : 0
  const changes = events.slice(event.seq).filter((e) => (e.type === 'messageEdited' || e.type === 'messageDeleted' || e.type === 'messageRedacted') && e.messageSeq === messageSeq)
  for (let known = changes.filter(({ seq }) => seq <= from).length; known <= changes.length; known++) yield versionWith(event, changes.slice(0, known))
  // An edit that Postgres has and this edge has not read: its text comes with it.
  if (event.type === 'messageSent' && changes.some(({ type }) => type === 'messageEdited')) yield { ...event, content: null }
}

const versionsOf = (events: readonly RoomEvent[], event: RoomEvent, from: number): StoredEvent[] => [...versionsFrom(events, event, from)]

function versionWith(event: RoomEvent, changes: readonly RoomEvent[]): StoredEvent {
  const redaction = changes.find((change) => change.type === 'messageRedacted')
  const isDeleted = redaction !== undefined || changes.some(({ type }) => type === 'messageDeleted')
  const edits = changes.flatMap((change) => (change.type === 'messageEdited' ? [change] : []))
  if (event.type === 'messageEdited') return isDeleted || edits.length > 0 ? { ...event, content: null } : event
  if (event.type !== 'messageSent' || changes.length === 0) return event
  const { payload: _, ...rest } = event
  const revision = edits.length > 0 && { revision: edits.length }
  if (isDeleted) return { ...rest, content: null, deleted: true, ...revision, ...(redaction && { redacted: redaction.reason }) }
  return { ...event, content: edits.at(-1)!.content, ...revision }
}
