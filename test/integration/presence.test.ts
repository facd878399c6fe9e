import { setTimeout as pause } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { Stance } from '#libs/domain/presence.ts'
import { createPresenceStore, presenceStoreLimits } from '#libs/redis/presence-store.ts'
import { createPubSub, type PubSub } from '#libs/redis/pub-sub.ts'
import { type Isolated, useStack } from '../support/stack.ts'

const DEAD_MS = 300
const online: Stance = { status: 'online', hidesLastSeen: false }
const away: Stance = { status: 'away', hidesLastSeen: false }
const user = (id: string) => id as UserId
const room = (id: string) => id as RoomId

let isolated: Isolated
let redis: Redis

beforeAll(async () => {
  isolated = await (await useStack()).isolate('presence')
  redis = new Redis(isolated.redisUrl)
})

afterAll(async () => {
  redis?.disconnect()
  await isolated?.cleanup()
})

/** The stores of two edges, on keys of their own. */
async function twoStores(name: string, limits = presenceStoreLimits) {
  const storeOf = (edgeId: string) => createPresenceStore({ redis, keyPrefix: `${name}:`, edgeId, limits })
  const stores = [storeOf('edge-1'), storeOf('edge-2')] as const
  for (const [i, store] of stores.entries()) expect(await store.beat(`n${i + 1}`, DEAD_MS)).toEqual({ isNew: true, dead: [] })
  return stores
}

const said = (userId: string, stance: Stance | undefined, rooms: readonly string[] = [], repeat = false) => ({ userId: user(userId), stance, rooms: rooms.map(room), repeat })

test('of what two nodes say of a user each change is told once, to the one that made it, with his rooms', async () => {
  const [one, two] = await twoStores('changes')
  const [came] = (await one.say('n1', [said('ann', online, ['r1', 'r2'])]))!
  expect(came).toMatchObject({ userId: 'ann', before: 'offline', after: 'online', hidesLastSeen: false })
  expect(came!.rooms.toSorted()).toEqual(['r1', 'r2'])
  expect(Math.abs(came!.atMs - Date.now())).toBeLessThan(5_000)
  expect(await two.say('n2', [said('ann', away, ['r3'])])).toEqual([])
  expect(await one.say('n1', [said('ann', undefined)])).toMatchObject([{ before: 'online', after: 'away' }])
  expect(await two.say('n2', [said('ann', online)])).toMatchObject([{ before: 'away', after: 'online' }])
  expect(await two.say('n2', [said('ann', { status: 'away', hidesLastSeen: true })])).toMatchObject([{ before: 'online', after: 'away' }])
  const [gone] = (await two.say('n2', [said('ann', undefined)]))!
  expect(gone).toMatchObject({ before: 'away', after: 'offline', hidesLastSeen: true })
  expect(gone!.rooms.toSorted()).toEqual(['r1', 'r2', 'r3'])
  // Nothing is left of who is nowhere, but where he may be asked for.
  expect((await redis.keys('changes:presence:*ann')).toSorted()).toEqual(['changes:presence:rooms:ann'])
  // An answer that was lost is given again.
  expect(await two.say('n2', [said('ann', undefined, [], true), said('bob', undefined)])).toMatchObject([{ userId: 'ann', before: 'offline', after: 'offline' }])
})

test('both say the same at once: one change', async () => {
  const [one, two] = await twoStores('race')
  const users = Array.from({ length: 50 }, (_, i) => said(`u${i}`, online))
  const [a, b] = await Promise.all([one.say('n1', users), two.say('n2', users)])
  expect([...a!, ...b!].map(({ userId }) => userId).toSorted()).toEqual(users.map(({ userId }) => userId).toSorted())
  const gone = users.map(({ userId }) => said(userId, undefined))
  const [c, d] = await Promise.all([one.say('n1', gone), two.say('n2', gone)])
  expect([...c!, ...d!].map(({ after }) => after)).toEqual(users.map(() => 'offline'))
})

test('a node that is not known is told so, and nothing is done', async () => {
  const [one] = await twoStores('unknown')
  expect(await one.say('n9', [said('ann', online)])).toBeUndefined()
  expect(await redis.exists('unknown:presence:user:ann')).toBe(0)
})

test('who joins sees what the others are, and from then on their changes name the room', async () => {
  const [one, two] = await twoStores('watch')
  await one.say('n1', [said('ann', away)])
  await two.setLastSeen([{ userId: user('bob'), atMs: 1_795_263_491_325 }, { userId: user('ann'), atMs: 5 }])
  const { atMs, users } = await two.watch([{ roomId: room('r7'), userIds: [user('ann'), user('bob')] }, { roomId: room('r8'), userIds: [user('ann'), user('cleo')] }])
  expect(Math.abs(atMs - Date.now())).toBeLessThan(5_000)
  expect(Object.fromEntries(users)).toEqual({
    ann: { userId: 'ann', status: 'away' },
    bob: { userId: 'bob', status: 'offline', lastSeenMs: 1_795_263_491_325 },
    cleo: { userId: 'cleo', status: 'offline' },
  })
  const [change] = (await one.say('n1', [said('ann', online)]))!
  expect(change!.rooms.toSorted()).toEqual(['r7', 'r8'])
  expect((await one.say('n1', [said('cleo', online)]))![0]!.rooms).toEqual(['r8'])
  await one.setLastSeen([{ userId: user('bob'), atMs: undefined }])
  expect((await one.watch([{ roomId: room('r7'), userIds: [user('bob')] }])).users.get(user('bob'))).toEqual({ userId: 'bob', status: 'offline' })
  expect(await redis.pttl('watch:presence:seen:ann')).toBeGreaterThan(presenceStoreLimits.lastSeenKeptMs - 60_000)
  expect(await redis.pttl('watch:presence:rooms:ann')).toBeGreaterThan(presenceStoreLimits.roomKeptMs - 60_000)
})

test('a dead node: its users are taken off it piece by piece, each change told once; who is elsewhere too has not gone', async () => {
  const [one, two] = await twoStores('dead')
  await two.say('n2', [said('ann', online, ['r1']), said('bob', { status: 'online', hidesLastSeen: true }), said('cleo', online), said('dan', away)])
  await one.say('n1', [said('cleo', away)])
  expect(await one.reap('n2', DEAD_MS, 10)).toEqual({ changes: [], left: 0 })
  await pause(DEAD_MS + 100)
  expect(await one.beat('n1', DEAD_MS)).toEqual({ isNew: false, dead: ['n2'] })
  expect([await one.claim('reap:n2', 'n1', 10_000), await two.claim('reap:n2', 'n3', 10_000), await one.claim('reap:n2', 'n1', 10_000)]).toEqual([true, false, true])
  const first = await one.reap('n2', DEAD_MS, 3)
  expect(first.left).toBe(1)
  const second = await one.reap('n2', DEAD_MS, 3)
  expect(second.left).toBe(0)
  const changes = [...first.changes, ...second.changes].toSorted((a, b) => (a.userId < b.userId ? -1 : 1))
  expect(changes).toMatchObject([
    { userId: 'ann', before: 'online', after: 'offline', rooms: ['r1'], hidesLastSeen: false },
    { userId: 'bob', before: 'online', after: 'offline', hidesLastSeen: true },
    { userId: 'cleo', before: 'online', after: 'away' },
    { userId: 'dan', before: 'away', after: 'offline' },
  ])
  expect(await redis.keys('dead:presence:node:*')).toEqual(['dead:presence:node:n1'])
  // Back after all: it is a new one to the others.
  expect(await two.beat('n2', DEAD_MS)).toMatchObject({ isNew: true })
})

test('a node that stops in order is dead after the grace', async () => {
  const [one, two] = await twoStores('abandoned')
  await two.abandon('n2', 60_000, 1_500)
  expect((await one.beat('n1', 60_000)).dead).toEqual([])
  await vi.waitFor(async () => expect((await one.beat('n1', 60_000)).dead).toEqual(['n2']), { timeout: 5_000, interval: 100 })
})

test('comings and goings wait until somebody has published them, the oldest are forgotten above the bound', async () => {
  const [one, two] = await twoStores('pending', { ...presenceStoreLimits, pendingMax: 3 })
  await one.say('n1', [said('ann', online), said('bob', away)])
  await one.say('n1', [said('ann', away)])
  await pause(1_100)
  const overdue = await two.overdue(0, 10)
  expect(overdue).toMatchObject([{ userId: 'ann', status: 'online', edgeId: 'edge-1' }, { userId: 'bob', status: 'online' }])
  expect(await two.overdue(60_000, 10)).toEqual([])
  await two.published([overdue[0]!])
  await one.say('n1', ['c', 'd', 'e'].map((id) => said(id, online)))
  await pause(1_100)
  expect((await two.overdue(0, 10)).map(({ userId }) => userId)).toEqual(['c', 'd', 'e'])
})

test('of a user\'s rooms the latest are remembered', async () => {
  const [one] = await twoStores('bounded', { ...presenceStoreLimits, roomsPerUserMax: 5 })
  for (let i = 0; i < 8; i++) {
    await one.say('n1', [said('ann', online, [`r${i}`])])
    await pause(2)
  }
  expect((await one.say('n1', [said('ann', away)]))![0]!.rooms).toEqual(['r7', 'r6', 'r5', 'r4', 'r3'])
})

test('what is published is heard by all who listen to the partition, and after an outage by those who ask again', async () => {
  const logs = [0, 1].map(() => ({ heard: [] as string[], lost: 0, regained: 0 }))
  const buses: PubSub[] = logs.map((log) =>
    createPubSub({ redis, keyPrefix: 'bus:', onMessage: (text) => log.heard.push(text), onLost: () => log.lost++, onRegained: () => log.regained++ }),
  )
  try {
    await vi.waitFor(() => expect(logs.map(({ regained }) => regained)).toEqual([1, 1]))
    await Promise.all(buses.map((bus) => bus.subscribe(3)))
    await buses[1]!.subscribe(4)
    await buses[0]!.publish(3, 'to both')
    await buses[0]!.publish(4, 'to one')
    await vi.waitFor(() => expect(logs.map(({ heard }) => heard)).toEqual([['to both'], ['to both', 'to one']]))
    await buses[1]!.unsubscribe(4)
    await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
    await vi.waitFor(() => expect(logs.map(({ lost, regained }) => [lost, regained])).toEqual([[1, 2], [1, 2]]), { timeout: 5_000 })
    await buses[0]!.publish(3, 'to nobody')
    await buses[1]!.subscribe(3)
    await buses[0]!.publish(3, 'to one again')
    await vi.waitFor(() => expect(logs[1]!.heard.at(-1)).toBe('to one again'))
    expect(logs.flatMap(({ heard }) => heard)).not.toContain('to nobody')
    expect(logs[0]!.heard).toEqual(['to both'])
  } finally {
    for (const bus of buses) bus.close()
  }
})
