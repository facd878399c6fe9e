import { beforeEach, describe, expect, test } from 'vitest'
import { pick } from '#libs/streams/memory-task.ts'
import { seededRandom } from '#libs/streams/memory-log.ts'
import { type Client, MemoryEdge, room } from './memory-edge.ts'

let edge: MemoryEdge

beforeEach(() => {
  edge = new MemoryEdge()
  edge.accepted()
})

const upTo = (n: number, from = 1) => Array.from({ length: n - from + 1 }, (_, i) => from + i)
const join = (client: Client, since = 0, roomId = 'order-1') => client.request({ id: `join ${roomId}`, type: 'join', roomId, since })
const say = (count: number) => {
  for (let i = 0; i < count; i++) edge.said(`m${i}`)
}
/** The tail keeps up for a while. */
const run = async (ms = 500) => {
  for (let i = 0; i < ms; i += 50) {
    edge.feed()
    await edge.time.advance(50)
  }
}
async function joined(userId: string, since = 0): Promise<Client> {
  const client = edge.connect(userId)
  join(client, since)
  await run()
  return client
}
const refusal = (client: Client) => client.socket.ofType('error').at(-1)

describe('join', () => {
  test('with the history ahead of the tail: all of it once, from Postgres', async () => {
    say(12)
    await joined('customer')
    edge.persist()
    say(3)
    edge.persist()
    const late = edge.connect('vendor')
    join(late)
    await edge.time.advance(500)
    await run()
    expect(late.socket.seqs()).toEqual(upTo(16))
    expect(late.socket.ofType('caughtUp')).toHaveLength(1)
  })

  test('with the history behind the tail: what it lacks comes from the buffer', async () => {
    say(4)
    edge.persist()
    say(9)
    const client = await joined('customer')
    say(2)
    await run()
    expect(client.socket.seqs()).toEqual(upTo(16))
    expect(client.socket.ofType('joined')).toMatchObject([{ id: 'join order-1', since: 0, headSeq: 5, readOnly: false }])
  })

  test('replays since + 1 … head and nothing else', async () => {
    say(9)
    edge.persist()
    expect((await joined('customer', 7)).socket.seqs()).toEqual([8, 9, 10])
    expect((await joined('vendor', 10)).socket.seqs()).toEqual([])
  })

  test('above the head is refused once the edge has read all that the log held', async () => {
    const client = edge.connect('customer')
    join(client, 9)
    await run()
    expect(refusal(client)).toMatchObject({ code: 'invalid_request', id: 'join order-1' })
    say(8)
    join(client, 9)
    await run()
    expect(client.socket.ofType('joined')).toHaveLength(1)
  })

  test('reads the history again where the buffer was pruned above what it read', async () => {
    await joined('customer')
    edge.historyMs = 100
    say(6)
    edge.accepted('order-2')
    edge.feed()
    const client = edge.connect('vendor')
    join(client, 0, 'order-2')
    await edge.time.advance(150)
    // The room was read at a position below; now the buffer loses what lies between.
    edge.persist()
    void edge.rooms.prune()
    await edge.time.advance(60)
    const partition = edge.rooms.partitions.get(0)!
    expect(partition.buffer.floor).toBe(0n)
    partition.buffer.prune(BigInt(edge.log.length))
    await edge.time.advance(600)
    expect(client.socket.seqs('order-2')).toEqual([1])
  })

  test('is refused as retriable where Postgres is behind by more than the buffer holds', async () => {
    edge = new MemoryEdge({ buffer: { recordsMax: 2, bytesMax: 1_000_000 } })
    edge.accepted()
    edge.accepted('order-2')
    await joined('customer')
    say(5)
    await run()
    const client = edge.connect('vendor')
    join(client, 0, 'order-2')
    await run(4_000)
    expect(refusal(client)).toMatchObject({ code: 'history_unavailable', retriable: true })
    edge.persist()
    join(client, 0, 'order-2')
    await run()
    expect(client.socket.seqs('order-2')).toEqual([1])
  })

  test('over and over on the same socket has the history read a few times at once, and ends with all of it', async () => {
    say(12)
    edge.persist()
    const client = await joined('vendor')
    // What the buffer holds needs no reading.
    for (const partition of edge.rooms.partitions.values()) partition.buffer.prune(partition.position)
    edge.historyMs = 1_000
    for (let i = 0; i < 100; i++) {
      join(client)
      await edge.time.advance(1)
    }
    client.socket.frames.length = 0
    join(client)
    await run(30_000)
    expect(edge.reads.max).toBeLessThanOrEqual(4)
    expect(client.socket.seqs()).toEqual(upTo(13))
    expect(client.socket.ofType('caughtUp')).toHaveLength(1)
  })

  test('again on the same socket starts over from since', async () => {
    say(3)
    const client = await joined('customer')
    join(client, 2)
    await run()
    say(1)
    await run()
    expect(client.socket.seqs()).toEqual([1, 2, 3, 4, 3, 4, 5])
  })

  test('is refused beyond the limit of rooms, and says stale while the log is not heard from', async () => {
    for (const id of ['order-2', 'order-3', 'order-4']) edge.accepted(id)
    const client = await joined('customer')
    for (const id of ['order-2', 'order-3', 'order-4']) join(client, 0, id)
    await run()
    expect(refusal(client)).toMatchObject({ code: 'too_many_rooms', id: 'join order-4' })
    edge.logHealthy = false
    const other = await joined('vendor')
    expect(other.socket.ofType('joined')).toMatchObject([{ stale: true }])
  })
})

describe('access', () => {
  test.each([
    ['stranger', 'order-1', 'not_a_participant'],
    ['customer', 'no-such-order', 'room_not_found'],
  ])('%s in %s: %s, but only after the edge has read the log', async (userId, roomId, code) => {
    const client = edge.connect(userId)
    join(client, 0, roomId)
    await edge.time.advance(1_900)
    expect(refusal(client)).toBeUndefined()
    edge.feed()
    await edge.time.advance(50)
    expect(refusal(client)).toMatchObject({ code, id: `join ${roomId}` })
  })

  test('no answer in time is retriable, never a false 403 or 404', async () => {
    const client = edge.connect('stranger')
    join(client)
    await edge.time.advance(2_100)
    expect(refusal(client)).toMatchObject({ code: 'unavailable', retriable: true })
  })

  test('without Kafka or without Postgres a refusal is retriable', async () => {
    edge.historyDown = true
    const client = await joined('customer')
    expect(refusal(client)).toMatchObject({ code: 'history_unavailable', retriable: true })
    edge.historyDown = false
    edge.logHealthy = false
    join(client, 0, 'no-such-order')
    await run()
    expect(refusal(client)).toMatchObject({ code: 'unavailable', retriable: true })
  })

  test('an admin reads every room', async () => {
    const client = edge.connect('root', { role: 'admin' })
    join(client)
    await run()
    expect(client.socket.seqs()).toEqual([1])
  })

  test('a room that was just opened is found', async () => {
    edge.persist()
    await joined('customer')
    edge.accepted('order-2')
    const client = edge.connect('customer')
    join(client, 0, 'order-2')
    await run()
    expect(client.socket.seqs('order-2')).toEqual([1])
  })
})

describe('removal', () => {
  const replaceRider = () => edge.rider('r2', 20)

  test('ends a live subscription: nothing after it, and no way back', async () => {
    edge.rider('r1', 10)
    const client = await joined('r1')
    replaceRider()
    say(2)
    await run()
    expect(client.socket.seqs()).toEqual([1, 2, 3])
    expect(client.socket.ofType('left')).toMatchObject([{ roomId: 'order-1', code: 'not_a_participant' }])
    join(client)
    await run()
    expect(refusal(client)).toMatchObject({ code: 'not_a_participant' })
  })

  test('ends a replay: nothing at or after it is shown', async () => {
    edge.rider('r1', 10)
    say(30)
    edge.persist()
    await joined('customer')
    const client = edge.connect('r1')
    edge.historyMs = 100
    join(client)
    await edge.time.advance(250)
    replaceRider()
    say(3)
    await run(3_000)
    const seqs = client.socket.seqs()
    expect(seqs).toEqual(upTo(seqs.length))
    expect(seqs.length).toBeLessThan(33)
    expect(client.connection.subscriptions.size).toBe(0)
  })

  test('a replay shows nothing that the history has ahead of this edge', async () => {
    edge.rider('r1', 10)
    say(30)
    edge.persist()
    await joined('customer')
    const client = edge.connect('r1')
    edge.historyMs = 100
    join(client)
    await edge.time.advance(150)
    replaceRider()
    say(3)
    edge.persist()
    // The tail has not brought the removal yet.
    await edge.time.advance(3_000)
    expect(client.socket.seqs()).toEqual(upTo(32))
  })

  test('closes a socket of that room alone', async () => {
    edge.rider('r1', 10)
    const client = edge.connect('r1', { first: { roomId: room('order-1'), since: 0 } })
    await run()
    replaceRider()
    await run()
    expect(client.socket.closedWith).toBe('not_a_participant')
  })

  test.each(upTo(60))('at any step of a join leaves no subscription (%i)', async (ticks) => {
    edge.rider('r1', 10)
    edge.persist()
    await joined('customer')
    const client = edge.connect('r1')
    replaceRider()
    join(client)
    for (let i = 0; i < ticks; i++) await Promise.resolve()
    edge.feed()
    await run()
    say(1)
    await run()
    expect(client.connection.subscriptions.size).toBe(0)
    expect(client.socket.seqs().every((seq) => seq <= 3)).toBe(true)
  })
})

describe('pace', () => {
  test('a replay waits for drain, and brings everything', async () => {
    say(60)
    edge.persist()
    const client = edge.connect('customer')
    client.socket.stuck = true
    join(client)
    await run(2_000)
    const got = client.socket.seqs().length
    expect(got).toBeGreaterThan(0)
    expect(got).toBeLessThan(20)
    expect(client.socket.closedWith).toBeUndefined()
    for (let i = 0; i < 60; i++) {
      client.socket.buffered = 0
      client.connection.onDrain()
      await run(100)
    }
    expect(client.socket.seqs()).toEqual(upTo(61))
  })

  test('a live socket that does not drain is closed, the others go on', async () => {
    const slow = await joined('customer')
    const quick = await joined('vendor')
    slow.socket.stuck = true
    say(40)
    await run()
    expect(slow.socket.closedWith).toBe('slow_consumer')
    expect(quick.socket.seqs()).toEqual(upTo(41))
    expect(edge.sessions.size).toBe(1)
  })

  test('a replay that history cannot feed closes the socket for another try', async () => {
    say(5)
    edge.persist()
    await joined('customer')
    edge.historyDown = true
    const client = edge.connect('vendor')
    join(client)
    await run(8_000)
    expect(client.socket.closedWith).toBe('history_unavailable')
    expect(edge.troubles.length).toBeGreaterThan(0)
  })
})

describe('the partition', () => {
  test('void records are not shown, whoever claims what', async () => {
    const client = await joined('customer')
    edge.decided({ type: 'orderEnded', orderId: room('order-1'), eventId: 'x', occurredAtMs: 1, reason: 'cancelled' }, { asVoid: true })
    edge.mark()
    say(1)
    await run()
    expect(client.socket.seqs()).toEqual([1, 2])
    expect(client.socket.ofType('newMessage')).toHaveLength(1)
  })

  test('nobody uses it for a while: the edge lets go, and follows it again when asked', async () => {
    const client = await joined('customer')
    client.request({ id: 1, type: 'leave', roomId: 'order-1' })
    await run()
    await edge.time.advance(61_000)
    edge.rooms.sweep()
    expect(edge.rooms.partitions.size).toBe(0)
    edge.persist()
    say(3)
    join(client, 1)
    await run()
    expect(client.socket.seqs()).toEqual([1, 2, 3, 4])
  })

  test('a partition is not let go while somebody is being let into a room of it', async () => {
    edge.persist()
    edge.historyMs = 40_000
    const client = edge.connect('customer')
    join(client)
    await edge.time.advance(150_000)
    edge.rooms.sweep()
    edge.historyMs = 5
    await edge.time.advance(20_000)
    say(3)
    await run()
    expect(client.socket.seqs()).toEqual(upTo(4))
  })
})

/** One step of anything that can happen between a joiner, the tail, the history and the buffer. */
async function step(random: () => number, clients: Client[]): Promise<void> {
  const dice = random()
  if (dice < 0.3) edge.said('x', pick(random, ['order-1', 'order-2']))
  else if (dice < 0.5) edge.feed(1 + Math.floor(random() * 5))
  else if (dice < 0.6) edge.persist(edge.persisted + Math.floor(random() * 8))
  else if (dice < 0.68) void edge.rooms.prune().catch(() => {})
  else if (dice < 0.72) edge.mark()
  else if (dice < 0.76) edge.decided({ type: 'orderEnded', orderId: room('order-1'), eventId: 'x', occurredAtMs: 1, reason: 'cancelled' }, { asVoid: true })
  else if (dice < 0.86) {
    const client = edge.connect(pick(random, ['customer', 'vendor']))
    const { headSeq } = edge.state()
    join(client, Math.floor(random() * (headSeq + 1)))
    clients.push(client)
  } else if (dice < 0.9) pick(random, [undefined, ...clients])?.socket.close('internal')
  await edge.time.advance(random() < 0.5 ? 0 : random() * 40)
}

test.each(upTo(200))('every client sees since + 1 … head, in order, each once (seed %i)', async (seed) => {
  const random = seededRandom(seed)
  edge = new MemoryEdge({ buffer: { recordsMax: 4 + Math.floor(random() * 30), bytesMax: 1_000_000 }, joinWaitMs: 500 })
  edge.accepted()
  edge.accepted('order-2')
  const clients: Client[] = []
  for (let i = 0; i < 80; i++) await step(random, clients)
  edge.persist()
  await run(1_000)
  expect(edge.corrupt).toEqual([])
  for (const { socket } of clients) {
    const since = socket.ofType('joined')[0]?.since as number | undefined
    const end = socket.closedWith ? (since ?? 0) + socket.seqs().length : edge.state().headSeq
    expect(socket.seqs()).toEqual(since === undefined ? [] : upTo(end, since + 1))
    if (since === undefined && !socket.closedWith) expect(socket.ofType('error')).toMatchObject([{ retriable: true }])
  }
})
