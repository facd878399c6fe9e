import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { Kafka, logLevel } from 'kafkajs'
import pg from 'pg'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { registryConfigFromEnv } from '#libs/kafka/avro.ts'
import { kafkaConfigFromEnv } from '#libs/kafka/client.ts'
import { postgresConfigFromEnv } from '#libs/postgres/config.ts'
import { createLogger } from '#libs/runtime/logger.ts'
import { topics } from '#libs/streams/topics.ts'
import { publishOrderEvent } from '../../deploy/local/order.ts'
import { lineProgress } from '../../deploy/local/progress.ts'
import { rebuild, type RebuildOptions, type RebuildReport } from '../../deploy/rebuild/rebuild.ts'
import { joinOnceOpen, wideLimits } from '../e2e/helpers.ts'
import { useStack } from '../support/stack.ts'
import { System } from '../support/system.ts'

const main = fileURLToPath(new URL('../../deploy/rebuild/main.ts', import.meta.url))
let system: System
let edited: { readonly roomId: string; readonly seq: number }

beforeAll(async () => {
  system = await System.start(await useStack(), 'rebuild', { count: { inbox: 1 }, env: wideLimits })
  edited = await talk('o-1')
  await talk('o-2')
  await group()
  await products()
  await untilPersisted()
  const { rows } = await system.pool.query(`SELECT erase_message_content($1, $2, 'jane@shop.example', 'request 4711') AS erased`, [edited.roomId, edited.seq])
  expect(rows).toEqual([{ erased: true }])
})
afterAll(() => system?.close())

/** An order's chat with everything that can be done to a message; gives the message that was edited. */
async function talk(orderId: string): Promise<{ roomId: string; seq: number }> {
  await system.openRoom(orderId, `${orderId}-ann`, `${orderId}-vic`)
  await system.order('rider_assigned', orderId, { riderId: `${orderId}-rob` })
  const [ann, vic] = await Promise.all([system.connect(1, { orderId, userId: `${orderId}-ann` }), system.connect(2, { orderId, userId: `${orderId}-vic` })])
  const first = await ann.sendMessage('where is it?')
  const second = await vic.sendMessage('on its way', { replyTo: first['messageId'], mentions: [`${orderId}-ann`] })
  const third = await ann.sendMessage('delete me')
  const on = { roomId: orderId }
  const requests: [typeof ann, Record<string, unknown>][] = [
    [ann, { type: 'editMessage', messageId: first['messageId'], message: 'where is it now?' }],
    [ann, { type: 'editMessage', messageId: first['messageId'], message: 'where is my soup?' }],
    [ann, { type: 'deleteMessage', messageId: third['messageId'] }],
    [vic, { type: 'react', messageId: first['messageId'], emoji: '👍' }],
    [vic, { type: 'react', messageId: first['messageId'], emoji: '🙏' }],
    [vic, { type: 'react', messageId: first['messageId'], emoji: '👍', on: false }],
    [vic, { type: 'reportMessage', messageId: first['messageId'], reason: 'spam', note: 'again and again' }],
    [vic, { type: 'mark', seen: 3 }],
    [ann, { type: 'mark', seen: 2, hidden: true }],
  ]
  for (const [socket, request] of requests) expect(await socket.request({ ...on, ...request })).toMatchObject({ type: 'ack' })
  return { roomId: orderId, seq: first['seq'] as number }
}

async function group(): Promise<void> {
  const ann = await system.connect(1, { userId: 'ann' })
  const ack = await ann.request({ type: 'createConversation', kind: 'group', participants: ['bob', 'cid'], clientId: 'g', name: 'lunch', history: 'fromJoin' })
  const on = { roomId: ack['roomId'] as string }
  expect(await joinOnceOpen(ann, on.roomId)).toMatchObject({ type: 'joined' })
  await ann.sendMessage('hi', on)
  for (const request of [{ type: 'addParticipant', userId: 'dan' }, { type: 'removeParticipant', userId: 'bob' }, { type: 'removeParticipant', userId: 'dan' }, { type: 'addParticipant', userId: 'dan' }]) {
    expect(await ann.request({ ...on, ...request })).toMatchObject({ type: 'ack' })
  }
  await system.order('delivered', 'o-2')
}

async function products(): Promise<void> {
  const at = { queueUrl: system.names.sqsQueueUrl, endpoint: system.stack.sqsEndpoint }
  for (const price of ['1.00', '2.00']) await publishOrderEvent({ type: 'product.updated', payload: { productId: 'ramen', name: 'Ramen', price, currency: 'EUR', available: true } }, at)
  await vi.waitFor(async () => expect((await system.pool.query('SELECT FROM products WHERE price_minor = 200')).rowCount).toBe(1), { timeout: 20_000 })
}

/** What was to be closed is closed, and everybody's list of chats says so; nothing is on its way any more. */
async function untilPersisted(): Promise<void> {
  await vi.waitFor(async () => expect((await system.pool.query(`SELECT FROM user_chats WHERE room_id = 'o-2' AND closed`)).rowCount).toBe(3), { timeout: 20_000 })
  let before: unknown
  await vi.waitFor(async () => {
    const [then, now] = [before, await positions()]
    before = now
    expect(now).toEqual(then)
  }, { timeout: 20_000, interval: 1_500 })
}

/** Of the persister; inbox keeps its own beside them, by a timer. */
const positions = async () => (await system.pool.query(`SELECT topic, partition, next_offset::text, updated_at FROM persisted_offsets WHERE topic NOT LIKE 'inbox:%' ORDER BY 1, 2`)).rows

const lines: string[] = []
function rebuilt(options: Partial<RebuildOptions> = {}): Promise<RebuildReport> {
  const { env } = system.process('message-persister-1')
  lines.length = 0
  return rebuild({
    config: { kafka: kafkaConfigFromEnv(env), registry: registryConfigFromEnv(env), postgres: postgresConfigFromEnv(env) },
    options: { keep: false, into: undefined, waitMs: 20_000, ...options },
    progress: lineProgress((line) => lines.push(line)),
    logger: createLogger('rebuild', 'test', 'silent'),
    signal: new AbortController().signal,
  })
}

/** `npm run rebuild` as a process of its own. */
function runCommand(...args: string[]): Promise<{ readonly code: number; readonly output: string }> {
  const { PATH, HOME } = process.env
  const { env } = system.process('message-persister-1')
  return new Promise((resolve) => {
    execFile(process.execPath, [main, ...args], { env: { PATH, HOME, ...env } }, (err, stdout, stderr) => resolve({ code: err ? Number(err.code) : 0, output: stdout + stderr }))
  })
}

const resultOf = (report: RebuildReport, table: string) => report.tables.find((one) => one.table === table)!

async function databases(): Promise<string[]> {
  const { rows } = await system.pool.query(`SELECT datname FROM pg_database WHERE datname LIKE current_database() || '%' ORDER BY 1`)
  return rows.map(({ datname }) => datname as string)
}

test('Postgres made again from the topics is the same, erasures included, and nothing of the live system moves', async () => {
  const before = await positions()
  const report = await rebuilt()
  expect(report.tables.filter(({ onlyLive, onlyRebuilt, different }) => onlyLive + onlyRebuilt + different > 0)).toEqual([])
  expect(report).toMatchObject({ isEqual: true, positions: [], cut: [], copied: new Map() })
  // The message and its two edits.
  expect(report.erased).toBe(3)
  for (const table of ['chat_rooms', 'room_participants', 'chat_messages', 'message_contents', 'room_events', 'message_changes', 'message_reactions', 'message_reports', 'room_receipts', 'user_heads', 'user_chats', 'products']) {
    expect(resultOf(report, table).rebuilt, table).toBeGreaterThan(0)
  }
  expect(await positions()).toEqual(before)
  expect(await databases()).toHaveLength(1)
})

test('people may go on meanwhile: both are compared as of one moment', async () => {
  const rooms = ['b-1', 'b-2', 'b-3']
  for (const orderId of rooms) await system.openRoom(orderId, `${orderId}-ann`, `${orderId}-vic`)
  const sockets = await Promise.all(rooms.map((orderId) => system.connect(1, { orderId, userId: `${orderId}-ann` })))
  let sent = 0
  let isOver = false
  const refused: unknown[] = []
  const talking = sockets.map(async (socket) => {
    while (!isOver) {
      const reply = await socket.sendMessage(`and on and on, ${sent++}`)
      if (reply.type !== 'ack') refused.push(reply)
    }
  })
  const before = sent
  const report = await rebuilt()
  const meanwhile = sent - before
  isOver = true
  await Promise.all(talking)
  expect(refused).toEqual([])
  expect(meanwhile).toBeGreaterThan(50)
  expect(report).toMatchObject({ isEqual: true })
  const { rows } = await system.pool.query(`SELECT count(*)::int AS n FROM chat_messages`)
  expect(resultOf(report, 'chat_messages').rebuilt).toBeLessThan(rows[0].n)
})

test('a row that was tampered with is found, with what it should be, and the command ends with 1', async () => {
  const tamper = async (sql: string) => {
    await system.pool.query(`BEGIN; ALTER TABLE chat_messages DISABLE TRIGGER USER; ALTER TABLE message_contents DISABLE TRIGGER USER; ${sql};
                             ALTER TABLE chat_messages ENABLE TRIGGER USER; ALTER TABLE message_contents ENABLE TRIGGER USER; COMMIT`)
  }
  const key = `room_id = 'o-2' AND message_index = 1`
  await tamper(`UPDATE chat_messages SET sender_id = 'mallory' WHERE ${key};
                UPDATE message_contents SET content = 'I owe you 1000' WHERE room_id = 'o-2' AND seq = (SELECT seq FROM chat_messages WHERE ${key});
                DELETE FROM message_reactions WHERE room_id = 'o-2'`)
  try {
    const report = await rebuilt()
    expect(report.isEqual).toBe(false)
    expect(resultOf(report, 'chat_messages')).toMatchObject({ different: 1, onlyLive: 0, onlyRebuilt: 0, examples: [{ key: { room_id: 'o-2' }, live: { sender_id: 'mallory' }, rebuilt: { sender_id: 'o-2-ann' } }] })
    expect(resultOf(report, 'message_contents')).toMatchObject({ different: 1, examples: [{ live: { content: '(not shown)' }, rebuilt: { content: '(not shown)' } }] })
    expect(resultOf(report, 'message_reactions')).toMatchObject({ different: 0, onlyRebuilt: 1, live: 1, rebuilt: 2 })
    expect(resultOf(report, 'room_events')).toMatchObject({ different: 0, onlyLive: 0, onlyRebuilt: 0 })
    expect(lines.join('\n')).not.toContain('I owe you')
    const { code, output } = await runCommand()
    expect({ code, output }).toMatchObject({ code: 1, output: expect.stringContaining('chat_messages: DIFFERENT') })
  } finally {
    await tamper(`UPDATE chat_messages SET sender_id = 'o-2-ann' WHERE ${key};
                  UPDATE message_contents SET content = 'where is it?' WHERE room_id = 'o-2' AND seq = (SELECT seq FROM chat_messages WHERE ${key});
                  INSERT INTO message_reactions SELECT room_id, (body ->> 'messageSeq')::bigint, body ->> 'by', body ->> 'emoji', seq
                    FROM room_events WHERE room_id = 'o-2' AND event_type = 'reactionSet' AND body ->> 'emoji' = '🙏'`)
  }
})

test('a database that is kept has what no topic has, too; one that is not empty is not touched', async () => {
  const name = `${(await databases())[0]!.slice(0, 40)}_kept`
  const first = await runCommand('--into', name)
  expect(first).toMatchObject({ code: 0, output: expect.stringContaining('No difference.') })
  expect(first.output).toContain('copied, since no topic has it: admin_audit, 1 rows')
  const url = new URL(system.names.postgresUrl)
  url.pathname = `/${name}`
  const kept = new pg.Client({ connectionString: url.href })
  await kept.connect()
  try {
    const { rows } = await kept.query(`SELECT content, erased_at IS NOT NULL AS erased FROM message_contents WHERE room_id = $1 AND seq = $2`, [edited.roomId, edited.seq])
    expect(rows).toEqual([{ content: null, erased: true }])
    // The copy keeps its ids, and goes on behind them.
    const again = await kept.query(`SELECT erase_message_content('o-2', 1, 'a', 'b')`)
    expect(again.rows).toHaveLength(1)
    expect((await kept.query('SELECT id::int FROM admin_audit ORDER BY id')).rows).toEqual([{ id: 1 }, { id: 2 }])
    expect(await runCommand('--into', name)).toMatchObject({ code: 2, output: expect.stringContaining(`the database ${name} is not empty`) })
  } finally {
    await kept.end()
    await system.pool.query(`DROP DATABASE ${name}`)
  }
})

test('a live database that is behind the topics is waited for, and then named', async () => {
  const persister = system.process('message-persister-1')
  await persister.stop()
  try {
    const ann = await system.connect(1, { userId: 'o-1-ann', orderId: 'o-1' })
    await ann.sendMessage('while nobody writes it down')
    await expect(rebuilt({ waitMs: 500 })).rejects.toThrow(/(room|user)-events\[\d+\] is at \d+ of \d+\. Is message-persister running\?/)
    expect(await databases()).toHaveLength(1)
  } finally {
    await persister.start()
  }
  expect(await rebuilt()).toMatchObject({ isEqual: true })
})

test('where retention has removed the start of the log, it says so and compares what is whole', async () => {
  const admin = new Kafka({ clientId: 'cut', brokers: system.stack.kafkaBrokers, logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  const topic = `${system.names.topicPrefix}${topics.roomEvents.name}`
  const ends = await admin.fetchTopicOffsets(topic)
  await admin.deleteTopicRecords({ topic, partitions: ends.map(({ partition, high }) => ({ partition, offset: high })) })
  await admin.disconnect()
  // A room of before goes on; the owner marks the log again, and new rooms open behind the mark.
  const ann = await system.connect(1, { userId: 'o-1-ann', orderId: 'o-1' })
  await ann.sendMessage('before the mark')
  await system.process('room-state-1').restart()
  for (const orderId of ['o-3', 'o-4', 'o-5']) await talk(orderId)
  await ann.sendMessage('behind the mark', { roomId: 'o-1' })
  const report = await rebuilt()
  expect(report).toMatchObject({ isEqual: true })
  expect(report.cut.length).toBe(ends.filter(({ high }) => high !== '0').length)
  expect(resultOf(report, 'chat_rooms')).toMatchObject({ live: 3, rebuilt: 3 })
  expect(lines.join('\n')).toMatch(/retention has removed what was before[\s\S]*records about older rooms were left out/)
  // Of what is whole, every row counts.
  await system.pool.query(`DELETE FROM room_receipts WHERE room_id = 'o-3'`)
  const tampered = await rebuilt()
  expect(resultOf(tampered, 'room_receipts')).toMatchObject({ onlyRebuilt: 2, onlyLive: 0, different: 0 })
})
