import type { UserId } from '#libs/domain/ids.ts'
import { type BlockKey, blockKey, type HistoryRule, type Metadata, type Participant, type Receipt, type Role, type RoomKind, seenBy } from '#libs/domain/room.ts'
import type { Speaker } from './connection.ts'
import type { StoredEvent } from './frames.ts'

/** `sinceSeq`: of the event by which he came in; another role keeps it. */
export type Member = { readonly role: Role; readonly sinceSeq: number }

/** What an edge knows of a room at `headSeq`: enough to admit, to greet, and to see holes. Immutable. */
export type RoomView = {
  readonly headSeq: number
  readonly messageCount: number
  readonly readOnly: boolean
  /** By a moderator: participants write nothing for now. */
  readonly frozen: boolean
  readonly kind: RoomKind
  readonly name: string | undefined
  readonly metadata: Metadata
  readonly history: HistoryRule
  readonly participants: ReadonlyMap<UserId, Member>
  /** Of those who have left too. */
  readonly receipts: ReadonlyMap<UserId, Receipt>
  /** They are not shown to each other as typing or present. */
  readonly blocks: ReadonlySet<BlockKey>
}

export const emptyView: RoomView = {
  headSeq: 0,
  messageCount: 0,
  readOnly: false,
  frozen: false,
  kind: 'order',
  name: undefined,
  metadata: {},
  history: 'all',
  participants: new Map(),
  receipts: new Map(),
  blocks: new Set(),
}

/** The view after the event of seq `headSeq + 1`. */
export function advance(view: RoomView, event: StoredEvent): RoomView {
  const next = { ...view, headSeq: event.seq }
  switch (event.type) {
    case 'roomOpened': {
      const { kind = 'order', name, metadata = {}, history = 'all', participants, seq } = event
      return { ...next, kind, name, metadata, history, participants: new Map(participants.map(({ userId, role }) => [userId, { role, sinceSeq: seq }])) }
    }
    case 'participantAdded': {
      const { userId, role } = event.participant
      const sinceSeq = view.participants.get(userId)?.sinceSeq ?? event.seq
      const receipts = event.seen === undefined ? view.receipts : seenBy(view.receipts, userId, event.seen)
      return { ...next, receipts, participants: new Map(view.participants).set(userId, { role, sinceSeq }) }
    }
    case 'participantRemoved': {
      const participants = new Map(view.participants)
      participants.delete(event.participant.userId)
      return { ...next, participants }
    }
    case 'messageSent':
      return { ...next, messageCount: event.messageIndex, receipts: seenBy(view.receipts, event.senderId, event.messageIndex) }
    case 'receiptMoved': {
      const { userId, delivered, seen, hidden = false } = event
      return { ...next, receipts: new Map(view.receipts).set(userId, { delivered, seen, hidden }) }
    }
    case 'blockSet': {
      const blocks = new Set(view.blocks)
      blocks[event.on ? 'add' : 'delete'](blockKey(event.blockerId, event.blockedId))
      return { ...next, blocks }
    }
    case 'roomChanged':
      return { ...next, name: event.name === undefined ? view.name : event.name || undefined, metadata: event.metadata ?? view.metadata }
    case 'roomFrozen':
      return { ...next, frozen: event.on }
    case 'roomClosed':
      return { ...next, readOnly: true }
    default:
      return next
  }
}

export const participantList = (view: RoomView): Participant[] => [...view.participants].map(([userId, { role }]) => ({ userId, role }))

/** Admins and moderators read every room; neither writes as a participant does. */
export const isStaff = ({ role }: Pick<Speaker, 'role'>): boolean => role !== 'user'

/** The first seq that a speaker is shown. */
export function visibleFrom(view: RoomView, speaker: Speaker): number {
  return view.history === 'all' || isStaff(speaker) ? 1 : (view.participants.get(speaker.userId)?.sinceSeq ?? view.headSeq + 1)
}
