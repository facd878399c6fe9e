import { copyFileSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ClientMessageId, MessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import { postgresConfigFromEnv } from '#libs/postgres/config.ts'
import { migrate, migrationsDir } from '#libs/postgres/migrate.ts'
import { createPool, type Pool } from '#libs/postgres/pool.ts'
import { withTransaction } from '#libs/postgres/transaction.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import { topics } from '#libs/streams/topics.ts'
import { createHistory } from '../../services/edge/history.ts'
import { rowsOf } from '../../services/message-persister/core/rows.ts'
import { createMessageStore } from '../../services/message-persister/store.ts'
import { type Isolated, useStack } from '../support/stack.ts'
import { PersistedRoom, silent } from './api-fixture.ts'

let isolated: Isolated
let pool: Pool
const open = (env: Record<string, string> = {}) => createPool(postgresConfigFromEnv({ POSTGRES_URL: isolated.postgresUrl, ...env }), silent)
beforeAll(async () => {
  isolated = await (await useStack()).isolate('postgres')
  await migrate(isolated.postgresUrl)
  pool = open()
})
afterAll(async () => {
  await pool.end()
  await isolated.cleanup()
})

const one = async (sql: string, values: readonly unknown[] = []) => (await pool.query<{ v: unknown }>(sql, values)).rows[0]?.v

describe('the pool', () => {
  test('gives int8 as numbers, and refuses the ones that it would change', async () => {
    expect(await one('SELECT 9007199254740991::bigint AS v')).toBe(9007199254740991)
    await expect(one('SELECT 9007199254740993::bigint AS v')).rejects.toThrow(RangeError)
    expect(await one('SELECT 1::int AS v')).toBe(1)
  })

  test('takes a statement that lasts too long, and a pool without a free connection, for an outage', async () => {
    const small = open({ POSTGRES_STATEMENT_TIMEOUT_MS: '200', POSTGRES_CONNECT_TIMEOUT_MS: '300', POSTGRES_POOL_MAX: '1' })
    await expect(small.query('SELECT pg_sleep(5)')).rejects.toMatchObject({ code: 'unavailable' })
    await small.withConnection(async () => {
      await expect(small.query('SELECT 1')).rejects.toMatchObject({ code: 'unavailable' })
    })
    await expect(small.query('SELECT 1')).resolves.toBeDefined()
    await small.end()
    await expect(small.query('SELECT 1')).rejects.toMatchObject({ code: 'unavailable' })
  })

  test('keeps a connection whose statement was merely wrong', async () => {
    const single = open({ POSTGRES_POOL_MAX: '1' })
    const pid = async () => (await single.query<{ v: number }>('SELECT pg_backend_pid() AS v')).rows[0]!.v
    const before = await pid()
    await expect(single.query('SELECT nonsense')).rejects.toMatchObject({ code: '42703' })
    expect(await pid()).toBe(before)
    await single.end()
  })

  test('outlives connections that the server ends, idle or at work', async () => {
    const victim = open({ POSTGRES_POOL_MAX: '2' })
    const pid = async () => (await victim.query<{ v: number }>('SELECT pg_backend_pid() AS v')).rows[0]!.v
    await pool.query('SELECT pg_terminate_backend($1)', [await pid()])
    await expect.poll(() => victim.stats().total, { timeout: 15_000 }).toBe(0)
    const asleep = victim.withConnection(async (connection) => {
      const { rows } = await connection.query<{ v: number }>('SELECT pg_backend_pid() AS v')
      setTimeout(() => void pool.query('SELECT pg_terminate_backend($1)', [rows[0]!.v]), 50)
      await connection.query('SELECT pg_sleep(5)')
    })
    await expect(asleep).rejects.toMatchObject({ code: 'unavailable' })
    const between = victim.withConnection(async (connection) => {
      const { rows } = await connection.query<{ v: number }>('SELECT pg_backend_pid() AS v')
      await pool.query('SELECT pg_terminate_backend($1)', [rows[0]!.v])
      await systemClock.sleep(100)
      await connection.query('SELECT 1')
    })
    await expect(between).rejects.toMatchObject({ code: 'unavailable' })
    await expect(victim.query('SELECT 1')).resolves.toBeDefined()
    await victim.end()
  })
})

describe('a transaction', () => {
  beforeAll(() => pool.query('CREATE TABLE t (v int PRIMARY KEY)'))
  const rows = async () => (await pool.query<{ v: number }>('SELECT v FROM t ORDER BY v')).rows.map(({ v }) => v)

  test('is all or nothing, and passes the error on', async () => {
    await withTransaction(pool, 'read committed', async (tx) => tx.query('INSERT INTO t VALUES (1), (2)'))
    const failed = withTransaction(pool, 'read committed', async (tx) => {
      await tx.query('INSERT INTO t VALUES (3)')
      await tx.query('INSERT INTO t VALUES (1)')
    })
    await expect(failed).rejects.toMatchObject({ code: '23505' })
    await expect(withTransaction(pool, 'read committed', async (tx) => {
      await tx.query('INSERT INTO t VALUES (4)')
      throw new TypeError('a bug')
    })).rejects.toThrow(TypeError)
    expect(await rows()).toEqual([1, 2])
  })

  test('has the isolation that was asked for', async () => {
    const level = (isolation: Parameters<typeof withTransaction>[1]) =>
      withTransaction(pool, isolation, async (tx) => {
        const { rows } = await tx.query<{ v: string }>(`SELECT current_setting('transaction_isolation') || ' ' || current_setting('transaction_read_only') AS v`)
        return rows[0]!.v
      })
    expect(await level('repeatable read')).toBe('repeatable read off')
    expect(await level('repeatable read, read only')).toBe('repeatable read on')
    expect(await level('serializable')).toBe('serializable off')
  })

  test('that loses against another is retriable', async () => {
    const lost = withTransaction(pool, 'repeatable read', async (tx) => {
      await tx.query('SELECT * FROM t')
      await pool.query('UPDATE t SET v = 10 WHERE v = 1')
      await tx.query('UPDATE t SET v = 11 WHERE v = 1')
    })
    await expect(lost).rejects.toMatchObject({ code: 'unavailable', retriable: true })
    expect(await rows()).toEqual([2, 10])
  })
})

describe('migrations', () => {
  const names = readdirSync(migrationsDir).map((file) => path.basename(file, '.sql')).sort()

  test('run at once by many are done once', async () => {
    const fresh = await (await useStack()).isolate('migrate')
    const lines: string[] = []
    const log = { info: (line: string) => lines.push(line), warn: () => {}, error: () => {} }
    const applied = await Promise.all(Array.from({ length: 6 }, () => migrate(fresh.postgresUrl, migrationsDir, log as never)))
    expect(applied.flat()).toEqual(names)
    expect(lines.join('\n')).toContain('000001-chat')
    expect(await migrate(fresh.postgresUrl)).toEqual([])
    await fresh.cleanup()
  })

  test('bring what was there before along: order rooms that show everything, messages that are text', async () => {
    const fresh = await (await useStack()).isolate('migrate-data')
    const dir = mkdtempSync(path.join(tmpdir(), 'order-chat-sql-'))
    copyFileSync(path.join(migrationsDir, '000001-chat.sql'), path.join(dir, '000001-chat.sql'))
    expect(await migrate(fresh.postgresUrl, dir)).toEqual(['000001-chat'])
    const own = createPool(postgresConfigFromEnv({ POSTGRES_URL: fresh.postgresUrl }), silent)
    // As the persister of that time wrote: participants without sinceSeq, no kind.
    const people = [{ userId: 'cust', role: 'customer' }, { userId: 'vend', role: 'vendor' }]
    const messageId = '5e0ae1b4-8a44-5c1e-9a7c-0d9c2a1f6b10' as MessageId
    const clientMessageId = '0197a0b0-0000-7000-8000-000000000001' as ClientMessageId
    const opened = { type: 'roomOpened', seq: 1, timestampMs: 1, participants: people }
    const sent = { type: 'messageSent', seq: 2, timestampMs: 2, messageId, clientMessageId, senderId: 'cust', messageIndex: 1, contentHash: 'h' }
    await own.query(`INSERT INTO chat_rooms (room_id, order_id, participants, head_seq, message_count, opened_at, last_event_at) VALUES ('old', 'old', $1, 2, 1, now(), now())`, [JSON.stringify(people)])
    for (const { userId, role } of people) await own.query(`INSERT INTO room_participants (room_id, user_id, role, since_seq) VALUES ('old', $1, $2, 1)`, [userId, role])
    await own.query(`INSERT INTO chat_messages (room_id, seq, message_id, client_message_id, sender_id, message_index, sent_at) VALUES ('old', 2, $1, $2, 'cust', 1, now())`, [messageId, clientMessageId])
    await own.query(`INSERT INTO message_contents (room_id, seq, content, salt) VALUES ('old', 2, 'hi', 's')`)
    for (const event of [opened, sent]) {
      await own.query(`INSERT INTO room_events (room_id, seq, event_type, occurred_at, body, log_partition, log_offset) VALUES ('old', $1, $2, now(), $3, 3, $1)`, [event.seq, event.type, JSON.stringify(event)])
    }
    const roomId = 'old' as RoomId
    expect(await migrate(fresh.postgresUrl)).toEqual(names.slice(1))
    const history = createHistory(own)
    const { view } = await history.room(3, roomId)
    expect(view).toMatchObject({ kind: 'order', name: undefined, metadata: {}, history: 'all', headSeq: 2, messageCount: 1 })
    expect([...view!.participants]).toEqual([['cust', { role: 'customer', sinceSeq: 1 }], ['vend', { role: 'vendor', sinceSeq: 1 }]])
    const [, message] = await history.events(roomId, 0, 10, 10)
    expect(message).toMatchObject({ type: 'messageSent', seq: 2, content: 'hi' })
    expect(message).not.toHaveProperty('payload')
    expect(message).not.toHaveProperty('revision')
    // And goes on: its message is edited, and erased with the edit.
    const edited = { type: 'messageEdited', seq: 3, timestampMs: 3, messageId, messageSeq: 2, revision: 1, content: 'hello', salt: 's', contentHash: 'h', by: 'cust' as UserId, clientMessageId } as const
    const store = createMessageStore(own, topics.roomEvents.name)
    const position = await store.readPosition(3)
    expect(await store.apply(3, position, { ...position, nextOffset: 1n }, rowsOf([{ offset: 0n, decision: { roomId, commandId: undefined, entries: [edited] } }]))).toBe(true)
    expect((await history.events(roomId, 1, 10, 10)).map((event) => 'content' in event && event.content)).toEqual(['hello', 'hello'])
    await own.query(`SELECT erase_message_content('old', 2, 'dpo', 'request 1')`)
    expect((await history.events(roomId, 1, 10, 10)).map((event) => 'content' in event && event.content)).toEqual([null, null])
    await own.end()
    rmSync(dir, { recursive: true })
    await fresh.cleanup()
  })

  test('that fail leave nothing behind, and what was applied before stays', async () => {
    const fresh = await (await useStack()).isolate('migrate-bad')
    const dir = mkdtempSync(path.join(tmpdir(), 'order-chat-sql-'))
    writeFileSync(path.join(dir, '000001-good.sql'), '-- Up Migration\nCREATE TABLE good (v int);')
    expect(await migrate(fresh.postgresUrl, dir)).toEqual(['000001-good'])
    writeFileSync(path.join(dir, '000002-half.sql'), '-- Up Migration\nCREATE TABLE half (v int);\nSELECT nonsense;')
    await expect(migrate(fresh.postgresUrl, dir)).rejects.toThrow(/nonsense/)
    const own = createPool(postgresConfigFromEnv({ POSTGRES_URL: fresh.postgresUrl }), silent)
    const { rows } = await own.query<{ v: string | null }>(`SELECT to_regclass('half')::text AS v UNION ALL SELECT to_regclass('good')::text`)
    expect(rows.map(({ v }) => v)).toEqual([null, 'good'])
    await own.end()
    rmSync(dir, { recursive: true })
    await fresh.cleanup()
  })

  test('without a server are refused as retriable', async () => {
    await expect(migrate('postgres://chat@127.0.0.1:1/chat')).rejects.toMatchObject({ code: 'unavailable' })
  })
})

describe('what has been written stays', () => {
  beforeAll(async () => {
    await (await new PersistedRoom(pool, 'room').open(['cust', 'customer'])).say('cust', 'hi')
    await pool.query(`INSERT INTO admin_audit (actor, action) VALUES ('a', 'b')`)
  })
  const refused = (sql: string) => expect(pool.query(sql), sql).rejects.toMatchObject({ code: '42501' })

  test('UPDATE, DELETE and TRUNCATE are refused, on partitions too', async () => {
    const parents = ['room_events', 'chat_messages', 'message_contents']
    const partitions = parents.flatMap((table) => Array.from({ length: 8 }, (_, i) => `${table}_p${i}`))
    for (const table of ['admin_audit', ...parents]) {
      await refused(`UPDATE ${table} SET ${table === 'admin_audit' ? "actor = 'x'" : 'seq = seq + 1'}`)
      await refused(`DELETE FROM ${table}`)
    }
    for (const table of ['admin_audit', ...parents, ...partitions]) {
      await refused(`TRUNCATE ${table}`)
      await refused(`TRUNCATE ${table} CASCADE`)
    }
    // Row triggers fire where the row is; find its partition.
    for (const table of parents) {
      const { rows } = await pool.query<{ v: string }>(`SELECT tableoid::regclass::text AS v FROM ${table} LIMIT 1`)
      await refused(`DELETE FROM ${rows[0]!.v}`)
      await refused(`UPDATE ${rows[0]!.v} SET seq = seq + 1`)
    }
    expect(await one('SELECT count(*) AS v FROM room_events')).toBe(2)
  })

  test('a content goes only by the audited function, with its salt, and only its own', async () => {
    await refused('UPDATE message_contents SET content = NULL, salt = NULL, erased_at = now()')
    await refused(`UPDATE message_contents SET content = 'other'`)
    for (const args of [`'', 'why'`, `'who', ''`, `NULL, 'why'`, `'who', NULL`]) {
      await expect(pool.query(`SELECT erase_message_content('room', 2, ${args})`)).rejects.toMatchObject({ code: '22023' })
    }
    expect(await one(`SELECT erase_message_content('room', 2, 'dpo', 'request 17') AS v`)).toBe(true)
    expect(await one(`SELECT erase_message_content('room', 2, 'dpo', 'again') AS v`)).toBe(false)
    expect(await one(`SELECT erase_message_content('room', 99, 'dpo', 'not there') AS v`)).toBe(false)
    expect(await one(`SELECT content || salt AS v FROM message_contents WHERE room_id = 'room' AND seq = 2`)).toBeNull()
    expect(await one(`SELECT body->>'contentHash' AS v FROM room_events WHERE room_id = 'room' AND seq = 2`)).toBe('hash-1')
    expect(await one(`SELECT content AS v FROM chat_history WHERE room_id = 'room'`)).toBeNull()
    const { rows } = await pool.query(`SELECT actor, room_id, details FROM admin_audit WHERE action = 'erase_message_content' ORDER BY id`)
    expect(rows).toEqual([
      { actor: 'dpo', room_id: 'room', details: { seq: 2, reason: 'request 17', erased: true } },
      { actor: 'dpo', room_id: 'room', details: { seq: 2, reason: 'again', erased: false } },
      { actor: 'dpo', room_id: 'room', details: { seq: 99, reason: 'not there', erased: false } },
    ])
    // The permission ends with the function.
    await expect(withTransaction(pool, 'read committed', async (tx) => {
      await tx.query(`SELECT erase_message_content('room', 2, 'dpo', 'once more')`)
      await tx.query('UPDATE message_contents SET erased_at = now()')
    })).rejects.toMatchObject({ code: '42501' })
  })

  test('a seq is taken once', async () => {
    const again = () => pool.query(`INSERT INTO room_events SELECT * FROM room_events WHERE room_id = 'room' AND seq = 1`)
    await expect(again()).rejects.toMatchObject({ code: '23505' })
  })
})
