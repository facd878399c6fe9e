import { describe, expect, test, vi } from 'vitest'
import type { ClientMessageId, MessageId } from '#libs/domain/ids.ts'
import type { RoomEvent, RoomEventBody } from '#libs/domain/room.ts'
import type { Speaker } from './connection.ts'
import { encoderOf, eventFrame, joinedFrame, type StoredEvent, variantFor } from './frames.ts'
import { room, user } from './memory-edge.ts'
import { advance, emptyView, type RoomView } from './room-view.ts'

const at = (seq: number, body: RoomEventBody): RoomEvent => ({ seq, timestampMs: 1_000 + seq, ...body })
const speaker = (userId: string, role: Speaker['role'] = 'user'): Speaker => ({ userId: user(userId), role, expiresAtMs: 0 })
const asked = { by: user('a'), clientMessageId: 'c' as ClientMessageId }
const target = { messageId: 'm' as MessageId, messageSeq: 2 }
const text = { content: 'hi', salt: 'salt', contentHash: 'hash' }
const message: RoomEventBody = { type: 'messageSent', messageId: 'm' as MessageId, clientMessageId: 'c' as ClientMessageId, senderId: user('a'), messageIndex: 1, ...text }
const frameOf = (body: RoomEventBody) => eventFrame(room('r'), at(2, body))
const head = { type: 'roomUpdated', roomId: 'r', seq: 2, timestamp: 1_002 }

describe('the frame of an event', () => {
  const cases: [RoomEventBody, object][] = [
    [{ type: 'roomOpened', participants: [{ userId: user('a'), role: 'owner' }], kind: 'group', name: 'n', metadata: { k: 'v' }, creatorId: user('a'), history: 'fromJoin' }, { event: 'roomOpened', participants: [{ userId: 'a', role: 'owner' }], kind: 'group', name: 'n', metadata: { k: 'v' } }],
    [{ type: 'roomOpened', participants: [] }, { event: 'roomOpened', participants: [] }],
    [{ type: 'participantAdded', participant: { userId: user('b'), role: 'member' }, ...asked }, { event: 'participantAdded', userId: 'b', role: 'member', by: 'a' }],
    [{ type: 'participantRemoved', participant: { userId: user('b'), role: 'rider' }, reason: 'replaced' }, { event: 'participantRemoved', userId: 'b', role: 'rider', reason: 'replaced' }],
    [{ type: 'messageEdited', ...target, ...text, revision: 3, ...asked }, { event: 'messageEdited', messageId: 'm', messageSeq: 2, revision: 3, content: 'hi', by: 'a' }],
    [{ type: 'messageDeleted', ...target, ...asked }, { event: 'messageDeleted', messageId: 'm', messageSeq: 2, by: 'a' }],
    [{ type: 'reactionSet', ...target, emoji: '+1', on: false, ...asked }, { event: 'reactionSet', messageId: 'm', messageSeq: 2, emoji: '+1', on: false, by: 'a' }],
    [{ type: 'receiptMoved', userId: user('a'), delivered: 4, seen: 3, hidden: true }, { event: 'receiptMoved', userId: 'a', delivered: 4, seen: 3 }],
    [{ type: 'roomChanged', name: '', ...asked }, { event: 'roomChanged', name: '', by: 'a' }],
    [{ type: 'roomChanged', metadata: {}, ...asked }, { event: 'roomChanged', metadata: {}, by: 'a' }],
    [{ type: 'mediatorInvited', userId: user('b'), ...asked }, { event: 'mediatorInvited', userId: 'b', by: 'a' }],
    [{ type: 'blockSet', blockerId: user('a'), blockedId: user('b'), on: true }, { event: 'blockSet', userId: 'b', on: true }],
    [{ type: 'messageRedacted', ...target, reason: 'insult', ...asked }, { event: 'messageRedacted', messageId: 'm', messageSeq: 2, reason: 'insult', by: 'a' }],
    [{ type: 'messageReported', ...target, reason: 'spam', note: 'n', ...asked }, { event: 'messageReported', messageId: 'm', messageSeq: 2, reason: 'spam', note: 'n', by: 'a' }],
    [{ type: 'messageReported', ...target, reason: 'other', ...asked }, { event: 'messageReported', messageId: 'm', messageSeq: 2, reason: 'other', by: 'a' }],
    [{ type: 'roomFrozen', on: true, reason: 'r', ...asked }, { event: 'roomFrozen', on: true, reason: 'r', by: 'a' }],
    [{ type: 'roomFrozen', on: false, ...asked }, { event: 'roomFrozen', on: false, by: 'a' }],
    [{ type: 'roomClosed', reason: 'resolved', note: 'n', ...asked }, { event: 'roomClosed', reason: 'resolved', note: 'n', by: 'a' }],
    [{ type: 'roomClosed', reason: 'delivered' }, { event: 'roomClosed', reason: 'delivered' }],
  ]
  test.each(cases.map(([body, fields]) => [body.type, body, fields] as const))('%s', (_, body, fields) => {
    expect(frameOf(body)).toEqual({ ...head, ...fields })
  })

  test('of a type that is not known here keeps its seq', () => {
    expect(frameOf({ type: 'futureEvent' } as unknown as RoomEventBody)).toEqual({ ...head, event: 'unknown' })
  })

  const plain = { type: 'newMessage', roomId: 'r', seq: 2, messageId: 'm', clientMessageId: 'c', senderId: 'a', messageIndex: 1, content: 'hi', timestamp: 1_002 }

  test('a plain message has no other fields', () => {
    expect(frameOf(message)).toEqual(plain)
    expect(Object.keys(frameOf(message))).toEqual(Object.keys(plain))
  })

  test('a message has what it was sent with, and of its payload only what is known here', () => {
    const payload = JSON.stringify({ productId: 'p', location: { latitude: 1, longitude: 2 }, orderId: 'o', attachments: [{ key: 'k' }], seq: 99 })
    const more = { messageType: 'productCard', replyTo: 't' as MessageId, replyToSeq: 1, mentions: [user('b')] } as const
    const fields = { productId: 'p', location: { latitude: 1, longitude: 2 }, orderId: 'o', attachments: [{ key: 'k' }] }
    expect(frameOf({ ...message, payload, ...more } as RoomEventBody)).toEqual({ ...plain, ...more, ...fields })
    expect(frameOf({ ...message, payload: 'not JSON' } as RoomEventBody)).toEqual(plain)
  })

  test('a message that was edited or deleted says so', () => {
    const { salt: _, ...stored } = at(2, message) as RoomEvent & { type: 'messageSent' }
    expect(eventFrame(room('r'), { ...stored, content: 'new', revision: 2, contentSeq: 9 })).toEqual({ ...plain, content: 'new', revision: 2 })
    expect(eventFrame(room('r'), { ...stored, content: null, deleted: true })).toEqual({ ...plain, content: null, deleted: true })
  })
})

describe('who is shown what', () => {
  const view = (history: 'all' | 'fromJoin'): RoomView =>
    [
      at(1, { type: 'roomOpened', participants: [{ userId: user('a'), role: 'owner' }], history }),
      at(2, message),
      at(3, { type: 'participantAdded', participant: { userId: user('b'), role: 'member' } }),
    ].reduce<RoomView>(advance, emptyView)
  const seenBy = (body: RoomEventBody, who: Speaker, history: 'all' | 'fromJoin' = 'all') => variantFor(at(4, body), view(history), who)

  test('a hidden receipt: oneself and admins, others only that there is something', () => {
    const receipt: RoomEventBody = { type: 'receiptMoved', userId: user('a'), delivered: 1, seen: 1, hidden: true }
    expect([speaker('a'), speaker('b'), speaker('root', 'admin')].map((who) => seenBy(receipt, who))).toEqual(['plain', 'private', 'plain'])
    expect(eventFrame(room('r'), at(2, receipt), 'private')).toEqual({ ...head, event: 'private' })
  })

  test('a block: the blocker and admins, never the blocked', () => {
    const block: RoomEventBody = { type: 'blockSet', blockerId: user('a'), blockedId: user('b'), on: true }
    expect([speaker('a'), speaker('b'), speaker('c'), speaker('root', 'admin')].map((who) => seenBy(block, who))).toEqual(['plain', 'private', 'private', 'plain'])
  })

  test('a message between whose sender and him there is a block is marked', () => {
    const hidden = { ...message, hiddenFor: [user('b')] } as RoomEventBody
    expect([speaker('a'), speaker('b'), speaker('c')].map((who) => seenBy(hidden, who))).toEqual(['plain', 'hidden', 'plain'])
    expect(eventFrame(room('r'), at(2, hidden), 'hidden')).toMatchObject({ type: 'newMessage', content: 'hi', hidden: true })
  })

  test.each<RoomEventBody>([
    { type: 'messageEdited', ...target, ...text, revision: 1, ...asked },
    { type: 'messageDeleted', ...target, ...asked },
    { type: 'reactionSet', ...target, emoji: '+1', on: true, ...asked },
  ])('$type of a message from before he came is private, where newcomers see what came after them', (body) => {
    expect([speaker('a'), speaker('b'), speaker('root', 'admin')].map((who) => seenBy(body, who, 'fromJoin'))).toEqual(['plain', 'private', 'plain'])
    expect(seenBy(body, speaker('b'))).toBe('plain')
    expect(seenBy({ ...body, messageSeq: 3 } as RoomEventBody, speaker('b'), 'fromJoin')).toBe('plain')
  })

  test('what is the same for all is encoded once and for nobody looked at; the rest once per variant', () => {
    const encodings = (event: StoredEvent) => {
      const of = encoderOf(room('r'), event, view('all'))
      const encode = vi.spyOn(JSON, 'stringify')
      for (const who of ['a', 'b', 'c', 'b', 'a']) of(speaker(who))()
      const { length } = encode.mock.calls
      encode.mockRestore()
      return length
    }
    const of = encoderOf(room('r'), at(4, message), view('all'))
    expect(of(speaker('a'))).toBe(of(speaker('b')))
    expect(encodings(at(4, message))).toBe(1)
    expect(encodings(at(4, { ...message, hiddenFor: [user('b')] } as RoomEventBody))).toBe(2)
  })
})

describe('the view', () => {
  const opened = advance(emptyView, at(1, { type: 'roomOpened', participants: [{ userId: user('a'), role: 'owner' }], kind: 'group', name: 'n', metadata: { k: 'v' }, history: 'fromJoin' }))
  const then = (...bodies: RoomEventBody[]) => bodies.reduce<RoomView>((view, body) => advance(view, at(view.headSeq + 1, body)), opened)
  const added = (role: 'member' | 'owner'): RoomEventBody => ({ type: 'participantAdded', participant: { userId: user('b'), role } })
  const removed: RoomEventBody = { type: 'participantRemoved', participant: { userId: user('b'), role: 'member' }, reason: 'removed' }

  test('another role keeps when he came in; coming in again does not', () => {
    expect(then(added('member'), message, added('owner')).participants.get(user('b'))).toEqual({ role: 'owner', sinceSeq: 2 })
    expect(then(added('member'), removed, added('member')).participants.get(user('b'))).toEqual({ role: 'member', sinceSeq: 4 })
    expect(opened.participants.get(user('a'))).toEqual({ role: 'owner', sinceSeq: 1 })
  })

  test('has the present name, metadata and cursors', () => {
    const changed = then({ type: 'roomChanged', name: 'new', ...asked }, { type: 'receiptMoved', userId: user('a'), delivered: 2, seen: 1 }, { type: 'receiptMoved', userId: user('a'), delivered: 3, seen: 3, hidden: true })
    expect(changed).toMatchObject({ kind: 'group', name: 'new', metadata: { k: 'v' }, headSeq: 4 })
    expect(changed.receipts.get(user('a'))).toEqual({ delivered: 3, seen: 3, hidden: true })
    expect(then({ type: 'roomChanged', name: '', metadata: {}, ...asked })).toMatchObject({ name: undefined, metadata: {} })
  })

  test('is greeted with what he may know', () => {
    const view = then(added('member'), { type: 'receiptMoved', userId: user('a'), delivered: 1, seen: 1, hidden: true }, { type: 'receiptMoved', userId: user('b'), delivered: 1, seen: 0 })
    const greeting = (who: Speaker) => joinedFrame(room('r'), view, who, { id: 7, since: 2, isStale: false })
    const participants = [{ userId: 'a', role: 'owner' }, { userId: 'b', role: 'member' }]
    const common = { id: 7, type: 'joined', roomId: 'r', since: 2, headSeq: 4, messageCount: 0, readOnly: false, participants, kind: 'group', name: 'n', metadata: { k: 'v' } }
    const [ofA, ofB] = [{ userId: 'a', delivered: 1, seen: 1 }, { userId: 'b', delivered: 1, seen: 0 }]
    expect(greeting(speaker('b'))).toEqual({ ...common, receipts: [ofB], visibleFrom: 2 })
    expect(greeting(speaker('a'))).toEqual({ ...common, receipts: [ofA, ofB] })
    expect(greeting(speaker('root', 'admin'))).toEqual({ ...common, receipts: [ofA, ofB] })
  })
})

describe('moderation', () => {
  const view: RoomView = { ...emptyView, headSeq: 9, history: 'fromJoin', participants: new Map([[user('a'), { role: 'member', sinceSeq: 1 }], [user('late'), { role: 'member', sinceSeq: 5 }]]) }
  const shownTo = (body: RoomEventBody, ...speakers: Speaker[]) => speakers.map((one) => variantFor(at(7, body), view, one))

  test('a report is shown to its reporter, moderators and admins, and to nobody else more than its seq', () => {
    const report: RoomEventBody = { type: 'messageReported', ...target, reason: 'spam', ...asked }
    expect(shownTo(report, speaker('a'), speaker('late'), speaker('m', 'moderator'), speaker('x', 'admin'))).toEqual(['plain', 'private', 'plain', 'plain'])
    const encode = encoderOf(room('r'), at(7, report), view)
    expect(encode(speaker('late'))()).toBe(JSON.stringify({ type: 'roomUpdated', roomId: 'r', seq: 7, timestamp: 1_007, event: 'private' }))
  })

  test('a redaction is shown to who was there, and to moderators', () => {
    const redaction: RoomEventBody = { type: 'messageRedacted', ...target, reason: 'insult', ...asked }
    expect(shownTo(redaction, speaker('a'), speaker('late'), speaker('m', 'moderator'))).toEqual(['plain', 'private', 'plain'])
  })

  test('moderators are shown hidden cursors and blocks, as admins are', () => {
    const [hidden, block]: RoomEventBody[] = [{ type: 'receiptMoved', userId: user('a'), delivered: 1, seen: 1, hidden: true }, { type: 'blockSet', blockerId: user('a'), blockedId: user('late'), on: true }]
    for (const body of [hidden!, block!]) expect(shownTo(body, speaker('late'), speaker('m', 'moderator'), speaker('x', 'admin'))).toEqual(['private', 'plain', 'plain'])
  })

  test('who joins is told that the room is frozen, and that a message was redacted', () => {
    const joining = { id: 1, since: 0, isStale: false }
    const frozen = advance(view, at(10, { type: 'roomFrozen', on: true, ...asked }))
    expect(joinedFrame(room('r'), frozen, speaker('a'), joining)).toMatchObject({ frozen: true, headSeq: 10 })
    expect(joinedFrame(room('r'), advance(frozen, at(11, { type: 'roomFrozen', on: false, ...asked })), speaker('a'), joining)).not.toHaveProperty('frozen')
    const { salt: _, ...stored } = at(2, message) as RoomEvent & { type: 'messageSent' }
    expect(eventFrame(room('r'), { ...stored, content: null, deleted: true, redacted: 'insult' })).toMatchObject({ content: null, deleted: true, redacted: 'insult' })
  })
})
