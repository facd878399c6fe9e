import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Validator } from '@seriousme/openapi-schema-validator'
import type { Queryable } from '#libs/postgres/pool.ts'
import { decodeCursor } from '../../services/api/core/cursor.ts'
import { selectRooms, selectRoomsOf } from '../../services/api/sql/rooms.ts'
import { type ApiFixture, PersistedRoom, startFixture } from './api-fixture.ts'

let f: ApiFixture
beforeAll(async () => {
  f = await startFixture('api-admin')
})
afterAll(() => f.close())

const admin = { userId: 'boss', role: 'admin' }
type AuditRow = { actor: string; action: string; room_id: string | null; details: Record<string, unknown> }
let lastAudit = 0
const audits = async (): Promise<readonly AuditRow[]> =>
  (await f.pool.query<AuditRow>('SELECT actor, action, room_id, details FROM admin_audit WHERE id > $1 ORDER BY id', [lastAudit])).rows
beforeEach(async () => {
  lastAudit = (await f.pool.query<{ n: number }>('SELECT coalesce(max(id), 0) AS n FROM admin_audit')).rows[0]!.n
})

async function pageThrough(url: string, user: Parameters<ApiFixture['get']>[1], between?: (page: number) => Promise<unknown>): Promise<string[]> {
  const ids: string[] = []
  for (let cursor: string | null = '', page = 1; cursor !== null; page++) {
    const { body } = await f.get(`${url}${url.includes('?') ? '&' : '?'}limit=3${cursor && `&cursor=${cursor}`}`, user)
    ids.push(...body.rooms.map(({ roomId }: { roomId: string }) => roomId))
    await between?.(page)
    cursor = body.nextCursor
  }
  return ids
}

describe('lists of rooms', () => {
  beforeAll(async () => {
    // Two by two opened in the same moment, so that only the id tells them apart; one an hour later each.
    for (let i = 0; i < 8; i++) {
      const room = await new PersistedRoom(f.pool, `list-${i}`, Date.UTC(2025, 0, 1, Math.floor(i / 2))).open(['cust', 'customer'], ['shop', 'vendor'])
      if (i % 2) await room.persist({ type: 'roomClosed', reason: 'cancelled' })
    }
    await new PersistedRoom(f.pool, 'list-other').open(['somebody', 'customer'])
  })
  const newestFirst = [7, 6, 5, 4, 3, 2, 1, 0].map((i) => `list-${i}`)

  test('/me/rooms has the rooms that one is in now, and what one is there', async () => {
    const { body } = await f.get('/me/rooms?limit=1', 'shop')
    expect(body.rooms).toMatchObject([{ roomId: 'list-7', role: 'vendor', headSeq: 2, messageCount: 0, readOnly: true, closedReason: 'cancelled' }])
    expect((await f.get('/me/rooms', 'nobody')).body).toEqual({ rooms: [], nextCursor: null })
  })

  test('pages neither skip nor repeat, whatever happens in the rooms meanwhile', async () => {
    const rooms = newestFirst.map((id) => id)
    const ids = await pageThrough('/me/rooms', 'cust', async (page) => {
      // The oldest becomes the liveliest, and a new one is opened.
      await f.pool.query(`UPDATE chat_rooms SET last_event_at = now(), head_seq = head_seq + 1 WHERE room_id = 'list-0'`)
      await new PersistedRoom(f.pool, `list-new-${page}`, Date.UTC(2025, 5, page)).open(['cust', 'customer'])
    })
    expect(ids).toEqual(rooms)
  })

  test('times that differ by a microsecond are told apart', async () => {
    for (let i = 0; i < 7; i++) {
      await new PersistedRoom(f.pool, `micro-${i}`).open(['micro', 'customer'])
      for (const table of ['chat_rooms', 'room_participants']) {
        await f.pool.query(`UPDATE ${table} SET opened_at = timestamptz '2031-01-01 00:00:00.999990+00' + $2 * interval '1 microsecond' WHERE room_id = $1`, [`micro-${i}`, i])
      }
    }
    expect(await pageThrough('/me/rooms', 'micro')).toEqual([6, 5, 4, 3, 2, 1, 0].map((i) => `micro-${i}`))
  })

  test('/admin/rooms filters by status and by participant', async () => {
    const closed = newestFirst.filter((id) => Number(id.at(-1)) % 2)
    expect(await pageThrough('/admin/rooms?status=closed', admin)).toEqual(closed)
    expect(await pageThrough('/admin/rooms?status=open&participant=shop', admin)).toEqual(newestFirst.filter((id) => !closed.includes(id)))
    expect(await pageThrough('/admin/rooms?participant=somebody', admin)).toEqual(['list-other'])
    expect(await pageThrough('/admin/rooms', admin)).toEqual(expect.arrayContaining(['list-other', ...newestFirst]))
    const { body } = await f.get('/admin/rooms?status=closed&limit=1', admin)
    expect(body.rooms[0]).toMatchObject({ closedAt: expect.any(Number), participants: [{ userId: 'cust' }, { userId: 'shop' }] })
  })

  test('cost a walk along one index, also for a user who has been away while others opened rooms', async () => {
    const own = await startFixture('api-many')
    await own.pool.query(
      `INSERT INTO chat_rooms (room_id, participants, is_readonly, head_seq, message_count, opened_at, last_event_at)
       SELECT 'r' || i, '[]', i < 19000, 1, 0, timestamptz '2025-01-01 00:00+00' + i * interval '1 minute', now() FROM generate_series(1, 20000) i`,
    )
    await own.pool.query(
      `INSERT INTO room_participants (user_id, room_id, role, since_seq)
       SELECT CASE WHEN i <= 500 THEN 'away' ELSE 'u' || i % 100 END, 'r' || i, 'vendor', 1 FROM generate_series(1, 20000) i`,
    )
    await own.pool.query('ANALYZE')
    let plan: any
    const explained: Queryable = {
      query: async (text, values) => {
        const { rows } = await own.pool.query<any>(`EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ${text}`, values)
        plan = rows[0]['QUERY PLAN'][0].Plan
        return { rows: [], rowCount: 0 }
      },
    }
    const blocks = () => plan['Shared Hit Blocks'] + plan['Shared Read Blocks']
    const cursor = decodeCursor((await own.get('/me/rooms?limit=200', 'away')).body.nextCursor)
    for (const page of [{ cursor: undefined, limit: 50 }, { cursor, limit: 50 }]) {
      await selectRoomsOf(explained, 'away' as never, page)
      expect(plan['Actual Rows']).toBe(51)
      // At most the user's own rooms; a walk through all newer ones would be some 80,000.
      expect(blocks()).toBeLessThan(2_500)
    }
    await selectRooms(explained, { cursor: { openedAtUs: Date.UTC(2025, 0, 14, 4, 0) * 1000, roomId: 'r' as never }, limit: 50 }, false)
    expect(plan['Actual Rows']).toBeLessThan(51)
    expect(blocks()).toBeLessThan(2_500)
    await own.close()
  })

  test('a cursor that we did not make is refused', async () => {
    for (const url of ['/me/rooms?cursor=abc', '/me/rooms?cursor=', '/admin/rooms?cursor=abc', '/admin/rooms?status=both', '/admin/rooms?participant=a%20b']) {
      expect((await f.get(url, admin)).body.code).toBe('invalid_request')
    }
  })
})

describe('an admin', () => {
  beforeAll(async () => {
    const room = await new PersistedRoom(f.pool, 'seen').open(['cust', 'customer'], ['shop', 'vendor'])
    await (await room.say('cust', 'one')).persist({ type: 'roomClosed', reason: 'delivered' })
  })

  test('reads every event as it was persisted', async () => {
    const { status, body } = await f.get('/admin/rooms/seen/events?limit=2', admin)
    expect(status).toBe(200)
    expect(body).toMatchObject({ roomId: 'seen', headSeq: 3, nextAfter: 2, hasMore: true })
    expect(body.events).toMatchObject([
      { seq: 1, type: 'roomOpened', content: null, erasedAt: null, body: { type: 'roomOpened', participants: [{ userId: 'cust' }, { userId: 'shop' }] }, logPartition: 3, logOffset: 101 },
      { seq: 2, type: 'messageSent', content: 'one', salt: 'salt-1', body: { contentHash: 'hash-1', senderId: 'cust', messageIndex: 1 } },
    ])
    expect(body.events[1].body).not.toHaveProperty('content')
    const rest = await f.get('/admin/rooms/seen/events?after=2', admin)
    expect(rest.body).toMatchObject({ events: [{ seq: 3, type: 'roomClosed', body: { reason: 'delivered' } }], nextAfter: 3, hasMore: false })
  })

  test('is written down for each read, before the answer', async () => {
    const urls = ['/rooms/seen', '/rooms/seen/messages?after=1&limit=7', '/admin/rooms/seen/events', '/admin/rooms?participant=cust&limit=1', '/me/rooms', '/rooms/not-there']
    const traces: (string | null)[] = []
    for (const url of urls) traces.push((await f.get(url, admin)).headers.get('x-trace-id'))
    const rows = await audits()
    expect(rows.map(({ actor, action, room_id }) => [actor, action, room_id])).toEqual([
      ['boss', 'read_room', 'seen'],
      ['boss', 'read_messages', 'seen'],
      ['boss', 'read_events', 'seen'],
      ['boss', 'list_rooms', null],
      ['boss', 'list_own_rooms', null],
      ['boss', 'read_room', 'not-there'],
    ])
    expect(rows.map(({ details }) => details['traceId'])).toEqual(traces)
    expect(rows[1]!.details).toMatchObject({ query: { after: 1, limit: 7 } })
    expect(rows[3]!.details).toMatchObject({ query: { participant: 'cust' } })
  })

  test('and so is a moderator, who reads the same', async () => {
    const moderator = { userId: 'mod', role: 'moderator' }
    for (const url of ['/rooms/seen', '/rooms/seen/messages', '/admin/rooms/seen/events', '/admin/rooms?limit=1']) expect((await f.get(url, moderator)).status).toBe(200)
    const rows = await audits()
    expect(rows.map(({ actor, action, room_id, details }) => [actor, action, room_id, details['role']])).toEqual([
      ['mod', 'read_room', 'seen', 'moderator'],
      ['mod', 'read_messages', 'seen', 'moderator'],
      ['mod', 'read_events', 'seen', 'moderator'],
      ['mod', 'list_rooms', null, 'moderator'],
    ])
  })

  test('others leave no row, and are not let in', async () => {
    for (const url of ['/admin/rooms', '/admin/rooms/seen/events', '/admin/rooms/not-there/events']) {
      expect(await f.get(url, 'cust')).toMatchObject({ status: 403, body: { code: 'admin_only' } })
    }
    await f.get('/rooms/seen/messages', 'cust')
    expect((await f.get('/admin/rooms')).body.code).toBe('token_missing')
    expect(await audits()).toEqual([])
  })

  test('gets no answer where the read cannot be written down', async () => {
    await f.pool.query('ALTER TABLE admin_audit RENAME TO admin_audit_away')
    try {
      for (const url of ['/rooms/seen', '/rooms/seen/messages', '/admin/rooms/seen/events', '/admin/rooms', '/me/rooms']) {
        const { status, body } = await f.get(url, admin)
        expect([status, body]).toMatchObject([503, { code: 'unavailable', retriable: true }])
        expect(JSON.stringify(body)).not.toContain('admin_audit')
      }
      expect((await f.get('/rooms/seen', 'cust')).status).toBe(200)
    } finally {
      await f.pool.query('ALTER TABLE admin_audit_away RENAME TO admin_audit')
    }
  })
})

describe('the OpenAPI document', () => {
  const text = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${f.api.port}${path}`)
    return { status: response.status, text: await response.text(), headers: response.headers }
  }

  test('is valid and describes every route', async () => {
    const document = JSON.parse((await text('/openapi.json')).text)
    const { valid, errors } = await new Validator().validate(document)
    expect(errors).toBeUndefined()
    expect(valid).toBe(true)
    expect(document.openapi).toMatch(/^3\.1/)
    const reads = Object.entries<any>(document.paths).filter(([, item]) => item.get)
    expect(reads.map(([path]) => path).sort()).toEqual([
      '/admin/rooms', '/admin/rooms/{id}/events', '/chat/{id}/messages', '/chats', '/jobs/{jobId}', '/me/inbox', '/me/inbox/changes', '/me/invitations', '/me/notifications', '/me/push-subscriptions', '/me/rooms',
      '/me/settings', '/moderation/reports', '/products/{productId}',
      '/rooms/{id}', '/rooms/{id}/attachments/{key}', '/rooms/{id}/messages', '/rooms/{id}/messages/{messageId}/replies', '/rooms/{id}/messages/{messageId}/seen-by', '/rooms/{id}/threads',
    ])
    for (const [, item] of reads) expect(Object.keys(item.get.responses)).toEqual(['200', '4XX', '5XX'])
    expect(document.security).toEqual([{ bearer: [] }])
  })

  test('has a page that loads everything from here', async () => {
    const page = await text('/docs')
    expect([page.status, page.headers.get('content-security-policy')]).toEqual([200, expect.stringContaining("default-src 'self'")])
    const assets = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, url]) => url!)
    expect(assets.length).toBeGreaterThan(3)
    for (const url of assets) {
      expect(url).toMatch(/^\/docs\//)
      expect((await text(url)).status, url).toBe(200)
    }
  })
})
