import type { UserId } from '#libs/domain/ids.ts'
import type { Participant, Role } from '#libs/domain/room.ts'
import type { StoredEvent } from './frames.ts'

/** What an edge knows of a room at `headSeq`: enough to admit, to greet, and to see holes. Immutable. */
export type RoomView = {
  readonly headSeq: number
  readonly messageCount: number
  readonly readOnly: boolean
  readonly participants: ReadonlyMap<UserId, Role>
}

export const emptyView: RoomView = { headSeq: 0, messageCount: 0, readOnly: false, participants: new Map() }

/** The view after the event of seq `headSeq + 1`. */
export function advance(view: RoomView, event: StoredEvent): RoomView {
  const next = { ...view, headSeq: event.seq }
  switch (event.type) {
    case 'roomOpened':
      return { ...next, participants: new Map(event.participants.map((p) => [p.userId, p.role])) }
    case 'participantAdded':
      return { ...next, participants: new Map([...view.participants, [event.participant.userId, event.participant.role]]) }
    case 'participantRemoved': {
      const participants = new Map(view.participants)
      participants.delete(event.participant.userId)
      return { ...next, participants }
    }
    case 'messageSent':
      return { ...next, messageCount: event.messageIndex }
    case 'roomClosed':
      return { ...next, readOnly: true }
    default:
      return next
  }
}

export const participantList = (view: RoomView): Participant[] => [...view.participants].map(([userId, role]) => ({ userId, role }))
