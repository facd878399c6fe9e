import { afterAll, beforeAll, expect, test } from 'vitest'
import { directRoomId, type UserId } from '#libs/domain/ids.ts'
import type { ChatSocket, Frame } from '../support/chat-socket.ts'
import { useStack } from '../support/stack.ts'
import { System } from '../support/system.ts'
import { joinOnceOpen, newClientMessageId, range, seqsOf } from './helpers.ts'

let system: System
beforeAll(async () => {
  system = await System.start(await useStack(), 'conversations', { env: { ROOM_EDIT_WINDOW_MS: '3000', ROOM_PARTICIPANTS_MAX: '4', ROOM_ATTACHMENT_HOSTS: 'files.example' } })
})
afterAll(() => system.close())

const on = (edge: number, userId: string): Promise<ChatSocket> => system.connect(edge, { userId })
const joined = async (socket: ChatSocket, roomId: string, since = 0): Promise<Frame> => joinOnceOpen(socket, roomId, since)
const update = (socket: ChatSocket, roomId: string, event: string, seq?: number): Promise<Frame> =>
  socket.waitFor((f) => f.type === 'roomUpdated' && f['roomId'] === roomId && f['event'] === event && (seq === undefined || f['seq'] === seq), `${event} of ${roomId}`)

/** A group of these people, everybody on an edge of his own choice and joined. */
async function group(name: string, fields: object, ...people: readonly [edge: number, userId: string][]): Promise<{ roomId: string; sockets: ChatSocket[] }> {
  const sockets = await Promise.all(people.map(([edge, userId]) => on(edge, userId)))
  const [, ...others] = people.map(([, userId]) => userId)
  const ack = await sockets[0]!.request({ type: 'createConversation', kind: 'group', participants: others, clientId: name, name, ...fields })
  expect(ack).toMatchObject({ type: 'ack', seq: 1 })
  for (const socket of sockets) expect(await joined(socket, ack['roomId'])).toMatchObject({ type: 'joined', kind: 'group', name })
  return { roomId: ack['roomId'], sockets }
}

test('the same pair always gets the same room, whoever asks, on whichever edge', async () => {
  const [ann, bob] = [await on(1, 'ann-1'), await on(2, 'bob-1')]
  const roomId = directRoomId('ann-1' as UserId, 'bob-1' as UserId)
  const [first, second] = await Promise.all([
    ann.request({ type: 'createConversation', kind: 'direct', participants: ['bob-1'] }),
    bob.request({ type: 'createConversation', kind: 'direct', participants: ['ann-1'] }),
  ])
  for (const ack of [first, second]) expect(ack).toMatchObject({ type: 'ack', roomId, seq: 1 })
  expect([first, second].filter((ack) => ack['unchanged'] === true)).toHaveLength(1)
  for (const socket of [ann, bob]) await joined(socket, roomId)
  const { seq } = await ann.sendMessage('hi', { roomId })
  expect(await bob.waitForSeq(seq, roomId)).toMatchObject({ type: 'newMessage', content: 'hi' })
  const stranger = await on(1, 'stranger-1')
  expect(await stranger.request({ type: 'join', roomId })).toMatchObject({ type: 'error', code: 'not_a_participant' })
})

test('a thread, an edit, a reaction, a deletion: everybody has the same events, whoever comes later the last revision', async () => {
  const { roomId, sockets } = await group('talk', {}, [1, 'ann-2'], [2, 'bob-2'])
  const [ann, bob] = sockets as [ChatSocket, ChatSocket]
  const file = { url: 'https://files.example/x.png', mimeType: 'image/png', bytes: 10, name: 'x.png' }
  const root = await ann.sendMessage('', { roomId, messageType: 'image', attachments: [file] })
  const reply = await bob.sendMessage('nice', { roomId, replyTo: root['messageId'], mentions: ['ann-2'] })
  expect(await ann.waitForSeq(reply['seq'], roomId)).toMatchObject({ type: 'newMessage', replyTo: root['messageId'], replyToSeq: root['seq'], mentions: ['ann-2'] })
  const editId = newClientMessageId()
  const edit = { type: 'editMessage', roomId, messageId: reply['messageId'], message: 'very nice', clientMessageId: editId }
  const edited = await bob.request(edit)
  expect(edited).toMatchObject({ type: 'ack', clientMessageId: editId, event: { event: 'messageEdited', revision: 1, content: 'very nice', by: 'bob-2' } })
  // The same again, on the other edge too, is the same event.
  const tablet = await on(1, 'bob-2')
  await joined(tablet, roomId)
  for (const socket of [bob, tablet]) expect(await socket.request(edit)).toMatchObject({ type: 'ack', seq: edited['seq'], repeated: true })
  const reaction = await ann.request({ type: 'react', roomId, messageId: reply['messageId'], emoji: '👍' })
  const deleted = await ann.request({ type: 'deleteMessage', roomId, messageId: root['messageId'] })
  expect(await bob.waitForSeq(reaction['seq'], roomId)).toMatchObject({ event: 'reactionSet', emoji: '👍', on: true, by: 'ann-2' })
  expect(await bob.waitForSeq(deleted['seq'], roomId)).toMatchObject({ event: 'messageDeleted', messageId: root['messageId'] })
  expect(await bob.request({ type: 'editMessage', roomId, messageId: root['messageId'], message: 'x' })).toMatchObject({ type: 'error', code: 'not_allowed' })

  const later = await on(2, 'ann-2')
  await joined(later, roomId)
  await later.waitForSeq(deleted['seq'], roomId)
  const shown = later.events(roomId)
  expect(seqsOf(shown)).toEqual(range(1, deleted['seq']))
  expect(shown.find((f) => f['seq'] === root['seq'])).toMatchObject({ content: null, deleted: true })
  expect(shown.find((f) => f['seq'] === root['seq'])).not.toHaveProperty('attachments')
  expect(shown.find((f) => f['seq'] === reply['seq'])).toMatchObject({ content: 'very nice', revision: 1 })

  await new Promise((resolve) => setTimeout(resolve, 3_100))
  expect(await bob.request({ type: 'deleteMessage', roomId, messageId: reply['messageId'] })).toMatchObject({ type: 'error', code: 'edit_window_over' })
  expect(await bob.sendMessage('', { roomId, attachments: [{ ...file, url: 'https://evil.example/x' }] })).toMatchObject({ type: 'error', code: 'invalid_attachment' })
})

test('cursors: gathered, only upwards, told to the others unless hidden, and there for who joins', async () => {
  const { roomId, sockets } = await group('cursors', {}, [1, 'ann-3'], [2, 'bob-3'], [1, 'cleo-3'])
  const [ann, bob, cleo] = sockets as [ChatSocket, ChatSocket, ChatSocket]
  for (let i = 0; i < 3; i++) await ann.sendMessage(`${i}`, { roomId })
  const answers = await Promise.all([1, 3, 2].map((seen) => bob.request({ type: 'mark', roomId, seen })))
  // One event for the three of them.
  expect(answers.filter((answer) => answer['event'])).toHaveLength(1)
  expect(await update(ann, roomId, 'receiptMoved')).toMatchObject({ userId: 'bob-3', delivered: 3, seen: 3 })
  expect(await bob.request({ type: 'mark', roomId, seen: 1 })).toMatchObject({ type: 'ack', unchanged: true })
  const { seq } = await cleo.request({ type: 'mark', roomId, seen: 2, hidden: true })
  expect(await ann.waitForSeq(seq, roomId)).toEqual({ type: 'roomUpdated', roomId, seq, timestamp: expect.any(Number), event: 'private' })
  const again = await on(2, 'ann-3')
  expect(await joined(again, roomId)).toMatchObject({ messageCount: 3, receipts: [{ userId: 'ann-3', delivered: 3, seen: 3 }, { userId: 'bob-3', delivered: 3, seen: 3 }] })
  const own = await on(2, 'cleo-3')
  expect((await joined(own, roomId))['receipts']).toContainEqual({ userId: 'cleo-3', delivered: 2, seen: 2 })
})

test('members come and go: newcomers see what is after their coming, who has left nothing more, and an owner is always there', async () => {
  const { roomId, sockets } = await group('members', { history: 'fromJoin' }, [1, 'ann-4'], [2, 'bob-4'])
  const [ann, bob] = sockets as [ChatSocket, ChatSocket]
  await ann.sendMessage('before', { roomId })
  expect(await bob.request({ type: 'addParticipant', roomId, userId: 'cleo-4' })).toMatchObject({ type: 'error', code: 'not_allowed' })
  const added = await ann.request({ type: 'addParticipant', roomId, userId: 'cleo-4' })
  const cleo = await on(2, 'cleo-4')
  expect(await joined(cleo, roomId)).toMatchObject({ since: added['seq'] - 1, visibleFrom: added['seq'] })
  const after = await bob.sendMessage('after', { roomId })
  await cleo.waitForSeq(after['seq'], roomId)
  expect(seqsOf(cleo.events(roomId))).toEqual(range(added['seq'], after['seq']))
  await ann.request({ type: 'addParticipant', roomId, userId: 'dan-4', role: 'observer' })
  expect(await ann.request({ type: 'addParticipant', roomId, userId: 'eve-4' })).toMatchObject({ type: 'error', code: 'too_many_participants' })
  const dan = await on(1, 'dan-4')
  await joined(dan, roomId)
  expect(await dan.sendMessage('x', { roomId })).toMatchObject({ type: 'error', code: 'not_allowed' })

  const left = await ann.request({ type: 'removeParticipant', roomId, userId: 'ann-4' })
  expect(left).toMatchObject({ type: 'ack', event: { event: 'participantRemoved', userId: 'ann-4', reason: 'left' } })
  expect(await ann.waitForType('left')).toMatchObject({ roomId, code: 'not_a_participant' })
  expect(await update(bob, roomId, 'participantAdded', left['seq'] - 1)).toMatchObject({ userId: 'bob-4', role: 'owner' })
  expect(await bob.request({ type: 'changeRoom', roomId, name: 'ours' })).toMatchObject({ type: 'ack', event: { event: 'roomChanged', name: 'ours' } })
  expect(await ann.request({ type: 'join', roomId })).toMatchObject({ type: 'error', code: 'not_a_participant' })
})
