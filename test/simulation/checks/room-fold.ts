import type { Metadata, Receipt, Role, RoomEvent } from '#libs/domain/room.ts'

export type FoldedChange = { readonly revision: number; readonly contentSeq: number; readonly deletedSeq: number | null; readonly redacted: string | null }
export type FoldedReport = { readonly messageSeq: number; readonly messageId: string; readonly reporterId: string; readonly reason: string; readonly note: string | null }

/** What people may ask of a room's history: the fold of its events, one by one, by nobody else's code. */
export type RoomFold = {
  readonly participants: Map<string, { readonly role: Role; readonly sinceSeq: number }>
  /** By `seq`. */
  readonly contents: Map<number, { readonly content: string; readonly salt: string; readonly payload: string | null }>
  /** By the message's seq. */
  readonly changes: Map<number, FoldedChange>
  /** Seq by message seq, user and emoji. */
  readonly reactions: Map<string, number>
  readonly receipts: Map<string, Receipt>
  /** Seq by user. */
  readonly invitations: Map<string, number>
  readonly blocks: Set<string>
  name: string | null
  metadata: Metadata
  mediatorInvited: boolean
  closeNote: string | null
  frozen: boolean
  /** By their own seq. */
  readonly reports: Map<number, FoldedReport>
}

export function foldRoom(events: readonly RoomEvent[]): RoomFold {
  const fold: RoomFold = {
    participants: new Map(),
    contents: new Map(),
    changes: new Map(),
    reactions: new Map(),
    receipts: new Map(),
    invitations: new Map(),
    blocks: new Set(),
    name: null,
    metadata: {},
    mediatorInvited: false,
    closeNote: null,
    frozen: false,
    reports: new Map(),
  }
  for (const event of events) take(fold, event)
  return fold
}

function take(fold: RoomFold, event: RoomEvent): void {
  const { seq } = event
  switch (event.type) {
    case 'roomOpened':
      for (const { userId, role } of event.participants) fold.participants.set(userId, { role, sinceSeq: seq })
      fold.name = event.name || null
      fold.metadata = event.metadata ?? {}
      return
    case 'participantAdded': {
      const { userId, role } = event.participant
      fold.participants.set(userId, { role, sinceSeq: fold.participants.get(userId)?.sinceSeq ?? seq })
      if (event.seen !== undefined) see(fold, userId, event.seen)
      fold.invitations.delete(userId)
      return
    }
    case 'participantRemoved':
      fold.participants.delete(event.participant.userId)
      return
    case 'messageSent':
      fold.contents.set(seq, { content: event.content, salt: event.salt, payload: event.payload ?? null })
      see(fold, event.senderId, event.messageIndex)
      return
    case 'messageEdited':
      fold.contents.set(seq, { content: event.content, salt: event.salt, payload: null })
      fold.changes.set(event.messageSeq, { revision: event.revision, contentSeq: seq, deletedSeq: null, redacted: null })
      return
    case 'messageDeleted':
    case 'messageRedacted': {
      const before = fold.changes.get(event.messageSeq) ?? { revision: 0, contentSeq: event.messageSeq, deletedSeq: null, redacted: null }
      const redacted = before.redacted ?? (event.type === 'messageRedacted' ? event.reason : null)
      fold.changes.set(event.messageSeq, { ...before, deletedSeq: before.deletedSeq ?? seq, redacted })
      return
    }
    default:
      takeRare(fold, event)
  }
}

/** Who writes has seen all before. */
function see({ receipts }: RoomFold, userId: string, index: number): void {
  const { delivered = 0, seen = 0, hidden = true } = receipts.get(userId) ?? {}
  receipts.set(userId, { delivered: Math.max(delivered, index), seen: Math.max(seen, index), hidden })
}

function takeRare(fold: RoomFold, event: RoomEvent): void {
  switch (event.type) {
    case 'reactionSet': {
      const key = `${event.messageSeq} ${event.by} ${event.emoji}`
      if (event.on) fold.reactions.set(key, event.seq)
      else fold.reactions.delete(key)
      return
    }
    case 'receiptMoved':
      fold.receipts.set(event.userId, { delivered: event.delivered, seen: event.seen, hidden: event.hidden ?? false })
      return
    case 'roomChanged':
      if (event.name !== undefined) fold.name = event.name || null
      if (event.metadata) fold.metadata = event.metadata
      return
    case 'mediatorInvited':
      fold.invitations.set(event.userId, event.seq)
      fold.mediatorInvited = true
      return
    case 'blockSet': {
      const key = `${event.blockerId} ${event.blockedId}`
      if (event.on) fold.blocks.add(key)
      else fold.blocks.delete(key)
      return
    }
    case 'roomFrozen':
      fold.frozen = event.on
      return
    case 'messageReported': {
      const { messageSeq, messageId, by: reporterId, reason, note = null } = event
      fold.reports.set(event.seq, { messageSeq, messageId, reporterId, reason, note })
      return
    }
    case 'roomClosed':
      fold.closeNote = event.note ?? null
  }
}
