import { beforeEach, describe, expect, test } from 'vitest'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { blockKey } from '#libs/domain/room.ts'
import type { PresenceStatus } from '#libs/domain/presence.ts'
import { newWorld, type RigClient, RigNode, rigLimits, roomOfPeople, type World } from './presence-rig.ts'

const user = (id: string) => id as UserId

let world: World
beforeEach(() => {
  world = newWorld()
})

const presenceFrames = ({ socket }: RigClient) => socket.ofType('presence')

describe('who is there', () => {
  test('a join shows the others of the room; a change goes once to the rooms that are shared and to nobody else', async () => {
    const [one, two] = [new RigNode(world, 'edge-1'), new RigNode(world, 'edge-2')]
    const bob = one.connect('bob', 'order-1')
    const dan = two.connect('dan', 'order-3')
    await world.time.advance(1_000)
    expect(presenceFrames(bob)).toEqual([{ type: 'presence', roomId: 'order-1', users: [{ userId: 'ann', status: 'offline' }] }])
    const ann = two.connect('ann', 'order-1')
    await world.time.advance(1_000)
    expect(presenceFrames(bob).slice(1)).toEqual([{ type: 'presence', roomId: 'order-1', users: [{ userId: 'ann', status: 'online' }] }])
    expect(presenceFrames(ann)).toEqual([{ type: 'presence', roomId: 'order-1', users: [{ userId: 'bob', status: 'online' }] }])
    expect(dan.sees('ann')).toBeUndefined()
    expect(dan.sees('bob')).toBeUndefined()
  })

  test('who has blocked each other are shown neither as present nor as typing, the others are', async () => {
    world.rooms.set('order-1' as RoomId, roomOfPeople({ ann: 'customer', bob: 'vendor', rex: 'rider' }, { blocks: new Set([blockKey(user('bob'), user('ann'))]) }))
    const node = new RigNode(world, 'edge-1')
    const [ann, bob, rex] = [node.connect('ann', 'order-1'), node.connect('bob', 'order-1'), node.connect('rex', 'order-1')]
    await world.time.advance(2_000)
    await ann.request({ type: 'typing', on: true, roomId: 'order-1' as RoomId })
    await world.time.advance(100)
    expect([ann.sees('bob'), bob.sees('ann')]).toEqual([undefined, undefined])
    expect([rex.sees('ann'), rex.sees('bob'), ann.sees('rex')]).toEqual(['online', 'online', 'online'])
    expect([bob.socket.ofType('typing'), rex.socket.ofType('typing')].map((frames) => frames.length)).toEqual([0, 1])
  })

  test('who shares a room that one has not joined is told too', async () => {
    const node = new RigNode(world, 'edge-1')
    const cleo = node.connect('cleo', 'order-2')
    await world.time.advance(1_000)
    const ann = node.connect('ann', 'order-1')
    await world.time.advance(1_000)
    expect(cleo.sees('ann')).toBe('online')
    node.close(ann.connection)
    await world.time.advance(4_000)
    expect(cleo.sees('ann')).toBe('offline')
  })

  test('three devices on two edges: online until the last is gone, away only while all are', async () => {
    const [one, two] = [new RigNode(world, 'edge-1'), new RigNode(world, 'edge-2')]
    const bob = one.connect('bob', 'order-1')
    const devices = [one.connect('ann', 'order-1'), two.connect('ann', 'order-1'), two.connect('ann', 'order-1')]
    await world.time.advance(1_000)
    const settle = async (expected: PresenceStatus) => {
      await world.time.advance(4_000)
      expect(bob.sees('ann')).toBe(expected)
    }
    for (const device of devices) {
      expect(bob.sees('ann')).toBe('online')
      await device.request({ type: 'setPresence', status: 'away', id: 1 })
      expect(device.socket.ofType('ack')).toEqual([{ id: 1, type: 'ack' }])
      await world.time.advance(1_000)
    }
    expect(bob.sees('ann')).toBe('away')
    await devices[1]!.request({ type: 'setPresence', status: 'online' })
    await settle('online')
    two.close(devices[1]!.connection)
    await settle('away')
    one.close(devices[0]!.connection)
    await settle('away')
    two.close(devices[2]!.connection)
    await settle('offline')
    expect(world.events.filter(({ userId }) => userId === 'ann').map(({ status }) => status)).toEqual(['online', 'offline'])
  })

  test('who reconnects within the grace, to whichever edge, has never been away', async () => {
    const [one, two] = [new RigNode(world, 'edge-1'), new RigNode(world, 'edge-2')]
    const bob = one.connect('bob', 'order-1')
    let ann = one.connect('ann', 'order-1')
    await world.time.advance(1_000)
    const before = presenceFrames(bob).length
    for (const node of [one, two, one, two, two]) {
      for (const from of [one, two]) if (from.connections.has(ann.connection)) from.close(ann.connection)
      await world.time.advance(2_000)
      ann = node.connect('ann', 'order-1')
      await world.time.advance(5_000)
    }
    expect(presenceFrames(bob)).toHaveLength(before)
    expect(world.events.filter(({ userId }) => userId === 'ann')).toHaveLength(1)
  })

  test('many changes of one user within a tick are one; all changes of a partition travel together', async () => {
    const node = new RigNode(world, 'edge-1')
    const bob = node.connect('bob', 'order-1')
    const ann = node.connect('ann', 'order-1')
    await world.time.advance(1_000)
    const [before, calls] = [presenceFrames(bob).length, world.live.calls]
    for (let i = 0; i < 20; i++) await ann.request({ type: 'setPresence', status: i % 2 === 0 ? 'away' : 'online' })
    await world.time.advance(1_000)
    expect(presenceFrames(bob)).toHaveLength(before)
    expect(world.live.calls).toBe(calls)
    const published = world.live.published
    await ann.request({ type: 'setPresence', status: 'away' })
    await bob.request({ type: 'setPresence', status: 'away' })
    await world.time.advance(1_000)
    expect([bob.sees('ann'), ann.sees('bob')]).toEqual(['away', 'away'])
    // order-1, and order-2 of ann alone where somebody asked: never more than one a partition.
    expect(world.live.published - published).toBe(1)
  })

  test('an admin who looks on is shown the others, and is not shown himself', async () => {
    const node = new RigNode(world, 'edge-1')
    const bob = node.connect('bob', 'order-1')
    const admin = node.connectAs({ userId: user('ann'), role: 'admin', expiresAtMs: Number.POSITIVE_INFINITY }, 'order-1')
    await world.time.advance(5_000)
    expect(bob.sees('ann')).toBe('offline')
    expect(admin.sees('bob')).toBe('online')
    expect(world.events.map(({ userId }) => userId)).toEqual(['bob'])
  })

  test('nothing is shown to a socket that is still being replayed, and then the present state', async () => {
    const node = new RigNode(world, 'edge-1')
    const bob = node.connect('bob')
    const subscription = node.join(bob.connection, 'order-1')
    subscription.mode = 'replaying'
    const ann = node.connect('ann', 'order-1')
    await world.time.advance(2_000)
    await ann.request({ type: 'setPresence', status: 'away' })
    await world.time.advance(2_000)
    expect(presenceFrames(bob)).toEqual([])
    subscription.mode = 'live'
    await world.time.advance(1_000)
    expect(presenceFrames(bob)).toEqual([{ type: 'presence', roomId: 'order-1', users: [{ userId: 'ann', status: 'away' }] }])
  })

  test('who was removed from the room is not shown there any more', async () => {
    const node = new RigNode(world, 'edge-1')
    const bob = node.connect('bob', 'order-1')
    const ann = node.connect('ann', 'order-1')
    await world.time.advance(1_000)
    const before = presenceFrames(bob).length
    world.rooms.set('order-1' as RoomId, roomOfPeople({ bob: 'vendor' }))
    await ann.request({ type: 'setPresence', status: 'away' })
    await world.time.advance(1_000)
    expect(presenceFrames(bob)).toHaveLength(before)
  })
})

describe('last seen', () => {
  const seenByBob = async (hide: (ann: RigClient) => Promise<void> | void) => {
    const node = new RigNode(world, 'edge-1')
    const bob = node.connect('bob', 'order-1')
    const ann = node.connect('ann', 'order-1')
    await hide(ann)
    await world.time.advance(1_000)
    node.close(ann.connection)
    const goneMs = world.time.nowMs()
    await world.time.advance(5_000)
    const [user] = presenceFrames(bob).at(-1)!.users
    const again = node.connect('bob', 'order-1')
    await world.time.advance(1_000)
    expect(presenceFrames(again)[0]!.users).toEqual([user])
    return { user, goneMs }
  }

  test('is told with the change and to those who join later', async () => {
    const { user: ann, goneMs } = await seenByBob(() => {})
    expect(ann).toMatchObject({ userId: 'ann', status: 'offline' })
    expect(ann.lastSeenMs).toBeGreaterThanOrEqual(goneMs)
    expect(ann.lastSeenMs).toBeLessThanOrEqual(goneMs + rigLimits.graceMs + 500)
  })

  test('is hidden by the session', async () => {
    world.live.seen.set(user('ann'), 1)
    expect((await seenByBob((ann) => ann.request({ type: 'setPresence', status: 'online', hideLastSeen: true }))).user).toEqual({ userId: 'ann', status: 'offline' })
    expect(world.live.seen.has(user('ann'))).toBe(false)
  })

  test('is hidden by the user\'s settings', async () => {
    world.hiding.add(user('ann'))
    expect((await seenByBob(() => {})).user).toEqual({ userId: 'ann', status: 'offline' })
  })

  test('of somebody on an edge that died is hidden too where his session said so', async () => {
    const [one, two] = [new RigNode(world, 'edge-1'), new RigNode(world, 'edge-2')]
    const bob = one.connect('bob', 'order-1', 'order-2')
    const ann = two.connect('ann', 'order-1')
    await ann.request({ type: 'setPresence', status: 'online', hideLastSeen: true })
    await world.time.advance(20_000)
    two.kill()
    await world.time.advance(30_000)
    expect(presenceFrames(bob).at(-1)!.users).toEqual([{ userId: 'ann', status: 'offline' }])
  })
})

describe('an edge dies', () => {
  test('its users are announced offline within 30 s, by one of the others, once', async () => {
    const nodes = [1, 2, 3].map((i) => new RigNode(world, `edge-${i}`))
    const bobs = nodes.map((node) => node.connect('bob', 'order-1'))
    nodes[2]!.connect('ann', 'order-1')
    await world.time.advance(20_000)
    const before = bobs.map((bob) => presenceFrames(bob).length)
    nodes[2]!.kill()
    await world.time.advance(10_000)
    expect(bobs[0]!.sees('ann')).toBe('online')
    await world.time.advance(20_000)
    for (const i of [0, 1]) {
      expect(bobs[i]!.sees('ann')).toBe('offline')
      expect(presenceFrames(bobs[i]!)).toHaveLength(before[i]! + 1)
    }
    expect(world.events.filter(({ userId }) => userId === 'ann').map(({ status }) => status)).toEqual(['online', 'offline'])
    // bob has devices elsewhere: nothing has changed.
    expect(world.events.filter(({ userId }) => userId === 'bob')).toHaveLength(1)
    expect([...world.live.nodes.keys()]).toEqual(['edge-1-0', 'edge-2-0'])
  })

  test('whoever is back on another edge by then was never gone', async () => {
    const [one, two] = [new RigNode(world, 'edge-1'), new RigNode(world, 'edge-2')]
    const bob = one.connect('bob', 'order-1')
    two.connect('ann', 'order-1')
    await world.time.advance(20_000)
    two.kill()
    await world.time.advance(8_000)
    one.connect('ann', 'order-1')
    const before = presenceFrames(bob).length
    await world.time.advance(40_000)
    expect(presenceFrames(bob)).toHaveLength(before)
    expect(bob.sees('ann')).toBe('online')
  })

  test('one that stops in order leaves its users to the others after the grace', async () => {
    const [one, two] = [new RigNode(world, 'edge-1'), new RigNode(world, 'edge-2')]
    const bob = one.connect('bob', 'order-1')
    const ann = two.connect('ann', 'order-1')
    await world.time.advance(20_000)
    two.close(ann.connection)
    await two.realtime.presence.stop()
    two.kill()
    await world.time.advance(12_000)
    expect(bob.sees('ann')).toBe('offline')
  })

  test('a going that its edge could not publish is published by another', async () => {
    const [one, two] = [new RigNode(world, 'edge-1'), new RigNode(world, 'edge-2')]
    one.connect('bob', 'order-1')
    const ann = two.connect('ann', 'order-1')
    await world.time.advance(20_000)
    world.events.length = 0
    world.kafkaDown = true
    two.close(ann.connection)
    await world.time.advance(4_000)
    expect(world.live.pending).toMatchObject([{ userId: 'ann', status: 'offline', edgeId: 'edge-2' }])
    two.kill()
    world.kafkaDown = false
    await world.time.advance(30_000)
    expect(world.events).toMatchObject([{ userId: 'ann', status: 'offline', edgeId: 'edge-2' }])
    expect(world.live.pending).toEqual([])
  })
})

describe('Redis', () => {
  test('is down: nothing is shown and nobody is disturbed; back, empty: all is right again within 30 s', async () => {
    const [one, two] = [new RigNode(world, 'edge-1'), new RigNode(world, 'edge-2')]
    const bob = one.connect('bob', 'order-1')
    const ann = two.connect('ann', 'order-1')
    await world.time.advance(20_000)
    world.live.down = true
    for (const node of [one, two]) node.loseBus()
    const cleo = one.connect('cleo', 'order-2')
    await ann.request({ type: 'setPresence', status: 'away' })
    await world.time.advance(60_000)
    expect(presenceFrames(cleo)).toEqual([])
    expect(bob.sees('ann')).toBe('online')
    world.live.wipe()
    world.live.down = false
    for (const node of [one, two]) node.realtime.regained()
    await world.time.advance(30_000)
    expect([bob.sees('ann'), cleo.sees('ann')]).toEqual(['away', 'away'])
    expect(ann.sees('bob')).toBe('online')
  })

  test('is back with what it had: edges that could not say that they live are not taken for dead', async () => {
    const [one, two] = [new RigNode(world, 'edge-1'), new RigNode(world, 'edge-2')]
    const bob = one.connect('bob', 'order-1')
    two.connect('ann', 'order-1')
    await world.time.advance(20_000)
    world.live.down = true
    await world.time.advance(60_000)
    world.live.down = false
    await world.time.advance(60_000)
    expect(presenceFrames(bob).flatMap(({ users }) => users).filter(({ status }) => status !== 'online')).toEqual([])
    expect(world.events).toHaveLength(2)
  })

  test('has done what it was asked and the answer is lost: the change is announced all the same', async () => {
    const node = new RigNode(world, 'edge-1')
    const bob = node.connect('bob', 'order-1')
    await world.time.advance(1_000)
    const ann = node.connect('ann', 'order-1')
    await world.time.advance(1_000)
    node.close(ann.connection)
    await world.time.advance(2_900)
    world.live.answersLost = true
    await world.time.advance(600)
    world.live.answersLost = false
    await world.time.advance(1_000)
    expect(bob.sees('ann')).toBe('offline')
  })

  test('is down for very long: what is remembered stays bounded, and nobody is left as a ghost', async () => {
    const node = new RigNode(world, 'edge-1', { ...rigLimits, goneMax: 50 })
    const bob = node.connect('bob', 'order-1')
    const ann = node.connect('ann', 'order-1')
    await world.time.advance(20_000)
    world.live.down = true
    node.close(ann.connection)
    for (let i = 0; i < 500; i++) {
      node.close(node.connect(`guest-${i}`, 'order-1').connection)
      await world.time.advance(100)
    }
    world.live.down = false
    await world.time.advance(60_000)
    expect(bob.sees('ann')).toBe('offline')
    expect([...world.live.users.keys()]).toEqual(['bob'])
    expect(world.live.nodes.size).toBe(1)
  })
})
