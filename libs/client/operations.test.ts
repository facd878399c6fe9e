import { expect, test, vi } from 'vitest'
import { eventually, isLive, isOffline, isOnline, reconnect, TEST_TIMEOUT_MS, useServer, watch } from './test-support/fixture.ts'

vi.setConfig({ testTimeout: TEST_TIMEOUT_MS })
const on = useServer()

const askedFor = (type: string) => on.server.model.asked.filter((frame) => frame.type === type) as { clientMessageId?: string; clientId?: string }[]

async function liveRoom(options = {}) {
  const client = on.newClient(options)
  const room = client.join('g-1')
  const seen = watch(room)
  await client.connect()
  await isLive(room)
  return { client, room, seen }
}

test('edit, delete, react: each is acknowledged, and comes as the event of its place in the log', async () => {
  const { room, seen } = await liveRoom()
  const { messageId } = await room.send('frist').done
  const edited = await room.edit(messageId, 'first')
  expect(edited).toMatchObject({ roomId: 'g-1', seq: 2, repeated: false, unchanged: false, event: { event: 'messageEdited', content: 'first', revision: 1 } })
  expect(room.lastSeq).toBe(2)
  await room.react(messageId, '👍')
  await room.react(messageId, '👍', false)
  await room.delete(messageId)
  on.server.model.append('g-1', 'bob', 'after')
  await eventually(() => expect(seen.seqs()).toEqual([1, 2, 3, 4, 5, 6]))
  expect(seen.events).toEqual(on.server.model.room('g-1').events)
  expect(await room.delete(messageId)).toMatchObject({ unchanged: true, seq: 6 })
  await expect(room.edit(messageId, 'x')).rejects.toMatchObject({ code: 'message_deleted', retriable: false })
})

test('the people of a room and what it is called', async () => {
  const { room, seen } = await liveRoom()
  await Promise.all([room.addParticipant('carol'), room.addParticipant('dave', 'observer'), room.change({ name: 'Team', metadata: { a: 'b' } }), room.removeParticipant('carol'), room.inviteMediator('mia')])
  await room.resolveDispute('agreed')
  expect(seen.events).toMatchObject([
    { event: 'participantAdded', userId: 'carol' },
    { event: 'participantAdded', userId: 'dave', role: 'observer' },
    { event: 'roomChanged', name: 'Team', metadata: { a: 'b' } },
    { event: 'participantRemoved', userId: 'carol', reason: 'removed' },
    { event: 'mediatorInvited', userId: 'mia' },
    { event: 'roomClosed', reason: 'resolved', note: 'agreed' },
  ])
})

test('a request of a room goes one at a time, in the order of asking, when the room is live', async () => {
  const client = on.newClient()
  const room = client.join('g-1')
  const names = ['a', 'b', 'c'].map((name) => room.change({ name }))
  expect(on.server.model.asked).toEqual([])
  await client.connect()
  expect((await Promise.all(names)).map((ack) => ack.seq)).toEqual([1, 2, 3])
})

test('one whose ack was lost is asked again under the same id, and made once', async () => {
  const { client, room, seen } = await liveRoom()
  on.server.model.onRequest = (frame) => (frame.type === 'changeRoom' ? 'loseReply' : undefined)
  const renamed = room.change({ name: 'once' })
  await eventually(() => expect(askedFor('changeRoom').length).toBe(1))
  on.server.model.onRequest = () => undefined
  on.server.cut()
  await reconnect(client, on.clock)
  expect(await renamed).toMatchObject({ seq: 1, repeated: true })
  expect(new Set(askedFor('changeRoom').map((frame) => frame.clientMessageId)).size).toBe(1)
  expect(seen.events).toEqual(on.server.model.room('g-1').events)
})

test('a refusal that may pass is obeyed and retried; the room is joined again where the server lost the join', async () => {
  const { room } = await liveRoom()
  const verdicts = [{ code: 'rate_limited', retryAfterMs: 700 } as const, { code: 'not_joined' } as const]
  const at: number[] = []
  on.server.model.onRequest = (frame) => {
    if (frame.type !== 'changeRoom') return undefined
    at.push(on.clock.nowMs())
    return verdicts.shift()
  }
  let seq = 0
  void room.change({ name: 'x' }).then((ack) => (seq = ack.seq))
  await eventually(async () => {
    await on.clock.advance(50)
    expect(seq).toBe(1)
  })
  expect(at[1]! - at[0]!).toBeGreaterThanOrEqual(700)
  expect(on.server.model.joins.length).toBe(2)
})

test('an ack that says the event of a later place makes it fetch what lies between', async () => {
  const { room, seen } = await liveRoom()
  on.server.model.onPush = () => false
  on.server.model.append('g-1', 'bob', 'lost')
  on.server.model.onPush = () => true
  await room.change({ name: 'x' })
  await eventually(() => expect(seen.texts()).toEqual(['lost', 'roomChanged']))
})

test('who leaves hears that he has left; what waited behind it fails', async () => {
  const { room, seen } = await liveRoom()
  const left = room.removeParticipant('alice')
  const renamed = room.change({ name: 'too late' })
  expect(await left).toMatchObject({ event: { event: 'participantRemoved', reason: 'left' } })
  await expect(renamed).rejects.toMatchObject({ code: 'not_a_participant' })
  await eventually(() => expect(seen.left).toEqual(['not_a_participant']))
  await expect(room.change({ name: 'x' })).rejects.toMatchObject({ code: 'room_left' })
})

test('an app that stops following a room gives up what it asked of it', async () => {
  const client = on.newClient()
  const room = client.join('g-1')
  const renamed = room.change({ name: 'x' })
  room.leave()
  await expect(renamed).rejects.toMatchObject({ code: 'room_left' })
})

test('an invitation is accepted from outside; then the room can be joined', async () => {
  on.server.model.append('d-1', 'bob', 'we disagree')
  const client = on.newClient()
  const accepted = client.acceptInvitation('d-1')
  await client.connect()
  expect(await accepted).toMatchObject({ roomId: 'd-1', seq: 2, event: { event: 'participantAdded', userId: 'alice', role: 'mediator' } })
  const room = client.join('d-1')
  await eventually(() => expect(room.lastSeq).toBe(2))
  expect(await room.acceptInvitation()).toMatchObject({ seq: 3 })
})

test('a conversation that is asked for twice is one, also after a lost answer', async () => {
  const client = on.newClient()
  await client.connect()
  on.server.model.onRequest = (frame) => (frame.type === 'createConversation' ? 'loseReply' : undefined)
  const made = client.createConversation({ kind: 'group', participants: ['bob'], name: 'Team' })
  await eventually(() => expect(askedFor('createConversation').length).toBe(1))
  on.server.model.onRequest = () => undefined
  on.server.cut()
  await reconnect(client, on.clock)
  const { roomId, unchanged } = await made
  expect(unchanged).toBe(true)
  expect(new Set(askedFor('createConversation').map((frame) => frame.clientId)).size).toBe(1)
  expect(on.server.model.room(roomId).events.length).toBe(1)
  expect(await client.createConversation({ kind: 'direct', participants: ['bob'] })).toMatchObject({ roomId: 'made-bob', seq: 1, unchanged: false })
})

test('requests are bounded and judged before they are sent; they end with the client', async () => {
  const { client, room } = await liveRoom({ limits: { operationsMax: 2 } })
  on.server.model.onRequest = () => 'loseReply'
  const waiting = [room.change({ name: 'a' }), room.change({ name: 'b' })]
  await expect(room.change({ name: 'c' })).rejects.toMatchObject({ code: 'operations_full', retriable: true })
  await expect(room.react('no id', '👍')).rejects.toMatchObject({ code: 'invalid_request' })
  await expect(room.edit('c39e3645-3be0-5a4c-97cc-d0631bd117c3', 'x'.repeat(8_001))).rejects.toMatchObject({ code: 'content_too_long' })
  await client.close()
  for (const asked of waiting) await expect(asked).rejects.toMatchObject({ code: 'client_closed' })
  await expect(room.change({ name: 'd' })).rejects.toMatchObject({ code: 'client_closed' })
  expect(on.clock.timers).toBe(0)
})

test('another user never asks for what the first one wanted', async () => {
  let user = 'alice'
  const client = on.newClient({ token: () => user })
  const room = client.join('g-1')
  await client.connect()
  await isOnline(client)
  on.server.model.onRequest = (frame) => (frame.type === 'join' ? { code: 'unavailable' } : undefined)
  on.server.cut()
  await isOffline(client)
  const renamed = room.change({ name: 'by alice' })
  user = 'mallory'
  await reconnect(client, on.clock)
  await expect(renamed).rejects.toMatchObject({ code: 'sender_changed' })
  expect(askedFor('changeRoom')).toEqual([])
})
