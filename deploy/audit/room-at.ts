import { evolve } from '#libs/domain/evolve.ts'
import type { MessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import type { Participant, Receipt, RoomEvent, RoomState } from '#libs/domain/room.ts'
import type { AuditedEvent } from './verify.ts'

export type MessageAt = {
  readonly seq: number
  readonly messageIndex: number
  readonly messageId: MessageId
  readonly senderId: UserId
  readonly timestampMs: number
  readonly revision: number
  /** Of its last revision by then; null where it was erased since, or is missing. */
  readonly content: string | null
  readonly deletedSeq?: number
  readonly redacted?: string
  readonly erased?: true
}

export type RoomAt = {
  readonly seq: number
  readonly timestampMs: number
  readonly status: RoomState['status']
  readonly frozen: boolean
  readonly name: string | null
  readonly messageCount: number
  readonly participants: readonly Participant[]
  readonly receipts: readonly (Receipt & { readonly userId: UserId })[]
  readonly messages: readonly MessageAt[]
}

/** The room as it was right after the event of this seq. Undefined: its events do not begin with its first. */
export function roomAt(roomId: RoomId, events: readonly AuditedEvent[], seq: number): RoomAt | undefined {
  if (events[0]?.seq !== 1) return undefined
  const until = events.filter((one) => one.seq <= seq)
  const messages = new Map<MessageId, MessageAt>()
  let state: RoomState | undefined
  for (const { event, content } of until) {
    // What it says is not part of what a room is.
    state = evolve(state, roomId, { ...event, ...(event.type === 'messageSent' && { content: '' }) } as RoomEvent)
    noteMessage(messages, event, content)
  }
  if (!state) return undefined
  const { status, frozen, name, messageCount, headSeq, lastEventMs, participants, receipts } = state
  return {
    seq: headSeq,
    timestampMs: lastEventMs,
    status,
    frozen,
    name,
    messageCount,
    participants: [...participants].map(([userId, role]) => ({ userId, role })),
    receipts: [...receipts].map(([userId, receipt]) => ({ userId, ...receipt })),
    messages: [...messages.values()],
  }
}

function noteMessage(messages: Map<MessageId, MessageAt>, event: RoomEvent, content: AuditedEvent['content']): void {
  const text = typeof content === 'object' ? content.content : null
  const erased = content === 'erased' && { erased: true as const }
  if (event.type === 'messageSent') {
    const { seq, messageIndex, messageId, senderId, timestampMs } = event
    messages.set(messageId, { seq, messageIndex, messageId, senderId, timestampMs, revision: 0, content: text, ...erased })
    return
  }
  const before = 'messageId' in event ? messages.get(event.messageId) : undefined
  if (!before) return
  const deletedSeq = before.deletedSeq ?? event.seq
  if (event.type === 'messageEdited') messages.set(event.messageId, { ...before, revision: event.revision, content: text, ...erased })
  if (event.type === 'messageDeleted') messages.set(event.messageId, { ...before, deletedSeq })
  if (event.type === 'messageRedacted') messages.set(event.messageId, { ...before, deletedSeq, redacted: before.redacted ?? event.reason })
}
