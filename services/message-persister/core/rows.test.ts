import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { messageIdOf, type RoomId } from '#libs/domain/ids.ts'
import type { RoomCommandBody } from '#libs/domain/inputs.ts'
import { type Entry, isRoomEvent, type RoomEvent, type RoomState } from '#libs/domain/room.ts'
import { type Applied, rowsOf } from './rows.ts'
import { accepted, by, customer, idAt, logOf, room, T0, Tables, vendor } from './test-support/memory-tables.ts'
import { inputs, judge, openings, payload } from './test-support/room-inputs.ts'

/** What the state of a room does not remember, taken from the events one by one. */
function foldOf(applied: readonly Applied[]): Pick<Tables, 'members' | 'messages' | 'contents' | 'changes' | 'redactions' | 'frozen' | 'reports' | 'reactions' | 'invitations'> {
  const fold = new Tables()
  const take = (roomId: RoomId, event: RoomEvent): void => {
    const at = (...key: readonly (string | number)[]) => [roomId, ...key].join(' ')
    if (event.type === 'roomOpened') for (const { userId, role } of event.participants) fold.members.set(at(userId), { role, sinceSeq: 1 })
    if (event.type === 'participantAdded') {
      const { userId, role } = event.participant
      fold.members.set(at(userId), { role, sinceSeq: fold.members.get(at(userId))?.sinceSeq ?? event.seq })
      fold.invitations.delete(at(userId))
    }
    if (event.type === 'participantRemoved') fold.members.delete(at(event.participant.userId))
    if (event.type === 'mediatorInvited') fold.invitations.set(at(event.userId), event.seq)
    if (event.type === 'messageSent') {
      const isRich = event.messageType !== undefined || event.replyToSeq !== undefined
      fold.messages.set(at(event.seq), isRich ? `${event.messageType} ${event.replyToSeq}` : null)
      fold.contents.set(at(event.seq), [event.content, event.payload ?? null])
    }
    if (event.type === 'messageEdited') {
      fold.contents.set(at(event.seq), [event.content, null])
      fold.changes.set(at(event.messageSeq), [event.revision, event.seq, null])
    }
    if (event.type === 'messageDeleted' || event.type === 'messageRedacted') {
      const [revision, contentSeq, deletedSeq] = fold.changes.get(at(event.messageSeq)) ?? [0, event.messageSeq, null]
      fold.changes.set(at(event.messageSeq), [revision, contentSeq, deletedSeq ?? event.seq])
    }
    if (event.type === 'messageRedacted') fold.redactions.set(at(event.messageSeq), fold.redactions.get(at(event.messageSeq)) ?? event.reason)
    if (event.type === 'roomFrozen') fold.frozen.set(roomId, event.on)
    if (event.type === 'messageReported') fold.reports.set(at(event.seq), `${event.messageSeq} ${event.by} ${event.reason} ${event.note ?? null}`)
    if (event.type === 'reactionSet') {
      fold.reactions.delete(at(event.messageSeq, event.by, event.emoji))
      if (event.on) fold.reactions.set(at(event.messageSeq, event.by, event.emoji), event.seq)
    }
  }
  for (const { decision } of applied) for (const entry of decision.entries) if (isRoomEvent(entry)) take(decision.roomId, entry)
  const { members, messages: sent, contents, changes: changed, redactions, frozen, reports, reactions, invitations } = fold
  return { members, messages: sent, contents, changes: changed, redactions, frozen, reports, reactions, invitations }
}

describe('rowsOf', () => {
  test('however the log is cut into batches, the tables are what the rooms are', () => {
    const seen = new Set<string>()
    fc.assert(
      fc.property(fc.array(inputs, { maxLength: 80, size: 'max' }), fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 90, maxLength: 90 }), (list, cuts) => {
        const { applied, rooms } = logOf([...openings, ...list])
        const tables = new Tables()
        for (let from = 0, i = 0; from < applied.length; from += cuts[i++]!) tables.write(rowsOf(applied.slice(from, from + cuts[i]!)))
        const opened = [...rooms.values()].filter((r) => r.status !== 'pending')
        const ofEach = <T>(of: (state: RoomState) => Iterable<readonly [string, T]>) => new Map(opened.flatMap((state) => [...of(state)].map(([key, value]) => [`${state.roomId} ${key}`, value] as const)))
        for (const { roomId, headSeq, messageCount, status, kind, name, metadata } of opened) {
          expect(tables.rooms.get(roomId)).toMatchObject({ headSeq, messageCount, closed: status === 'closed', kind, name, metadata, history: roomId === 'group' ? 'fromJoin' : 'all', subjectId: roomId === 'dispute' ? 'a' : null })
        }
        expect(tables.rooms.size).toBe(opened.length)
        const { messages: sent, ...fold } = foldOf(applied)
        const { members, contents, changes: changed, redactions, frozen, reports, reactions, invitations } = tables
        expect({ members, contents, changes: changed, redactions, frozen, reports, reactions, invitations }).toEqual(fold)
        for (const [roomId, isFrozen] of frozen) expect(rooms.get(roomId as RoomId)!.frozen).toBe(isFrozen)
        // Where the batch has any message with more than text, those that are text alone say so too.
        expect(new Map([...tables.messages].map(([key, rich]) => [key, rich === 'undefined undefined' ? null : rich]))).toEqual(sent)
        expect(new Map([...members].map(([key, { role }]) => [key, role as string]))).toEqual(ofEach((state) => state.participants))
        expect(tables.receipts).toEqual(ofEach((state) => state.receipts))
        expect(new Set(invitations.keys())).toEqual(new Set(opened.flatMap(({ roomId, invited }) => [...invited].map((userId) => `${roomId} ${userId}`))))
        expect(tables.blocks).toEqual(new Set(opened.flatMap(({ roomId, blocks }) => [...blocks].map((key) => `${roomId} ${key}`))))
        expect(tables.events.size).toBe(opened.reduce((sum, r) => sum + r.headSeq, 0))
        for (const { decision } of applied) for (const { type } of decision.entries) seen.add(type)
      }),
      { numRuns: 300 },
    )
    const types = ['roomOpened', 'participantAdded', 'participantRemoved', 'messageSent', 'messageEdited', 'messageDeleted', 'reactionSet', 'receiptMoved', 'roomChanged', 'mediatorInvited', 'blockSet', 'roomClosed', 'messageRedacted', 'messageReported', 'roomFrozen']
    expect(types.filter((type) => !seen.has(type)), 'never happened').toEqual([])
  })

  test('who is removed and let in again begins anew, and who gets another role does not', () => {
    const group = (nr: number, body: RoomCommandBody) => by(room('group'), customer, nr, body)
    const { applied } = logOf([
      ...openings,
      group(1, { type: 'addParticipant', userId: judge, role: 'member' }),
      group(2, { type: 'addParticipant', userId: judge, role: 'observer' }),
      group(3, { type: 'addParticipant', userId: vendor, role: 'observer' }),
      group(4, { type: 'removeParticipant', userId: judge }),
      group(5, { type: 'addParticipant', userId: judge, role: 'owner' }),
    ])
    const { joined, gone } = rowsOf(applied)
    expect(joined.filter(({ roomId }) => roomId === 'group')).toEqual([
      { roomId: 'group', userId: customer, role: 'owner', sinceSeq: 1 },
      { roomId: 'group', userId: vendor, role: 'observer', sinceSeq: 1 },
      { roomId: 'group', userId: judge, role: 'owner', sinceSeq: 6 },
    ])
    expect(gone).toEqual([{ roomId: 'group', userId: judge }])
    // Cut behind the opening, the vendor's since_seq is the table's to keep.
    expect(rowsOf(applied.slice(4)).joined).toContainEqual({ roomId: 'group', userId: vendor, role: 'observer', sinceSeq: 4 })
  })

  test('text alone writes nothing beside it but that its sender has seen it', () => {
    const { applied } = logOf([accepted, by(room('a'), customer, 1, { type: 'sendMessage', content: 'x', salt: 's' })])
    const { opened, heads, joined, messages: sent, contents, events, ...rest } = rowsOf(applied)
    expect(contents).toBe(sent)
    const nothing = { put: [], removed: [] }
    expect(rest).toEqual({ details: [], gone: [], isRich: false, changes: [], redactions: [], frozen: [], reports: [], reactions: nothing, receipts: [{ roomId: 'a', userId: customer, delivered: 1, seen: 1, hidden: null }], invitations: nothing, blocks: nothing })
  })

  test('the audit log has the hash of a content, never the content, its salt or its payload', () => {
    const id = messageIdOf(room('a'), customer, idAt(1))
    const { applied } = logOf([
      accepted,
      by(room('a'), customer, 1, { type: 'sendMessage', content: 'secret', salt: 'pepper', messageType: 'productCard', payload }),
      by(room('a'), customer, 2, { type: 'editMessage', messageId: id, content: 'secret too', salt: 'pepper too' }),
    ])
    const { events, contents, isRich } = rowsOf(applied)
    expect(isRich).toBe(true)
    expect(contents).toMatchObject([{ roomId: 'a', seq: 2, content: 'secret', salt: 'pepper', payload }, { roomId: 'a', seq: 3, content: 'secret too', salt: 'pepper too' }])
    const bodies = events.slice(1).map((e) => e.body)
    for (const body of bodies) {
      expect(body).not.toMatch(/secret|pepper|payload/)
      expect(body).toMatch(/contentHash":"[0-9a-f]{64}/)
    }
    expect(bodies).toHaveLength(2)
  })

  test('an event of a newer writer is kept and moves the head', () => {
    const entry = { type: 'pollOpened', seq: 3, timestampMs: T0, text: 'x' } as unknown as Entry
    const rows = rowsOf([{ offset: 9n, decision: { roomId: room('a'), commandId: undefined, entries: [entry] } }])
    expect(rows).toMatchObject({ heads: [{ headSeq: 3, messageCount: null, closed: null }], events: [{ seq: 3, type: 'pollOpened', offset: 9n }], messages: [], contents: [], details: [] })
  })
})
