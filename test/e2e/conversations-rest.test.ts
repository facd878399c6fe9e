import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { disputeRoomId, jobRoomId, type RoomId } from '#libs/domain/ids.ts'
import { ApiUsers, codeOf } from '../integration/api-users.ts'
import type { ChatSocket, Frame } from '../support/chat-socket.ts'
import { useStack } from '../support/stack.ts'
import { System } from '../support/system.ts'
import { joinOnceOpen, newClientMessageId, range, seqsOf } from './helpers.ts'

let system: System
let api: ApiUsers
beforeAll(async () => {
  system = await System.start(await useStack(), 'conversations-rest', { count: { api: 1 } })
  api = new ApiUsers(system)
})
afterAll(() => system.close())

/** A socket on an edge that has joined these rooms. */
async function inRooms(edge: number, userId: string, ...roomIds: readonly string[]): Promise<ChatSocket> {
  const socket = await system.connect(edge, { userId })
  for (const roomId of roomIds) expect(await joinOnceOpen(socket, roomId)).toMatchObject({ type: 'joined', roomId })
  return socket
}
const update = (socket: ChatSocket, roomId: string, event: string): Promise<Frame> => socket.waitFor((f) => f['roomId'] === roomId && f['event'] === event, `${event} of ${roomId}`)

test('a job, a dispute about it, and a mediator who comes in and goes: over REST, and seen on sockets of two edges', async () => {
  const jobId = 'job-story'
  const chatId = jobRoomId(jobId)
  const disputeId = disputeRoomId(chatId)
  expect((await api.post('/jobs/create', 'client-1', { clientId: 'client-1', providerId: 'provider-1', jobId })).body).toMatchObject({ jobId, chatId })
  const client = await inRooms(1, 'client-1', chatId)
  const provider = await inRooms(2, 'provider-1', chatId)
  // What is written over REST is on every socket, and what came by a socket is in the history.
  const { body: sent } = await api.post(`/rooms/${chatId}/messages`, 'client-1', { message: 'when do you start?' })
  expect(await provider.waitForSeq(sent.seq, chatId)).toMatchObject({ type: 'newMessage', messageId: sent.messageId, content: 'when do you start?' })
  expect(await client.waitForSeq(sent.seq, chatId)).toMatchObject({ type: 'newMessage', messageId: sent.messageId })
  const ack = await provider.sendMessage('tomorrow', { roomId: chatId, clientMessageId: newClientMessageId() })
  await api.reached(chatId, ack['seq'], 'client-1')
  expect((await api.get(`/chat/${chatId}/messages`, 'client-1')).body.messages.map((m: any) => m.content)).toEqual(['when do you start?', 'tomorrow'])

  expect((await api.post(`/jobs/${jobId}/dispute`, 'client-1')).body).toMatchObject({ disputeId, chatId: disputeId })
  for (const socket of [client, provider]) expect(await joinOnceOpen(socket, disputeId)).toMatchObject({ type: 'joined', kind: 'dispute' })
  expect((await api.get(`/jobs/${jobId}`, 'client-1')).body).toMatchObject({ disputeId, lsm_invited: false, resolved: false })

  await api.post(`/disputes/${disputeId}/mediators`, 'provider-1', { userId: 'lsm-1' })
  for (const socket of [client, provider]) expect(await update(socket, disputeId, 'mediatorInvited')).toMatchObject({ userId: 'lsm-1', by: 'provider-1' })
  const { invitations } = await api.until('/me/invitations', 'lsm-1', ({ invitations: all }) => all.length === 1)
  expect(invitations).toMatchObject([{ roomId: disputeId, subjectId: jobId, invitedBy: 'provider-1' }])
  expect((await api.get(`/jobs/${jobId}`, 'lsm-1')).body).toMatchObject({ lsm_invited: true })
  const early = await system.connect(1, { userId: 'lsm-1' })
  expect(await early.request({ type: 'join', roomId: disputeId })).toMatchObject({ type: 'error', code: 'not_a_participant' })

  await api.post(`/disputes/${disputeId}/join`, 'lsm-1')
  for (const socket of [client, provider]) expect(await update(socket, disputeId, 'participantAdded')).toMatchObject({ userId: 'lsm-1', role: 'mediator' })
  const mediator = await inRooms(1, 'lsm-1', disputeId)
  expect((await mediator.waitForType('joined'))['participants']).toHaveLength(3)
  const { body: said } = await api.post(`/rooms/${disputeId}/messages`, 'lsm-1', { message: 'what happened?' })
  for (const socket of [client, provider, mediator]) expect(await socket.waitForSeq(said.seq, disputeId)).toMatchObject({ type: 'newMessage', senderId: 'lsm-1', content: 'what happened?' })

  expect(codeOf(await api.post(`/disputes/${disputeId}/resolve`, 'client-1'))).toEqual([403, 'not_allowed'])
  const { body: resolved } = await api.post(`/disputes/${disputeId}/resolve`, 'lsm-1', { note: 'half each' })
  for (const socket of [client, provider]) {
    expect(await update(socket, disputeId, 'participantRemoved')).toMatchObject({ userId: 'lsm-1', role: 'mediator', reason: 'resolved' })
    expect(await update(socket, disputeId, 'roomClosed')).toMatchObject({ seq: resolved.seq, reason: 'resolved', note: 'half each' })
    expect(seqsOf(socket.events(disputeId))).toEqual(range(1, resolved.seq))
  }
  expect(await mediator.waitForType('left')).toMatchObject({ roomId: disputeId, code: 'not_a_participant' })
  await api.reached(disputeId, resolved.seq, 'provider-1')
  expect((await api.get(`/jobs/${jobId}`, 'provider-1')).body).toEqual({ jobId, chatId, disputeId, lsm_invited: true, resolved: true })
  expect((await api.get(`/rooms/${disputeId}/messages`, 'provider-1')).body.messages).toMatchObject([{ content: 'what happened?' }])
  expect(codeOf(await api.get(`/rooms/${disputeId}/messages`, 'lsm-1'))).toEqual([403, 'not_a_participant'])
  // The job's own room goes on.
  expect((await api.post(`/rooms/${chatId}/messages`, 'client-1', { message: 'agreed' })).status).toBe(201)
})

test('a dispute about an order that has ended is a room of its own', async () => {
  await system.openRoom('order-77', 'customer-7', 'vendor-7')
  expect(await api.until('/rooms/order-77', 'customer-7', () => true)).toMatchObject({ kind: 'order' })
  expect(codeOf(await api.post('/rooms/order-77/dispute', 'customer-7'))).toEqual([409, 'wrong_room_kind'])
  await system.order('delivered', 'order-77')
  await api.until('/rooms/order-77', 'customer-7', ({ readOnly }) => readOnly)
  const { body } = await api.post('/rooms/order-77/dispute', 'vendor-7')
  expect(body.disputeId).toBe(disputeRoomId('order-77' as RoomId))
  const customer = await inRooms(2, 'customer-7', body.chatId)
  const { body: sent } = await api.post(`/rooms/${body.chatId}/messages`, 'vendor-7', { message: 'let us talk' })
  expect(await customer.waitForSeq(sent.seq, body.chatId)).toMatchObject({ content: 'let us talk' })
  expect(codeOf(await api.post('/rooms/order-77/messages', 'vendor-7', { message: 'x' }))).toEqual([409, 'room_read_only'])
})

describe('the same room by both ways', () => {
  test('edits, reactions, threads and receipts of one way are seen by the other', async () => {
    const { body: made } = await api.post('/rooms', 'ann', { kind: 'direct', participants: ['bob'] })
    const { roomId } = made
    const bob = await inRooms(1, 'bob', roomId)
    const ann = await inRooms(2, 'ann', roomId)
    const { body: sent } = await api.post(`/rooms/${roomId}/messages`, 'ann', { message: 'helo' })
    await api.write('PATCH', `/rooms/${roomId}/messages/${sent.messageId}`, 'ann', { message: 'hello' })
    expect(await update(bob, roomId, 'messageEdited')).toMatchObject({ messageId: sent.messageId, content: 'hello', revision: 1 })
    expect(await bob.request({ type: 'react', roomId, messageId: sent.messageId, emoji: '👍' })).toMatchObject({ type: 'ack', event: { event: 'reactionSet' } })
    expect(await bob.request({ type: 'mark', roomId, seen: 1 })).toMatchObject({ type: 'ack' })
    expect(await update(ann, roomId, 'receiptMoved')).toMatchObject({ userId: 'bob', seen: 1 })
    const reply = await bob.sendMessage('hi', { roomId, replyTo: sent.messageId })
    expect(reply).toMatchObject({ type: 'ack' })
    // Who writes has seen what he answers.
    expect(await api.reached(roomId, reply['seq'] as number, 'ann')).toMatchObject({ unread: 1, receipts: [{ userId: 'ann', seen: 1 }, { userId: 'bob', seen: 2 }] })
    expect((await api.get(`/rooms/${roomId}/messages`, 'ann')).body.messages).toMatchObject([
      { content: 'hello', revision: 1, reactions: [{ emoji: '👍', count: 1, own: false }] },
      { content: 'hi', replyTo: sent.messageId },
    ])
    expect((await api.get(`/rooms/${roomId}/threads`, 'ann')).body.threads).toMatchObject([{ root: { content: 'hello' }, replies: 1, unread: 1 }])
    expect((await api.get(`/rooms/${roomId}/messages/${sent.messageId}/seen-by`, 'ann')).body).toMatchObject({ seenBy: ['bob'] })
  })

  test('a message that was sent both ways under one id is one message', async () => {
    const { body: made } = await api.post('/rooms', 'ann', { kind: 'direct', participants: ['eve'] })
    const ann = await inRooms(1, 'ann', made.roomId)
    const clientMessageId = newClientMessageId()
    const { body: sent } = await api.post(`/rooms/${made.roomId}/messages`, 'ann', { message: 'once', clientMessageId })
    expect(await ann.sendMessage('once', { roomId: made.roomId, clientMessageId })).toMatchObject({ type: 'ack', repeated: true, seq: sent.seq, messageId: sent.messageId })
  })
})
