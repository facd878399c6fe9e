import { createHash } from 'node:crypto'
import canonicalize from 'canonicalize'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decisionFromAvro, decisionToAvro } from '../streams/avro-shapes.ts'
import { chained, eventHash, genesisHash } from './chain.ts'
import { decide } from './decide.ts'
import { evolve, shrinkToStub } from './evolve.ts'
import { clientMessageIdOf, messageIdOf, type RoomId, type UserId } from './ids.ts'
import type { RoomCommandBody, RoomInput } from './inputs.ts'
import { defaultRoomLimits, type RoomLimits } from './limits.ts'
import { type Entry, isRoomEvent, newRoom, type RoomEvent, type RoomState } from './room.ts'

const ROOM = 'order-1' as RoomId
const T0 = 1_700_000_000_000
const u = (id: string) => id as UserId
const limits: RoomLimits = { ...defaultRoomLimits, content: { ...defaultRoomLimits.content, duplicatesWindowMs: 0 } }

class Room {
  state: RoomState | undefined
  readonly events: RoomEvent[] = []
  nowMs = T0
  readonly limits: RoomLimits
  #nr = 0

  constructor(more: Partial<RoomLimits> = {}) {
    this.limits = { ...limits, ...more }
    this.take({ type: 'orderAccepted', orderId: ROOM, eventId: 'e', occurredAtMs: T0, customerId: u('ann'), vendorId: u('bob') })
  }

  take(input: RoomInput): readonly Entry[] {
    const entries = decide(this.state, input, (this.nowMs += 100), this.limits)
    for (const entry of entries) {
      this.state = evolve(this.state, ROOM, entry)
      if (isRoomEvent(entry)) this.events.push(entry)
    }
    return entries
  }

  ask(senderId: string, body: RoomCommandBody): Entry {
    return this.take({ roomId: ROOM, commandId: 'c', senderId: u(senderId), clientMessageId: clientMessageIdOf(`${this.#nr++}`, this.nowMs), ...body })[0]!
  }

  say(content = 'hi') {
    const entry = this.ask('ann', { type: 'sendMessage', content, salt: 's' })
    if (entry.type !== 'messageSent') throw new Error(`not sent: ${JSON.stringify(entry)}`)
    return entry
  }
}

describe('the chain', () => {
  test('each event has the hash of the one before it, the first that of the room, however they came', () => {
    const inputs = fc.array(fc.oneof(
      fc.constantFrom<RoomInput>({ type: 'riderAssigned', orderId: ROOM, eventId: 'r1', occurredAtMs: T0 + 1, riderId: u('r1') }, { type: 'riderAssigned', orderId: ROOM, eventId: 'r2', occurredAtMs: T0 + 2, riderId: u('r2') }),
      fc.tuple(fc.constantFrom('ann', 'bob', 'mod'), fc.constantFrom<RoomCommandBody>({ type: 'sendMessage', content: 'x', salt: 's', mentions: [u('bob')] }, { type: 'mark', seen: 2 }, { type: 'freezeRoom', on: true }, { type: 'freezeRoom', on: false, reason: 'fine' }, { type: 'removeParticipant', userId: u('zoe') }, { type: 'expelParticipant', userId: u('r1'), reason: 'rude' })),
    ), { maxLength: 30 })
    fc.assert(
      fc.property(inputs, (list) => {
        const room = new Room()
        for (const one of list) {
          if (Array.isArray(one)) room.ask(one[0], one[1])
          else room.take(one)
        }
        room.events.forEach((event, i) => expect(event.prevHash).toBe(i === 0 ? genesisHash(ROOM) : eventHash(ROOM, room.events[i - 1]!)))
        expect(room.state!.headHash).toBe(eventHash(ROOM, room.events.at(-1)!))
        expect(shrinkToStub(room.state!).headHash).toBe(room.state!.headHash)
        // The same from the log as from memory.
        const read = room.events.map((event) => decisionFromAvro(decisionToAvro({ roomId: ROOM, commandId: undefined, entries: [event] }))!.entries[0] as RoomEvent)
        expect(read.map((event) => eventHash(ROOM, event))).toEqual(room.events.map((event) => eventHash(ROOM, event)))
      }),
    )
  })

  test('is SHA-256 over canonical JSON, so that anybody can recompute it', () => {
    const event = { seq: 2, type: 'roomFrozen', timestampMs: T0, on: true, by: u('mod'), clientMessageId: clientMessageIdOf('x', T0), prevHash: 'ff' } as RoomEvent
    const text = `order-1\0{"by":"mod","clientMessageId":"${clientMessageIdOf('x', T0)}","on":true,"prevHash":"ff","seq":2,"timestampMs":${T0},"type":"roomFrozen"}`
    expect(eventHash(ROOM, event)).toBe(createHash('sha256').update(text).digest('hex'))
    expect(genesisHash(ROOM)).toBe(createHash('sha256').update('order-chat room order-1').digest('hex'))
  })

  test('is the same text as that of any library for RFC 8785', () => {
    const value = fc.oneof(fc.string({ unit: 'binary' }).map((text) => text.toWellFormed()), fc.integer(), fc.double({ noNaN: true, noDefaultInfinity: true }), fc.boolean(), fc.array(fc.string()), fc.constant({ b: 1, a: '\\ud800' }))
    fc.assert(
      fc.property(fc.dictionary(fc.stringMatching(/^[a-zA-Z]{1,6}$/), value), (fields) => {
        const event = { ...fields, seq: 1 } as unknown as RoomEvent
        const { content: _, salt: __, payload: ___, ...rest } = event as RoomEvent & Record<string, unknown>
        expect(eventHash(ROOM, event)).toBe(createHash('sha256').update(`${ROOM}\0${canonicalize(rest)}`).digest('hex'))
      }),
      { numRuns: 50 },
    )
  })

  test('an erasure changes no hash, anything else does', () => {
    const room = new Room()
    const sent = room.say()
    const { content: _, salt: __, ...erased } = sent
    expect(eventHash(ROOM, erased as RoomEvent)).toBe(eventHash(ROOM, sent))
    const hash = eventHash(ROOM, sent)
    const changed: Partial<typeof sent>[] = [{ seq: 9 }, { timestampMs: 1 }, { senderId: u('eve') }, { contentHash: 'x' }, { messageIndex: 9 }, { prevHash: 'x' }, { mentions: [u('x')] }]
    for (const more of changed) expect(eventHash(ROOM, { ...sent, ...more }), JSON.stringify(more)).not.toBe(hash)
    expect(eventHash('order-2' as RoomId, { ...sent })).not.toBe(hash)
  })

  test('a room of before it begins with its next event, whose successor carries its hash', () => {
    const old: RoomState = { ...newRoom(ROOM), status: 'open', headSeq: 7, headHash: null }
    const [one, two] = chained(old, ROOM, [8, 9].map((seq) => ({ type: 'roomFrozen', seq, timestampMs: T0, on: seq === 8, by: u('m'), clientMessageId: clientMessageIdOf(`${seq}`, T0) }))) as RoomEvent[]
    expect(one!.prevHash).toBeUndefined()
    expect(two!.prevHash).toBe(eventHash(ROOM, one!))
  })

  test('no text makes it throw, and what is not well-formed is hashed as the log has it', () => {
    const event = (reason: string): RoomEvent => ({ type: 'roomFrozen', seq: 3, timestampMs: T0, on: true, reason, by: u('m'), clientMessageId: clientMessageIdOf('x', T0) })
    expect(eventHash(ROOM, event('a\ud800b'))).toBe(eventHash(ROOM, event('a\ufffdb')))
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => /^[0-9a-f]{64}$/.test(eventHash(ROOM, event(`${text}\ud800`)))))
    const room = new Room()
    const hostile = { roomId: ROOM, commandId: 'c', senderId: 'a\ud800' as UserId, clientMessageId: clientMessageIdOf('y', T0), type: 'createRoom', kind: 'group', participants: [{ userId: 'a\ud800' as UserId, role: 'owner' }] } as RoomInput
    expect(() => decide(undefined, hostile, T0, limits)).not.toThrow()
    expect(room.state!.headSeq).toBe(1)
  })
})

describe('moderators', () => {
  test('who need not be in the room freeze it: nothing is written but reports and goodbyes', () => {
    const room = new Room()
    const { messageId } = room.say()
    expect(room.ask('mod', { type: 'freezeRoom', on: true, reason: 'a quarrel' })).toMatchObject({ type: 'roomFrozen', on: true, by: 'mod' })
    expect(room.ask('mod', { type: 'freezeRoom', on: true })).toEqual({ type: 'unchanged', headSeq: room.state!.headSeq })
    const refused: RoomCommandBody[] = [{ type: 'sendMessage', content: 'x', salt: 's' }, { type: 'editMessage', messageId, content: 'y', salt: 's' }, { type: 'deleteMessage', messageId }, { type: 'react', messageId, emoji: '+1', on: true }]
    for (const body of refused) expect(room.ask('ann', body), body.type).toEqual({ type: 'refused', code: 'room_frozen' })
    expect(room.ask('bob', { type: 'mark', seen: 1 })).toMatchObject({ type: 'receiptMoved' })
    expect(room.ask('bob', { type: 'reportMessage', messageId, reason: 'abuse', note: 'see there' })).toMatchObject({ type: 'messageReported', messageSeq: 2, by: 'bob' })
    expect(room.ask('mod', { type: 'freezeRoom', on: false })).toMatchObject({ type: 'roomFrozen', on: false })
    room.say()
  })

  test('redact once, also in a closed room, and what was redacted cannot be edited, reacted to or reported', () => {
    const room = new Room()
    const { messageId, seq } = room.say()
    expect(room.ask('mod', { type: 'redactMessage', messageId, reason: '' })).toEqual({ type: 'refused', code: 'invalid_request' })
    room.take({ type: 'orderEnded', orderId: ROOM, eventId: 'x', occurredAtMs: T0, reason: 'delivered' })
    expect(room.ask('mod', { type: 'redactMessage', messageId, reason: 'insult' })).toMatchObject({ type: 'messageRedacted', messageSeq: seq, reason: 'insult', by: 'mod' })
    expect(room.ask('mod', { type: 'redactMessage', messageId, reason: 'again' })).toMatchObject({ type: 'unchanged' })
    expect(room.ask('mod', { type: 'redactMessage', messageId: messageIdOf(ROOM, u('x'), clientMessageIdOf('x', T0)), reason: 'x' })).toEqual({ type: 'refused', code: 'message_not_found' })
    const open = new Room()
    const other = open.say()
    open.ask('mod', { type: 'redactMessage', messageId: other.messageId, reason: 'insult' })
    const after: RoomCommandBody[] = [{ type: 'editMessage', messageId: other.messageId, content: 'y', salt: 's' }, { type: 'react', messageId: other.messageId, emoji: '+1', on: true }, { type: 'reportMessage', messageId: other.messageId, reason: 'spam' }]
    for (const body of after) expect(open.ask('ann', body), body.type).toEqual({ type: 'refused', code: 'message_deleted' })
  })

  test('are not kept out by a room that remembers no more changes', () => {
    const room = new Room({ changedMessagesMax: 2 })
    const sent = Array.from({ length: 5 }, () => room.say().messageId)
    for (const messageId of sent.slice(0, 2)) expect(room.ask('ann', { type: 'deleteMessage', messageId })).toMatchObject({ type: 'messageDeleted' })
    expect(room.ask('ann', { type: 'deleteMessage', messageId: sent[2]! })).toEqual({ type: 'refused', code: 'too_many_changes' })
    for (const messageId of sent.slice(2, 4)) expect(room.ask('mod', { type: 'redactMessage', messageId, reason: 'x' })).toMatchObject({ type: 'messageRedacted' })
    expect(room.ask('mod', { type: 'redactMessage', messageId: sent[4]!, reason: 'x' })).toEqual({ type: 'refused', code: 'too_many_changes' })
  })

  test('take somebody out with a reason, and he is out', () => {
    const room = new Room()
    expect(room.ask('mod', { type: 'expelParticipant', userId: u('ann'), reason: 'rude' })).toMatchObject({ type: 'participantRemoved', participant: { userId: 'ann', role: 'customer' }, reason: 'moderated', note: 'rude', by: 'mod' })
    expect(room.ask('mod', { type: 'expelParticipant', userId: u('ann'), reason: 'rude' })).toMatchObject({ type: 'unchanged' })
    expect(room.ask('ann', { type: 'sendMessage', content: 'x', salt: 's' })).toEqual({ type: 'refused', code: 'not_a_participant' })
  })

  test('are told by participants alone, with one of the reasons', () => {
    const room = new Room()
    const { messageId } = room.say()
    expect(room.ask('eve', { type: 'reportMessage', messageId, reason: 'spam' })).toEqual({ type: 'refused', code: 'not_a_participant' })
    expect(room.ask('bob', { type: 'reportMessage', messageId, reason: 'dull' as 'spam' })).toEqual({ type: 'refused', code: 'invalid_request' })
    expect(room.ask('bob', { type: 'reportMessage', messageId, reason: 'spam', note: 'x'.repeat(1_001) })).toEqual({ type: 'refused', code: 'invalid_request' })
  })
})
