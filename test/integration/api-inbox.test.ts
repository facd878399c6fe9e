import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { MessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import { FOREVER_MS } from '#libs/domain/inbox.ts'
import { hasConversationsMax } from '#libs/postgres/conversations.ts'
import { PUSH_SUBSCRIPTIONS_MAX } from '#libs/push/endpoints.ts'
import { type ApiFixture, PersistedRoom, startFixture } from './api-fixture.ts'
import { storeChats, storedChat } from './inbox-rows.ts'

let f: ApiFixture
beforeAll(async () => {
  f = await startFixture('api-inbox', { PUSH_HOSTS: 'push.example', VAPID_PUBLIC_KEY: 'the-key' })
})
afterAll(() => f.close())

const totals = { unread: 3, mentions: 1, chats: 5 }
const idsOf = ({ body }: { body: { chats: { roomId: string }[] } }) => body.chats.map(({ roomId }) => roomId)

describe("one's own list of chats", () => {
  beforeAll(async () => {
    const chats = [1, 2, 3, 4, 5].map((n) => storedChat(`order-${n}`, n, n === 5 ? { lastActivityMs: 4_000 } : {}))
    await storeChats(f.pool, 'shop', [...chats, storedChat('gone', 6, { status: 'left' }), storedChat('asked', 7, { status: 'invited', kind: 'dispute' })], totals)
  })

  test('is by last activity, in pages, with what it is in all; without what was left', async () => {
    const first = await f.get('/me/inbox?limit=3', 'shop')
    expect(first).toMatchObject({ status: 200, body: { userSeq: 7, totals } })
    const second = await f.get(`/me/inbox?limit=3&cursor=${first.body.nextCursor}`, 'shop')
    // Of two that were active at the same time the id decides, so that no page skips one.
    expect([...idsOf(first), ...idsOf(second)]).toEqual(['asked', 'order-5', 'order-4', 'order-3', 'order-2', 'order-1'])
    expect(second.body).toMatchObject({ nextCursor: null, totals })
    expect((await f.get('/me/inbox', 'nobody')).body).toEqual({ userSeq: 0, totals: { unread: 0, mentions: 0, chats: 0 }, chats: [], nextCursor: null })
  })

  test('can be asked for by status and for what is archived', async () => {
    await storeChats(f.pool, 'filed', [storedChat('a', 1, { archived: true }), storedChat('b', 2), storedChat('c', 3, { status: 'left' })], totals)
    const asked = async (query: string) => idsOf(await f.get(`/me/inbox?${query}`, 'filed'))
    expect([await asked('archived=true'), await asked('archived=false'), await asked('status=left'), await asked('status=in'), await asked('')]).toEqual([['a'], ['b'], ['c'], ['b', 'a'], ['b', 'a']])
  })

  test('what has changed comes in the order of its last change, also what was left, by the cursor of a sync', async () => {
    const first = await f.get('/me/inbox/changes?after=2&limit=3', 'shop')
    expect(first.body).toMatchObject({ userSeq: 7, nextAfter: 5, hasMore: true, totals })
    expect(idsOf(first)).toEqual(['order-3', 'order-4', 'order-5'])
    const rest = await f.get(`/me/inbox/changes?after=${first.body.nextAfter}&limit=3`, 'shop')
    expect(rest.body).toMatchObject({ nextAfter: 7, hasMore: false, chats: [{ roomId: 'gone', status: 'left', userSeq: 6, unread: 0 }, { roomId: 'asked', status: 'invited', userSeq: 7 }] })
    expect((await f.get('/me/inbox/changes?after=7', 'shop')).body).toMatchObject({ chats: [], nextAfter: 7, hasMore: false })
    // The client may have heard of more by its socket than the history has yet.
    expect((await f.get('/me/inbox/changes?after=99', 'shop')).body).toMatchObject({ chats: [], nextAfter: 99, hasMore: false })
    await storeChats(f.pool, 'shop', [storedChat('order-1', 8, { lastActivityMs: 9_000 })], totals)
    expect((await f.get('/me/inbox/changes?after=7', 'shop')).body).toMatchObject({ chats: [{ roomId: 'order-1', userSeq: 8 }], nextAfter: 8 })
  })

  test('a chat has all that there is to show, and the last message as it is now', async () => {
    const room = await (await new PersistedRoom(f.pool, 'told').open(['cust', 'customer'], ['host', 'vendor'])).say('cust', 'hello')
    const { rows } = await f.pool.query<{ id: MessageId }>("SELECT message_id AS id FROM chat_messages WHERE room_id = 'told'")
    const last = { seq: 2, messageIndex: 1, messageId: rows[0]!.id, senderId: 'cust' as UserId, timestampMs: room.timeMs }
    const chat = storedChat('told', 3, { name: 'Table 5', messageCount: 1, mentions: [1], last, closed: true, mutedUntilMs: FOREVER_MS, archived: true })
    await storeChats(f.pool, 'host', [chat, storedChat('left', 2, { status: 'left', messageCount: 9, last })], totals)
    expect((await f.get('/me/inbox', 'host')).body.chats).toEqual([
      {
        roomId: 'told', roomSeq: 1, status: 'in', kind: 'order', role: 'vendor', name: 'Table 5', messageCount: 1, unread: 1, mentions: 1, lastActivityMs: 3_000, last, closed: true, mutedUntilMs: FOREVER_MS, archived: true,
        userSeq: 3, lastMessage: expect.objectContaining({ roomId: 'told', seq: 2, content: 'hello', senderId: 'cust' }),
      },
    ])
    expect((await f.get('/me/inbox/changes', 'host')).body.chats[0]).toMatchObject({ roomId: 'left', unread: 0, lastMessage: null })
  })

  test('the last message is shown to who is in the room, whatever his list still says', async () => {
    const room = await (await new PersistedRoom(f.pool, 'closed-to').open(['cust', 'customer'], ['lodger', 'vendor'])).say('cust', 'hello')
    const last = { seq: 2, messageIndex: 1, messageId: '00000000-0000-5000-8000-000000000001' as MessageId, senderId: 'cust' as UserId, timestampMs: room.timeMs }
    await storeChats(f.pool, 'lodger', [storedChat('closed-to', 1, { messageCount: 1, last })], totals)
    const shown = async () => [(await f.get('/me/inbox', 'lodger')).body.chats[0].lastMessage, (await f.get('/me/inbox/changes', 'lodger')).body.chats[0].lastMessage]
    expect(await shown()).toMatchObject([{ content: 'hello' }, { content: 'hello' }])
    // He left, and came again to what begins with his coming.
    await f.pool.query("UPDATE room_participants SET since_seq = 3 WHERE room_id = 'closed-to' AND user_id = 'lodger'")
    expect(await shown()).toMatchObject([{ content: 'hello' }, { content: 'hello' }])
    await f.pool.query("UPDATE chat_rooms SET history = 'fromJoin' WHERE room_id = 'closed-to'")
    expect(await shown()).toEqual([null, null])
    await f.pool.query("DELETE FROM room_participants WHERE room_id = 'closed-to' AND user_id = 'lodger'")
    expect(await shown()).toEqual([null, null])
  })

  test('of a user with very many chats costs one walk through them', async () => {
    await f.pool.query(
      `INSERT INTO user_chats SELECT 'busy', 'r' || i, i, 'in', 1, 'order', 'vendor', NULL, 5, 3, '{}', i, NULL, false, 0, false FROM generate_series(1, 10000) i`,
    )
    await f.pool.query(`INSERT INTO user_heads VALUES ('busy', 10000, 20000, 0, 10000)`)
    await f.pool.query('ANALYZE user_chats')
    const startMs = performance.now()
    for (let n = 0; n < 10; n++) expect((await f.get('/me/inbox?limit=200', 'busy')).body.chats).toHaveLength(200)
    // Some 10 ms each here; far from the 1.5 s after which a statement counts as an outage.
    expect((performance.now() - startMs) / 10).toBeLessThan(500)
  })
})

describe('notifications', () => {
  const id = (n: number) => `00000000-0000-5000-8000-${String(n).padStart(12, '0')}`
  beforeAll(async () => {
    for (let n = 1; n <= 5; n++) {
      const closed = n <= 2
      await f.pool.query(
        `INSERT INTO notifications (notification_id, user_id, room_id, kind, first_index, last_index, last_seq, count, sender_id, room_kind, room_name, badge, user_seq, version, created_at, updated_at, read_at, closed_by)
         VALUES ($1, 'ann', $2, 'message', 1, 2, 3, 2, 'bob', 'group', 'Team', 4, $3, $3, timestamptz 'epoch' + $4 * interval '1 second', timestamptz 'epoch' + 100 * interval '1 second', $5, $6)`,
        [id(n), `r${n}`, n, Math.ceil(n / 2), closed ? new Date(5_000) : null, closed ? 'muted' : null],
      )
    }
  })
  const idsIn = ({ body }: { body: { notifications: { notificationId: string }[] } }) => body.notifications.map(({ notificationId }) => Number(notificationId.slice(-2)))

  test('are listed, the newest first, read and unread, in pages', async () => {
    const first = await f.get('/me/notifications?limit=2', 'ann')
    const second = await f.get(`/me/notifications?limit=2&cursor=${first.body.nextCursor}`, 'ann')
    const third = await f.get(`/me/notifications?limit=2&cursor=${second.body.nextCursor}`, 'ann')
    expect([first, second, third].map(idsIn)).toEqual([[5, 4], [3, 2], [1]])
    expect([first.body.unread, third.body.nextCursor]).toEqual([3, null])
    expect(idsIn(await f.get('/me/notifications?unread=true', 'ann'))).toEqual([5, 4, 3])
    expect((await f.get('/me/notifications?unread=false', 'ann')).body.notifications[0]).toEqual({
      notificationId: id(2), roomId: 'r2', kind: 'message', firstIndex: 1, lastIndex: 2, lastSeq: 3, count: 2, senderId: 'bob', roomKind: 'group', roomName: 'Team', createdAt: 1_000, updatedAt: 100_000, readAt: 5_000, closedBy: 'muted',
    })
    expect((await f.get('/me/notifications', 'bob')).body).toEqual({ notifications: [], unread: 0, nextCursor: null })
  })

  test('one is read by its own user alone, once; then all', async () => {
    const read = (n: number, user: string) => f.send('POST', `/me/notifications/${id(n)}/read`, user, {})
    expect((await read(3, 'bob')).body.code).toBe('not_found')
    const first = await read(3, 'ann')
    expect(first).toMatchObject({ status: 200, body: { notificationId: id(3), readAt: expect.any(Number), closedBy: 'read' } })
    expect((await read(3, 'ann')).body).toEqual(first.body)
    expect((await read(1, 'ann')).body).toMatchObject({ readAt: 5_000, closedBy: 'muted' })
    expect((await f.send('POST', '/me/notifications/none/read', 'ann', {})).body.code).toBe('invalid_request')
    expect((await f.send('POST', '/me/notifications/read-all', 'ann', {})).body).toEqual({ read: 2 })
    expect((await f.send('POST', '/me/notifications/read-all', 'ann')).body).toEqual({ read: 0 })
    expect((await f.get('/me/notifications?unread=true', 'ann')).body).toMatchObject({ notifications: [], unread: 0 })
  })
})

describe('push subscriptions', () => {
  const keys = { p256dh: Buffer.concat([Buffer.from([4]), Buffer.alloc(64, 7)]).toString('base64url'), auth: Buffer.alloc(16, 9).toString('base64url') }
  const put = (endpoint: string, user: string, auth = keys.auth) => f.send('PUT', '/me/push-subscriptions', user, { endpoint, expirationTime: null, keys: { ...keys, auth } })
  const endpointsOf = async (user: string) => (await f.get('/me/push-subscriptions', user)).body.subscriptions.map((s: { endpoint: string }) => s.endpoint)
  const rowOf = async (endpoint: string) => (await f.pool.query<any>('SELECT * FROM push_subscriptions WHERE endpoint = $1', [endpoint])).rows[0]

  test('are kept, renewed and taken away', async () => {
    const endpoint = 'https://push.example/one'
    expect(await put(endpoint, 'ann')).toMatchObject({ status: 200, body: { endpoint } })
    const before = await rowOf(endpoint)
    const auth = Buffer.alloc(16, 1).toString('base64url')
    await put(endpoint, 'ann', auth)
    expect(await rowOf(endpoint)).toMatchObject({ user_id: 'ann', auth, p256dh: keys.p256dh, subscription_id: before.subscription_id })
    expect((await f.get('/me/push-subscriptions', 'ann')).body).toEqual({ subscriptions: [{ endpoint, createdAt: expect.any(Number), updatedAt: expect.any(Number) }], applicationServerKey: 'the-key' })
    expect((await f.send('DELETE', '/me/push-subscriptions', 'bob', { endpoint })).body).toEqual({ endpoint, removed: false })
    expect((await f.send('DELETE', '/me/push-subscriptions', 'ann', { endpoint })).body).toEqual({ endpoint, removed: true })
    expect(await endpointsOf('ann')).toEqual([])
  })

  test('a browser is told for one user alone, the last who was there', async () => {
    const endpoint = 'https://push.example/shared'
    await put(endpoint, 'ann')
    const before = await rowOf(endpoint)
    await put(endpoint, 'bob')
    expect([await endpointsOf('ann'), await endpointsOf('bob')]).toEqual([[], [endpoint]])
    expect((await rowOf(endpoint)).subscription_id).not.toBe(before.subscription_id)
  })

  test(`a user has ${PUSH_SUBSCRIPTIONS_MAX} at most: the one that was given longest ago goes`, async () => {
    const at = (n: number) => `https://push.example/many-${n}`
    for (let n = 0; n < PUSH_SUBSCRIPTIONS_MAX; n++) await put(at(n), 'many')
    await put(at(0), 'many')
    await put(at(99), 'many')
    const left = await endpointsOf('many')
    expect(left).toHaveLength(PUSH_SUBSCRIPTIONS_MAX)
    expect(left).not.toContain(at(1))
    expect(left).toEqual(expect.arrayContaining([at(0), at(2), at(99)]))
  })
})

describe('conversations that a user has made', () => {
  const full = (userId: string, roomId: string, max: number) => hasConversationsMax(f.pool, userId as UserId, roomId as RoomId, max)

  test('count towards his limit, those of others and of orders do not, and one that is there is no new one', async () => {
    const made = async (roomId: string, kind: string, creatorId: string | null) => {
      await new PersistedRoom(f.pool, roomId).open(['maker', 'owner'], ['other', 'member'])
      await f.pool.query('UPDATE chat_rooms SET kind = $2, creator_id = $3 WHERE room_id = $1', [roomId, kind, creatorId])
    }
    await made('made-1', 'group', 'maker')
    await made('made-2', 'direct', 'maker')
    await made('made-3', 'group', 'other')
    await made('made-4', 'direct', null)
    await made('made-5', 'job', 'maker')
    expect([await full('maker', 'new', 3), await full('maker', 'new', 2), await full('maker', 'new', 1)]).toEqual([false, true, true])
    expect([await full('maker', 'made-1', 2), await full('other', 'new', 2), await full('nobody', 'new', 1)]).toEqual([false, false, false])
    await f.pool.query("DELETE FROM room_participants WHERE user_id = 'maker' AND room_id = 'made-1'")
    expect(await full('maker', 'new', 2)).toBe(false)
  })
})

describe('when the history cannot be read', () => {
  test('the answer is retriable', async () => {
    f.link.set('down')
    try {
      for (const url of ['/me/inbox', '/me/inbox/changes', '/me/notifications', '/me/push-subscriptions']) expect((await f.get(url, 'shop')).body).toMatchObject({ code: 'history_unavailable', retriable: true })
    } finally {
      f.link.set('up')
    }
  })
})
