import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { isRoomEvent, type Participant, type Role, type RoomEvent } from '#libs/domain/room.ts'
import type { Decision } from '#libs/streams/avro-shapes.ts'

/** One valid record of the log, decoded. */
export type Applied = { readonly offset: bigint; readonly decision: Decision }

export type OpenedRow = { readonly roomId: RoomId; readonly participants: readonly Participant[]; readonly openedAtMs: number }
/** What a batch leaves of a room that it touches. */
export type HeadRow = {
  readonly roomId: RoomId
  readonly headSeq: number
  /** null: no message in this batch. */
  readonly messageCount: number | null
  readonly lastEventMs: number
  readonly closed: { readonly reason: string; readonly atMs: number } | null
}
export type MemberRow = { readonly roomId: RoomId; readonly userId: UserId; readonly role: Role; readonly sinceSeq: number }
export type EventRow = {
  readonly roomId: RoomId
  readonly seq: number
  readonly type: string
  readonly timestampMs: number
  /** JSON of the event without content and salt. */
  readonly body: string
  readonly offset: bigint
}
export type MessageRow = RoomEvent & { readonly type: 'messageSent'; readonly roomId: RoomId }

/** What a batch of one partition writes. */
export type Rows = {
  readonly opened: readonly OpenedRow[]
  readonly heads: readonly HeadRow[]
  readonly joined: readonly MemberRow[]
  readonly gone: readonly { readonly roomId: RoomId; readonly userId: UserId }[]
  readonly messages: readonly MessageRow[]
  readonly events: readonly EventRow[]
}

type Draft = {
  opened: OpenedRow[]
  heads: Map<RoomId, HeadRow>
  /** The last word on (room, user) in this batch; null: gone. */
  members: Map<string, { roomId: RoomId; userId: UserId; row: MemberRow | null }>
  messages: MessageRow[]
  events: EventRow[]
}

/** Turns decoded records into rows. Pure; records in offset order. */
export function rowsOf(applied: readonly Applied[]): Rows {
  const draft: Draft = { opened: [], heads: new Map(), members: new Map(), messages: [], events: [] }
  for (const { offset, decision } of applied) {
    for (const entry of decision.entries) {
      if (isRoomEvent(entry)) addEvent(draft, decision.roomId, entry, offset)
    }
  }
  const members = [...draft.members.values()]
  return {
    opened: draft.opened,
    heads: [...draft.heads.values()],
    joined: members.flatMap((m) => (m.row ? [m.row] : [])),
    gone: members.flatMap(({ roomId, userId, row }) => (row ? [] : [{ roomId, userId }])),
    messages: draft.messages,
    events: draft.events,
  }
}

function addEvent(draft: Draft, roomId: RoomId, event: RoomEvent, offset: bigint): void {
  const { seq, timestampMs, type } = event
  const before = draft.heads.get(roomId)
  let head: HeadRow = { roomId, headSeq: seq, messageCount: before?.messageCount ?? null, lastEventMs: timestampMs, closed: before?.closed ?? null }
  switch (type) {
    case 'roomOpened':
      draft.opened.push({ roomId, participants: event.participants, openedAtMs: timestampMs })
      for (const participant of event.participants) setMember(draft, roomId, participant, seq)
      break
    case 'participantAdded':
      setMember(draft, roomId, event.participant, seq)
      break
    case 'participantRemoved': {
      const { userId } = event.participant
      draft.members.set(`${roomId} ${userId}`, { roomId, userId, row: null })
      break
    }
    case 'messageSent':
      draft.messages.push({ ...event, roomId })
      head = { ...head, messageCount: event.messageIndex }
      break
    case 'roomClosed':
      head = { ...head, closed: { reason: event.reason, atMs: timestampMs } }
      break
  }
  draft.heads.set(roomId, head)
  draft.events.push({ roomId, seq, type, timestampMs, body: auditBody(event), offset })
}

function setMember(draft: Draft, roomId: RoomId, { userId, role }: Participant, sinceSeq: number): void {
  draft.members.set(`${roomId} ${userId}`, { roomId, userId, row: { roomId, userId, role, sinceSeq } })
}

/** The audit log keeps a message's salted hash, never the content, which can be erased. */
function auditBody(event: RoomEvent): string {
  if (event.type !== 'messageSent') return JSON.stringify(event)
  const { content: _, salt: __, ...audited } = event
  return JSON.stringify(audited)
}
