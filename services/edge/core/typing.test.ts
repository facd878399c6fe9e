import fc from 'fast-check'
import { beforeEach, expect, test } from 'vitest'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { VirtualTime } from '#libs/streams/memory-log.ts'
import { MemoryLive } from './presence-memory.ts'
import { type RigClient, RigNode, roomOfPeople, TICK_MS, type World } from './presence-rig.ts'
import { Typing, typingLimits, type TypingNews } from './typing.ts'

const ROOM = 'order-1' as RoomId

function newWorld(): World {
  const time = new VirtualTime()
  const rooms = new Map([[ROOM, roomOfPeople({ ann: 'customer', bob: 'vendor', oskar: 'observer' })]])
  return { time, live: new MemoryLive(() => time.nowMs()), rooms, events: [], hiding: new Set(), products: new Map() }
}

let world: World
let nodes: readonly [RigNode, RigNode]
beforeEach(async () => {
  world = newWorld()
  nodes = [new RigNode(world, 'edge-1'), new RigNode(world, 'edge-2')]
})

const typing = ({ socket }: RigClient) => socket.ofType('typing').map(({ userId, on }) => `${userId} ${on ? 'types' : 'stops'}`)
const say = (client: RigClient, on: boolean, roomId?: string) => client.request({ type: 'typing', roomId: (roomId ?? ROOM) as RoomId, on })

test('reaches everybody in the room on all edges but the typist\'s own devices, and ends when he says so', async () => {
  const [ann, tablet, bob, other] = [nodes[0].connect('ann', ROOM), nodes[1].connect('ann', ROOM), nodes[0].connect('bob', ROOM), nodes[1].connect('bob', ROOM)]
  const elsewhere = nodes[1].connect('bob')
  await world.time.advance(1_000)
  await say(ann, true)
  await world.time.advance(100)
  await say(ann, false)
  await world.time.advance(100)
  for (const client of [bob, other]) expect(client.socket.ofType('typing')).toEqual([true, false].map((on) => ({ type: 'typing', roomId: ROOM, userId: 'ann', on })))
  for (const client of [ann, tablet, elsewhere]) expect(typing(client)).toEqual([])
  // Not twice, and not where nobody was typing.
  await say(ann, false)
  await world.time.advance(10_000)
  expect(typing(bob)).toHaveLength(2)
})

test('expires by itself after 5 s, and lasts while it is said again', async () => {
  const [ann, bob] = [nodes[0].connect('ann', ROOM), nodes[1].connect('bob', ROOM)]
  await world.time.advance(1_000)
  for (let i = 0; i < 4; i++) {
    await say(ann, true)
    await world.time.advance(3_000)
  }
  expect(typing(bob)).toEqual(['ann types', 'ann types', 'ann types', 'ann types'])
  await world.time.advance(1_900)
  expect(typing(bob)).toHaveLength(4)
  await world.time.advance(500)
  expect(typing(bob).at(-1)).toBe('ann stops')
})

test('said again within a second it is not passed on', async () => {
  const [ann] = [nodes[0].connect('ann', ROOM)]
  await world.time.advance(1_000)
  const before = world.live.published
  for (let i = 0; i < 30; i++) {
    await say(ann, true)
    await world.time.advance(100)
  }
  expect(world.live.published - before).toBe(3)
})

test('ends with the message, with leaving and with the socket; another device of his changes nothing', async () => {
  const [bob, ann, tablet] = [nodes[1].connect('bob', ROOM), nodes[0].connect('ann', ROOM), nodes[0].connect('ann', ROOM)]
  await world.time.advance(1_000)
  const ends = [() => nodes[0].realtime.sent(ROOM, 'ann' as UserId), () => nodes[0].leave(ann.connection, ROOM), () => nodes[0].close(ann.connection)]
  for (const end of ends) {
    if (!ann.connection.subscriptions.has(ROOM)) nodes[0].join(ann.connection, ROOM)
    const before = typing(bob).length
    await say(ann, true)
    await world.time.advance(1_200)
    if (end === ends[2]) nodes[0].close(tablet.connection)
    await world.time.advance(100)
    expect(typing(bob).slice(before)).toEqual(['ann types'])
    end()
    await world.time.advance(100)
    expect(typing(bob).slice(before)).toEqual(['ann types', 'ann stops'])
  }
})

test('its edge dies: the others end it', async () => {
  const [ann, bob] = [nodes[0].connect('ann', ROOM), nodes[1].connect('bob', ROOM)]
  await world.time.advance(1_000)
  await say(ann, true)
  await world.time.advance(100)
  nodes[0].kill()
  await world.time.advance(typingLimits.expiresMs + TICK_MS)
  expect(typing(bob)).toEqual(['ann types', 'ann stops'])
})

test('who may not write here is refused; so is a room that was not joined, and one that is closed', async () => {
  const [ann, oskar, admin] = [nodes[0].connect('ann', ROOM), nodes[0].connect('oskar', ROOM), nodes[0].connectAs({ userId: 'root' as UserId, role: 'admin', expiresAtMs: 1e15 }, ROOM)]
  const stranger = nodes[0].connect('ann')
  await expect(say(stranger, true)).rejects.toMatchObject({ code: 'not_joined' })
  await expect(say(ann, true, 'order-9')).rejects.toMatchObject({ code: 'not_joined' })
  await expect(say(oskar, true)).rejects.toMatchObject({ code: 'not_allowed' })
  await expect(say(admin, true)).rejects.toMatchObject({ code: 'admin_is_read_only' })
  await expect(stranger.request({ type: 'typing', on: true })).rejects.toMatchObject({ code: 'malformed_frame' })
  world.rooms.set(ROOM, roomOfPeople({ ann: 'customer' }, { readOnly: true }))
  await expect(say(ann, true)).rejects.toMatchObject({ code: 'room_read_only' })
})

test('who was removed, and who is only being replayed, hears nothing; who was removed is not shown', async () => {
  const [ann, bob] = [nodes[0].connect('ann', ROOM), nodes[1].connect('bob', ROOM)]
  await world.time.advance(1_000)
  bob.connection.subscriptions.get(ROOM)!.mode = 'replaying'
  await say(ann, true)
  await world.time.advance(1_100)
  expect(typing(bob)).toEqual([])
  bob.connection.subscriptions.get(ROOM)!.mode = 'live'
  nodes[1].leave(bob.connection, ROOM)
  await say(ann, true)
  await world.time.advance(6_000)
  expect(typing(bob)).toEqual([])
  nodes[1].join(bob.connection, ROOM)
  await world.time.advance(1_000)
  // One edge has read of the removal, the other has not yet.
  const said = say(ann, true)
  world.rooms.set(ROOM, roomOfPeople({ bob: 'vendor' }))
  await said
  await world.time.advance(1_000)
  expect(typing(bob)).toEqual([])
})

test('Redis is down: nobody is told, and nobody is refused', async () => {
  const [ann, bob] = [nodes[0].connect('ann', ROOM), nodes[1].connect('bob', ROOM)]
  await world.time.advance(1_000)
  world.live.down = true
  await ann.request({ type: 'typing', roomId: ROOM, on: true, id: 7 })
  await world.time.advance(1_000)
  expect(ann.socket.ofType('ack')).toEqual([{ id: 7, type: 'ack', roomId: ROOM }])
  expect(typing(bob)).toEqual([])
})

test('an edge listens to the partitions in which it has joined rooms, and lets go of idle ones', async () => {
  const ann = nodes[0].connect('ann', ROOM)
  const bob = nodes[0].connect('bob', ROOM)
  await world.time.advance(100)
  expect([nodes[0].realtime.channels.open, nodes[1].realtime.channels.open]).toEqual([1, 0])
  nodes[0].leave(ann.connection, ROOM)
  await world.time.advance(120_000)
  expect(nodes[0].realtime.channels.open).toBe(1)
  nodes[0].close(bob.connection)
  await world.time.advance(59_000)
  expect(nodes[0].realtime.channels.open).toBe(1)
  await world.time.advance(2_000)
  expect(nodes[0].realtime.channels.open).toBe(0)
})

type Step = { readonly who: 'ann' | 'bob'; readonly on: boolean } | { readonly ms: number } | { readonly lost: boolean }
const steps: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ who: fc.constantFrom('ann' as const, 'bob' as const), on: fc.boolean() }),
  fc.record({ ms: fc.constantFrom(100, 900, 1_100, 3_000, 4_800, 5_400) }),
  fc.record({ lost: fc.boolean() }),
)

test('whatever is said or lost on the way: nobody is shown as typing for longer than 5 s after he last said so', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(steps, { maxLength: 30 }), async (course) => {
      world = newWorld()
      const [one, two] = [new RigNode(world, 'edge-1'), new RigNode(world, 'edge-2')]
      const people = { ann: one.connect('ann', ROOM), bob: two.connect('bob', ROOM) }
      const watcher = two.connect('oskar', ROOM)
      await world.time.advance(1_000)
      const saidMs = new Map<string, number>()
      const check = () => {
        for (const who of ['ann', 'bob']) {
          const shown = typing(watcher).findLast((line) => line.startsWith(who)) === `${who} types`
          if (shown) expect(world.time.nowMs() - saidMs.get(who)!).toBeLessThanOrEqual(typingLimits.expiresMs + TICK_MS)
        }
      }
      for (const step of course) {
        if ('lost' in step) world.live.down = step.lost
        else if ('ms' in step) await world.time.advance(step.ms)
        else {
          if (step.on) saidMs.set(step.who, world.time.nowMs())
          await say(people[step.who], step.on)
          await world.time.advance(0)
        }
        check()
      }
      await world.time.advance(typingLimits.expiresMs + TICK_MS)
      for (const who of ['ann', 'bob']) expect(typing(watcher).findLast((line) => line.startsWith(who))).not.toBe(`${who} types`)
      expect(two.realtime.typing.shown).toBe(0)
    }),
    { numRuns: 150 },
  )
})

test('no more are remembered than may be: of those shown the oldest ends early, of those who type it expires elsewhere', async () => {
  const heard: TypingNews[] = []
  const node = new RigNode(world, 'edge-3')
  const typing3 = new Typing({ rooms: { room: (id) => node.room(id) }, publish: (_, news) => heard.push(news), nowMs: () => world.time.nowMs(), limits: { ...typingLimits, shownMax: 1, saidMax: 1 } })
  const [ann, bob, oskar] = [node.connect('ann', ROOM), node.connect('bob', ROOM), node.connect('oskar', ROOM)]
  for (const { connection } of [ann, bob]) typing3.say(connection, ROOM, true)
  for (const news of [...heard]) typing3.heard(news)
  expect(typing(oskar)).toEqual(['ann types', 'bob types', 'ann stops'])
  typing3.say(ann.connection, ROOM, false)
  typing3.say(bob.connection, ROOM, false)
  expect(heard.map(({ userId, on }) => `${userId} ${on}`)).toEqual(['ann true', 'bob true', 'bob false'])
})
