import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { messageIdOf, type MessageId, type RoomId, type UserId } from '#libs/domain/ids.ts'
import type { RoomCommandBody } from '#libs/domain/inputs.ts'
import { isRoomEvent } from '#libs/domain/room.ts'
import { postgresConfigFromEnv } from '#libs/postgres/config.ts'
import { migrate } from '#libs/postgres/migrate.ts'
import { createPool, type Pool, type Queryable } from '#libs/postgres/pool.ts'
import { topics } from '#libs/streams/topics.ts'
import { createHistory } from '../../services/edge/history.ts'
import { type Applied, rowsOf } from '../../services/message-persister/core/rows.ts'
import { by, customer, idAt, logOf, vendor } from '../../services/message-persister/core/test-support/memory-tables.ts'
import { inputs, openings } from '../../services/message-persister/core/test-support/room-inputs.ts'
import { createMessageStore } from '../../services/message-persister/store.ts'
import { statementOf } from '../simulation/world/sql.ts'
import { Tables } from '../simulation/world/tables.ts'
import { type Isolated, useStack } from '../support/stack.ts'
import { silent } from './api-fixture.ts'

let isolated: Isolated
let pool: Pool
beforeAll(async () => {
  isolated = await (await useStack()).isolate('history')
  await migrate(isolated.postgresUrl)
  pool = createPool(postgresConfigFromEnv({ POSTGRES_URL: isolated.postgresUrl }), silent)
})
afterAll(async () => {
  await pool.end()
  await isolated.cleanup()
})

/** The same log in rooms of its own. */
const renamed = (applied: readonly Applied[], prefix: string): Applied[] =>
  applied.map(({ offset, decision }) => ({ offset, decision: { ...decision, roomId: `${prefix}:${decision.roomId}` as RoomId } }))

/** What a persister does with a partition's log, so many records at a time. */
async function persist(target: Pool, partition: number, applied: readonly Applied[], batchRecords: number): Promise<void> {
  const store = createMessageStore(target, topics.roomEvents.name)
  for (let from = 0; from < applied.length; from += batchRecords) {
    const batch = applied.slice(from, from + batchRecords)
    const after = { nextOffset: batch.at(-1)!.offset + 1n, ownerEpoch: 0n, lastSources: new Map([['chat-commands', batch.at(-1)!.offset]]) }
    expect(await store.apply(partition, await store.readPosition(partition), after, rowsOf(batch))).toBe(true)
  }
}

/** What the simulator takes Postgres for, without its faults. */
function simulatedPool(tables: Tables): Pool {
  const query = (async (text: string, values: readonly unknown[] = []) => {
    if (/^(BEGIN|COMMIT|ROLLBACK)/.test(text)) return { rows: [], rowCount: 0 }
    const { rows = [], rowCount = rows.length, write } = statementOf(text, values).run(tables)
    write?.(tables)
    return { rows, rowCount }
  }) as Queryable['query']
  return { query, withConnection: (work) => work({ query }), stats: () => ({ total: 0, idle: 0, waiting: 0 }), end: async () => {} }
}

const tableNames = ['chat_rooms', 'room_participants', 'chat_messages', 'message_contents', 'message_changes', 'message_reactions', 'room_receipts', 'room_invitations', 'room_blocks', 'message_reports', 'room_events'] as const

/** Every row of the rooms with this prefix, without it and without the partition. */
async function rowsIn(prefix: string): Promise<Record<string, string[]>> {
  const all: Record<string, string[]> = {}
  for (const name of tableNames) {
    const { rows } = await pool.query<{ row: string }>(
      `SELECT replace((to_jsonb(t) - 'log_partition')::text, $1 || ':', '') AS row FROM ${name} t WHERE room_id LIKE $1 || ':%' ORDER BY 1`,
      [prefix],
    )
    all[name] = rows.map(({ row }) => row)
  }
  return all
}

describe('the log in Postgres', () => {
  const RUNS = 8
  const logs = Array.from({ length: RUNS }, (_, seed) => logOf([...openings, ...fc.sample(fc.array(inputs, { minLength: 60, maxLength: 90, size: 'max' }), { seed, numRuns: 1 })[0]!]))

  test('is the same rows however it is cut into batches', async () => {
    const filled = new Set<string>()
    for (const [seed, { applied, rooms }] of logs.entries()) {
      for (const [i, batchRecords] of [1, 7, 1_000].entries()) await persist(pool, seed * 3 + i, renamed(applied, `cut-${seed}-${batchRecords}`), batchRecords)
      const [one, some, all] = [await rowsIn(`cut-${seed}-1`), await rowsIn(`cut-${seed}-7`), await rowsIn(`cut-${seed}-1000`)]
      expect(some).toEqual(one)
      expect(all).toEqual(one)
      const opened = [...rooms.values()].filter(({ status }) => status !== 'pending')
      expect(one['chat_rooms']).toHaveLength(opened.length)
      expect(one['room_participants']).toHaveLength(opened.reduce((sum, { participants }) => sum + participants.size, 0))
      expect(one['room_events']).toHaveLength(opened.reduce((sum, { headSeq }) => sum + headSeq, 0))
      for (const name of tableNames) if (one[name]!.length > 0) filled.add(name)
    }
    expect(tableNames.filter((name) => !filled.has(name)), 'never written').toEqual([])
  })

  test('reads as the simulated Postgres says that it does', async () => {
    let messages = 0
    for (const [seed, { applied, rooms }] of logs.entries()) {
      const partition = 100 + seed
      const log = renamed(applied, `read-${seed}`)
      const simulated = simulatedPool(new Tables())
      await persist(pool, partition, log, 5)
      await persist(simulated, partition, log, 5)
      const [history, model] = [createHistory(pool), createHistory(simulated)]
      expect(await history.position(partition)).toEqual(await model.position(partition))
      for (const roomId of [...rooms.keys(), 'none'].map((name) => `read-${seed}:${name}` as RoomId)) {
        const read = await history.room(partition, roomId)
        expect(read).toEqual(await model.room(partition, roomId))
        expect(await history.events(roomId, 0, 1_000, 1_000)).toEqual(await model.events(roomId, 0, 1_000, 1_000))
        const page = await history.events(roomId, 2, 9, 5)
        expect(page).toEqual(await model.events(roomId, 2, 9, 5))
        expect(page.length).toBe(Math.max(0, Math.min((read.view?.headSeq ?? 0) - 2, 5)))
      }
      for (const { decision } of log) {
        for (const entry of decision.entries) {
          if (!isRoomEvent(entry) || entry.type !== 'messageSent') continue
          expect(await history.messageSeq(decision.roomId, entry.messageId)).toBe(entry.seq)
          messages++
        }
      }
      expect(await history.messageSeq(`read-${seed}:a` as RoomId, '00000000-0000-5000-8000-000000000000' as MessageId)).toBeUndefined()
    }
    expect(messages).toBeGreaterThan(RUNS * 3)
  })

  test('settings are all off until a user has said otherwise', async () => {
    const history = createHistory(pool)
    await pool.query(`INSERT INTO user_settings (user_id, hide_last_seen) VALUES ('shy', true)`)
    expect(await history.settings('shy' as UserId)).toEqual({ hideReceipts: false, hideLastSeen: true })
    expect(await history.settings('other' as UserId)).toEqual({ hideReceipts: false, hideLastSeen: false })
  })
})

describe('what participants are shown', () => {
  const payload = JSON.stringify({ productId: 'p-1' })
  const say = (nr: number, body: Partial<RoomCommandBody & { type: 'sendMessage' }> = {}) => by('group' as RoomId, customer, nr, { type: 'sendMessage', content: `first ${nr}`, salt: `salt ${nr}`, ...body })
  const idOf = (nr: number) => messageIdOf('group' as RoomId, customer, idAt(nr))
  const edit = (nr: number, id: number, content: string) => by('group' as RoomId, customer, nr, { type: 'editMessage', messageId: idOf(id), content, salt: `salt ${nr}` })
  const groupOf = async (prefix: string, partition: number) => {
    const { applied } = logOf([
      ...openings,
      say(1, { messageType: 'productCard', payload }),
      say(2),
      say(3),
      edit(11, 1, 'second 1'),
      edit(12, 1, 'third 1'),
      by('group' as RoomId, vendor, 13, { type: 'mark', seen: 2 }),
      edit(14, 2, 'second 2'),
      by('group' as RoomId, customer, 15, { type: 'deleteMessage', messageId: idOf(2) }),
    ])
    await persist(pool, partition, renamed(applied, prefix), 3)
    return `${prefix}:group` as RoomId
  }

  test('is the last revision of a message, and nothing of a deleted one', async () => {
    const roomId = await groupOf('shown', 200)
    const events = (await createHistory(pool).events(roomId, 1, 100, 100)) as unknown as Record<string, unknown>[]
    const seen = events.map(({ seq, type, content, revision, contentSeq, payload: own, deleted }) => ({ seq, type, content, revision, contentSeq, payload: own, deleted }))
    expect(seen).toEqual([
      { seq: 2, type: 'messageSent', content: 'third 1', revision: 2, contentSeq: 6, payload },
      { seq: 3, type: 'messageSent', content: null, revision: 1, contentSeq: 8, deleted: true },
      { seq: 4, type: 'messageSent', content: 'first 3' },
      { seq: 5, type: 'messageEdited', content: null, revision: 1 },
      { seq: 6, type: 'messageEdited', content: 'third 1', revision: 2 },
      { seq: 7, type: 'receiptMoved' },
      { seq: 8, type: 'messageEdited', content: null, revision: 1 },
      { seq: 9, type: 'messageDeleted' },
    ])
    expect(JSON.stringify(events)).not.toContain('salt')
    const { rows } = await pool.query('SELECT seq, content, message_type, payload, revision, deleted FROM chat_history WHERE room_id = $1 ORDER BY seq', [roomId])
    expect(rows).toEqual([
      { seq: 2, content: 'third 1', message_type: 'productCard', payload, revision: 2, deleted: false },
      { seq: 3, content: null, message_type: null, payload: null, revision: 1, deleted: true },
      { seq: 4, content: 'first 3', message_type: null, payload: null, revision: 0, deleted: false },
    ])
    const { view } = await createHistory(pool).room(200, roomId)
    expect(view).toMatchObject({ kind: 'group', name: 'n', metadata: { a: 'b' }, history: 'fromJoin', readOnly: false, headSeq: 9, messageCount: 3 })
    expect(view!.participants).toEqual(new Map([[customer, { role: 'owner', sinceSeq: 1 }], [vendor, { role: 'member', sinceSeq: 1 }]]))
    // Who writes has seen what he answers, and has told nobody so.
    expect(view!.receipts).toEqual(new Map([[customer, { delivered: 3, seen: 3, hidden: true }], [vendor, { delivered: 2, seen: 2, hidden: false }]]))
  })

  test('an erasure takes every revision with its salt, and the payload; what was sent when stays', async () => {
    const roomId = await groupOf('erased', 201)
    const contents = async () => (await pool.query('SELECT seq, content, salt, payload, erased_at IS NOT NULL AS erased FROM message_contents WHERE room_id = $1 ORDER BY seq', [roomId])).rows
    const nothing = { content: null, salt: null, payload: null, erased: true }
    const erase = async (seq: number) => (await pool.query<{ v: boolean }>(`SELECT erase_message_content($1, $2, 'dpo', 'request 5') AS v`, [roomId, seq])).rows[0]!.v
    expect(await erase(2)).toBe(true)
    expect(await erase(2)).toBe(false)
    const kept = (seq: number, content: string, salt: number) => ({ seq, content, salt: `salt ${salt}`, payload: null, erased: false })
    expect(await contents()).toEqual([{ seq: 2, ...nothing }, kept(3, 'first 2', 2), kept(4, 'first 3', 3), { seq: 5, ...nothing }, { seq: 6, ...nothing }, kept(8, 'second 2', 14)])
    const events = await createHistory(pool).events(roomId, 1, 100, 100)
    expect(events[0]).toMatchObject({ type: 'messageSent', content: null, revision: 2 })
    expect(events[0]).not.toHaveProperty('payload')
    expect(JSON.stringify(events)).not.toMatch(/ 1"|p-1/)
    const { rows } = await pool.query<{ v: string }>(`SELECT body ->> 'contentHash' AS v FROM room_events WHERE room_id = $1 AND seq IN (2, 5, 6)`, [roomId])
    expect(rows.every(({ v }) => /^[0-9a-f]{64}$/.test(v))).toBe(true)
    // Also of one that was deleted before.
    expect(await erase(3)).toBe(true)
    expect((await contents()).filter(({ erased }) => erased).map(({ seq }) => seq)).toEqual([2, 3, 5, 6, 8])
    const { rows: audited } = await pool.query(`SELECT details FROM admin_audit WHERE room_id = $1 ORDER BY id`, [roomId])
    expect(audited.map(({ details }) => details)).toEqual([2, 2, 3].map((seq, i) => ({ seq, reason: 'request 5', erased: i !== 1 })))
  })

  test('a payload goes only with its content', async () => {
    const roomId = await groupOf('guarded', 202)
    const refused = (sql: string) => expect(pool.query(sql, [roomId]), sql).rejects.toMatchObject({ code: '42501' })
    await refused('UPDATE message_contents SET payload = NULL WHERE room_id = $1')
    await refused(`UPDATE message_contents SET payload = '{}' WHERE room_id = $1`)
    await refused('DELETE FROM message_contents WHERE room_id = $1')
    const halfErased = pool.withConnection(async (connection) => {
      await connection.query(`SELECT set_config('order_chat.erasing', $1 || ' 2', false)`, [roomId])
      try {
        await connection.query('UPDATE message_contents SET content = NULL, salt = NULL, erased_at = now() WHERE room_id = $1 AND seq = 2', [roomId])
      } finally {
        await connection.query(`SELECT set_config('order_chat.erasing', '', false)`)
      }
    })
    await expect(halfErased).rejects.toMatchObject({ code: '42501' })
  })
})
