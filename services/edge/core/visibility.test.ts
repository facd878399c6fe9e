import { beforeEach, describe, expect, test } from 'vitest'
import type { MessageId } from '#libs/domain/ids.ts'
import type { HistoryRule, RoomEvent } from '#libs/domain/room.ts'
import { seededRandom } from '#libs/streams/memory-log.ts'
import { pick } from '#libs/streams/memory-task.ts'
import { type Client, MemoryEdge, user } from './memory-edge.ts'
import type { Realtime } from './ports.ts'

let edge: MemoryEdge

const open = (history: HistoryRule, id = 'group') => {
  const participants = ['ann', 'bob'].map((userId) => ({ userId: user(userId), role: 'owner' as const }))
  edge.asked('ann', { type: 'createRoom', kind: 'group', participants, history }, id)
}
const add = (userId: string, id = 'group') => edge.asked('ann', { type: 'addParticipant', userId: user(userId), role: 'member' }, id)
const remove = (userId: string, id = 'group') => edge.asked('ann', { type: 'removeParticipant', userId: user(userId) }, id)
const eventOf = (decision: ReturnType<MemoryEdge['asked']>) => decision.entries[0] as RoomEvent
const say = (content: string, id = 'group'): MessageId => (eventOf(edge.asked('ann', { type: 'sendMessage', content, salt: 's' }, id)) as { messageId: MessageId }).messageId
const edit = (messageId: MessageId, content: string, id = 'group') => edge.asked('ann', { type: 'editMessage', messageId, content, salt: 's' }, id)
const erase = (messageId: MessageId, id = 'group') => edge.asked('ann', { type: 'deleteMessage', messageId }, id)
const join = (userId: string, since = 0) => edge.joined(userId, 'group', since)
const upTo = (n: number, from = 1) => Array.from({ length: n - from + 1 }, (_, i) => from + i)

beforeEach(() => {
  edge = new MemoryEdge()
})

describe('where newcomers see what came after them', () => {
  beforeEach(() => open('fromJoin'))

  test('a newcomer begins at his own coming; the others see everything', async () => {
    const message = say('before')
    add('eve')
    say('after')
    edit(message, 'again')
    const [ann, eve] = [await join('ann'), await join('eve')]
    expect(eve.socket.ofType('joined')).toMatchObject([{ since: 2, visibleFrom: 3, headSeq: 5 }])
    expect(eve.socket.seqs('group')).toEqual([3, 4, 5])
    expect(eve.socket.ofType('roomUpdated').at(-1)).toEqual({ type: 'roomUpdated', roomId: 'group', seq: 5, timestamp: expect.any(Number), event: 'private' })
    expect(ann.socket.ofType('joined')[0]).not.toHaveProperty('visibleFrom')
    expect(ann.socket.seqs('group')).toEqual(upTo(5))
    edge.asked('bob', { type: 'react', messageId: message, emoji: '+1', on: true }, 'group')
    await edge.run()
    expect(eve.socket.ofType('roomUpdated').at(-1)).toMatchObject({ seq: 6, event: 'private' })
    expect(ann.socket.ofType('roomUpdated').at(-1)).toMatchObject({ seq: 6, event: 'reactionSet', emoji: '+1' })
  })

  test('a since of later is kept, also from Postgres alone', async () => {
    say('before')
    add('eve')
    for (let i = 0; i < 5; i++) say('after')
    edge.persist()
    expect((await join('eve', 5)).socket.seqs('group')).toEqual([6, 7, 8])
    expect((await join('eve', 1)).socket.seqs('group')).toEqual(upTo(8, 3))
  })

  test('who was removed and is added again begins at the new coming; another role changes nothing', async () => {
    say('a')
    add('eve')
    say('b')
    remove('eve')
    say('c')
    add('eve')
    edge.asked('ann', { type: 'addParticipant', userId: user('eve'), role: 'observer' }, 'group')
    expect((await join('eve')).socket.seqs('group')).toEqual([7, 8])
  })

  test('an admin sees everything', async () => {
    say('a')
    const admin = edge.connect('root', { role: 'admin' })
    admin.request({ id: 1, type: 'join', roomId: 'group' })
    await edge.run()
    expect(admin.socket.seqs('group')).toEqual([1, 2])
  })

  test('nobody reacts to, or answers, what he does not see', async () => {
    const messageId = say('before')
    add('eve')
    edge.persist()
    const eve = await join('eve')
    eve.request({ id: 1, type: 'react', roomId: 'group', messageId, emoji: '+1' })
    eve.request({ id: 2, type: 'sendMessage', roomId: 'group', message: 'yes', replyTo: messageId })
    await edge.run()
    for (const id of [1, 2]) expect(eve.socket.repliesTo(id)).toMatchObject([{ code: 'message_not_found' }])
  })
})

describe('an edit or deletion is known to who joins later', () => {
  const shownOf = (client: Client) => client.socket.ofType('newMessage').map(({ content, revision, deleted }) => ({ content, revision, deleted }))
  const deleted = { content: null, revision: undefined, deleted: true }
  const edited = { content: 'new', revision: 1, deleted: undefined }

  beforeEach(() => open('all'))

  const places: [string, (message: () => MessageId, change: (messageId: MessageId) => void) => Promise<void>][] = [
    ['both in the buffer', async (message, change) => change(message())],
    [
      'the message in Postgres, the rest in the buffer',
      async (message, change) => {
        const messageId = message()
        edge.persist()
        await join('bob')
        change(messageId)
        void edge.rooms.prune()
        await edge.run()
      },
    ],
    [
      'the message in the buffer, the rest ahead in Postgres',
      async (message, change) => {
        const messageId = message()
        // The partition is followed by way of another room, and its tail stops here.
        open('all', 'other')
        await edge.joined('bob', 'other')
        change(messageId)
        edge.persist()
      },
    ],
    [
      'both in Postgres',
      async (message, change) => {
        change(message())
        edge.persist()
      },
    ],
  ]

  describe.each(places)('%s', (_, arrange) => {
    const late = async () => {
      const client = edge.connect('ann')
      client.request({ id: 1, type: 'join', roomId: 'group' })
      // Without the tail: what is there has to do.
      await edge.time.advance(200)
      await edge.run()
      return client
    }

    test('a deleted message has no content', async () => {
      await arrange(() => say('secret'), (messageId) => void erase(messageId))
      const client = await late()
      expect(JSON.stringify(client.socket.frames)).not.toContain('secret')
      expect(shownOf(client)).toEqual([deleted])
      expect(client.socket.seqs('group')).toEqual([1, 2, 3])
    })

    test('an edited message has its last content', async () => {
      await arrange(() => say('old'), (messageId) => void edit(messageId, 'new'))
      const client = await late()
      expect(shownOf(client)).toEqual([edited])
      expect(client.socket.ofType('roomUpdated').at(-1)).toMatchObject({ event: 'messageEdited', revision: 1, content: 'new' })
    })

    test('an edit that was followed by another, or by the deletion, has none', async () => {
      await arrange(
        () => say('old'),
        (messageId) => {
          edit(messageId, 'secret 1')
          edit(messageId, 'secret 2')
          erase(messageId)
        },
      )
      const client = await late()
      expect(JSON.stringify(client.socket.frames)).not.toMatch(/old|secret/)
      expect(client.socket.ofType('roomUpdated').slice(-3)).toMatchObject([{ content: null, revision: 1 }, { content: null, revision: 2 }, { event: 'messageDeleted' }])
      expect(shownOf(client)).toEqual([{ ...deleted, revision: 2 }])
    })
  })

  test('where the buffer has lost what Postgres does not have yet, a replay waits', async () => {
    edge = new MemoryEdge({ buffer: { recordsMax: 2, bytesMax: 1_000_000 }, replayStallMs: 60_000 })
    open('all')
    const message = say('secret')
    edge.persist()
    await join('bob')
    erase(message)
    for (let i = 0; i < 4; i++) say('more')
    await edge.run()
    const client = await join('ann')
    await edge.run(5_000)
    expect(client.socket.ofType('joined')).toMatchObject([{ headSeq: 7 }])
    expect(client.socket.seqs('group')).toEqual([])
    edge.persist()
    await edge.run()
    expect(client.socket.seqs('group')).toEqual(upTo(7))
    expect(JSON.stringify(client.socket.frames)).not.toContain('secret')
  })

  test('who is removed is not shown an edit of after, also where Postgres is ahead', async () => {
    add('eve')
    const message = say('before')
    for (let i = 0; i < 3; i++) say('more')
    edge.persist()
    await join('bob')
    const eve = edge.connect('eve')
    edge.historyMs = 100
    eve.request({ id: 1, type: 'join', roomId: 'group' })
    await edge.time.advance(50)
    remove('eve')
    edit(message, 'secret')
    edge.persist()
    void edge.rooms.prune()
    await edge.time.advance(3_000)
    expect(eve.socket.ofType('newMessage').map(({ content, revision }) => [content, revision])).toEqual([[null, undefined], ['more', undefined], ['more', undefined], ['more', undefined]])
    await edge.run()
    expect(eve.socket.ofType('left')).toHaveLength(1)
    expect(JSON.stringify(eve.socket.frames)).not.toContain('secret')
  })
})

/** One step of anything that can happen between writers, joiners, the tail, the history and the buffer. */
async function step(random: () => number, clients: Client[], messages: Map<string, MessageId[]>): Promise<void> {
  const dice = random()
  const id = pick(random, ['group', 'group-2'])
  const known = messages.get(id)!
  if (dice < 0.15 || known.length === 0) known.push(say(`text ${Math.floor(random() * 1e6)}`, id))
  else if (dice < 0.27) edit(pick(random, known), `text ${Math.floor(random() * 1e6)}`, id)
  else if (dice < 0.35) erase(pick(random, known), id)
  else if (dice < 0.4) add('eve', id)
  else if (dice < 0.43) remove('eve', id)
  else if (dice < 0.6) edge.feed(1 + Math.floor(random() * 5))
  else if (dice < 0.7) edge.persist(edge.persisted + Math.floor(random() * 8))
  else if (dice < 0.76) void edge.rooms.prune().catch(() => {})
  else if (dice < 0.9) {
    const client = edge.connect(pick(random, ['ann', 'bob', 'eve']))
    client.request({ id: 1, type: 'join', roomId: id })
    clients.push(client)
  }
  await edge.time.advance(random() < 0.5 ? 0 : random() * 40)
}

/** The texts of a room's messages that nobody may be shown who was told this head when he joined. */
function forbidden(events: readonly RoomEvent[], headSeq: number, from: number): string[] {
  const told = events.slice(0, headSeq)
  return told.flatMap((event) => {
    if (event.type !== 'messageSent' && event.type !== 'messageEdited') return []
    const messageSeq = event.type === 'messageSent' ? event.seq : event.messageSeq
    const isChanged = told.some((e) => e.seq > event.seq && (e.type === 'messageEdited' || e.type === 'messageDeleted') && e.messageId === event.messageId)
    return isChanged || messageSeq < from ? [event.content] : []
  })
}

test.each(upTo(100))('whoever joins is shown what is there, and nothing that was taken back before (seed %i)', async (seed) => {
  const random = seededRandom(seed)
  edge = new MemoryEdge({ buffer: { recordsMax: 4 + Math.floor(random() * 30), bytesMax: 1_000_000 }, joinWaitMs: 500, replayStallMs: 60_000 })
  open('all')
  open('fromJoin', 'group-2')
  const clients: Client[] = []
  const messages = new Map<string, MessageId[]>([['group', []], ['group-2', []]])
  for (let i = 0; i < 120; i++) await step(random, clients, messages)
  edge.persist()
  await edge.run(2_000)
  expect(edge.corrupt).toEqual([])
  for (const { socket, connection } of clients) {
    const [joined] = socket.ofType('joined')
    if (!joined) continue
    const { roomId, since, headSeq, visibleFrom = 1 } = joined
    const seqs = socket.seqs(roomId)
    expect(seqs).toEqual(upTo(since + seqs.length, since + 1))
    if (connection.subscriptions.size > 0) expect(seqs.length).toBe(edge.state(roomId).headSeq - since)
    const text = JSON.stringify(socket.frames)
    const events = edge.eventsOf(roomId)
    for (const content of forbidden(events, headSeq, visibleFrom)) expect(text).not.toContain(`"${content}"`)
    // Of what was never changed nothing is lost.
    for (const event of events.slice(Math.max(since, visibleFrom - 1), since + seqs.length)) {
      if (event.type !== 'messageSent' || events.some((e) => 'messageSeq' in e && e.messageSeq === event.seq)) continue
      expect(socket.ofType('newMessage').find(({ seq }) => seq === event.seq)).toMatchObject({ content: event.content })
    }
  }
})

describe('who is there', () => {
  test('is told of each join and its end, once each, on every way', async () => {
    const calls: string[] = []
    const of = (what: string) => (connection: { readonly speaker: { readonly userId: string } }, roomId?: unknown) => {
      calls.push(`${what} ${connection.speaker.userId}${typeof roomId === 'string' ? ` ${roomId}` : ''}`)
    }
    const realtime: Realtime = { handle: of('handle'), joined: of('joined'), left: of('left'), opened: of('opened'), closed: of('closed') }
    edge = new MemoryEdge({}, realtime)
    open('all')
    open('all', 'other')
    const take = () => calls.splice(0)
    const eve = edge.connect('eve')
    eve.request({ id: 1, type: 'join', roomId: 'group' })
    await edge.run()
    expect(take(), 'refused').toEqual(['opened eve'])
    const [ann, bob] = [await join('ann'), await join('bob')]
    expect(take()).toEqual(['opened ann', 'joined ann group', 'opened bob', 'joined bob group'])
    ann.request({ type: 'join', roomId: 'group', since: 1 })
    await edge.run()
    expect(take(), 'joined anew').toEqual(['left ann group', 'joined ann group'])
    ann.request({ type: 'leave', roomId: 'group' })
    ann.request({ type: 'leave', roomId: 'group' })
    await edge.run()
    expect(take()).toEqual(['left ann group'])
    bob.request({ type: 'join', roomId: 'other' })
    remove('bob')
    await edge.run()
    expect(take().sort()).toEqual(['joined bob other', 'left bob group'])
    bob.socket.close('internal')
    expect(take()).toEqual(['left bob other', 'closed bob'])
    ann.request({ id: 2, type: 'typing', roomId: 'group', on: true })
    await edge.run()
    expect(take()).toEqual(['handle ann'])
  })

  test('what it throws is the reply', async () => {
    const realtime = { handle: () => Promise.reject(new Error('strange')), joined: () => {}, left: () => {}, opened: () => {}, closed: () => {} }
    edge = new MemoryEdge({}, realtime)
    const ann = edge.connect('ann')
    ann.request({ id: 1, type: 'setPresence', status: 'away' })
    await edge.run()
    expect(ann.socket.repliesTo(1)).toMatchObject([{ type: 'error', code: 'internal' }])
  })
})
