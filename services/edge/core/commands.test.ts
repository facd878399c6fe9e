import { beforeEach, describe, expect, test } from 'vitest'
import { directRoomId, groupRoomId, type MessageId } from '#libs/domain/ids.ts'
import type { Participant, Role, RoomKind } from '#libs/domain/room.ts'
import { type Client, MemoryEdge, room, user } from './memory-edge.ts'

let edge: MemoryEdge

const people = (entries: Record<string, Role>): Participant[] => Object.entries(entries).map(([userId, role]) => ({ userId: user(userId), role }))
const create = (id: string, kind: RoomKind, participants: Participant[], creator = 'customer') => edge.asked(creator, { type: 'createRoom', kind, participants }, id)
/** The message of `sender` whose text is `content`, in `id`. */
function sent(content: string, id: string, sender = 'customer'): MessageId {
  edge.said(content, id, sender)
  const { dedupe } = edge.state(id)
  return [...dedupe.buckets.at(-1)!.acks.values()].at(-1)!.messageId
}

beforeEach(() => {
  edge = new MemoryEdge()
  create('group', 'group', people({ customer: 'owner', vendor: 'member', guest: 'member' }))
  create('dispute', 'dispute', people({ customer: 'customer', vendor: 'vendor' }))
})

const ask = async (client: Client, frame: object, ms = 300) => {
  client.request(frame)
  await edge.run(ms)
}
const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1)

type Case = { readonly type: string; readonly roomId?: string; readonly fields?: (messageId: MessageId) => object; readonly event: object }
const cases: Case[] = [
  { type: 'editMessage', fields: (messageId) => ({ messageId, message: 'new' }), event: { event: 'messageEdited', messageSeq: 2, revision: 1, content: 'new', by: 'customer' } },
  { type: 'deleteMessage', fields: (messageId) => ({ messageId }), event: { event: 'messageDeleted', messageSeq: 2, by: 'customer' } },
  { type: 'react', fields: (messageId) => ({ messageId, emoji: '👍' }), event: { event: 'reactionSet', messageSeq: 2, emoji: '👍', on: true, by: 'customer' } },
  { type: 'addParticipant', fields: () => ({ userId: 'new' }), event: { event: 'participantAdded', userId: 'new', role: 'member', by: 'customer' } },
  { type: 'addParticipant', fields: () => ({ userId: 'guest', role: 'observer' }), event: { event: 'participantAdded', userId: 'guest', role: 'observer', by: 'customer' } },
  { type: 'removeParticipant', fields: () => ({ userId: 'guest' }), event: { event: 'participantRemoved', userId: 'guest', role: 'member', reason: 'removed', by: 'customer' } },
  { type: 'changeRoom', fields: () => ({ name: 'n', metadata: { k: 'v' } }), event: { event: 'roomChanged', name: 'n', metadata: { k: 'v' }, by: 'customer' } },
  { type: 'inviteMediator', roomId: 'dispute', fields: () => ({ userId: 'judge' }), event: { event: 'mediatorInvited', userId: 'judge', by: 'customer' } },
  { type: 'resolveDispute', roomId: 'dispute', fields: () => ({ note: 'agreed' }), event: { event: 'roomClosed', reason: 'resolved', note: 'agreed', by: 'customer' } },
]

describe.each(cases)('$type $event.event', ({ type, roomId = 'group', fields, event }) => {
  const setup = async () => {
    const messageId = sent('first', roomId)
    const [a, a2, b] = [await edge.joined('customer', roomId), await edge.joined('customer', roomId), await edge.joined('vendor', roomId)]
    return { a, a2, b, frame: { type, roomId, ...fields?.(messageId) }, messageId }
  }

  test('the asker gets one ack with the event in its place, everybody else the event', async () => {
    const { a, a2, b, frame, messageId } = await setup()
    const clientMessageId = edge.clientMessageId()
    await ask(a, { id: 1, ...frame, clientMessageId })
    const [ack, ...more] = a.socket.repliesTo(1)
    expect(more).toEqual([])
    const isAboutMessage = 'messageSeq' in event
    const full = { type: 'roomUpdated', roomId, seq: 3, timestamp: expect.any(Number), ...(isAboutMessage && { messageId }), ...event }
    expect(ack).toEqual({ id: 1, type: 'ack', roomId, seq: 3, clientMessageId, timestamp: ack.event.timestamp, ...(isAboutMessage && { messageId }), event: full })
    for (const other of [a2, b]) expect(other.socket.ofType('roomUpdated').at(-1)).toEqual(ack.event)
    edge.said('then', roomId, 'vendor')
    edge.asked('vendor', { type: 'mark', seen: 1 }, roomId)
    await edge.run()
    for (const client of [a, a2, b]) expect(client.socket.seqs(roomId)).toEqual(upTo(edge.state(roomId).headSeq))
  })

  test('again with the same id: the original ack, and no second event', async () => {
    const { a, b, frame } = await setup()
    const clientMessageId = edge.clientMessageId()
    await ask(a, { id: 1, ...frame, clientMessageId })
    await ask(a, { id: 2, ...frame, clientMessageId })
    const [{ event: _, ...first }] = a.socket.repliesTo(1)
    expect(a.socket.repliesTo(2)).toEqual([{ ...first, id: 2, repeated: true }])
    expect(b.socket.seqs(roomId)).toEqual(upTo(3))
  })

  test('without an id: no ack, but the event itself', async () => {
    const { a, frame } = await setup()
    await ask(a, frame)
    expect(a.socket.ofType('ack')).toEqual([])
    expect(a.socket.ofType('roomUpdated').at(-1)).toMatchObject(event)
  })

  test('not without having joined, and never as an admin', async () => {
    const { frame } = await setup()
    const [outside, admin] = [edge.connect('customer'), edge.connect('root', { role: 'admin', first: { roomId: room(roomId), since: 0 } })]
    await ask(outside, { id: 1, ...frame })
    await ask(admin, { id: 1, ...frame })
    expect(outside.socket.repliesTo(1)).toMatchObject([{ code: 'not_joined' }])
    expect(admin.socket.repliesTo(1)).toMatchObject([{ code: 'admin_is_read_only' }])
    expect(edge.state(roomId).headSeq).toBe(2)
  })

  test('an ack takes its place in a replay that is still on', async () => {
    const { frame } = await setup()
    for (let i = 0; i < 10; i++) edge.said('more', roomId)
    await edge.run()
    edge.persist()
    void edge.rooms.prune()
    await edge.run(100)
    edge.historyMs = 200
    const late = edge.connect('customer')
    late.request({ id: 'join', type: 'join', roomId })
    await edge.run(250)
    await ask(late, { id: 1, ...frame }, 5_000)
    expect(late.socket.ofType('caughtUp')).toHaveLength(1)
    expect(late.socket.repliesTo(1)).toMatchObject([{ type: 'ack', event }])
    expect(late.socket.seqs(roomId)).toEqual(upTo(edge.state(roomId).headSeq))
  })
})

describe('what is so already', () => {
  test.each([
    ['addParticipant', { userId: 'vendor', role: 'member' }],
    ['removeParticipant', { userId: 'nobody' }],
    ['changeRoom', { name: '' }],
  ])('%s makes no event', async (type, fields) => {
    const a = await edge.joined('customer', 'group')
    await ask(a, { id: 1, type, roomId: 'group', ...fields })
    expect(a.socket.repliesTo(1)).toEqual([{ id: 1, type: 'ack', roomId: 'group', unchanged: true, seq: 1 }])
    expect(edge.state('group').headSeq).toBe(1)
  })

  test('its ack does not come before what it is about', async () => {
    for (let i = 0; i < 20; i++) edge.said('more', 'group')
    edge.persist()
    edge.historyMs = 100
    const a = edge.connect('customer')
    a.request({ id: 'join', type: 'join', roomId: 'group' })
    await edge.run(350)
    await ask(a, { id: 1, type: 'addParticipant', roomId: 'group', userId: 'vendor' }, 5_000)
    const [at, last] = [a.socket.frames.findIndex((f) => f.id === 1), a.socket.frames.findIndex((f) => f.seq === 21 && f.type === 'newMessage')]
    expect(a.socket.frames[at]).toMatchObject({ unchanged: true, seq: 21 })
    expect(at).toBeGreaterThan(last)
  })
})

describe('messages with more than text', () => {
  const payload = { messageType: 'file', attachments: [{ key: 'rooms/group/x', mimeType: 'image/png', bytes: 9, name: 'x.png', unknown: true }] }

  test('reach the others with it, and only with what is known', async () => {
    const [a, b] = [await edge.joined('customer', 'group'), await edge.joined('vendor', 'group')]
    await ask(a, { id: 1, type: 'sendMessage', roomId: 'group', message: '', mentions: ['vendor', 'vendor'], ...payload })
    const { unknown: _, ...attachment } = payload.attachments[0]!
    expect(a.socket.repliesTo(1)).toMatchObject([{ type: 'ack', seq: 2, messageIndex: 1 }])
    expect(b.socket.ofType('newMessage')).toMatchObject([{ content: '', messageType: 'file', attachments: [attachment], mentions: ['vendor'] }])
    expect(b.socket.ofType('newMessage')[0].attachments).toEqual([attachment])
  })

  test.each([
    ['invalid_attachment', { messageType: 'image' }, 'an image message has attachments'],
    ['invalid_attachment', { attachments: [null] }, 'an attachment is not an object'],
    ['invalid_attachment', { attachments: [{ key: 'rooms/other/x', mimeType: 'a/b', bytes: 1, name: 'n' }] }, 'key is not of an upload to this room'],
    ['invalid_attachment', { location: null }, 'location has'],
    ['invalid_attachment', { productId: 'a b' }, 'productId and orderId'],
    ['content_empty', { message: '', attachments: [] }, ''],
    ['content_empty', { message: '', mentions: ['vendor'] }, ''],
    ['malformed_frame', { messageType: 'system' }, 'messageType'],
  ])('%s: %j', async (code, fields, reason) => {
    const a = await edge.joined('customer', 'group')
    await ask(a, { id: 1, type: 'sendMessage', roomId: 'group', message: 'hi', ...fields })
    expect(a.socket.repliesTo(1)).toMatchObject([{ type: 'error', code, message: expect.stringContaining(reason) }])
    expect(edge.state('group').headSeq).toBe(1)
  })

  test('nested as deeply as a frame is long, and more deeply than calls can be: refused with a code', async () => {
    const a = await edge.joined('customer', 'group')
    const deep = '['.repeat(20_000) + ']'.repeat(20_000)
    const codes = { mentions: 'malformed_frame', attachments: 'invalid_attachment', location: 'invalid_attachment', metadata: 'ack' }
    for (const field of Object.keys(codes)) edge.sessions.receive(a.connection, `{"id":"${field}","type":"sendMessage","roomId":"group","message":"hi","${field}":${deep}}`)
    await edge.run(300)
    for (const [field, code] of Object.entries(codes)) expect(a.socket.repliesTo(field).map((reply) => reply['code'] ?? reply['type'])).toEqual([code])
  })

  test('a thread: what it answers is found in the history, or by the log where it is recent', async () => {
    const old = sent('old', 'group')
    const recent = sent('recent', 'group', 'vendor')
    edge.persist(edge.log.length - 1)
    const a = await edge.joined('customer', 'group')
    for (const [id, replyTo] of [[1, old], [2, recent]] as const) a.request({ id, type: 'sendMessage', roomId: 'group', message: 'yes', replyTo })
    await edge.time.advance(300)
    expect(edge.published.map((command) => 'replyToSeq' in command && command.replyToSeq)).toEqual([2, false])
    const b = await edge.joined('vendor', 'group')
    expect(b.socket.ofType('newMessage').slice(-2)).toMatchObject([{ replyTo: old, replyToSeq: 2 }, { replyTo: recent, replyToSeq: 3 }])
  })

  test('a message is the same however its id is written', async () => {
    const messageId = sent('first', 'group')
    const [a, b] = [await edge.joined('customer', 'group'), await edge.joined('vendor', 'group')]
    edge.persist()
    const shouted = messageId.toUpperCase()
    await ask(a, { id: 1, type: 'editMessage', roomId: 'group', messageId: shouted, message: 'second' })
    await ask(a, { id: 2, type: 'sendMessage', roomId: 'group', replyTo: shouted, message: 'about it' })
    await ask(a, { id: 3, type: 'deleteMessage', roomId: 'group', messageId: shouted })
    expect(a.socket.repliesTo(1)).toMatchObject([{ type: 'ack', messageId, event: { messageId, revision: 1 } }])
    expect(a.socket.repliesTo(3)).toMatchObject([{ type: 'ack', messageId }])
    expect(b.socket.ofType('newMessage').at(-1)).toMatchObject({ seq: 4, replyTo: messageId, replyToSeq: 2 })
    await ask(a, { id: 4, type: 'react', roomId: 'group', messageId: shouted, emoji: '👍' })
    expect(a.socket.repliesTo(4), 'what was deleted stays so').toMatchObject([{ type: 'error', code: 'message_deleted' }])
  })

  test('without the history it goes without', async () => {
    const old = sent('old', 'group')
    edge.persist()
    const a = await edge.joined('customer', 'group')
    edge.historyDown = true
    await ask(a, { id: 1, type: 'react', roomId: 'group', messageId: old, emoji: '+1' })
    expect(a.socket.repliesTo(1)).toMatchObject([{ type: 'ack', event: { event: 'reactionSet', messageSeq: 2 } }])
  })
})

describe('refused before the log is asked', () => {
  const uuid = '0b8a7a52-5f0e-5d39-9f0c-3f8f2d6c6a11'
  test.each([
    ['content_empty', { type: 'editMessage', messageId: uuid, message: '' }],
    ['content_too_long', { type: 'editMessage', messageId: uuid, message: 'x'.repeat(4_001) }],
    ['invalid_request', { type: 'react', messageId: uuid, emoji: 'two words' }],
    ['invalid_client_message_id', { type: 'deleteMessage', messageId: uuid, clientMessageId: 'no id' }],
    ['invalid_request', { type: 'mark' }],
    ['malformed_frame', { type: 'deleteMessage', messageId: 'no uuid' }],
    ['malformed_frame', { type: 'addParticipant', userId: 'vendor', role: 'mediator' }],
    ['invalid_request', { type: 'createConversation', kind: 'group', participants: ['vendor'] }],
    ['invalid_request', { type: 'createConversation', kind: 'direct', participants: ['customer'] }],
    ['invalid_request', { type: 'createConversation', kind: 'direct', participants: ['vendor', 'guest'] }],
    ['too_many_participants', { type: 'createConversation', kind: 'group', clientId: 'c', participants: Array.from({ length: 1_000 }, (_, i) => `u${i}`) }],
  ])('%s: %o', async (code, frame) => {
    const a = await edge.joined('customer', 'group')
    a.request({ id: 1, roomId: 'group', ...frame })
    await edge.time.advance(500)
    expect(a.socket.repliesTo(1)).toMatchObject([{ type: 'error', code }])
    expect(edge.published).toEqual([])
  })

  test('too many without an answer, whatever was asked', async () => {
    const a = await edge.joined('customer', 'group')
    for (let id = 1; id <= 4; id++) {
      a.request({ id, type: id % 2 ? 'mark' : 'changeRoom', roomId: 'group', name: `n${id}`, seen: 1 })
      await edge.time.advance(10)
    }
    expect(a.socket.repliesTo(4)).toMatchObject([{ code: 'too_many_pending' }])
    await edge.run()
    for (const id of [1, 2, 3, 4]) expect(a.socket.repliesTo(id)).toHaveLength(1)
    expect(a.connection.pending).toBe(0)
  })
})

test('what one socket asks for reaches the log in its order, also where one has to be looked up first', async () => {
  const old = sent('old', 'group')
  edge.persist()
  const a = await edge.joined('customer', 'group')
  edge.historyMs = 100
  a.request({ type: 'react', roomId: 'group', messageId: old, emoji: '+1' })
  a.request({ type: 'createConversation', kind: 'direct', participants: ['vendor'] })
  a.request({ type: 'deleteMessage', roomId: 'group', messageId: old })
  await edge.time.advance(2_000)
  expect(edge.published.map(({ type }) => type)).toEqual(['react', 'createRoom', 'deleteMessage'])
})

describe('createConversation', () => {
  const direct = directRoomId(user('ann'), user('bob'))

  test('is refused beyond what one may have made', async () => {
    const ann = edge.connect('ann')
    edge.fullOfConversations.add(user('ann'))
    await ask(ann, { id: 1, type: 'createConversation', kind: 'direct', participants: ['bob'] })
    expect(ann.socket.repliesTo(1)).toMatchObject([{ type: 'error', code: 'too_many_rooms', retriable: false }])
  })

  test('of two people is the same room whoever asks, and is joined afterwards', async () => {
    const [ann, bob] = [edge.connect('ann'), edge.connect('bob')]
    await ask(ann, { id: 1, type: 'createConversation', kind: 'direct', participants: ['bob'] })
    const participants = [{ userId: 'ann', role: 'member' }, { userId: 'bob', role: 'member' }]
    const event = { type: 'roomUpdated', roomId: direct, seq: 1, event: 'roomOpened', kind: 'direct', participants }
    expect(ann.socket.repliesTo(1)).toEqual([{ id: 1, type: 'ack', roomId: direct, seq: 1, timestamp: expect.any(Number), event: { ...event, timestamp: expect.any(Number) } }])
    expect(ann.connection.subscriptions.size).toBe(0)
    await ask(bob, { id: 1, type: 'createConversation', kind: 'direct', participants: ['ann', 'bob'] })
    expect(bob.socket.repliesTo(1)).toEqual([{ id: 1, type: 'ack', roomId: direct, unchanged: true, seq: 1 }])
    await ask(bob, { id: 2, type: 'join', roomId: direct })
    expect(bob.socket.repliesTo(2)).toMatchObject([{ type: 'joined', kind: 'direct', participants, receipts: [] }])
    expect(bob.socket.seqs(direct)).toEqual([1])
  })

  test('of a group has its creator as owner, and the same clientId gives the same one', async () => {
    const ann = edge.connect('ann')
    const frame = { type: 'createConversation', kind: 'group', clientId: 'c', participants: ['bob', 'eve'], name: 'n', metadata: { k: 'v' }, history: 'fromJoin' }
    await ask(ann, { id: 1, ...frame })
    const roomId = groupRoomId(user('ann'), 'c')
    const participants = [{ userId: 'ann', role: 'owner' }, { userId: 'bob', role: 'member' }, { userId: 'eve', role: 'member' }]
    expect(ann.socket.repliesTo(1)).toMatchObject([{ roomId, seq: 1, event: { event: 'roomOpened', kind: 'group', participants, name: 'n', metadata: { k: 'v' } } }])
    await ask(ann, { id: 2, ...frame })
    expect(ann.socket.repliesTo(2)).toMatchObject([{ roomId, unchanged: true }])
  })

  test('where nobody here has joined anything, its answer is heard all the same, and then the partition let go', async () => {
    const ann = edge.connect('ann')
    ann.request({ id: 1, type: 'createConversation', kind: 'direct', participants: ['bob'] })
    await edge.time.advance(9_000)
    edge.rooms.sweep()
    expect(edge.rooms.partitions.size).toBe(1)
    await edge.run()
    expect(ann.socket.repliesTo(1)).toMatchObject([{ type: 'ack', seq: 1 }])
    await edge.time.advance(61_000)
    edge.rooms.sweep()
    expect(edge.rooms.partitions.size).toBe(0)
  })

  test('is retriable where the history or the log cannot be reached', async () => {
    const ann = edge.connect('ann')
    const frame = { type: 'createConversation', kind: 'direct', participants: ['bob'] }
    edge.historyDown = true
    await ask(ann, { id: 1, ...frame })
    expect(ann.socket.repliesTo(1)).toMatchObject([{ code: 'history_unavailable', retriable: true }])
    edge.historyDown = false
    edge.publishFails = true
    await ask(ann, { id: 2, ...frame })
    expect(ann.socket.repliesTo(2)).toMatchObject([{ code: 'unavailable', retriable: true, roomId: direct }])
    expect(edge.rooms.partitions.get(0)!.admissions).toBe(0)
  })
})

describe('a dispute', () => {
  test('an invited mediator accepts without having joined, then joins; resolving takes him out and closes', async () => {
    const [a, b] = [await edge.joined('customer', 'dispute'), await edge.joined('vendor', 'dispute')]
    const judge = edge.connect('judge')
    await ask(judge, { id: 0, type: 'acceptInvitation', roomId: 'dispute' })
    expect(judge.socket.repliesTo(0)).toMatchObject([{ code: 'not_invited', roomId: 'dispute' }])
    await ask(a, { id: 1, type: 'inviteMediator', roomId: 'dispute', userId: 'judge' })
    await ask(judge, { id: 1, type: 'join', roomId: 'dispute' }, 500)
    expect(judge.socket.repliesTo(1)).toMatchObject([{ code: 'not_a_participant' }])
    const clientMessageId = edge.clientMessageId()
    await ask(judge, { id: 2, type: 'acceptInvitation', roomId: 'dispute', clientMessageId })
    const added = { event: 'participantAdded', userId: 'judge', role: 'mediator', by: 'judge' }
    expect(judge.socket.repliesTo(2)).toMatchObject([{ type: 'ack', seq: 3, clientMessageId, event: added }])
    expect(b.socket.ofType('roomUpdated').at(-1)).toMatchObject(added)
    await ask(judge, { id: 3, type: 'acceptInvitation', roomId: 'dispute', clientMessageId })
    await ask(judge, { id: 4, type: 'acceptInvitation', roomId: 'dispute' })
    expect([judge.socket.repliesTo(3)[0], judge.socket.repliesTo(4)[0]]).toMatchObject([{ seq: 3, repeated: true }, { seq: 3, unchanged: true }])
    await ask(judge, { id: 5, type: 'join', roomId: 'dispute' })
    expect(judge.socket.repliesTo(5)).toMatchObject([{ type: 'joined', kind: 'dispute', headSeq: 3 }])
    expect(judge.socket.seqs('dispute')).toEqual([3, 1, 2, 3])
    await ask(judge, { id: 6, type: 'resolveDispute', roomId: 'dispute', note: 'done' })
    expect(judge.socket.ofType('left')).toMatchObject([{ roomId: 'dispute', code: 'not_a_participant' }])
    expect(judge.socket.repliesTo(6)).toMatchObject([{ type: 'ack', seq: 5, event: { event: 'roomClosed', reason: 'resolved', note: 'done', by: 'judge' } }])
    expect(judge.connection.subscriptions.size).toBe(0)
    for (const client of [a, b]) expect(client.socket.seqs('dispute')).toEqual(upTo(5))
  })

  test('on a socket of that room alone the mediator gets his ack before it closes', async () => {
    edge.asked('customer', { type: 'inviteMediator', userId: user('judge') }, 'dispute')
    edge.asked('judge', { type: 'acceptInvitation' }, 'dispute')
    const judge = edge.connect('judge', { first: { roomId: room('dispute'), since: 0 } })
    await edge.run()
    await ask(judge, { id: 1, type: 'resolveDispute' })
    expect(judge.socket.repliesTo(1)).toMatchObject([{ type: 'ack', event: { event: 'roomClosed' } }])
    expect(judge.socket.closedWith).toBe('not_a_participant')
  })
})

describe('leaving a conversation', () => {
  test('is an event for the others, and ends it on all sockets of who leaves', async () => {
    const [a, a2, b] = [await edge.joined('vendor', 'group'), await edge.joined('vendor', 'group'), await edge.joined('customer', 'group')]
    await ask(a, { id: 1, type: 'removeParticipant', roomId: 'group', userId: 'vendor' })
    const event = { event: 'participantRemoved', userId: 'vendor', role: 'member', reason: 'left', by: 'vendor' }
    expect(a.socket.repliesTo(1)).toMatchObject([{ type: 'ack', seq: 2, event }])
    expect(a2.socket.ofType('roomUpdated').at(-1)).toMatchObject(event)
    expect(b.socket.ofType('roomUpdated').at(-1)).toMatchObject(event)
    edge.said('after', 'group')
    await edge.run()
    for (const gone of [a, a2]) {
      expect(gone.socket.ofType('left')).toMatchObject([{ roomId: 'group', code: 'not_a_participant' }])
      expect(gone.connection.subscriptions.size).toBe(0)
      expect(Math.max(...gone.socket.seqs('group'))).toBe(2)
    }
    expect(b.socket.seqs('group')).toEqual(upTo(3))
  })

  test('the last owner leaves it to an heir, and his ack is the last of its events', async () => {
    const [a, b] = [await edge.joined('customer', 'group'), await edge.joined('vendor', 'group')]
    await ask(a, { id: 1, type: 'removeParticipant', roomId: 'group', userId: 'customer' })
    expect(a.socket.seqs('group')).toEqual([1, 2, 3])
    expect(a.socket.ofType('roomUpdated').at(-1)).toMatchObject({ seq: 2, event: 'participantAdded', userId: 'vendor', role: 'owner' })
    expect(a.socket.repliesTo(1)).toMatchObject([{ seq: 3, event: { event: 'participantRemoved', reason: 'left' } }])
    expect(b.socket.seqs('group')).toEqual([1, 2, 3])
  })
})
