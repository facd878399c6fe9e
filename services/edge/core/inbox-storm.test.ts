import { expect, test } from 'vitest'
import { seededRandom } from '#libs/streams/memory-log.ts'
import { pick } from '#libs/streams/memory-task.ts'
import { type Client, MemoryEdge } from './memory-edge.ts'

const liveTypes = ['roomAdded', 'roomRemoved', 'unreadChanged', 'roomRead', 'chatChanged']
const sync = (client: Client, cursor: number) => client.request({ id: 'sync', type: 'sync', cursor })

/** What a client holds that does as the protocol says. */
function held({ socket }: Client, start: ReadonlyMap<string, unknown>, cursor: number) {
  const chatsHeld = new Map(start)
  let last = cursor
  let standing: number | undefined
  for (const frame of socket.frames) {
    if (frame.type === 'inboxPage') {
      for (const { userSeq, ...chat } of frame.chats) {
        expect(userSeq).toBeGreaterThan(last)
        last = userSeq
        chatsHeld.set(chat.roomId, chat)
      }
    } else if (frame.type === 'synced') {
      expect(frame.userSeq).toBeGreaterThanOrEqual(last)
      standing = last = frame.userSeq
    } else if (liveTypes.includes(frame.type) || (frame.type === 'ack' && frame.chat)) {
      // Before it stands anywhere an ack tells of what the pages bring too; and where Postgres was ahead of the tail, of what they have brought.
      if (standing === undefined || (frame.type === 'ack' && frame.userSeq <= last)) continue
      expect(frame.userSeq).toBe(last + 1)
      standing = last = frame.userSeq
      chatsHeld.set(frame.chat.roomId, frame.chat)
    }
  }
  return { chats: chatsHeld, last, standing }
}

type Open = { client: Client; userId: string; start: ReadonlyMap<string, unknown>; cursor: number; asked: boolean }

/** Persister, prune, tail, changes, syncs and closes in any order; the feed now and then changes its owner. */
async function storm(seed: number) {
  const random = seededRandom(seed)
  const world = new MemoryEdge({ buffer: { recordsMax: 6 + Math.floor(random() * 60), bytesMax: 1_000_000 }, joinWaitMs: 20_000, replayStallMs: 60_000 })
  const { users: feed } = world
  const people = ['vendor', 'customer']
  const open: Open[] = []
  const connect = (userId: string, before?: Open) => {
    const was = before && held(before.client, before.start, before.cursor)
    open.push({ client: world.connect(userId), userId, start: was?.chats ?? new Map(), cursor: was?.last ?? 0, asked: false })
  }
  for (const userId of people) connect(userId)
  const steps: (() => void | Promise<void>)[] = [
    () => void feed.said(pick(random, people), `order-${Math.floor(random() * 8)}`),
    () => void feed.changed(pick(random, people), `order-${Math.floor(random() * 8)}`, 'read', { seen: 1 }),
    () => {
      for (let i = 0; i < 12; i++) feed.said(pick(random, people), `order-${i}`)
    },
    () => void feed.changed(pick(random, people), 'ghost', 'added', {}, { asVoid: true }),
    () => feed.mark(),
    () => feed.feed(1 + Math.floor(random() * 5)),
    () => feed.feed(),
    () => feed.persist(feed.persisted + Math.floor(random() * 6)),
    () => void feed.inbox.prune(),
    () => void (feed.historyMs = pick(random, [1, 5, 40])),
    async () => {
      feed.historyMs = 1
      feed.feed()
      feed.persist()
      await world.time.advance(1)
      void feed.inbox.prune()
      await world.time.advance(3)
    },
    () => world.time.advance(Math.floor(random() * 30)),
    () => {
      const one = pick(random, open)
      if (one.asked || one.client.socket.closedWith) return
      one.asked = true
      sync(one.client, one.cursor)
    },
    () => {
      const one = pick(random, open)
      if (one.client.socket.closedWith) return
      one.client.request({ type: 'setChat', id: 1, roomId: `order-${Math.floor(random() * 8)}`, archived: random() < 0.5 })
    },
    () => feed.answer(),
    () => {
      const one = pick(random, open)
      if (random() < 0.7 || one.client.socket.closedWith) return
      one.client.socket.close('internal')
      connect(one.userId, one)
    },
    () => {
      const { socket, connection } = pick(random, open).client
      socket.stuck = !socket.stuck
      if (socket.stuck) return
      socket.buffered = 0
      connection.onDrain()
    },
  ]
  for (let i = 0; i < 150; i++) await pick(random, steps)()
  await settle(open, feed, connect)
  return { world, feed, open }
}

/** Everybody reads again, comes back with what he has, and Postgres catches up. */
async function settle(open: Open[], feed: MemoryEdge['users'], connect: (userId: string, before: Open) => void): Promise<void> {
  for (const { client } of open) {
    Object.assign(client.socket, { stuck: false, buffered: 0 })
    client.connection.onDrain()
  }
  // Whoever was closed as slow comes back with what he has.
  for (const one of [...open]) if (one.client.socket.closedWith === 'slow_consumer') connect(one.userId, one)
  for (const one of open) if (!one.asked && !one.client.socket.closedWith) sync(one.client, one.cursor)
  // With a small buffer they cannot be brought up before Postgres has come closer.
  for (let i = 0; i < 10; i++) {
    await feed.run(400)
    feed.persist()
    void feed.inbox.prune()
  }
}

test.each(Array.from({ length: 150 }, (_, i) => i + 1))('whatever comes in whatever order, each socket ends with exactly the chats of its user, without a hole (seed %i)', async (seed) => {
  const { world, feed, open } = await storm(seed)
  expect([world.corrupt, world.troubles]).toEqual([[], []])
  let ended = 0
  for (const { client, userId, start, cursor } of open) {
    const has = held(client, start, cursor)
    if (client.socket.closedWith) continue
    ended++
    const { userSeq, chats: all } = feed.stateOf(userId)
    expect(has.standing, JSON.stringify(client.socket.ofType('error'))).toBe(userSeq)
    expect([...has.chats.keys()].sort()).toEqual([...all.keys()].sort())
    for (const [roomId, chat] of all) expect(has.chats.get(roomId)).toMatchObject({ roomSeq: chat.roomSeq, unread: Math.max(0, chat.messageCount - chat.seen), messageCount: chat.messageCount })
  }
  expect(ended).toBeGreaterThan(0)
})
