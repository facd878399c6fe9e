import { v7 as uuidV7 } from 'uuid'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { directRoomId, type UserId } from '#libs/domain/ids.ts'
import { useStack } from '../support/stack.ts'
import { System } from '../support/system.ts'
import { ApiUsers, codeOf } from './api-users.ts'

let system: System
let api: ApiUsers
beforeAll(async () => {
  system = await System.start(await useStack(), 'api-writes', { count: { edge: 0, 'sqs-bridge': 1, api: 1 } })
  api = new ApiUsers(system)
})
afterAll(() => system.close())

let groups = 0
const newGroup = async (owner: string, others: string[], extra: Record<string, unknown> = {}): Promise<string> => {
  const { status, body } = await api.post('/rooms', owner, { kind: 'group', participants: others, clientId: `g${++groups}`, ...extra })
  expect(status).toBe(201)
  return body.roomId
}
const say = async (roomId: string, user: string, message: string, extra: Record<string, unknown> = {}) => (await api.post(`/rooms/${roomId}/messages`, user, { message, ...extra })).body

describe('messages', () => {
  test('what is sent is answered when it is durable, and can be read; a repeat is the same message', async () => {
    const roomId = await newGroup('ann', ['bob'])
    const clientMessageId = uuidV7()
    const sent = await api.post(`/rooms/${roomId}/messages`, 'ann', { message: 'hi', clientMessageId, mentions: ['bob'] })
    expect(sent).toMatchObject({ status: 201, body: { roomId, seq: 2, messageIndex: 1 } })
    expect(await api.post(`/rooms/${roomId}/messages`, 'ann', { message: 'other', clientMessageId })).toEqual({ status: 200, body: { ...sent.body, repeated: true } })
    const page = await api.until(`/rooms/${roomId}/messages?after=0&waitMs=5000`, 'bob', ({ messages }) => messages.length === 1)
    expect(page.messages[0]).toEqual({
      roomId, seq: 2, messageId: sent.body.messageId, clientMessageId, senderId: 'ann', messageIndex: 1, content: 'hi', timestamp: sent.body.timestamp, mentions: ['bob'],
    })
    expect((await api.get(`/chat/${roomId}/messages`, 'bob')).body).toEqual((await api.get(`/rooms/${roomId}/messages`, 'bob')).body)
  })

  test('participants see the last revision and a tombstone of what was deleted, admins every revision', async () => {
    const roomId = await newGroup('ann', ['bob'])
    const one = await say(roomId, 'ann', 'first', { messageType: 'location', location: { latitude: 1.5, longitude: 2 } })
    const two = await say(roomId, 'ann', 'secret')
    await api.write('PATCH', `/rooms/${roomId}/messages/${one.messageId}`, 'ann', { message: 'second' })
    await api.write('PATCH', `/rooms/${roomId}/messages/${one.messageId}`, 'ann', { message: 'third' })
    const { body } = await api.write('DELETE', `/rooms/${roomId}/messages/${two.messageId}`, 'ann')
    await api.reached(roomId, body.seq, 'bob')
    const { messages } = (await api.get(`/rooms/${roomId}/messages`, 'bob')).body
    expect(messages).toMatchObject([
      { seq: 2, content: 'third', revision: 2, messageType: 'location', location: { latitude: 1.5, longitude: 2 } },
      { seq: 3, content: null, deleted: true },
    ])
    expect(JSON.stringify(messages)).not.toContain('secret')
    const { events } = (await api.get(`/admin/rooms/${roomId}/events`, 'boss.admin')).body
    expect(events.map((e: any) => [e.type, e.content])).toEqual([['roomOpened', null], ['messageSent', 'first'], ['messageSent', 'secret'], ['messageEdited', 'second'], ['messageEdited', 'third'], ['messageDeleted', null]])
    expect(JSON.parse(events[1].payload)).toEqual({ location: { latitude: 1.5, longitude: 2 } })
    expect(codeOf(await api.write('PATCH', `/rooms/${roomId}/messages/${two.messageId}`, 'ann', { message: 'x' }))).toEqual([409, 'message_deleted'])
    expect(codeOf(await api.write('PATCH', `/rooms/${roomId}/messages/${one.messageId}`, 'bob', { message: 'x' }))).toEqual([403, 'not_allowed'])
    expect(codeOf(await api.write('DELETE', `/rooms/${roomId}/messages/${uuidV7()}`, 'ann'))).toEqual([404, 'message_not_found'])
  })

  test('reactions are counted, and say whether one is among them', async () => {
    const roomId = await newGroup('ann', ['bob'])
    const { messageId } = await say(roomId, 'ann', 'hi')
    const at = (emoji: string) => `/rooms/${roomId}/messages/${messageId}/reactions/${encodeURIComponent(emoji)}`
    for (const [user, emoji] of [['ann', '👍'], ['bob', '👍'], ['bob', '🎉'], ['ann', ':ship:']] as const) expect((await api.write('PUT', at(emoji), user)).status).toBe(200)
    const { body } = await api.write('DELETE', at('🎉'), 'bob')
    await api.reached(roomId, body.seq, 'bob')
    const reactionsFor = async (user: string) => (await api.get(`/rooms/${roomId}/messages`, user)).body.messages[0].reactions
    expect(await reactionsFor('bob')).toEqual([{ emoji: '👍', count: 2, own: true }, { emoji: ':ship:', count: 1, own: false }])
    expect((await reactionsFor('ann'))[1]).toEqual({ emoji: ':ship:', count: 1, own: true })
    expect(codeOf(await api.write('PUT', at('👍'), 'eve'))).toEqual([403, 'not_a_participant'])
  })

  test('threads, with what is unread in each', async () => {
    const roomId = await newGroup('ann', ['bob'])
    const root = await say(roomId, 'ann', 'root')
    const other = await say(roomId, 'bob', 'other')
    await say(roomId, 'bob', 'r1', { replyTo: root.messageId })
    const mine = await say(roomId, 'ann', 'r2', { replyTo: root.messageId })
    await api.post(`/rooms/${roomId}/marks`, 'ann', { seen: mine.messageIndex })
    await say(roomId, 'bob', 'o1', { replyTo: other.messageId })
    const last = await say(roomId, 'bob', 'r3', { replyTo: root.messageId })
    await api.reached(roomId, last.seq, 'ann')
    const { threads, nextBefore } = (await api.get(`/rooms/${roomId}/threads`, 'ann')).body
    expect(threads).toMatchObject([
      { rootSeq: root.seq, root: { content: 'root' }, replies: 3, unread: 1, lastReply: { content: 'r3', replyTo: root.messageId, replyToSeq: root.seq } },
      { rootSeq: other.seq, root: { content: 'other' }, replies: 1, unread: 1, lastReply: { content: 'o1' } },
    ])
    expect(nextBefore).toBeNull()
    const first = (await api.get(`/rooms/${roomId}/threads?limit=1`, 'bob')).body
    expect([first.threads.map((t: any) => [t.rootSeq, t.unread]), first.nextBefore]).toEqual([[[root.seq, 0]], last.seq])
    expect((await api.get(`/rooms/${roomId}/threads?before=${first.nextBefore}`, 'bob')).body.threads).toMatchObject([{ rootSeq: other.seq, unread: 0 }])
    const replies = async (query: string) => (await api.get(`/rooms/${roomId}/messages/${root.messageId}/replies${query}`, 'bob')).body
    expect((await replies('')).messages.map((m: any) => m.content)).toEqual(['r1', 'r2', 'r3'])
    expect(await replies('?limit=2')).toMatchObject({ messages: [{ content: 'r2' }, { content: 'r3' }], hasMore: true })
    expect(codeOf(await api.get(`/rooms/${roomId}/messages/${uuidV7()}/replies`, 'bob'))).toEqual([404, 'message_not_found'])
    expect(codeOf(await api.get(`/rooms/${roomId}/threads`, 'eve'))).toEqual([403, 'not_a_participant'])
  })
})

describe('what was seen', () => {
  test('receipts, unread and seen-by, without those who hide it; who writes has seen what he answers', async () => {
    const roomId = await newGroup('ann', ['bob', 'eve'])
    const first = await say(roomId, 'ann', 'one')
    await say(roomId, 'ann', 'two')
    await api.post(`/rooms/${roomId}/marks`, 'bob', { seen: 1, delivered: 2 })
    const { body } = await api.post(`/rooms/${roomId}/marks`, 'eve', { seen: 2, hidden: true })
    expect((await api.post(`/rooms/${roomId}/marks`, 'bob', { seen: 1 })).body).toMatchObject({ unchanged: true })
    expect(await api.reached(roomId, body.seq, 'ann')).toMatchObject({ unread: 0, receipts: [{ userId: 'ann', delivered: 2, seen: 2 }, { userId: 'bob', delivered: 2, seen: 1 }] })
    expect((await api.get(`/rooms/${roomId}`, 'eve')).body).toMatchObject({ unread: 0, receipts: [{ userId: 'bob' }, { userId: 'eve', seen: 2 }] })
    expect((await api.get(`/rooms/${roomId}`, 'bob')).body.unread).toBe(1)
    const seenBy = async (messageId: string, user: string) => (await api.get(`/rooms/${roomId}/messages/${messageId}/seen-by`, user)).body
    expect(await seenBy(first.messageId, 'ann')).toEqual({ roomId, messageId: first.messageId, messageIndex: 1, seenBy: ['bob'], deliveredTo: ['bob'] })
    expect(codeOf(await api.get(`/rooms/${roomId}/messages/${first.messageId}/seen-by`, 'stranger'))).toEqual([403, 'not_a_participant'])
  })

  test('a setting hides every receipt of a user', async () => {
    expect((await api.get('/me/settings', 'shy')).body).toEqual({ hideReceipts: false, hideLastSeen: false })
    expect(await api.ask('PUT', '/me/settings', 'shy', { hideReceipts: true })).toEqual({ status: 200, body: { hideReceipts: true, hideLastSeen: false } })
    expect((await api.ask('PUT', '/me/settings', 'shy', { hideLastSeen: true })).body).toEqual({ hideReceipts: true, hideLastSeen: true })
    expect(codeOf(await api.ask('PUT', '/me/settings', 'shy', { hideReceipts: 'yes' }))).toEqual([400, 'invalid_request'])
    const roomId = await newGroup('ann', ['shy'])
    await say(roomId, 'ann', 'hi')
    const { body } = await api.post(`/rooms/${roomId}/marks`, 'shy', { seen: 1 })
    expect((await api.reached(roomId, body.seq, 'ann')).receipts).toEqual([{ userId: 'ann', delivered: 1, seen: 1 }])
    expect((await api.get(`/rooms/${roomId}`, 'shy')).body.receipts).toEqual([{ userId: 'shy', delivered: 1, seen: 1 }])
  })
})

describe('conversations', () => {
  test('a pair has one room, whoever makes it', async () => {
    const [ada, ben] = ['ada', 'ben'] as UserId[] as [UserId, UserId]
    const roomId = directRoomId(ada, ben)
    const made = await Promise.all([api.post('/rooms', ada, { kind: 'direct', participants: [ben] }), api.post('/rooms', ben, { kind: 'direct', participants: [ada] })])
    expect(made.map(({ status, body }) => [status, body.roomId]).sort()).toEqual([[200, roomId], [201, roomId]])
    expect(await api.reached(roomId, 1, ada)).toMatchObject({ kind: 'direct', orderId: null, participants: [{ userId: ada, role: 'member' }, { userId: ben, role: 'member' }] })
    expect(codeOf(await api.write('DELETE', `/rooms/${roomId}/participants/${ben}`, ada))).toEqual([409, 'wrong_room_kind'])
  })

  test('a group is renamed, people come and go, and chats are listed with what is new', async () => {
    const roomId = await newGroup('own', ['mem'], { name: 'Team', metadata: { colour: 'red' } })
    await say(roomId, 'own', 'hello')
    expect((await api.write('PATCH', `/rooms/${roomId}`, 'own', { name: 'Crew' })).status).toBe(200)
    expect(codeOf(await api.write('PATCH', `/rooms/${roomId}`, 'mem', { name: 'Mine' }))).toEqual([403, 'not_allowed'])
    expect((await api.post(`/rooms/${roomId}/participants`, 'own', { userId: 'new' })).status).toBe(201)
    const { body } = await api.write('DELETE', `/rooms/${roomId}/participants/mem`, 'mem')
    expect(await api.reached(roomId, body.seq, 'new')).toMatchObject({ name: 'Crew', metadata: { colour: 'red' }, history: 'all', unread: 1, participants: [{ userId: 'own', role: 'owner' }, { userId: 'new', role: 'member' }] })
    expect(codeOf(await api.get(`/rooms/${roomId}`, 'mem'))).toEqual([403, 'not_a_participant'])
    const { chats } = (await api.get('/chats', 'new')).body
    expect(chats).toMatchObject([{ roomId, kind: 'group', name: 'Crew', role: 'member', unread: 1, lastMessage: { content: 'hello', senderId: 'own' } }])
    expect((await api.get('/me/rooms', 'new')).body.rooms).toMatchObject([{ roomId, kind: 'group', name: 'Crew' }])
    expect((await api.get('/chats', 'mem')).body).toEqual({ chats: [], nextCursor: null })
  })

  test('newcomers of a group with fromJoin see nothing of before, anywhere', async () => {
    const roomId = await newGroup('ann', ['bob'], { history: 'fromJoin' })
    const old = await say(roomId, 'ann', 'before')
    const { body: added } = await api.post(`/rooms/${roomId}/participants`, 'ann', { userId: 'late' })
    await say(roomId, 'bob', 'reply', { replyTo: old.messageId })
    const last = await say(roomId, 'ann', 'after')
    expect(await api.reached(roomId, last.seq, 'late')).toMatchObject({ visibleFrom: added.seq, unread: 2, messageCount: 3 })
    for (const query of ['', '?after=0', `?before=${last.seq + 1}`]) {
      expect((await api.get(`/rooms/${roomId}/messages${query}`, 'late')).body.messages.map((m: any) => m.content)).toEqual(['reply', 'after'])
    }
    expect((await api.get(`/rooms/${roomId}/messages?before=${added.seq}`, 'late')).body.messages).toEqual([])
    expect((await api.get(`/rooms/${roomId}/threads`, 'late')).body.threads).toMatchObject([{ rootSeq: old.seq, root: null, replies: 1 }])
    expect(codeOf(await api.get(`/rooms/${roomId}/messages/${old.messageId}/seen-by`, 'late'))).toEqual([404, 'message_not_found'])
    expect((await api.get('/chats', 'late')).body.chats).toMatchObject([{ unread: 2, lastMessage: { content: 'after' } }])
    expect((await api.get(`/rooms/${roomId}/messages`, 'bob')).body.messages).toHaveLength(3)
    expect((await api.get(`/rooms/${roomId}/messages`, 'boss.admin')).body.messages).toHaveLength(3)
  })
})
