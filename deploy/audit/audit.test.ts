import { describe, expect, test } from 'vitest'
import { audited, eventHash } from '#libs/domain/chain.ts'
import { decide } from '#libs/domain/decide.ts'
import { evolve } from '#libs/domain/evolve.ts'
import { clientMessageIdOf, messageIdOf, type RoomId, type UserId } from '#libs/domain/ids.ts'
import type { RoomCommandBody, RoomInput } from '#libs/domain/inputs.ts'
import { defaultRoomLimits } from '#libs/domain/limits.ts'
import { isRoomEvent, type RoomEvent, type RoomState } from '#libs/domain/room.ts'
import { reportOf } from './audit.ts'
import { textOf } from './text.ts'
import type { AuditedEvent, Source } from './verify.ts'

const ROOM = 'order-1' as RoomId
const T0 = 1_700_000_000_000
const u = (id: string) => id as UserId
const idOf = (nr: number) => clientMessageIdOf(`${nr}`, T0)
const messageOf = (nr: number) => messageIdOf(ROOM, u('ann'), idOf(nr))

/** Opened, two messages, an edit, seen by bob, a deletion, a redaction, frozen, closed: seq 1 to 9. */
function history(): AuditedEvent[] {
  const asked = (senderId: string, nr: number, body: RoomCommandBody): RoomInput => ({ roomId: ROOM, commandId: 'c', senderId: u(senderId), clientMessageId: idOf(nr), ...body })
  const inputs: RoomInput[] = [
    { type: 'orderAccepted', orderId: ROOM, eventId: 'e', occurredAtMs: T0, customerId: u('ann'), vendorId: u('bob') },
    asked('ann', 1, { type: 'sendMessage', content: 'one', salt: 's1', messageType: 'orderCard', payload: '{"orderId":"o"}' }),
    asked('ann', 2, { type: 'sendMessage', content: 'two', salt: 's2' }),
    asked('ann', 3, { type: 'editMessage', messageId: messageOf(1), content: 'one, better', salt: 's3' }),
    asked('bob', 4, { type: 'mark', seen: 1 }),
    asked('ann', 5, { type: 'deleteMessage', messageId: messageOf(2) }),
    asked('mod', 6, { type: 'redactMessage', messageId: messageOf(1), reason: 'insult' }),
    asked('mod', 7, { type: 'freezeRoom', on: true }),
    { type: 'orderEnded', orderId: ROOM, eventId: 'x', occurredAtMs: T0, reason: 'delivered' },
  ]
  let state: RoomState | undefined
  return inputs.flatMap((input, i) =>
    decide(state, input, T0 + i, defaultRoomLimits).flatMap((entry): AuditedEvent[] => {
      state = evolve(state, ROOM, entry)
      if (!isRoomEvent(entry)) return []
      const { content, salt, payload } = entry as RoomEvent & { content?: string; salt?: string; payload?: string }
      return [{ seq: entry.seq, event: audited(entry) as RoomEvent, ...(content !== undefined && { content: { content, salt: salt!, payload } }) }]
    }),
  )
}

const postgres = (events: readonly AuditedEvent[]): Source => ({ name: 'postgres', events, fromFirst: true, headSeq: 9 })
const topic = (events: readonly AuditedEvent[]): Source => ({ name: 'topic', events, fromFirst: false })
const changed = (seq: number, change: object): AuditedEvent[] => history().map((one) => (one.seq === seq ? { ...one, event: { ...one.event, ...change } as RoomEvent } : one))
const found = (...sources: Source[]) => reportOf(ROOM, sources, undefined).breaks.map(({ source, seq, kind }) => `${source} ${seq} ${kind}`)

describe('the audit', () => {
  test('what nobody touched is whole, also after an erasure', () => {
    expect(history().map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9])
    const report = reportOf(ROOM, [postgres(history()), topic(history())], undefined)
    expect(report).toMatchObject({ found: true, breaks: [], notes: [], sources: [{ chainBegins: 1, contentsVerified: 3, contentsErased: 0 }, { chainBegins: 1, contentsVerified: 3 }] })
    const erased = history().map((one): AuditedEvent => (one.content ? { ...one, content: 'erased' } : one))
    expect(reportOf(ROOM, [postgres(erased), topic(history())], undefined)).toMatchObject({ breaks: [], sources: [{ contentsVerified: 0, contentsErased: 3, headHash: report.sources[0]!.headHash }, {}] })
    expect(textOf(report)).toContain('The chain is whole.')
  })

  test('whatever is changed is found where it was changed', () => {
    expect(found(postgres(changed(3, { senderId: 'eve' })))).toEqual(['postgres 4 hash'])
    expect(found(postgres(changed(3, { senderId: 'eve' })), topic(history()))).toEqual(['both 3 differs', 'postgres 4 hash'])
    expect(found(postgres(changed(9, { reason: 'cancelled' })), topic(history())), 'the last one only by the other source').toEqual(['both 9 differs'])
    expect(found(postgres(changed(5, { prevHash: 'ff' })))).toEqual(['postgres 5 hash', 'postgres 6 hash'])
    expect(found(postgres(changed(5, { prevHash: undefined })))).toEqual(['postgres 5 unchained', 'postgres 6 hash'])
    expect(found(postgres(changed(1, { prevHash: 'ff' })))).toEqual(['postgres 1 hash', 'postgres 2 hash'])
    expect(found(postgres(history().filter(({ seq }) => seq !== 4)))).toEqual(['postgres 4 gap'])
    expect(found(postgres(history().slice(0, 7)))).toEqual(['postgres 8 head'])
    expect(found(postgres(history().slice(2)))).toEqual(['postgres 1 gap'])
    expect(found(postgres([]))).toEqual(['postgres 1 head'])
    expect(found({ ...postgres(history()), events: history().map((one) => (one.seq === 6 ? { ...one, contradiction: 'x' } : one)) })).toEqual(['postgres 6 row'])
    for (const content of [{ content: 'one!', salt: 's1', payload: '{"orderId":"o"}' }, { content: 'one', salt: 's', payload: '{"orderId":"o"}' }, { content: 'one', salt: 's1' }, 'missing' as const]) {
      expect(found(postgres(history().map((one) => (one.seq === 2 ? { ...one, content } : one))))).toEqual(['postgres 2 content'])
    }
    // An edit too, although nobody is shown it.
    expect(found(postgres(history().map((one) => (one.seq === 4 ? { ...one, content: { content: 'x', salt: 's3' } } : one))))).toEqual(['postgres 4 content'])
    expect(textOf(reportOf(ROOM, [postgres(changed(3, { senderId: 'eve' }))], undefined))).toMatch(/BROKEN, first at seq 4/)
  })

  test('what only one of the two can have is no break', () => {
    expect(reportOf(ROOM, [{ ...postgres(history().slice(0, 6)), headSeq: 6 }, topic(history())], undefined)).toMatchObject({ breaks: [], notes: ['Postgres is 3 events behind the topic'] })
    expect(reportOf(ROOM, [postgres(history()), topic(history().slice(4))], undefined)).toMatchObject({ breaks: [], notes: [expect.stringContaining('from seq 5 on')] })
    expect(reportOf(ROOM, [postgres(history()), topic([])], undefined)).toMatchObject({ breaks: [], notes: ['topic has none of its events'] })
    expect(found(postgres(history()), topic(history().slice(0, 5)))).toEqual(['both 6 differs', 'both 7 differs', 'both 8 differs', 'both 9 differs'])
    expect(reportOf(ROOM, [topic([])], undefined)).toMatchObject({ found: false, room: undefined })
  })

  test('what was cut off at the end is found where Postgres says by its position that it has it, also a whole room', () => {
    const placed = { ...topic(history()), events: history().map((one) => ({ ...one, offset: BigInt(10 + one.seq) })) }
    const cut = (seq: number, nextOffset: bigint): Source => ({ ...postgres(history().slice(0, seq)), headSeq: seq, nextOffset })
    expect(found(cut(7, 20n), placed)).toEqual(['both 8 differs', 'both 9 differs'])
    expect(found(cut(7, 19n), placed)).toEqual(['both 8 differs'])
    expect(found(cut(7, 18n), placed), 'not written yet').toEqual([])
    expect(found({ name: 'postgres', events: [], fromFirst: true, nextOffset: 99n }, placed)).toHaveLength(9)
  })

  test('events of before the chain are told, and it is verified from where it begins', () => {
    const old = history().map((one) => {
      const { prevHash: _, ...event } = one.event
      return { ...one, event: event as RoomEvent }
    })
    expect(reportOf(ROOM, [postgres(old)], undefined)).toMatchObject({ breaks: [], notes: ['postgres: there is no chain, all events are of writers of before'] })
    // The first three are of before; the hash of the third is in the fourth.
    const [one, two, three, ...rest] = old as [AuditedEvent, AuditedEvent, AuditedEvent, ...AuditedEvent[]]
    const chain = [one, two, three]
    for (const next of rest) chain.push({ ...next, event: { ...next.event, prevHash: eventHash(ROOM, chain.at(-1)!.event) } })
    expect(reportOf(ROOM, [postgres(chain)], undefined)).toMatchObject({ notes: ['postgres: chain begins at seq 4'], breaks: [] })
    const tampered = chain.map((event) => (event.seq === 3 ? { ...event, event: { ...event.event, senderId: 'eve' } as RoomEvent } : event))
    expect(reportOf(ROOM, [postgres(tampered)], undefined).breaks).toMatchObject([{ seq: 4, kind: 'hash' }])
  })

  test('shows the room as it was at any seq', () => {
    const roomAt = (seq: number) => reportOf(ROOM, [postgres(history())], seq).room!
    expect(roomAt(1)).toMatchObject({ seq: 1, status: 'open', frozen: false, messageCount: 0, participants: [{ userId: 'ann', role: 'customer' }, { userId: 'bob', role: 'vendor' }], receipts: [], messages: [] })
    expect(roomAt(3).messages.map(({ content, revision }) => [content, revision])).toEqual([['one', 0], ['two', 0]])
    expect(roomAt(4).receipts).toEqual([{ userId: 'ann', delivered: 2, seen: 2, hidden: true }])
    expect(roomAt(5)).toMatchObject({ receipts: [{ userId: 'ann', seen: 2 }, { userId: 'bob', seen: 1 }], messages: [{ content: 'one, better', revision: 1 }, { content: 'two', revision: 0 }] })
    expect(roomAt(5).messages[1]).not.toHaveProperty('deletedSeq')
    expect(roomAt(6).messages[1]).toMatchObject({ deletedSeq: 6, content: 'two' })
    expect(roomAt(7).messages[0]).toMatchObject({ deletedSeq: 7, redacted: 'insult' })
    expect([roomAt(7).frozen, roomAt(8).frozen, roomAt(8).status, roomAt(9).status, roomAt(99).seq]).toEqual([false, true, 'open', 'closed', 9])
    const text = textOf(reportOf(ROOM, [postgres(history().map((one): AuditedEvent => (one.seq === 3 ? { ...one, content: 'erased' } : one)))], undefined))
    expect(text).toContain('closed, frozen')
    expect(text).toContain('in: bob (vendor), had seen 1')
    expect(text).toContain('[deleted by seq 6, erased]')
    expect(text).toContain('[revision 1, redacted: insult]')
  })
})
