import { readFileSync } from 'node:fs'
import avro from 'avsc'
import { describe, expect, test } from 'vitest'
import type { DedupeBucket } from '#libs/domain/dedupe.ts'
import type { ClientMessageId, MessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import type { OrderEvent, RoomCommand } from '#libs/domain/inputs.ts'
import { type Entry, isRoomEvent, newRoom, type RoomState } from '#libs/domain/room.ts'
import * as shapes from './avro-shapes.ts'

const schemaOf = (name: string): any => JSON.parse(readFileSync(new URL(`../../schemas/${name}`, import.meta.url), 'utf8'))
const typeOf = (schema: object) => avro.Type.forSchema(schema as avro.Schema, { wrapUnions: true })
const types = { orders: typeOf(schemaOf('order-events.avsc')), commands: typeOf(schemaOf('chat-commands.avsc')), events: typeOf(schemaOf('room-events.avsc')), state: typeOf(schemaOf('room-state.avsc')) }
/** Through the bytes, and out of avsc's classes. */
const through = (type: avro.Type, value: unknown): unknown => type.fromBuffer(type.toBuffer(value))

const room = 'order-1' as RoomId
const user = (id: string) => id as UserId
const at = { seq: 3, timestampMs: 1_700_000_000_000 }
const rider = { userId: user('r1'), role: 'rider' as const }
const ack = { messageId: 'm' as MessageId, seq: 2 ** 53 - 2, messageIndex: 1, timestampMs: 5 }
const message = { messageId: 'm' as MessageId, clientMessageId: 'c' as ClientMessageId, senderId: user('a'), messageIndex: 1, content: 'ä💥', salt: 's', contentHash: 'h' }

const target = { messageId: 'm' as MessageId, messageSeq: 2 }
const asked = { by: user('a'), clientMessageId: 'c' as ClientMessageId }

const entries: Record<Entry['type'], Entry> = {
  roomOpened: { type: 'roomOpened', ...at, participants: [{ userId: user('a'), role: 'customer' }, rider] },
  participantAdded: { type: 'participantAdded', ...at, participant: rider },
  participantRemoved: { type: 'participantRemoved', ...at, participant: rider, reason: 'replaced' },
  messageSent: { type: 'messageSent', ...at, ...message },
  roomClosed: { type: 'roomClosed', ...at, reason: 'cancelled' },
  riderHeld: { type: 'riderHeld', rider: { userId: user('r1'), occurredAtMs: 1, eventId: 'e' }, heldAtMs: 2 },
  closeHeld: { type: 'closeHeld', reason: 'delivered', heldAtMs: 2 },
  riderStands: { type: 'riderStands', occurredAtMs: 1, eventId: 'e' },
  refused: { type: 'refused', code: 'rate_limited', retryAfterMs: 7 },
  repeated: { type: 'repeated', clientMessageId: 'c' as ClientMessageId, ack },
  ignored: { type: 'ignored', reason: 'r' },
  unchanged: { type: 'unchanged', headSeq: 7 },
  messageEdited: { type: 'messageEdited', ...at, ...target, ...asked, revision: 1, content: 'x', salt: 's', contentHash: 'h' },
  messageDeleted: { type: 'messageDeleted', ...at, ...target, ...asked },
  reactionSet: { type: 'reactionSet', ...at, ...target, ...asked, emoji: '👍🏽', on: true },
  receiptMoved: { type: 'receiptMoved', ...at, userId: user('a'), delivered: 2, seen: 1, hidden: true },
  roomChanged: { type: 'roomChanged', ...at, ...asked, name: 'n', metadata: { k: 'v' } },
  mediatorInvited: { type: 'mediatorInvited', ...at, ...asked, userId: user('m') },
  blockSet: { type: 'blockSet', ...at, blockerId: user('a'), blockedId: user('b'), on: false },
  messageReported: { type: 'messageReported', ...at, ...target, ...asked, reason: 'abuse' },
  messageRedacted: { type: 'messageRedacted', ...at, ...target, ...asked, reason: 'r' },
  roomFrozen: { type: 'roomFrozen', ...at, ...asked, on: true },
  blockStands: { type: 'blockStands', blockerId: user('a'), blockedId: user('b'), occurredAtMs: 5 },
}

/** What may be left out, given. */
const full: readonly Entry[] = [
  { type: 'roomOpened', ...at, participants: [], kind: 'group', creatorId: user('a'), name: 'n', metadata: { a: 'b' }, history: 'fromJoin', subjectId: 'j1' },
  { type: 'participantAdded', ...at, participant: rider, messageCount: 3, seen: 2, kind: 'group', name: 'n', prevHash: 'h', ...asked },
  { type: 'messageReported', ...at, ...target, ...asked, reason: 'other', note: 'n', prevHash: 'h' },
  { type: 'roomFrozen', ...at, ...asked, on: false, reason: 'r', prevHash: 'h' },
  { type: 'participantRemoved', ...at, participant: rider, reason: 'left', ...asked },
  { type: 'messageSent', ...at, ...message, messageType: 'image', payload: '{}', replyTo: 'm0' as MessageId, replyToSeq: 1, mentions: [user('b')], hiddenFor: [user('b')] },
  { type: 'roomClosed', ...at, reason: 'resolved', note: 'n', ...asked },
  { type: 'blockSet', ...at, blockerId: user('a'), blockedId: user('b'), on: true, occurredAtMs: 5 },
]

describe('room-events', () => {
  const decisionOf = (value: unknown) => shapes.decisionFromAvro(through(types.events, value))

  test.each([...Object.values(entries), ...full])('$type comes back as it was', (entry) => {
    const decision = { roomId: room, commandId: 'c', entries: [entry] }
    expect(decisionOf(shapes.decisionToAvro(decision))).toEqual(decision)
  })

  test('a decision without a command, a refusal without a time, no entries', () => {
    const decision = { roomId: room, commandId: undefined, entries: [{ type: 'refused', code: 'room_read_only' }] as Entry[] }
    const back = decisionOf(shapes.decisionToAvro(decision))
    expect(back).toEqual(decision)
    expect(back!.entries[0]).not.toHaveProperty('retryAfterMs')
    expect(decisionOf(shapes.decisionToAvro({ ...decision, entries: [] }))).toMatchObject({ entries: [] })
  })

  test('a marker is no decision', () => {
    expect(decisionOf(shapes.markerToAvro('me', 'n'))).toBeUndefined()
  })

  test('an entry of a newer schema keeps its seq and is passed on opaque; the others read as before', () => {
    const newer = schemaOf('room-events.avsc')
    const decisionSchema = newer.fields[0].type.find((branch: any) => branch.name === 'Decision')
    decisionSchema.fields.find((f: any) => f.name === 'entries').type.items.push({ type: 'record', name: 'MessageForwarded', fields: [{ name: 'seq', type: 'long' }, { name: 'timestampMs', type: 'long' }, { name: 'text', type: 'string' }] })
    const unknown = { 'orderchat.MessageForwarded': { seq: 4, timestampMs: 9, text: 'x' } }
    const known = shapes.decisionToAvro({ roomId: room, commandId: undefined, entries: [entries.messageSent] }) as any
    known.body['orderchat.Decision'].entries.push(unknown)
    const type = typeOf(newer)
    const { entries: read } = shapes.decisionFromAvro(through(type, known))!
    expect(read).toEqual([entries.messageSent, { type: 'messageForwarded', seq: 4, timestampMs: 9, text: 'x' }])
    expect(isRoomEvent(read[1]!)).toBe(true)
    // BACKWARD: the newer reader reads what the present schema has written.
    const bytes = types.events.toBuffer(shapes.decisionToAvro({ roomId: room, commandId: 'c', entries: Object.values(entries) }))
    const backward = type.fromBuffer(bytes, type.createResolver(types.events))
    expect(shapes.decisionFromAvro(backward)!.entries).toEqual(Object.values(entries))
  })
})

describe('inputs', () => {
  const envelope = { orderId: room, eventId: 'e', occurredAtMs: 1 }
  test.each<OrderEvent>([
    { type: 'orderAccepted', ...envelope, customerId: user('a'), vendorId: user('b') },
    { type: 'riderAssigned', ...envelope, riderId: user('r') },
    { type: 'orderEnded', ...envelope, reason: 'delivered' },
    { type: 'orderCreated', ...envelope, subjectId: 'o', customerId: user('a'), vendorId: user('b') },
    { type: 'blockChanged', ...envelope, blockerId: user('a'), blockedId: user('b'), on: true },
  ])('$type comes back as it was', (event) => {
    expect(shapes.orderEventFromAvro(through(types.orders, shapes.orderEventToAvro(event)))).toEqual(event)
  })

  const from = { roomId: room, commandId: 'c', senderId: user('a'), clientMessageId: 'i' as ClientMessageId }
  const messageId = 'm' as MessageId
  test.each<RoomCommand>([
    { type: 'sendMessage', ...from, content: 'ä\0', salt: 's' },
    { type: 'sendMessage', ...from, content: '', salt: 's', messageType: 'file', payload: '{}', replyTo: messageId, replyToSeq: 2, mentions: [user('b')] },
    { type: 'editMessage', ...from, messageId, content: 'x', salt: 's' },
    { type: 'deleteMessage', ...from, messageId },
    { type: 'react', ...from, messageId, emoji: '👍', on: true },
    { type: 'react', ...from, messageId, messageSeq: 3, emoji: '👍', on: false },
    { type: 'mark', ...from, seen: 3 },
    { type: 'mark', ...from, delivered: 3, hidden: true },
    { type: 'createRoom', ...from, kind: 'direct', participants: [{ userId: user('a'), role: 'member' }] },
    { type: 'createRoom', ...from, kind: 'group', participants: [], name: 'n', metadata: { a: 'b' }, history: 'fromJoin', subjectId: 's' },
    { type: 'addParticipant', ...from, userId: user('b'), role: 'member' },
    { type: 'removeParticipant', ...from, userId: user('b') },
    { type: 'changeRoom', ...from, metadata: {} },
    { type: 'inviteMediator', ...from, userId: user('b') },
    { type: 'acceptInvitation', ...from },
    { type: 'resolveDispute', ...from, note: 'n' },
    { type: 'setBlock', ...from, blockerId: user('a'), blockedId: user('b'), on: true },
    { type: 'setBlock', ...from, blockerId: user('a'), blockedId: user('b'), on: false, occurredAtMs: 5 },
  ])('$type comes back as it was', (command) => {
    expect(shapes.commandFromAvro(through(types.commands, shapes.commandToAvro(command)))).toEqual(command)
  })

  test.each([
    ['order-events.avsc', shapes.orderEventFromAvro, { orderId: 'o', eventId: 'e', occurredAtMs: 1 }],
    ['chat-commands.avsc', shapes.commandFromAvro, { roomId: 'o', commandId: 'c', senderId: 's' }],
  ])('a type of a newer %s is undecodable, with a code', (file, fromAvro, head) => {
    const newer = schemaOf(file)
    newer.fields.find((f: any) => f.name === 'body').type.push({ type: 'record', name: 'Newer', fields: [] })
    expect(() => fromAvro(through(typeOf(newer), { ...head, body: { 'orderchat.Newer': {} } }))).toThrow(expect.objectContaining({ code: 'undecodable' }))
  })
})

describe('room-state', () => {
  const recordOf = (value: unknown) => shapes.stateRecordFromAvro(through(types.state, value))
  const full: RoomState = {
    ...newRoom(room),
    status: 'open',
    headSeq: 9,
    messageCount: 4,
    lastEventMs: 5,
    participants: new Map([[user('a'), 'customer'], [user('constructor'), 'rider']]),
    riderWon: { occurredAtMs: 1, eventId: 'e' },
    heldRider: { userId: user('r'), occurredAtMs: 1, eventId: 'e', heldAtMs: 2 },
    heldClose: { reason: 'delivered', heldAtMs: 3 },
    sendRate: { second: 12, counts: new Map([[user('a'), 2], [user('constructor'), 1]]) },
    kind: 'group',
    name: 'n',
    metadata: { a: 'b' },
    invited: new Set([user('m')]),
    blocks: new Set(['a b' as const as never]),
    blockTimes: new Map([['a b' as const as never, 5]]),
    receipts: new Map([[user('a'), { delivered: 3, seen: 2, hidden: false }]]),
    changes: new Map([['m' as MessageId, { revision: 2, deleted: true, changedMs: 5 }]]),
  }

  test.each([full, newRoom(room)])('a room comes back as it was ($status)', (state) => {
    const { dedupe: _, ...rest } = state
    expect(recordOf(shapes.roomToAvro({ ...state, dedupe: { firstBucket: 3, buckets: [] } }))).toEqual({ kind: 'room', firstBucket: 3, bucketCount: 0, room: rest })
  })

  test('a bucket comes back as it was', () => {
    const content: DedupeBucket = { oldestMs: 1, newestMs: 2, acks: new Map([['a c' as never, ack]]) }
    expect(recordOf(shapes.bucketToAvro(room, 7, content))).toEqual({ kind: 'bucket', roomId: room, bucket: 7, content })
  })

  test('offsets of 64 bit come back as they were', () => {
    const checkpoint = { nextOffset: 2n ** 62n, ownerEpoch: -1n, inputs: new Map([['order-events', 2n ** 61n], ['chat-commands', 0n]]) }
    expect(recordOf(shapes.checkpointToAvro(checkpoint))).toEqual({ kind: 'checkpoint', checkpoint })
    expect(recordOf(shapes.sentinelToAvro('n'))).toEqual({ kind: 'sentinel' })
  })
})
