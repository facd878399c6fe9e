import fc from 'fast-check'
import { expect, test } from 'vitest'
import { errorCatalogue } from '#libs/domain/errors.ts'
import { type ClientMessageId, type MessageId, messageIdOf } from '#libs/domain/ids.ts'
import { type Client, MemoryEdge, room, user } from './memory-edge.ts'

const people = ['customer', 'vendor', 'judge']
const rooms = ['group', 'dispute', 'order-1']
/** The first of them is that of two messages which are there, the others of those that may be sent. */
const clientMessageIds = [1, 2, 3].map((n) => `018bcfe5-6800-7000-8000-00000000000${n}` as ClientMessageId)
const messageIds: MessageId[] = ['group', 'order-1'].flatMap((id) => ['customer', 'vendor'].flatMap((userId) => clientMessageIds.map((cmid) => messageIdOf(room(id), user(userId), cmid))))

const roomId = fc.constantFrom('group', 'group', 'group', ...rooms, 'no-such-room')
const userId = fc.constantFrom(...people, 'new')
const text = fc.constantFrom('hi', 'hello', 'there', '', 'a\0b', 'x'.repeat(4_001))
const common = { roomId, clientMessageId: fc.constantFrom<string>(...clientMessageIds, ...clientMessageIds, 'no id') }
const messageId = fc.constantFrom(...messageIds, ...messageIds.filter((id) => id === messageIdOf(room('group'), user('customer'), clientMessageIds[0]!)))
const messageType = fc.constantFrom('image', 'file', 'location', 'productCard', 'orderCard')
const strange = fc.constantFrom<unknown>([], [null], [{}])
const payload = { attachments: strange, location: fc.constantFrom<unknown>(null, {}, 1, { latitude: 1, longitude: 2 }), productId: fc.constantFrom('p', 'a b', ''), orderId: fc.constantFrom('o', '') }
const request = (type: string, fields: Record<string, fc.Arbitrary<unknown>>, required: string[] = []) => fc.record<Record<string, unknown>>({ type: fc.constant(type), ...fields }, { requiredKeys: ['type', ...required] })

const requests = fc.oneof(
  { weight: 4, arbitrary: request('sendMessage', { ...common, message: text, messageType, replyTo: messageId, mentions: fc.array(userId, { maxLength: 3 }), ...payload }, ['message', 'roomId']) },
  { weight: 4, arbitrary: fc.record({ type: fc.constant('sendMessage'), roomId: fc.constantFrom('group', ...rooms), clientMessageId: fc.constantFrom(...clientMessageIds), message: fc.constant('hi') }) },
  request('editMessage', { ...common, messageId, message: text }, ['messageId', 'message', 'roomId']),
  request('deleteMessage', { ...common, messageId }, ['messageId', 'roomId']),
  request('react', { ...common, messageId, emoji: fc.constantFrom('+1', '+1', 'two words'), on: fc.boolean() }, ['messageId', 'emoji', 'roomId']),
  { weight: 3, arbitrary: request('mark', { roomId, delivered: fc.nat(9), seen: fc.nat(9), hidden: fc.boolean() }, ['roomId']) },
  request('createConversation', { kind: fc.constantFrom('direct', 'group'), participants: fc.array(userId, { maxLength: 3 }), clientId: fc.constantFrom('c', 'd'), name: text, history: fc.constantFrom('all', 'fromJoin') }, ['kind', 'participants']),
  request('addParticipant', { ...common, userId, role: fc.constantFrom('owner', 'member', 'observer') }, ['userId', 'roomId']),
  request('removeParticipant', { ...common, userId }, ['userId', 'roomId']),
  request('changeRoom', { ...common, name: text, metadata: fc.dictionary(fc.string({ maxLength: 3 }), fc.string({ maxLength: 3 })) }, ['roomId']),
  request('inviteMediator', { ...common, userId }, ['userId', 'roomId']),
  request('acceptInvitation', common, ['roomId']),
  request('resolveDispute', { ...common, note: text }, ['roomId']),
  { weight: 2, arbitrary: request('join', { roomId, since: fc.nat(3) }, ['roomId']) },
  request('leave', { roomId }, ['roomId']),
  request('ping', {}),
  request('sync', { cursor: fc.constantFrom(0, 1, 2, 9) }),
  request('setChat', { roomId: fc.constantFrom('group', 'order-1', 'no-such-room'), mutedUntilMs: fc.constantFrom(0, 5), archived: fc.boolean() }, ['roomId']),
  request('reportMessage', { ...common, messageId, reason: fc.constantFrom('spam', 'other'), note: text }, ['messageId', 'reason', 'roomId']),
)
const steps = fc.array(fc.record({ who: fc.nat(people.length - 1), frame: requests, waitMs: fc.constantFrom(0, 0, 50, 300), persists: fc.boolean() }), { maxLength: 30, size: 'max' })

async function connected(edge: MemoryEdge): Promise<Client[]> {
  edge.accepted()
  const asMembers = (ids: string[], role: 'owner' | 'customer') => ids.map((id) => ({ userId: user(id), role }))
  edge.asked('customer', { type: 'createRoom', kind: 'group', participants: asMembers(['customer', 'vendor'], 'owner'), history: 'fromJoin' }, 'group')
  edge.asked('customer', { type: 'createRoom', kind: 'dispute', participants: asMembers(['customer', 'vendor'], 'customer') }, 'dispute')
  for (const userId of ['customer', 'vendor']) edge.asked(userId, { type: 'sendMessage', content: 'first', salt: 's' }, 'group', clientMessageIds[0])
  const clients = people.map((userId) => edge.connect(userId))
  for (const client of clients) for (const id of rooms) client.request({ id: `join ${id}`, type: 'join', roomId: id })
  await edge.run()
  for (const userId of people) for (const id of ['group', 'order-1']) edge.users.changed(userId, id, 'added')
  for (const { socket } of clients) socket.frames.length = 0
  return clients
}

/** The rooms of this socket, each with the seqs that its frames stand for since the last `joined`. */
function checkOrder({ socket, connection }: Client, before: ReadonlyMap<string, number>): void {
  const last = new Map(before)
  for (const frame of socket.frames) {
    const standsFor = frame.type === 'newMessage' || frame.type === 'roomUpdated' || (frame.type === 'ack' && frame.seq !== undefined && !frame.repeated && !frame.unchanged)
    if (frame.type === 'joined') last.set(frame.roomId, frame.since)
    else if (frame.type === 'left' || (frame.type === 'ack' && frame.seq === undefined && frame.userSeq === undefined)) last.delete(frame.roomId)
    else if (standsFor && last.has(frame.roomId)) {
      expect(frame.seq, JSON.stringify(frame)).toBe(last.get(frame.roomId)! + 1)
      last.set(frame.roomId, frame.seq)
    }
  }
  expect([...last.keys()].sort()).toEqual([...connection.subscriptions.keys()].sort())
}

test('whatever is asked has exactly one reply, and every socket gets each event once and in order', async () => {
  const seen = new Set<string>()
  await fc.assert(
    fc.asyncProperty(steps, async (list) => {
      const edge = new MemoryEdge()
      const clients = await connected(edge)
      const before = clients.map(({ connection }) => new Map([...connection.subscriptions].map(([id, { lastSeq }]) => [id as string, lastSeq])))
      for (const [i, { who, frame, waitMs, persists }] of list.entries()) {
        clients[who]!.request({ id: i, ...frame })
        if (persists) edge.persist()
        await edge.run(waitMs)
      }
      await edge.run(3_000)
      expect([edge.corrupt, edge.troubles, edge.commands.pending, edge.users.inbox.pending]).toEqual([[], [], 0, 0])
      for (const [n, client] of clients.entries()) {
        if (client.socket.closedWith) continue
        expect(client.connection.pending).toBe(0)
        for (const [i, { who, frame }] of list.entries()) {
          const replies = client.socket.repliesTo(i)
          expect(replies.length, `${JSON.stringify(frame)} ${JSON.stringify(replies)}`).toBe(who === n ? 1 : 0)
          for (const { type, code, event, repeated, unchanged } of replies) {
            if (type === 'error') expect(errorCatalogue).toHaveProperty(code)
            seen.add(`${frame.type} ${code ?? event?.event ?? (repeated ? 'repeated' : unchanged ? 'unchanged' : type)}`)
          }
        }
        checkOrder(client, before[n]!)
      }
    }),
    { numRuns: 300 },
  )
  // So that this test does not come to ask for nothing: each of these is there some seventy times.
  for (const outcome of ['sendMessage ack', 'sendMessage repeated', 'mark receiptMoved', 'mark unchanged', 'createConversation roomOpened', 'join joined', 'sync synced', 'sync invalid_request', 'setChat ack', 'setChat unchanged', 'setChat chat_not_found', 'reportMessage messageReported']) expect([...seen].sort()).toContain(outcome)
}, 60_000)
