import { createECDH, randomBytes } from 'node:crypto'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import webPush from 'web-push'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { postgresConfigFromEnv } from '#libs/postgres/config.ts'
import { createPool } from '#libs/postgres/pool.ts'
import { withTransaction } from '#libs/postgres/transaction.ts'
import { createActiveUsers } from '#libs/redis/active-users.ts'
import { createPresenceStore, presenceStoreLimits } from '#libs/redis/presence-store.ts'
import type { ReadPosition } from '#libs/streams/read-by-rule.ts'
import type { Payload } from '../../services/notifier/core/delivery.ts'
import { notificationIdOf } from '../../services/notifier/core/judge.ts'
import { removeOlder } from '../../services/notifier/delivery-store.ts'
import { createNotificationStore } from '../../services/notifier/store.ts'
import { useStack } from '../support/stack.ts'
import { System } from '../support/system.ts'
import { silent } from './api-fixture.ts'
import { checkedPush, followDeadLetters, Queue, Receiver, selfSigned, startFeed, verifiedWebhook } from './notifier-rig.ts'

const PARTITIONS = 4
const GRACE_MS = 1_000
const WEBHOOK_SECRET = `whsec_${randomBytes(32).toString('base64')}`
const vapid = webPush.generateVAPIDKeys()
const user = (id: string) => id as UserId
const room = (id: string) => id as RoomId

let system: System
let queue: Queue
let webhook: Receiver
let push: Receiver
/** Takes connections and never says anything. */
let dead: Server
let deadHost: string
let redis: Redis
let feed: Awaited<ReturnType<typeof startFeed>>
let deadLetters: Awaited<ReturnType<typeof followDeadLetters>>

beforeAll(async () => {
  const stack = await useStack()
  queue = await Queue.create(stack)
  const tls = selfSigned()
  webhook = await Receiver.start()
  push = await Receiver.start(tls)
  dead = createServer()
  await new Promise<void>((resolve) => dead.listen(0, '127.0.0.1', resolve))
  deadHost = `127.0.0.1:${(dead.address() as AddressInfo).port}`
  system = await System.start(stack, 'notifier', {
    count: { 'sqs-bridge': 0, 'room-state': 0, 'message-persister': 0, edge: 0, notifier: 2 },
    partitions: PARTITIONS,
    env: {
      NOTIFIER_GRACE_MS: String(GRACE_MS),
      NOTIFIER_PREVIEW: '1',
      NOTIFIER_ATTEMPTS_MAX: '3',
      NOTIFIER_BREAKER_FAILURES: '2',
      NOTIFIER_BREAKER_OPEN_MS: '60000',
      NOTIFIER_DEAD_MS: '2000',
      NOTIFIER_TIMEOUT_MS: '2000',
      NOTIFIER_SQS_QUEUE_URL: queue.url,
      NOTIFIER_WEBHOOK_URL: `http://${webhook.host}/hook`,
      NOTIFIER_WEBHOOK_SECRET: WEBHOOK_SECRET,
      VAPID_SUBJECT: 'mailto:ops@example.com',
      VAPID_PUBLIC_KEY: vapid.publicKey,
      VAPID_PRIVATE_KEY: vapid.privateKey,
      PUSH_HOSTS: `${push.host},${deadHost}`,
      NODE_EXTRA_CA_CERTS: tls.certFile,
    },
  })
  redis = new Redis(system.names.redisUrl)
  feed = await startFeed(system, PARTITIONS)
  deadLetters = await followDeadLetters(system)
})

afterAll(async () => {
  await deadLetters?.close()
  await feed?.close()
  redis?.disconnect()
  await system?.close()
  push?.close()
  webhook?.close()
  dead?.close()
  await queue?.close()
})

const soon = <T>(check: () => T | Promise<T>, timeoutMs = 30_000) => vi.waitFor(check, { timeout: timeoutMs, interval: 100 })
const hooked = (userId: string) => webhook.requests.map((request) => verifiedWebhook(request, WEBHOOK_SECRET)).filter((payload) => payload.userId === userId)
const queued = async (userId: string) => (await queue.drain()).filter((payload) => payload.userId === userId)

async function subscribe(userId: string, host: string, path: string): Promise<void> {
  const ecdh = createECDH('prime256v1')
  await system.pool.query('INSERT INTO push_subscriptions (user_id, endpoint, p256dh, auth) VALUES ($1, $2, $3, $4)', [
    userId,
    `https://${host}${path}`,
    ecdh.generateKeys().toString('base64url'),
    randomBytes(16).toString('base64url'),
  ])
}

test('who is away is told by queue, webhook and browser; reading elsewhere clears it', async () => {
  webhook.answers.set('/hook', (nr) => (nr === 1 ? 500 : 200))
  await subscribe('ann', push.host, '/ann')
  for (let i = 0; i < 3; i++) await feed.act('ann', 'r1', { type: 'said', by: user('bob') })
  const expected = { type: 'notification', userId: 'ann', roomId: 'r1', kind: 'message', count: 3, badge: 3, title: { senderId: 'bob', roomKind: 'group' }, firstIndex: 1, lastIndex: 3 }
  await soon(async () => expect(await queued('ann')).toMatchObject([expected]))
  // The first attempt was answered with 500: the same comes again, with the same id.
  await soon(() => expect(hooked('ann')).toMatchObject([expected, expected]))
  expect(new Set(hooked('ann').map(({ dedupeId }) => dedupeId))).toEqual(new Set((await queued('ann')).map(({ dedupeId }) => dedupeId)))
  const pushed = () => push.requests.filter(({ path }) => path === '/ann')
  await soon(() => expect(pushed()).toHaveLength(1))
  const checked = await checkedPush(pushed()[0]!, push.host, vapid.publicKey)
  expect(checked).toMatchObject({ key: vapid.publicKey, subject: 'mailto:ops@example.com', encoding: 'aes128gcm', urgency: 'high', ttl: '86400', keyBytes: 65 })
  expect(checked.senderKey[0]).toBe(4)
  expect(pushed()[0]!.body.includes('bob')).toBe(false)

  await feed.act('ann', 'r1', { type: 'read' })
  const cleared = { type: 'cleared', notificationId: hooked('ann')[0]!.notificationId, collapseKey: checked.topic, count: 0, badge: 0 }
  await soon(async () => expect((await queued('ann')).at(-1)).toMatchObject(cleared))
  await soon(() => expect(hooked('ann').at(-1)).toMatchObject(cleared))
  await soon(() => expect(pushed()).toHaveLength(2))
  expect(await checkedPush(pushed()[1]!, push.host, vapid.publicKey)).toMatchObject({ topic: checked.topic, urgency: 'low' })
  const { rows } = await system.pool.query("SELECT kind, count::int, badge::int, closed_by, read_at IS NOT NULL AS read FROM notifications WHERE user_id = 'ann'")
  expect(rows).toEqual([{ kind: 'message', count: 0, badge: 0, closed_by: 'read', read: true }])
  await soon(async () => expect((await system.pool.query("SELECT target FROM notifications_shown WHERE user_id = 'ann'")).rows).toEqual([]))
})

test('a notification that is closed by hand is cleared everywhere too, as a state of its own', async () => {
  await feed.act('cat', 'r1', { type: 'said', by: user('bob') })
  await soon(() => expect(hooked('cat')).toMatchObject([{ type: 'notification', badge: 1 }]))
  await system.pool.query("UPDATE notifications SET read_at = now(), closed_by = 'read' WHERE user_id = 'cat'")
  // The message itself is as unread as before.
  await soon(() => expect(hooked('cat')).toMatchObject([{ type: 'notification' }, { type: 'cleared', count: 0, badge: 1 }]))
  const [shown, cleared] = hooked('cat')
  expect(cleared!.version).toBeGreaterThan(shown!.version)
  expect(cleared!.dedupeId).not.toBe(shown!.dedupeId)
  await feed.act('cat', 'r1', { type: 'said', by: user('bob') })
  await soon(() => expect(hooked('cat').at(-1)).toMatchObject({ type: 'notification', firstIndex: 2, count: 2, badge: 2 }))
})

test('who has a device in use is not told; away is not in use, and neither is a dead node’s', async () => {
  const store = createPresenceStore({ redis, keyPrefix: 'order-chat:', edgeId: 'edge-1', limits: presenceStoreLimits })
  const say = (userId: string, status: 'online' | 'away') => store.say('n1', [{ userId: user(userId), stance: { status, hidesLastSeen: false }, rooms: [], repeat: false }])
  await store.beat('n1', 15_000)
  await say('here', 'online')
  await say('idle', 'away')
  await redis.hset('order-chat:presence:user:ghost', 'n-dead', 'o')
  for (const userId of ['here', 'idle', 'ghost', 'off']) await feed.act(userId, 'r2', { type: 'said', by: user('bob') })
  await soon(async () => {
    const { rows } = await system.pool.query("SELECT user_id FROM notifications WHERE room_id = 'r2' ORDER BY user_id")
    expect(rows.map((row) => row.user_id)).toEqual(['ghost', 'idle', 'off'])
  })
  await soon(async () => expect(await silences('active')).toBe(1))
})

test('where Redis does not answer, that is said', async () => {
  const nowhere = new Redis({ host: '127.0.0.1', port: 1, enableOfflineQueue: false, maxRetriesPerRequest: 0, retryStrategy: () => null })
  nowhere.on('error', () => {
    // What is asked of it is told.
  })
  const activeUsers = createActiveUsers({ redis: nowhere, keyPrefix: 'order-chat:', deadMs: 1_000 })
  await expect(activeUsers([user('here')])).rejects.toMatchObject({ code: 'unavailable' })
  nowhere.disconnect()
})

const processes = () => ['notifier-1', 'notifier-2'].map((id) => system.process(id))
const total = async (series: string) => (await Promise.all(processes().map((process) => process.metricSum(series)))).reduce((sum, n) => sum + n, 0)
const silences = (reason: string) => total(`notifier_silent_total{reason="${reason}"`)

test('a dead push service is left alone and its deliveries are dead-lettered; the others go on', async () => {
  const users = Array.from({ length: 6 }, (_, i) => `dead${i}`)
  for (const userId of users) await subscribe(userId, deadHost, `/${userId}`)
  for (const userId of users) await subscribe(userId, push.host, `/${userId}`)
  for (const userId of users) await feed.act(userId, 'r3', { type: 'said', by: user('bob') })
  await soon(async () => expect(new Set((await queue.drain()).filter(({ roomId }) => roomId === 'r3').map(({ userId }) => userId))).toEqual(new Set(users)), 10_000)
  await soon(() => expect(push.requests.filter(({ path }) => users.includes(path.slice(1)))).toHaveLength(users.length), 10_000)
  await soon(async () => expect(await total(`notifier_breaker_open{provider="${deadHost}"`)).toBeGreaterThanOrEqual(1))
  await soon(() => expect(deadLetters.letters.filter(({ payload }) => payload.roomId === 'r3')).toHaveLength(users.length), 45_000)
  const letter = deadLetters.letters.find(({ payload }) => payload.userId === 'dead0')!
  expect(letter.headers).toMatchObject({ 'error-code': 'unavailable', attempts: '3', target: expect.stringMatching(/^webPush:/) })
  expect(letter.headers['error-reason']).toMatch(deadHost)
  expect(letter.payload).toMatchObject({ type: 'notification', dedupeId: (await queued('dead0'))[0]!.dedupeId })
  expect(await total(`notifier_breaker_open{provider="${push.host}"`)).toBe(0)
}, 90_000)

test('a subscription that the push service has given up is removed; one that leads elsewhere gets nothing', async () => {
  push.answers.set('/gone', () => 410)
  await subscribe('eve', push.host, '/gone')
  await subscribe('eve', '127.0.0.1:1', '/elsewhere')
  await feed.act('eve', 'r4', { type: 'said', by: user('bob') })
  await soon(async () => {
    const { rows } = await system.pool.query("SELECT endpoint FROM push_subscriptions WHERE user_id = 'eve'")
    expect(rows).toEqual([{ endpoint: 'https://127.0.0.1:1/elsewhere' }])
  })
  await soon(() => expect(deadLetters.letters.find(({ payload }) => payload.userId === 'eve')?.headers).toMatchObject({ 'error-code': 'delivery_refused', attempts: '1' }))
})

test('the preview is what the user may see when it is sent', async () => {
  const people = ['fay', 'gus', 'hal', 'ivy', 'jan']
  await insertRoom('r5', people)
  await insertMessages('r5', 'hi there')
  await system.pool.query("INSERT INTO message_changes (room_id, message_seq, revision, content_seq, deleted_seq) VALUES ('r5', 2, 0, 2, 9)")
  await system.pool.query("SELECT erase_message_content('r5', 3, 'test', 'test')")
  await system.pool.query("INSERT INTO room_blocks (room_id, blocker_id, blocked_id) VALUES ('r5', 'ivy', 'bob')")
  await system.pool.query("DELETE FROM room_participants WHERE user_id = 'jan'")
  // Each is about the message of as many says: of seq 1 to 3, then 1 again.
  for (const [i, userId] of people.entries()) for (let n = 0; n < [1, 2, 3, 1, 1][i]!; n++) await feed.act(userId, 'r5', { type: 'said', by: user('bob') })
  await soon(() => expect(people.map((userId) => hooked(userId).at(-1)?.preview ?? hooked(userId).length)).toEqual(['hi there 1', 1, 1, 1, 1]))
})

async function insertRoom(roomId: string, people: readonly string[]): Promise<void> {
  await system.pool.query("INSERT INTO chat_rooms (room_id, kind, participants, head_seq, message_count, opened_at, last_event_at) VALUES ($1, 'group', '[]', 3, 3, now(), now())", [roomId])
  for (const userId of people) await system.pool.query("INSERT INTO room_participants (user_id, room_id, role, since_seq) VALUES ($1, $2, 'member', 1)", [userId, roomId])
}

async function insertMessages(roomId: string, content: string): Promise<void> {
  for (let seq = 1; seq <= 3; seq++) {
    await system.pool.query(
      "INSERT INTO chat_messages (room_id, seq, message_id, client_message_id, sender_id, message_index, sent_at) VALUES ($1, $2, gen_random_uuid(), $3, 'bob', $2, now())",
      [roomId, seq, `c${seq}`],
    )
    await system.pool.query("INSERT INTO message_contents (room_id, seq, content, salt) VALUES ($1, $2, $3, 'salt')", [roomId, seq, `${content} ${seq}`])
  }
}

test('of two notifiers on one partition one writes, and the other writes nothing', async () => {
  const pool = createPool(postgresConfigFromEnv({ POSTGRES_URL: system.names.postgresUrl }), silent)
  try {
    const [one, zombie] = [createNotificationStore(pool, { sqs: false, webhook: false, webPush: false }, async () => 5n), createNotificationStore(pool, { sqs: true, webhook: false, webPush: false }, async () => 6n)]
    const before = await one.readPosition(99)
    // The first begins where the log does.
    expect([before, await zombie.readPosition(99)]).toEqual([{ nextOffset: 5n, ownerEpoch: -1n, lastSources: new Map() }, before])
    const after: ReadPosition = { nextOffset: 7n, ownerEpoch: 3n, lastSources: new Map([['inbox-updates', 2n ** 60n]]) }
    const notice = {
      notificationId: notificationIdOf(user('zoe'), room('r6'), '1'), userId: user('zoe'), roomId: room('r6'), kind: 'message' as const, firstIndex: 1, lastIndex: 1, lastSeq: 1, count: 1,
      senderId: user('bob'), roomKind: 'group' as const, roomName: 'n', badge: 1, userSeq: 1,
    }
    expect(await one.apply(99, before, after, { settlements: [], notices: [notice] })).toEqual({ told: 1, closed: 0, jobs: 0 })
    expect(await zombie.apply(99, before, after, { settlements: [], notices: [{ ...notice, lastSeq: 2 }] })).toBeUndefined()
    expect(await one.readPosition(99)).toEqual(after)
    const { rows } = await pool.query("SELECT last_seq, version > 0 AS versioned FROM notifications WHERE user_id = 'zoe'")
    expect(rows).toEqual([{ last_seq: 1, versioned: true }])
    // Read again from an older position, what was told and closed is not told anew.
    const closing = { userId: user('zoe'), roomId: room('r6'), userSeq: 2, seen: 1, count: 0, badge: 0, closes: undefined, closesInvitation: true }
    expect(await one.apply(99, after, after, { settlements: [closing], notices: [notice] })).toEqual({ told: 0, closed: 1, jobs: 0 })
  } finally {
    await pool.end()
  }
})

test('what is closed by hand stays closed: by what comes due only then, and by what is read in part at the same moment', async () => {
  const pool = createPool(postgresConfigFromEnv({ POSTGRES_URL: system.names.postgresUrl }), silent)
  try {
    const store = createNotificationStore(pool, { sqs: false, webhook: false, webPush: false }, async () => 0n)
    const at = (nextOffset: bigint): ReadPosition => ({ nextOffset, ownerEpoch: 3n, lastSources: new Map() })
    const before = await store.readPosition(97)
    const notice = (first: number, last: number, roomId: string) => ({
      notificationId: notificationIdOf(user('yan'), room(roomId), String(first)), userId: user('yan'), roomId: room(roomId), kind: 'message' as const, firstIndex: first, lastIndex: last, lastSeq: last, count: last,
      senderId: user('bob'), roomKind: 'group' as const, roomName: 'n', badge: last, userSeq: last,
    })
    const openIn = async (roomId: string) => (await pool.query("SELECT first_index AS first, last_index AS last FROM notifications WHERE user_id = 'yan' AND room_id = $1 AND read_at IS NULL", [roomId])).rows
    await store.apply(97, before, at(1n), { settlements: [], notices: [notice(1, 3, 'r7'), notice(1, 3, 'r8')] })
    await pool.query("UPDATE notifications SET read_at = now(), closed_by = 'read' WHERE user_id = 'yan' AND room_id = 'r7'")
    // The grace of the second message of the burst is over.
    expect(await store.apply(97, at(1n), at(2n), { settlements: [], notices: [notice(2, 3, 'r7')] })).toMatchObject({ told: 0 })
    expect(await store.apply(97, at(2n), at(3n), { settlements: [], notices: [notice(4, 4, 'r7')] })).toMatchObject({ told: 1 })
    expect(await openIn('r7')).toEqual([{ first: 4, last: 4 }])

    const part = { userId: user('yan'), roomId: room('r8'), userSeq: 4, seen: 1, count: 2, badge: 2, closes: undefined, closesInvitation: true }
    let settled: Promise<unknown> | undefined
    await withTransaction(pool, 'read committed', async (hand) => {
      await hand.query("UPDATE notifications SET read_at = now(), closed_by = 'read' WHERE user_id = 'yan' AND room_id = 'r8'")
      settled = store.apply(97, at(3n), at(4n), { settlements: [part], notices: [] })
      await soon(async () => expect((await pool.query("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE notifications%' AND datname = current_database()")).rowCount).toBe(1))
    })
    expect(await settled).toMatchObject({ closed: 0 })
    expect(await openIn('r8')).toEqual([])
  } finally {
    await pool.end()
  }
})

test('a change is told also where a worker takes the job of the one before just then', async () => {
  const pool = createPool(postgresConfigFromEnv({ POSTGRES_URL: system.names.postgresUrl }), silent)
  try {
    const store = createNotificationStore(pool, { sqs: true, webhook: false, webPush: false }, async () => 0n)
    const before = await store.readPosition(96)
    const notice = {
      notificationId: notificationIdOf(user('wes'), room('r9'), '1'), userId: user('wes'), roomId: room('r9'), kind: 'message' as const, firstIndex: 1, lastIndex: 1, lastSeq: 1, count: 1,
      senderId: user('bob'), roomKind: 'group' as const, roomName: 'n', badge: 1, userSeq: 1,
    }
    await pool.query("SELECT graphile_worker.add_job('sqs', json_build_object('userId', 'wes', 'roomId', 'r9', 'subscriptionId', NULL), run_at => now() + interval '1 hour', job_key => 'sqs wes r9')")
    let applied: Promise<unknown> | undefined
    await withTransaction(pool, 'read committed', async (worker) => {
      await worker.query("UPDATE graphile_worker._private_jobs SET locked_at = now(), locked_by = 'worker' WHERE key = 'sqs wes r9'")
      applied = store.apply(96, before, { nextOffset: 1n, ownerEpoch: 3n, lastSources: new Map() }, { settlements: [], notices: [notice] })
      await soon(async () => expect((await pool.query("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%add_jobs%' AND datname = current_database() AND pid <> pg_backend_pid()")).rowCount).toBe(1))
    })
    expect(await applied).toEqual({ told: 1, closed: 0, jobs: 1 })
    await soon(async () => expect(await queued('wes')).toMatchObject([{ type: 'notification', count: 1 }]))
  } finally {
    await pool.end()
  }
})

test('what is older than it is kept goes, however much it is', async () => {
  const pool = createPool(postgresConfigFromEnv({ POSTGRES_URL: system.names.postgresUrl }), silent)
  try {
    await pool.query("INSERT INTO notifications_shown (user_id, room_id, target, version, begun_at) SELECT 'xia', 'r' || i, 'sqs', 1, now() - interval '40 days' FROM generate_series(1, 2500) i")
    await pool.query("INSERT INTO notifications_shown (user_id, room_id, target, version) VALUES ('xia', 'r0', 'sqs', 1)")
    expect(await removeOlder(pool, 30 * 24 * 3_600_000)).toBe(2_500)
    expect((await pool.query("SELECT room_id FROM notifications_shown WHERE user_id = 'xia'")).rows).toEqual([{ room_id: 'r0' }])
  } finally {
    await pool.end()
  }
})

test('SIGKILL in the middle loses and doubles nothing', async () => {
  const users = Array.from({ length: 60 }, (_, i) => `k${i}`)
  const talk = async () => {
    for (let round = 0; round < 6; round++) for (const userId of users) await feed.act(userId, `r${(round % 2) + 7}`, { type: 'said', by: user('bob') })
  }
  const talking = talk()
  for (const id of ['notifier-1', 'notifier-2', 'notifier-1']) {
    await pause(1_500)
    await system.process(id).kill()
    await pause(200)
    await system.process(id).start()
  }
  await talking
  const states = async () =>
    (await system.pool.query<{ user_id: string; room_id: string; id: string; last: number; count: number; version: string }>(
      "SELECT user_id, room_id, notification_id AS id, last_index::int AS last, count::int, version::text FROM notifications WHERE user_id LIKE 'k%' ORDER BY user_id, room_id",
    )).rows
  await soon(async () => {
    const rows = await states()
    expect(rows).toHaveLength(users.length * 2)
    expect(rows.filter(({ last, count }) => last !== 3 || count !== 3)).toEqual([])
  }, 60_000)
  const last = (await states()).map(({ id, version }) => `${id}.${version}`)
  const inQueue = async () => new Set((await queue.drain()).map(({ dedupeId }) => dedupeId))
  const seen = await soon(async () => {
    const ids = await inQueue()
    expect(last.filter((id) => !ids.has(id))).toEqual([])
    return ids
  }, 60_000)
  const hooks = () => webhook.requests.map((request) => verifiedWebhook(request, WEBHOOK_SECRET))
  await soon(() => expect(last.filter((id) => !hooks().some(({ dedupeId }) => dedupeId === id))).toEqual([]), 60_000)
  expect(seen.size).toBeGreaterThanOrEqual(last.length)
  expectOneStatePerId([...(await queue.drain()), ...hooks()].filter(({ userId }) => userId.startsWith('k')))
  await soon(async () => expect((await system.pool.query("SELECT count(*)::int AS n FROM graphile_worker.jobs WHERE key LIKE '% k%'")).rows).toEqual([{ n: 0 }]))
}, 240_000)

/** One id is one state, and for each user and room one notification: what comes again is known by its id. */
function expectOneStatePerId(payloads: readonly Payload[]): void {
  const stateOf = new Map<string, string>()
  const notificationOf = new Map<string, string>()
  for (const { dedupeId, notificationId, userId, roomId, count, lastIndex } of payloads) {
    const state = JSON.stringify([userId, roomId, count, lastIndex])
    expect(stateOf.get(dedupeId) ?? state).toBe(state)
    stateOf.set(dedupeId, state)
    expect(notificationOf.get(`${userId} ${roomId}`) ?? notificationId).toBe(notificationId)
    notificationOf.set(`${userId} ${roomId}`, notificationId)
  }
}
