import type { MessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import { type HistoryRule, isRoomEvent, type Metadata, type Participant, type ReportReason, type Role, type RoomEvent, type RoomKind } from '#libs/domain/room.ts'
import type { Decision } from '#libs/streams/avro-shapes.ts'
import type { AppliedRecord } from './persister-task.ts'

export type Applied = AppliedRecord<Decision>

export type OpenedRow = {
  readonly roomId: RoomId
  readonly kind: RoomKind
  readonly creatorId: UserId | null
  readonly name: string | null
  readonly metadata: Metadata
  readonly history: HistoryRule
  readonly subjectId: string | null
  readonly participants: readonly (Participant & { readonly sinceSeq: number })[]
  readonly openedAtMs: number
}
/** What a batch leaves of a room that it touches. */
export type HeadRow = {
  readonly roomId: RoomId
  readonly headSeq: number
  /** null: no message in this batch. */
  readonly messageCount: number | null
  readonly lastEventMs: number
  readonly closed: { readonly reason: string; readonly atMs: number } | null
}
/** What a room has beside its head and changes seldom; null: as it was. */
export type DetailsRow = {
  readonly roomId: RoomId
  /** Empty: none any more. */
  readonly name: string | null
  readonly metadata: Metadata | null
  readonly mediatorInvited: boolean
  readonly closeNote: string | null
}
export type MemberRow = {
  readonly roomId: RoomId
  readonly userId: UserId
  readonly role: Role
  /** Of when he came in, where he is not in the table already: there it stays. */
  readonly sinceSeq: number
}
export type EventRow = {
  readonly roomId: RoomId
  readonly seq: number
  readonly type: string
  readonly timestampMs: number
  /** JSON of the event without content, salt and payload. */
  readonly body: string
  readonly offset: bigint
}
export type MessageRow = RoomEvent & { readonly type: 'messageSent'; readonly roomId: RoomId }
export type ContentRow = { readonly roomId: RoomId; readonly seq: number; readonly content: string; readonly salt: string; readonly payload?: string }
/** Of a message that was edited or deleted: what this batch knows of it. The table keeps the later of each. */
export type ChangeRow = {
  readonly roomId: RoomId
  readonly messageSeq: number
  /** 0: no edit in this batch. */
  readonly revision: number
  /** `messageSeq`: no edit in this batch. */
  readonly contentSeq: number
  readonly deletedSeq: number | null
}
export type RedactionRow = { readonly roomId: RoomId; readonly messageSeq: number; readonly reason: string }
export type ReportRow = {
  readonly roomId: RoomId
  readonly seq: number
  readonly messageId: MessageId
  readonly messageSeq: number
  readonly reporterId: UserId
  readonly reason: ReportReason
  readonly note: string | null
  readonly reportedAtMs: number
}
export type ReactionRow = { readonly roomId: RoomId; readonly messageSeq: number; readonly userId: UserId; readonly emoji: string; readonly seq: number }
export type ReceiptRow = { readonly roomId: RoomId; readonly userId: UserId; readonly delivered: number; readonly seen: number; /** null: as it was, and hidden where that was never said. */ readonly hidden: boolean | null }
export type InvitationRow = { readonly roomId: RoomId; readonly userId: UserId; readonly seq: number }
export type BlockRow = { readonly roomId: RoomId; readonly blockerId: UserId; readonly blockedId: UserId }

/** The last word of a batch on each thing: there is one, or there is none. */
export type LastWords<Row> = { readonly put: readonly Row[]; readonly removed: readonly Row[] }

/** What a batch of one partition writes. */
export type Rows = {
  readonly opened: readonly OpenedRow[]
  readonly heads: readonly HeadRow[]
  readonly details: readonly DetailsRow[]
  /** Who is in at the end of the batch and came in, or got his role, in it. To be written after `gone`. */
  readonly joined: readonly MemberRow[]
  /** Who went, also if he is in again. */
  readonly gone: readonly { readonly roomId: RoomId; readonly userId: UserId }[]
  readonly messages: readonly MessageRow[]
  /** Whether any message has more than its text. */
  readonly isRich: boolean
  /** Of messages and of edits. */
  readonly contents: readonly ContentRow[]
  readonly changes: readonly ChangeRow[]
  /** The first of each message in the batch; to be written after `changes`. */
  readonly redactions: readonly RedactionRow[]
  /** Rooms that were frozen, or are not any more. */
  readonly frozen: readonly { readonly roomId: RoomId; readonly frozen: boolean }[]
  readonly reports: readonly ReportRow[]
  readonly reactions: LastWords<ReactionRow>
  readonly receipts: readonly ReceiptRow[]
  readonly invitations: LastWords<InvitationRow>
  readonly blocks: LastWords<BlockRow>
  readonly events: readonly EventRow[]
}

/** By the key of their table. */
type Words<Row> = Map<string, { readonly on: boolean; readonly row: Row }>
type MemberDraft = { readonly roomId: RoomId; readonly userId: UserId; readonly wentAway: boolean; readonly row: MemberRow | null }

type Draft = {
  readonly opened: OpenedRow[]
  readonly heads: Map<RoomId, HeadRow>
  readonly details: Map<RoomId, DetailsRow>
  readonly members: Map<string, MemberDraft>
  readonly messages: MessageRow[]
  isRich: boolean
  readonly revisions: ContentRow[]
  readonly changes: Map<string, ChangeRow>
  readonly redactions: Map<string, RedactionRow>
  readonly frozen: Map<RoomId, boolean>
  readonly reports: ReportRow[]
  readonly reactions: Words<ReactionRow>
  readonly receipts: Map<string, ReceiptRow>
  readonly invitations: Words<InvitationRow>
  readonly blocks: Words<BlockRow>
  readonly events: EventRow[]
}

/** Turns decoded records into rows. Pure; records in offset order. */
export function rowsOf(applied: readonly Applied[]): Rows {
  const draft: Draft = {
    opened: [],
    heads: new Map(),
    details: new Map(),
    members: new Map(),
    messages: [],
    isRich: false,
    revisions: [],
    changes: new Map(),
    redactions: new Map(),
    frozen: new Map(),
    reports: [],
    reactions: new Map(),
    receipts: new Map(),
    invitations: new Map(),
    blocks: new Map(),
    events: [],
  }
  for (const { offset, decision } of applied) {
    for (const entry of decision.entries) {
      if (isRoomEvent(entry)) addEvent(draft, decision.roomId, entry, offset)
    }
  }
  const { opened, messages, isRich, revisions, reports, events } = draft
  const members = [...draft.members.values()]
  return {
    opened,
    heads: [...draft.heads.values()],
    details: [...draft.details.values()],
    joined: members.flatMap(({ row }) => (row ? [row] : [])),
    gone: members.flatMap(({ roomId, userId, wentAway }) => (wentAway ? [{ roomId, userId }] : [])),
    messages,
    isRich,
    contents: revisions.length === 0 ? messages : [...messages, ...revisions],
    changes: [...draft.changes.values()],
    redactions: [...draft.redactions.values()],
    frozen: [...draft.frozen].map(([roomId, frozen]) => ({ roomId, frozen })),
    reports,
    reactions: lastWords(draft.reactions),
    receipts: [...draft.receipts.values()],
    invitations: lastWords(draft.invitations),
    blocks: lastWords(draft.blocks),
    events,
  }
}

function lastWords<Row>(words: Words<Row>): LastWords<Row> {
  const all = [...words.values()]
  const those = (wanted: boolean) => all.flatMap(({ on, row }) => (on === wanted ? [row] : []))
  return { put: those(true), removed: those(false) }
}

function addEvent(draft: Draft, roomId: RoomId, event: RoomEvent, offset: bigint): void {
  const { seq, timestampMs, type } = event
  const before = draft.heads.get(roomId)
  let head: HeadRow = { roomId, headSeq: seq, messageCount: before?.messageCount ?? null, lastEventMs: timestampMs, closed: before?.closed ?? null }
  switch (type) {
    case 'messageSent':
      draft.messages.push({ ...event, roomId })
      draft.isRich ||= event.messageType !== undefined || event.payload !== undefined || event.replyToSeq !== undefined
      head = { ...head, messageCount: event.messageIndex }
      addSeen(draft, roomId, event.senderId, event.messageIndex)
      break
    case 'roomClosed':
      head = { ...head, closed: { reason: event.reason, atMs: timestampMs } }
      if (event.note !== undefined) addDetails(draft, roomId, { closeNote: event.note })
      break
    case 'roomOpened':
      addOpened(draft, roomId, event)
      break
    case 'participantAdded':
    case 'participantRemoved':
      addMembership(draft, roomId, event)
      break
    case 'messageEdited':
    case 'messageDeleted':
    case 'messageRedacted':
      addChange(draft, roomId, event)
      break
    default:
      addRare(draft, roomId, event)
  }
  draft.heads.set(roomId, head)
  draft.events.push({ roomId, seq, type, timestampMs, body: auditBody(event), offset })
}

type Of<Type extends RoomEvent['type']> = RoomEvent & { readonly type: Type }

function addOpened(draft: Draft, roomId: RoomId, event: Of<'roomOpened'>): void {
  const { seq: sinceSeq, timestampMs: openedAtMs, kind = 'order', creatorId = null, name, metadata = {}, history = 'all', subjectId = null } = event
  const participants = event.participants.map(({ userId, role }) => ({ userId, role, sinceSeq }))
  draft.opened.push({ roomId, kind, creatorId, name: name || null, metadata, history, subjectId, participants, openedAtMs })
  for (const participant of participants) putMember(draft, roomId, participant)
}

function addMembership(draft: Draft, roomId: RoomId, event: Of<'participantAdded' | 'participantRemoved'>): void {
  const { userId, role } = event.participant
  if (event.type === 'participantRemoved') {
    draft.members.set(`${roomId} ${userId}`, { roomId, userId, wentAway: true, row: null })
    return
  }
  putMember(draft, roomId, { userId, role, sinceSeq: event.seq })
  if (event.seen !== undefined) addSeen(draft, roomId, userId, event.seen)
  // Only mediators are invited; the riders of orders shall not cost a statement more.
  if (role === 'mediator') draft.invitations.set(`${roomId} ${userId}`, { on: false, row: { roomId, userId, seq: event.seq } })
}

/** Who is in already gets a role and stays in since when he was. */
function putMember(draft: Draft, roomId: RoomId, { userId, role, sinceSeq }: OpenedRow['participants'][number]): void {
  const key = `${roomId} ${userId}`
  const before = draft.members.get(key)
  const row = { roomId, userId, role, sinceSeq: before?.row?.sinceSeq ?? sinceSeq }
  draft.members.set(key, { roomId, userId, wentAway: before?.wentAway ?? false, row })
}

function addChange(draft: Draft, roomId: RoomId, event: Of<'messageEdited' | 'messageDeleted' | 'messageRedacted'>): void {
  const { seq, messageSeq } = event
  const key = `${roomId} ${messageSeq}`
  const before = draft.changes.get(key) ?? { roomId, messageSeq, revision: 0, contentSeq: messageSeq, deletedSeq: null }
  if (event.type !== 'messageEdited') {
    draft.changes.set(key, { ...before, deletedSeq: before.deletedSeq ?? seq })
    if (event.type === 'messageRedacted' && !draft.redactions.has(key)) draft.redactions.set(key, { roomId, messageSeq, reason: event.reason })
    return
  }
  const { content, salt, revision } = event
  draft.revisions.push({ roomId, seq, content, salt })
  draft.changes.set(key, { ...before, revision, contentSeq: seq })
}

/** As the log has it (libs/domain/evolve.ts): who writes has seen what he answers. */
function addSeen(draft: Draft, roomId: RoomId, userId: UserId, seen: number): void {
  const key = `${roomId} ${userId}`
  const before = draft.receipts.get(key)
  draft.receipts.set(key, { roomId, userId, delivered: Math.max(seen, before?.delivered ?? 0), seen: Math.max(seen, before?.seen ?? 0), hidden: before?.hidden ?? null })
}

function addRare(draft: Draft, roomId: RoomId, event: RoomEvent): void {
  switch (event.type) {
    case 'receiptMoved': {
      const { userId, delivered, seen, hidden = false } = event
      draft.receipts.set(`${roomId} ${userId}`, { roomId, userId, delivered, seen, hidden })
      break
    }
    case 'reactionSet': {
      const { messageSeq, by: userId, emoji, on, seq } = event
      draft.reactions.set(`${roomId} ${messageSeq} ${userId} ${emoji}`, { on, row: { roomId, messageSeq, userId, emoji, seq } })
      break
    }
    case 'roomFrozen':
      draft.frozen.set(roomId, event.on)
      break
    case 'messageReported': {
      const { seq, messageId, messageSeq, by: reporterId, reason, note = null, timestampMs: reportedAtMs } = event
      draft.reports.push({ roomId, seq, messageId, messageSeq, reporterId, reason, note, reportedAtMs })
      break
    }
    case 'roomChanged': {
      const { name, metadata } = event
      addDetails(draft, roomId, { ...(name !== undefined && { name }), ...(metadata && { metadata }) })
      break
    }
    case 'mediatorInvited': {
      const { userId, seq } = event
      addDetails(draft, roomId, { mediatorInvited: true })
      draft.invitations.set(`${roomId} ${userId}`, { on: true, row: { roomId, userId, seq } })
      break
    }
    case 'blockSet': {
      const { blockerId, blockedId, on } = event
      draft.blocks.set(`${roomId} ${blockerId} ${blockedId}`, { on, row: { roomId, blockerId, blockedId } })
      break
    }
  }
}

function addDetails(draft: Draft, roomId: RoomId, details: Partial<DetailsRow>): void {
  const before = draft.details.get(roomId) ?? { roomId, name: null, metadata: null, mediatorInvited: false, closeNote: null }
  draft.details.set(roomId, { ...before, ...details })
}

/** The audit log keeps the salted hash of what was said, never what can be erased. */
function auditBody(event: RoomEvent): string {
  switch (event.type) {
    case 'messageSent': {
      const { content: _, salt: __, payload: ___, ...audited } = event
      return JSON.stringify(audited)
    }
    case 'messageEdited': {
      const { content: _, salt: __, ...audited } = event
      return JSON.stringify(audited)
    }
    default:
      return JSON.stringify(event)
  }
}
