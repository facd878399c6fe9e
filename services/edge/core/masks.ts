import type { MessageId } from '#libs/domain/ids.ts'
import type { StoredEvent } from './frames.ts'

/** What later events have made of a message. */
export type Change = { readonly revision: number; readonly content: string | null; readonly deleted: boolean; /** Why, where a moderator did it. */ readonly redacted?: string }
export type Changes = ReadonlyMap<MessageId, Change>

/** Of events in the order of their seq. */
export function changesIn(events: Iterable<StoredEvent>): Changes {
  const changes = new Map<MessageId, Change>()
  for (const event of events) {
    if (event.type === 'messageEdited') changes.set(event.messageId, { revision: event.revision, content: event.content, deleted: false })
    else if (event.type === 'messageDeleted' || event.type === 'messageRedacted') {
      const before = changes.get(event.messageId)
      const redacted = before?.redacted ?? (event.type === 'messageRedacted' ? event.reason : undefined)
      changes.set(event.messageId, { revision: before?.revision ?? 0, content: null, deleted: true, ...(redacted !== undefined && { redacted }) })
    }
  }
  return changes
}

/**
 * An event as it is shown to somebody who joins later: of a message its last revision alone, and nothing of what was
 * deleted. `changes` are those that the event's source did not know; what is above `headSeq` this edge has not read yet.
 */
export function masked(event: StoredEvent, changes: Changes, headSeq: number): StoredEvent {
  if (event.type === 'messageSent') return maskedMessage(event, changes.get(event.messageId), headSeq)
  if (event.type !== 'messageEdited') return event
  const change = changes.get(event.messageId)
  return change && (change.deleted || change.revision > event.revision) ? { ...event, content: null } : event
}

function maskedMessage(event: StoredEvent & { readonly type: 'messageSent' }, change: Change | undefined, headSeq: number): StoredEvent {
  if (event.deleted || change?.deleted) {
    const { payload: _, ...rest } = event
    const revision = Math.max(event.revision ?? 0, change?.revision ?? 0)
    const redacted = event.redacted ?? change?.redacted
    return { ...rest, content: null, deleted: true, ...(revision > 0 && { revision }), ...(redacted !== undefined && { redacted }) }
  }
  if (change && change.revision > (event.revision ?? 0)) return { ...event, content: change.content, revision: change.revision }
  // The edit will come with its content when this edge reads it: until then the reader may be removed.
  if ((event.contentSeq ?? 0) > headSeq) {
    const { revision: _, ...rest } = event
    return { ...rest, content: null }
  }
  return event
}
