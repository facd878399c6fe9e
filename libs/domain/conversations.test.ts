import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decide } from './decide.ts'
import { contentHashOf } from './decide-parts.ts'
import { evolve, shrinkToStub } from './evolve.ts'
import { type ClientMessageId, clientMessageIdOf, clientMessageIdTimeMs, directRoomId, disputeRoomId, groupRoomId, jobRoomId, type MessageId, messageIdOf, type RoomId, type UserId } from './ids.ts'
import type { OrderEvent, RoomCommand, RoomCommandBody, RoomInput } from './inputs.ts'
import { DEDUPE_WINDOW_MS, defaultRoomLimits, fixedLimits } from './limits.ts'
import { type Entry, isRoomEvent, type Participant, type RoomEvent, type RoomKind, type RoomState } from './room.ts'

const T0 = 1_700_000_000_000
const HOUR = 3_600_000
// That the same text over and over is refused is content-rules.test.ts's.
const limits = { ...defaultRoomLimits, messagesPerSecondMax: 1_000, participantsMax: 4, changedMessagesMax: 3, content: { ...defaultRoomLimits.content, duplicatesWindowMs: 0 } }
const u = (id: string) => id as UserId
const idOf = (name: string, timeMs = T0): ClientMessageId => clientMessageIdOf(name, timeMs)

/** One room, its log, and who speaks to it. */
class Table {
  readonly roomId: RoomId
  state: RoomState | undefined
  nowMs = T0
  readonly events: RoomEvent[] = []
  #nr = 0

  constructor(roomId: RoomId) {
    this.roomId = roomId
  }

  take(input: RoomInput): readonly Entry[] {
    const entries = decide(this.state, input, this.nowMs, limits)
    for (const entry of entries) {
      this.state = evolve(this.state, this.roomId, entry)
      if (isRoomEvent(entry)) this.events.push(entry)
    }
    return entries
  }

  command(senderId: string, body: RoomCommandBody, clientMessageId = idOf(`nr ${this.#nr++}`, this.nowMs)): RoomCommand {
    return { roomId: this.roomId, commandId: 'c', senderId: u(senderId), clientMessageId, ...body }
  }

  ask(senderId: string, body: RoomCommandBody, clientMessageId?: ClientMessageId): readonly Entry[] {
    return this.take(this.command(senderId, body, clientMessageId))
  }

  send(senderId: string, name: string, content = 'hi'): MessageId {
    const id = idOf(name, this.nowMs)
    this.ask(senderId, { type: 'sendMessage', content, salt: 's' }, id)
    return messageIdOf(this.roomId, u(senderId), id)
  }
}

const people = (...ids: string[]): Participant[] => ids.map((id, i) => ({ userId: u(id), role: i === 0 ? 'owner' : 'member' }))

function group(...ids: string[]): Table {
  const table = new Table(groupRoomId(u(ids[0]!), '1'))
  table.ask(ids[0]!, { type: 'createRoom', kind: 'group', participants: people(...ids), name: 'g', metadata: { a: 'b' }, history: 'fromJoin' })
  return table
}

function direct(): Table {
  const table = new Table(directRoomId(u('a'), u('b')))
  table.ask('a', { type: 'createRoom', kind: 'direct', participants: [{ userId: u('a'), role: 'member' }, { userId: u('b'), role: 'member' }] })
  return table
}

function dispute(): Table {
  const table = new Table(disputeRoomId(jobRoomId('j1')))
  table.ask('a', { type: 'createRoom', kind: 'dispute', participants: [{ userId: u('a'), role: 'client' }, { userId: u('b'), role: 'provider' }], subjectId: 'j1' })
  return table
}

const refusedWith = (code: string) => [{ type: 'refused', code }]
const types = (entries: readonly Entry[]) => entries.map((entry) => entry.type)

describe('ids', () => {
  test('a pair has one direct room, whoever asks; a made id carries its time and is the same for the same name', () => {
    expect(directRoomId(u('a'), u('b'))).toBe(directRoomId(u('b'), u('a')))
    expect(new Set([directRoomId(u('a'), u('b')), directRoomId(u('a'), u('c')), groupRoomId(u('a'), 'b'), jobRoomId('a b'), disputeRoomId('a b' as RoomId)]).size).toBe(5)
    expect(idOf('x')).toBe(idOf('x'))
    expect(idOf('x')).toMatch(/^018bcfe5-6800-7[0-9a-f]{3}-[89ab]/)
  })
})

describe('creating', () => {
  test('twice is once; who is not in it learns nothing', () => {
    const table = direct()
    expect(table.events).toMatchObject([{ type: 'roomOpened', seq: 1, kind: 'direct', creatorId: 'a' }])
    const again = (by: string) => table.ask(by, { type: 'createRoom', kind: 'direct', participants: people('a', 'b') })
    expect(again('b')).toEqual([{ type: 'unchanged', headSeq: 1 }])
    expect(again('x')).toEqual(refusedWith('not_a_participant'))
  })

  test.each<[string, Partial<RoomCommandBody & { type: 'createRoom' }>, string]>([
    ['an order', { kind: 'order' }, 'wrong_room_kind'],
    ['a direct room of three', { kind: 'direct', participants: people('a', 'b', 'c') }, 'invalid_request'],
    ['somebody twice', { participants: people('a', 'a') }, 'invalid_request'],
    ['without the creator', { participants: people('b', 'c') }, 'invalid_request'],
    ['too many', { participants: people('a', 'b', 'c', 'd', 'e') }, 'too_many_participants'],
    ['a name too long', { name: 'x'.repeat(fixedLimits.nameCharsMax + 1) }, 'invalid_request'],
    ['metadata too large', { metadata: { a: 'x'.repeat(fixedLimits.metadataValueCharsMax + 1) } }, 'invalid_request'],
  ])('%s is refused', (_, body, code) => {
    const table = new Table(groupRoomId(u('a'), '1'))
    expect(table.ask('a', { type: 'createRoom', kind: 'group', participants: people('a', 'b'), ...body } as RoomCommandBody)).toEqual(refusedWith(code))
    expect(table.state).toBeUndefined()
  })

  test('order events do nothing in other rooms', () => {
    const table = group('a', 'b')
    const event = { orderId: table.roomId, eventId: 'e', occurredAtMs: T0 }
    expect(types(table.take({ ...event, type: 'orderAccepted', customerId: u('x'), vendorId: u('y') }))).toEqual(['ignored'])
    expect(types(table.take({ ...event, type: 'riderAssigned', riderId: u('x') }))).toEqual(['ignored'])
    expect(types(table.take({ ...event, type: 'orderEnded', reason: 'delivered' }))).toEqual(['ignored'])
  })
})

describe('members', () => {
  test('owners let in and take out, members leave; the room is never without an owner', () => {
    const table = group('a', 'b')
    expect(table.ask('b', { type: 'addParticipant', userId: u('c'), role: 'member' })).toEqual(refusedWith('not_allowed'))
    expect(types(table.ask('a', { type: 'addParticipant', userId: u('c'), role: 'observer' }))).toEqual(['participantAdded'])
    expect(table.ask('a', { type: 'addParticipant', userId: u('c'), role: 'observer' })).toMatchObject([{ type: 'unchanged' }])
    expect(table.ask('c', { type: 'sendMessage', content: 'x', salt: 's' })).toEqual(refusedWith('not_allowed'))
    expect(table.ask('b', { type: 'removeParticipant', userId: u('c') })).toEqual(refusedWith('not_allowed'))
    expect(table.ask('a', { type: 'addParticipant', userId: u('a'), role: 'member' })).toEqual(refusedWith('not_allowed'))
    // Members come before observers.
    expect(table.ask('a', { type: 'removeParticipant', userId: u('a') })).toMatchObject([
      { type: 'participantAdded', participant: { userId: 'b', role: 'owner' } },
      { type: 'participantRemoved', participant: { userId: 'a', role: 'owner' }, reason: 'left', by: 'a' },
    ])
    expect(table.ask('a', { type: 'sendMessage', content: 'x', salt: 's' })).toEqual(refusedWith('not_a_participant'))
    expect(table.ask('b', { type: 'removeParticipant', userId: u('c') })).toMatchObject([{ type: 'participantRemoved', reason: 'removed', by: 'b' }])
    expect(table.ask('b', { type: 'removeParticipant', userId: u('b') })).toMatchObject([{ type: 'participantRemoved', reason: 'left' }])
    expect(table.state!.participants.size).toBe(0)
  })

  test('a moderator who takes the last owner out leaves another one', () => {
    const table = group('a', 'b')
    expect(table.ask('mod', { type: 'expelParticipant', userId: u('a'), reason: 'rude' })).toMatchObject([{ type: 'participantAdded', participant: { userId: 'b', role: 'owner' } }, { type: 'participantRemoved', participant: { userId: 'a' }, by: 'mod' }])
  })

  test('who was in a room that has shrunk is told that it is closed, also after a redaction', () => {
    const order = new Table('o1' as RoomId)
    order.take({ type: 'orderAccepted', orderId: order.roomId, eventId: 'e', occurredAtMs: T0, customerId: u('a'), vendorId: u('b') })
    const messageId = order.send('a', 'one')
    order.take({ type: 'orderEnded', orderId: order.roomId, eventId: 'x', occurredAtMs: T0, reason: 'delivered' })
    order.nowMs += DEDUPE_WINDOW_MS + HOUR
    order.state = shrinkToStub(order.state!)
    expect(types(order.ask('mod', { type: 'redactMessage', messageId, messageSeq: 2, reason: 'insult' }))).toEqual(['messageRedacted'])
    expect(order.ask('b', { type: 'mark', seen: 1 })).toEqual(refusedWith('room_read_only'))
  })

  test('as many as may be, and nobody leaves or joins an order', () => {
    const table = group('a', 'b', 'c', 'd')
    expect(table.ask('a', { type: 'addParticipant', userId: u('e'), role: 'member' })).toEqual(refusedWith('too_many_participants'))
    const order = new Table('o1' as RoomId)
    order.take({ type: 'orderAccepted', orderId: order.roomId, eventId: 'e', occurredAtMs: T0, customerId: u('a'), vendorId: u('b') })
    expect(order.ask('a', { type: 'removeParticipant', userId: u('a') })).toEqual(refusedWith('wrong_room_kind'))
    expect(order.ask('a', { type: 'addParticipant', userId: u('c'), role: 'member' })).toEqual(refusedWith('wrong_room_kind'))
    expect(order.ask('a', { type: 'changeRoom', name: 'x' })).toEqual(refusedWith('wrong_room_kind'))
  })

  test('a room is renamed by its owner; an empty name takes it away', () => {
    const table = group('a', 'b')
    expect(table.ask('b', { type: 'changeRoom', name: 'n' })).toEqual(refusedWith('not_allowed'))
    expect(types(table.ask('a', { type: 'changeRoom', name: 'n' }))).toEqual(['roomChanged'])
    expect(table.state).toMatchObject({ name: 'n', metadata: { a: 'b' } })
    expect(types(table.ask('a', { type: 'changeRoom', name: 'n', metadata: { a: 'b' } }))).toEqual(['unchanged'])
    table.ask('a', { type: 'changeRoom', name: '', metadata: {} })
    expect(table.state).toMatchObject({ name: null, metadata: {} })
  })
})

describe('disputes', () => {
  test('a mediator comes in by invitation, and goes when it is resolved; the record stays', () => {
    const table = dispute()
    expect(table.ask('m', { type: 'acceptInvitation' })).toEqual(refusedWith('not_invited'))
    expect(types(table.ask('a', { type: 'inviteMediator', userId: u('m') }))).toEqual(['mediatorInvited'])
    expect(types(table.ask('b', { type: 'inviteMediator', userId: u('m') }))).toEqual(['unchanged'])
    expect(table.ask('m', { type: 'acceptInvitation' })).toMatchObject([{ type: 'participantAdded', participant: { userId: 'm', role: 'mediator' } }])
    expect(types(table.ask('m', { type: 'acceptInvitation' }))).toEqual(['unchanged'])
    expect(table.state!.participants.size).toBe(3)
    table.send('m', 'hear me')
    expect(table.ask('a', { type: 'resolveDispute' })).toEqual(refusedWith('not_allowed'))
    expect(table.ask('m', { type: 'resolveDispute', note: 'settled' })).toMatchObject([
      { type: 'participantRemoved', participant: { userId: 'm' }, reason: 'resolved' },
      { type: 'roomClosed', reason: 'resolved', note: 'settled', by: 'm' },
    ])
    expect(table.ask('a', { type: 'sendMessage', content: 'x', salt: 's' })).toEqual(refusedWith('room_read_only'))
    expect(types(table.ask('a', { type: 'mark', seen: 1 }))).toEqual(['receiptMoved'])
    expect(types(table.events)).toContain('messageSent')
  })

  test('without a mediator a side may end it; elsewhere nobody is invited', () => {
    expect(types(dispute().ask('b', { type: 'resolveDispute' }))).toEqual(['roomClosed'])
    expect(group('a', 'b').ask('a', { type: 'inviteMediator', userId: u('m') })).toEqual(refusedWith('wrong_room_kind'))
  })
})

describe('changing a message', () => {
  test('only its sender, within the time, and not after it was deleted', () => {
    const table = group('a', 'b')
    const messageId = table.send('a', '1')
    const edit = (by: string, content = 'new') => table.ask(by, { type: 'editMessage', messageId, content, salt: 't' })
    expect(edit('b')).toEqual(refusedWith('not_allowed'))
    expect(edit('a')).toMatchObject([{ type: 'messageEdited', messageId, messageSeq: 2, revision: 1, by: 'a', contentHash: contentHashOf('t', 'new') }])
    expect(edit('a', 'newer')).toMatchObject([{ revision: 2 }])
    expect(edit('a', '')).toEqual(refusedWith('content_empty'))
    expect(table.ask('a', { type: 'deleteMessage', messageId })).toMatchObject([{ type: 'messageDeleted', messageSeq: 2 }])
    expect(edit('a')).toEqual(refusedWith('message_deleted'))
    expect(types(table.ask('a', { type: 'deleteMessage', messageId }))).toEqual(['unchanged'])
    expect(table.ask('b', { type: 'react', messageId, emoji: '👍', on: true })).toEqual(refusedWith('message_deleted'))
    const other = table.send('a', '2')
    table.nowMs += limits.editWindowMs + 1
    expect(table.ask('a', { type: 'editMessage', messageId: other, content: 'x', salt: 's' })).toEqual(refusedWith('edit_window_over'))
    expect(table.ask('a', { type: 'deleteMessage', messageId: idOf('none') as unknown as MessageId })).toEqual(refusedWith('message_not_found'))
  })

  test('what a room remembers of changes is bounded, and forgotten with the ids', () => {
    const table = group('a', 'b')
    for (let i = 0; i < 3; i++) table.ask('a', { type: 'deleteMessage', messageId: table.send('a', `m${i}`) })
    expect(table.ask('a', { type: 'deleteMessage', messageId: table.send('a', 'm4') })).toEqual(refusedWith('too_many_changes'))
    table.nowMs += DEDUPE_WINDOW_MS + HOUR
    expect(types(table.ask('a', { type: 'deleteMessage', messageId: table.send('a', 'm5') }))).toEqual(['messageDeleted'])
    expect(table.state!.changes.size).toBe(1)
  })

  test('reactions and replies to what the room does not remember go by where the history has it', () => {
    const table = group('a', 'b')
    const old = table.send('a', 'old')
    table.nowMs += DEDUPE_WINDOW_MS + HOUR
    for (let i = 0; i < 40; i++) table.send('b', `later ${i}`)
    const react = (messageSeq?: number) => table.ask('b', { type: 'react', messageId: old, emoji: '👍', on: true, ...(messageSeq !== undefined && { messageSeq }) })
    expect(react()).toEqual(refusedWith('message_not_found'))
    expect(react(9_999)).toEqual(refusedWith('message_not_found'))
    expect(react(2)).toMatchObject([{ type: 'reactionSet', messageId: old, messageSeq: 2, emoji: '👍', on: true, by: 'b' }])
    expect(table.ask('b', { type: 'sendMessage', content: 're', salt: 's', replyTo: old, replyToSeq: 2 })).toMatchObject([{ replyTo: old, replyToSeq: 2 }])
    expect(table.ask('b', { type: 'react', messageId: old, messageSeq: 2, emoji: 'two words', on: true })).toEqual(refusedWith('invalid_request'))
  })
})

describe('blocks', () => {
  const block = (table: Table, blocker: string, blocked: string, on: boolean, at = table.nowMs) =>
    table.take({ type: 'blockChanged', orderId: table.roomId, eventId: `${blocker}${on}${at}`, occurredAtMs: at, blockerId: u(blocker), blockedId: u(blocked), on })

  test('between two nobody can write, whoever blocked whom, until it is taken back by who set it', () => {
    const table = new Table(directRoomId(u('a'), u('b')))
    expect(types(block(table, 'a', 'b', true))).toEqual(['roomOpened', 'blockSet'])
    for (const by of ['a', 'b']) expect(table.ask(by, { type: 'sendMessage', content: 'x', salt: 's' })).toEqual(refusedWith('message_not_allowed'))
    expect(types(block(table, 'a', 'b', true, T0 + 1))).toEqual(['blockStands'])
    block(table, 'b', 'a', true, T0 + 2)
    block(table, 'a', 'b', false, T0 + 3)
    expect(table.ask('a', { type: 'sendMessage', content: 'x', salt: 's' })).toEqual(refusedWith('message_not_allowed'))
    block(table, 'b', 'a', false, T0 + 4)
    expect(types(table.ask('a', { type: 'sendMessage', content: 'x', salt: 's' }))).toEqual(['messageSent'])
  })

  test('an order card of a pair: once for each order, also between who blocked each other', () => {
    const table = new Table(directRoomId(u('a'), u('b')))
    const created = (subjectId: string, occurredAtMs = T0): OrderEvent => ({ type: 'orderCreated', orderId: table.roomId, eventId: `e${subjectId}`, occurredAtMs, subjectId, customerId: u('a'), vendorId: u('b') })
    expect(types(table.take(created('o1')))).toEqual(['roomOpened', 'messageSent'])
    expect(types(table.take(created('o1')))).toEqual(['ignored'])
    block(table, 'b', 'a', true)
    expect(table.take(created('o2'))).toMatchObject([{ type: 'messageSent', messageType: 'orderCard', senderId: 'a', payload: '{"orderId":"o2"}', messageIndex: 2 }])
    table.nowMs += DEDUPE_WINDOW_MS + HOUR
    expect(types(table.take(created('o3')))).toEqual(['ignored'])
  })
})

/** Random lives of rooms of every kind, against what the events alone say. */
describe('lives', () => {
  const users = fc.constantFrom('a', 'b', 'c', 'd', 'm')
  const nrs = fc.nat(5)
  const bodies = fc.oneof(
    { weight: 6, arbitrary: fc.record({ what: fc.constant('send' as const), nr: nrs }) },
    fc.record({ what: fc.constant('edit' as const), of: users, nr: nrs }),
    fc.record({ what: fc.constant('delete' as const), of: users, nr: nrs }),
    fc.record({ what: fc.constant('react' as const), of: users, nr: nrs, on: fc.boolean() }),
    fc.record({ what: fc.constant('mark' as const), delivered: fc.nat(8), seen: fc.nat(8) }),
    fc.record({ what: fc.constant('add' as const), user: users, role: fc.constantFrom('owner' as const, 'member' as const, 'observer' as const) }),
    fc.record({ what: fc.constant('remove' as const), user: users }),
    fc.record({ what: fc.constant('block' as const), user: users, on: fc.boolean() }),
    fc.record({ what: fc.constantFrom('invite' as const, 'accept' as const, 'resolve' as const, 'rename' as const) }),
  )
  const steps = fc.array(fc.tuple(users, bodies, fc.constantFrom(0, 0, 10, 500, HOUR, 30 * HOUR), fc.nat(4)), { maxLength: 60 })
  const kinds = fc.constantFrom<RoomKind>('group', 'direct', 'dispute')
  type Step = typeof bodies extends fc.Arbitrary<infer B> ? B : never

  function bodyOf(table: Table, by: string, step: Step): RoomCommandBody {
    const messageOf = (of: string, nr: number) => messageIdOf(table.roomId, u(of), idOf(`${of} ${nr}`))
    switch (step.what) {
      case 'send':
        return { type: 'sendMessage', content: `${by} ${step.nr}`, salt: 's' }
      case 'edit':
        return { type: 'editMessage', messageId: messageOf(step.of, step.nr), content: 'e', salt: 's' }
      case 'delete':
        return { type: 'deleteMessage', messageId: messageOf(step.of, step.nr) }
      case 'react':
        return { type: 'react', messageId: messageOf(step.of, step.nr), emoji: 'x', on: step.on }
      case 'mark':
        return { type: 'mark', delivered: step.delivered, seen: step.seen }
      case 'add':
        return { type: 'addParticipant', userId: u(step.user), role: step.role }
      case 'remove':
        return { type: 'removeParticipant', userId: u(step.user) }
      case 'block':
        return { type: 'setBlock', blockerId: u(by), blockedId: u(step.user), on: step.on }
      case 'invite':
        return { type: 'inviteMediator', userId: u('m') }
      case 'accept':
        return { type: 'acceptInvitation' }
      case 'resolve':
        return { type: 'resolveDispute' }
      case 'rename':
        return { type: 'changeRoom', name: by }
    }
  }

  /** What must hold of an event, judged by the events before it alone. */
  function check(before: readonly RoomEvent[], event: RoomEvent): void {
    const last = before.at(-1)
    expect(event.seq).toBe((last?.seq ?? 0) + 1)
    expect(event.timestampMs).toBeGreaterThanOrEqual(last?.timestampMs ?? 0)
    if (before.some((e) => e.type === 'roomClosed')) expect(event.type).toBe('receiptMoved')
    const inside = membersOf(before)
    if (event.type === 'messageSent') {
      expect(inside.has(event.senderId)).toBe(true)
      expect(event.messageIndex).toBe(before.filter((e) => e.type === 'messageSent').length + 1)
    }
    if (event.type === 'messageEdited' || event.type === 'messageDeleted') {
      const sent = before.find((e) => e.seq === event.messageSeq)
      expect(sent).toMatchObject({ type: 'messageSent', senderId: event.by, messageId: event.messageId })
      expect(before.some((e) => e.type === 'messageDeleted' && e.messageId === event.messageId)).toBe(false)
      expect(event.timestampMs - sent!.timestampMs).toBeLessThanOrEqual(limits.editWindowMs)
    }
    if (event.type === 'receiptMoved') {
      const earlier = before.findLast((e) => e.type === 'receiptMoved' && e.userId === event.userId) as typeof event | undefined
      expect(event.delivered >= event.seen && event.delivered <= before.filter((e) => e.type === 'messageSent').length).toBe(true)
      expect(event.delivered + event.seen).toBeGreaterThan((earlier?.delivered ?? 0) + (earlier?.seen ?? 0))
      expect(inside.has(event.userId)).toBe(true)
    }
  }

  function membersOf(events: readonly RoomEvent[]): Map<UserId, string> {
    const members = new Map<UserId, string>()
    for (const event of events) {
      if (event.type === 'roomOpened') for (const { userId, role } of event.participants) members.set(userId, role)
      if (event.type === 'participantAdded') members.set(event.participant.userId, event.participant.role)
      if (event.type === 'participantRemoved') members.delete(event.participant.userId)
    }
    return members
  }

  test('every event follows from those before it, a repeat changes nothing and gets the same ack', () => {
    const opened = { group: () => group('a', 'b'), direct, dispute }
    fc.assert(
      fc.property(kinds, steps, (kind, life) => {
        const table = opened[kind as keyof typeof opened]()
        const acked = new Map<string, { command: RoomCommand; seq: number }>()
        for (const [by, step, waitMs, repeats] of life) {
          table.nowMs += waitMs
          // Messages have ids that come again, so that some sends are repeats by themselves.
          const id = step.what === 'send' ? idOf(`${by} ${step.nr}`) : undefined
          const command = table.command(by, bodyOf(table, by, step), id)
          const from = table.events.length
          const entries = table.take(command)
          table.events.slice(from).forEach((event, i) => check(table.events.slice(0, from + i), event))
          const last = entries.at(-1)!
          if (isRoomEvent(last) && last.type !== 'receiptMoved' && last.type !== 'blockSet') acked.set(`${by} ${command.clientMessageId}`, { command, seq: last.seq })
          if (kind === 'group' && membersOf(table.events).size > 0) expect([...membersOf(table.events).values()]).toContain('owner')
          for (const { command: earlier, seq } of [...acked.values()].slice(-repeats || acked.size)) {
            if (clientMessageIdTimeMs(earlier.clientMessageId) < table.nowMs - DEDUPE_WINDOW_MS) continue
            expect(table.take({ ...earlier, commandId: 'again' })).toMatchObject([{ type: 'repeated', ack: { seq } }])
          }
        }
        const stub = shrinkToStub(table.state!)
        expect(stub).toMatchObject({ status: 'closed', kind, headSeq: table.state!.headSeq, participants: new Map() })
      }),
      { numRuns: 150 },
    )
  })

  test('who is blocked, or blocks, is marked in every message of the other, and nobody else', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(users, users, fc.boolean()), { maxLength: 12 }), (changes) => {
        const table = group('a', 'b', 'c', 'd')
        const blocks = new Set<string>()
        for (const [blocker, blocked, on] of changes) {
          table.ask(blocker, { type: 'setBlock', blockerId: u(blocker), blockedId: u(blocked), on })
          blocks[on ? 'add' : 'delete'](`${blocker} ${blocked}`)
          const [sent] = table.ask('a', { type: 'sendMessage', content: 'x', salt: 's' })
          // Nobody blocks himself.
          const expected = ['b', 'c', 'd'].filter((id) => blocks.has(`a ${id}`) || blocks.has(`${id} a`))
          expect(((sent as { hiddenFor?: string[] }).hiddenFor ?? []).toSorted()).toEqual(expected)
        }
      }),
    )
  })
})
