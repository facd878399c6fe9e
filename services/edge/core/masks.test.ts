import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ClientMessageId, MessageId } from '#libs/domain/ids.ts'
import type { RoomEvent } from '#libs/domain/room.ts'
import type { StoredEvent } from './frames.ts'
import { changesIn, masked } from './masks.ts'
import { user } from './memory-edge.ts'

const asked = { by: user('a'), clientMessageId: 'c' as ClientMessageId }
const textOf = (content: string) => ({ content, salt: 's', contentHash: content })

/** Messages 'm0' to 'm3', with edits and deletions of them in any order that the log allows. */
const logs = fc.array(fc.record({ what: fc.constantFrom('send', 'edit', 'edit', 'delete', 'redact'), of: fc.nat(3) }), { maxLength: 30 }).map((steps) => {
  const events: RoomEvent[] = []
  const sent = new Map<string, { seq: number; revision: number; deleted: boolean }>()
  for (const { what, of } of steps) {
    const messageId = `m${of}` as MessageId
    const at = { seq: events.length + 1, timestampMs: 1 }
    const known = sent.get(messageId)
    if (what === 'send' && !known) {
      events.push({ ...at, type: 'messageSent', messageId, clientMessageId: 'c' as ClientMessageId, senderId: user('a'), messageIndex: sent.size + 1, payload: '{"orderId":"o"}', ...textOf(`${messageId} first`) })
      sent.set(messageId, { seq: at.seq, revision: 0, deleted: false })
    } else if (known && what === 'redact') {
      // Also of one that was deleted long ago.
      events.push({ ...at, type: 'messageRedacted', messageId, messageSeq: known.seq, reason: `because of ${at.seq}`, ...asked })
      known.deleted = true
    } else if (known && !known.deleted && what !== 'send') {
      const target = { messageId, messageSeq: known.seq }
      if (what === 'delete') events.push({ ...at, type: 'messageDeleted', ...target, ...asked })
      else events.push({ ...at, type: 'messageEdited', ...target, revision: ++known.revision, ...textOf(`${messageId} r${known.revision}`), ...asked })
      known.deleted = what === 'delete'
    }
  }
  return events
})

/** As a history has the events up to `upTo`, straight from what it means. */
function storedAsOf(events: readonly RoomEvent[], upTo: number): StoredEvent[] {
  const known = events.slice(0, upTo)
  return known.map((event): StoredEvent => {
    if (event.type !== 'messageSent' && event.type !== 'messageEdited') return event
    const edits = known.flatMap((e) => (e.type === 'messageEdited' && e.messageId === event.messageId ? [e] : []))
    const isDeleted = known.some((e) => (e.type === 'messageDeleted' || e.type === 'messageRedacted') && e.messageId === event.messageId)
    const redaction = known.find((e) => e.type === 'messageRedacted' && e.messageId === event.messageId)
    const last = edits.at(-1)
    if (event.type === 'messageEdited') return { ...event, content: !isDeleted && last === event ? event.content : null }
    const { payload, ...message } = event
    const revision = last && { revision: last.revision, contentSeq: last.seq }
    if (isDeleted) return { ...message, content: null, deleted: true, ...revision, ...(redaction?.type === 'messageRedacted' && { redacted: redaction.reason }) }
    return { ...message, ...(payload !== undefined && { payload }), content: last?.content ?? event.content, ...revision }
  })
}

/** What a client is shown of it. */
const shown = (event: StoredEvent | undefined) =>
  event && (event.type === 'messageSent' || event.type === 'messageEdited')
    ? { seq: event.seq, type: event.type, content: event.content, ...(event.type === 'messageSent' && { revision: event.revision, deleted: event.deleted, redacted: event.redacted, payload: event.payload }) }
    : event

describe('whatever comes from the history and whatever from the buffer', () => {
  test('together they show what all events to the head say', () => {
    fc.assert(
      fc.property(logs, fc.nat(30), fc.nat(30), (events, a, b) => {
        const persisted = Math.min(a, events.length)
        const floor = Math.min(b, persisted)
        const head = events.length
        const changes = changesIn(events.slice(floor))
        const fromHistory = storedAsOf(events, persisted)
        for (const [i, due] of storedAsOf(events, head).entries()) {
          if (i < persisted) expect(shown(masked(fromHistory[i]!, changes, head))).toEqual(shown(due))
          if (i >= floor) expect(shown(masked(events[i]!, changes, head))).toEqual(shown(due))
        }
      }),
    )
  })

  test('of a history ahead of the head nothing later is shown, and nothing deleted', () => {
    fc.assert(
      fc.property(logs, fc.nat(30), (events, a) => {
        const head = Math.min(a, events.length)
        const due = storedAsOf(events, head)
        for (const [i, event] of storedAsOf(events, events.length).slice(0, head).entries()) {
          const mask = masked(event, changesIn([]), head) as StoredEvent & { content?: string | null }
          // Either as it was at the head, or nothing.
          if (mask.content != null) expect(mask.content).toBe((due[i] as { content?: string }).content)
          if (mask.type === 'messageSent' && mask.content === null && !mask.deleted) expect(mask.revision).toBeUndefined()
        }
      }),
    )
  })

  test('what was erased stays erased, also where its last edit is still in the buffer', () => {
    const edit: RoomEvent = { seq: 2, timestampMs: 1, type: 'messageEdited', messageId: 'm' as MessageId, messageSeq: 1, revision: 1, ...textOf('r1'), ...asked }
    const erased: StoredEvent = { seq: 1, timestampMs: 1, type: 'messageSent', messageId: 'm' as MessageId, clientMessageId: 'c' as ClientMessageId, senderId: user('a'), messageIndex: 1, contentHash: '', content: null, revision: 1, contentSeq: 2 }
    expect(masked(erased, changesIn([edit]), 2)).toMatchObject({ content: null, revision: 1 })
  })
})
