import { readFileSync } from 'node:fs'
import path from 'node:path'
import { Kafka, logLevel, type KafkaMessage } from 'kafkajs'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { headerNames, OWNERSHIP_MARKER, topics } from '#libs/streams/topics.ts'
import { quietProgress } from '../../deploy/local/progress.ts'
import { run } from '../../deploy/local/run.ts'
import { joinOnceOpen } from '../e2e/helpers.ts'
import { useStack } from '../support/stack.ts'
import { System } from '../support/system.ts'
import { ensurePython, recipes } from './analytics-python.ts'

const PYTHON_WITHIN_MS = 400_000
/** Of the vendor 5 (2, 1 and 2 in three orders), of the rider 6, of the other one in the group 2. */
const UNREAD = 13
const roomEvents = topics.roomEvents.name

let python: string
let system: System
let kafka: Kafka
let groupId: string

beforeAll(async () => {
  python = await ensurePython({ env: process.env, progress: quietProgress })
  system = await System.start(await useStack(), 'analytics', { partitions: 3, count: { inbox: 1 } })
  kafka = new Kafka({ clientId: 'analytics', brokers: system.stack.kafkaBrokers, logLevel: logLevel.NOTHING })
  await traffic()
  await voidRecords()
  await vi.waitFor(async () => expect((await system.pool.query('SELECT count(*)::int AS users, sum(unread)::int AS unread FROM user_heads')).rows).toEqual([{ users: 8, unread: UNREAD }]), { timeout: 30_000, interval: 300 })
  await voidUserRecords()
  await untilPersisted()
}, PYTHON_WITHIN_MS)
afterAll(() => system?.close())

/** Four orders: two whose vendors answer, one whose vendor does not, one without a word; and a group. */
async function traffic(): Promise<void> {
  for (const n of [1, 2, 3, 4]) await system.openRoom(`a-${n}`, `ann-${n}`, 'vic')
  await system.order('rider_assigned', 'a-1', { riderId: 'rob' })
  const people = async (n: number) => Promise.all([system.connect(1, { orderId: `a-${n}`, userId: `ann-${n}` }), system.connect(2, { orderId: `a-${n}`, userId: 'vic' })])
  const [ann, vic] = await people(1)
  await vic.sendMessage('we have your order')
  const { messageIndex } = await ann.sendMessage('how long?')
  expect(await vic.request({ type: 'mark', roomId: 'a-1', seen: messageIndex })).toMatchObject({ type: 'ack' })
  await new Promise((resolve) => setTimeout(resolve, 250))
  await vic.sendMessage('20 minutes')
  await vic.sendMessage('or less')
  const [bea, vicToo] = await people(2)
  await bea.sendMessage('hello?')
  await vicToo.sendMessage('hello')
  const [cid] = await people(3)
  await cid.sendMessage('anybody there?')
  const dora = await system.connect(1, { userId: 'dora' })
  const { roomId } = await dora.request({ type: 'createConversation', kind: 'group', participants: ['emil'], clientId: 'g', name: 'g' })
  groupId = roomId as string
  await joinOnceOpen(dora, groupId)
  await dora.sendMessage('not about an order', { roomId: groupId })
}

const eventTypeOf = (headers: KafkaMessage['headers']): string => String(headers?.[headerNames.eventType])

type Raw = KafkaMessage & { readonly partition: number }

/** The whole log as it is, by a client that knows no rule. */
async function rawLog(name: string = roomEvents): Promise<Raw[]> {
  const topic = `${system.names.topicPrefix}${name}`
  const admin = kafka.admin()
  await admin.connect()
  const ends = await admin.fetchTopicOffsets(topic)
  await admin.disconnect()
  const expected = ends.reduce((sum, { high }) => sum + Number(high), 0)
  const consumer = kafka.consumer({ groupId: `${topic}-${crypto.randomUUID()}`, maxWaitTimeInMs: 100 })
  const messages: Raw[] = []
  const all = Promise.withResolvers<void>()
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => {
      messages.push({ ...message, partition })
      if (messages.length >= expected) all.resolve()
    },
  })
  await all.promise
  await consumer.disconnect()
  return messages
}

/** As somebody writes who has lost his partition: copies of what counts, under epochs that are not in force, before and behind takeovers. */
async function voidRecords(): Promise<void> {
  const said = (await rawLog()).filter(({ headers }) => eventTypeOf(headers) === 'messageSent')
  const producer = kafka.producer()
  await producer.connect()
  const append = ({ partition, key, value, headers }: Raw, ownerEpoch: string) =>
    producer.send({ topic: `${system.names.topicPrefix}${roomEvents}`, messages: [{ partition, key, value, headers: { ...headers, [headerNames.ownerEpoch]: ownerEpoch } }] })
  for (const record of said) await append(record, '987654321')
  const foreign = await rawLog()
  // Each owner meets what is not his, and takes over again: a marker behind it, after which the copies' own epochs are over.
  const rooms = [['a-1', 'ann-1'], ['a-2', 'ann-2'], ['a-3', 'ann-3'], [groupId, 'dora']] as const
  for (const [orderId, userId] of rooms) await (await system.connect(1, { orderId, userId })).sendMessage('thank you')
  const ends = new Map(foreign.map(({ partition, offset }) => [partition, Number(offset)]))
  const disturbed = new Set(said.map(({ partition }) => partition))
  const isMarkedAgain = (log: readonly Raw[], p: number) => log.some(({ partition, offset, headers }) => partition === p && Number(offset) > ends.get(p)! && eventTypeOf(headers) === OWNERSHIP_MARKER)
  await vi.waitFor(async () => {
    const log = await rawLog()
    expect([...disturbed].filter((p) => !isMarkedAgain(log, p))).toEqual([])
  }, { timeout: 30_000, interval: 500 })
  for (const record of said) await append(record, String(record.headers?.[headerNames.ownerEpoch]))
  for (const record of said) await append(record, '-1')
  await (await system.connect(1, { orderId: 'a-1', userId: 'ann-1' })).sendMessage('bye')
  await producer.disconnect()
}

/** The first word on each user once more, as the last record of his log. */
async function voidUserRecords(): Promise<void> {
  const topic = `${system.names.topicPrefix}${topics.userEvents.name}`
  const said = (await rawLog(topics.userEvents.name)).filter(({ headers }) => eventTypeOf(headers) === 'chatChanged').toSorted((a, b) => Number(a.offset) - Number(b.offset))
  const producer = kafka.producer()
  await producer.connect()
  for (const [, first] of new Map(said.toReversed().map((record) => [String(record.key), record]))) {
    const { partition, key, value, headers } = first
    await producer.send({ topic, messages: [{ partition, key, value, headers: { ...headers, [headerNames.ownerEpoch]: '987654321' } }] })
  }
  await producer.disconnect()
}

async function untilPersisted(): Promise<void> {
  const admin = kafka.admin()
  await admin.connect()
  try {
    await vi.waitFor(
      async () => {
        for (const topic of [topics.roomEvents.name, topics.userEvents.name]) {
          const ends = (await admin.fetchTopicOffsets(`${system.names.topicPrefix}${topic}`)).filter(({ high }) => high !== '0')
          const { rows } = await system.pool.query('SELECT partition, next_offset::text AS high FROM persisted_offsets WHERE topic = $1 AND next_offset > 0 ORDER BY 1', [topic])
          expect(rows).toEqual(ends.map(({ partition, high }) => ({ partition, high })).toSorted((a, b) => a.partition - b.partition))
        }
      },
      { timeout: 30_000, interval: 300 },
    )
  } finally {
    await admin.disconnect()
  }
}

/** A recipe as anybody runs it. */
async function recipe(name: string, ...args: string[]): Promise<string> {
  const where = ['--brokers', system.stack.kafkaBrokers.join(','), '--registry', system.stack.schemaRegistryUrl, '--prefix', system.names.topicPrefix]
  const { ok, output } = await run(python, [path.join(recipes, name), ...where, ...args])
  if (!ok) throw new Error(`${name}: ${output}`)
  return output
}

const sqlOf = (name: string): string => readFileSync(path.join(recipes, name), 'utf8')

test('a client that is not written in JavaScript gets the numbers of Postgres from the topics', async () => {
  const fromTopics = JSON.parse(await recipe('questions.py')) as Record<string, unknown>
  const { rows } = await system.pool.query<{ answers: Record<string, unknown> }>(sqlOf('questions.sql'))
  expect(fromTopics).toEqual(rows[0]!.answers)
  expect(fromTopics).toMatchObject({
    rooms: 5,
    orders: 4,
    ordersWithContact: 3,
    orderMessages: 11,
    orderMessagesByRole: { customer: 7, vendor: 4 },
    mostMessagesOfAnOrder: 6,
    messages: 13,
    messagesRead: 1,
    vendorResponses: 2,
    users: 8,
    usersWithUnread: 3,
    unread: UNREAD,
  })
  expect(fromTopics['vendorFirstResponseMaxMs']).toBeGreaterThanOrEqual(250)
})

test('without the rule the same log tells another story', async () => {
  const counts = JSON.parse(await recipe('record_types.py', roomEvents, topics.userEvents.name)) as Record<string, Record<string, number>>
  expect(counts[topics.userEvents.name]!['(void)']).toBe(8)
  const { MessageSent, '(void)': isVoid, '(marker)': markers } = counts[roomEvents]!
  expect(MessageSent).toBe(13)
  expect(isVoid).toBe(3 * 8)
  // The owner has taken over what he was disturbed in.
  expect(markers).toBeGreaterThan(3)
  const all = await rawLog()
  const claimed = all.filter(({ headers }) => eventTypeOf(headers) === 'messageSent')
  expect(claimed).toHaveLength(13 + 3 * 8)
  expect(all.filter(({ headers }) => eventTypeOf(headers) === OWNERSHIP_MARKER)).toHaveLength(markers!)
})

test('the rule in SQL, on raw records, is the rule', async () => {
  const [, ...lines] = (await recipe('raw_records.py', roomEvents)).trim().split(/\r?\n/)
  // An event-type has commas where a record has several entries; no other column has any.
  const rows = lines.map((line) => /^([^,]+),(\d+),(\d+),"?(.*?)"?,([^,]*),(\w+)$/.exec(line)!.slice(1))
  const column = (i: number) => rows.map((row) => row[i]! || null)
  const sql = sqlOf('valid-records.sql').replace('raw_records\n', 'unnest($1::text[], $2::int[], $3::bigint[], $4::text[], $5::text[]) AS raw(topic, log_partition, log_offset, event_type, owner_epoch)\n')
  expect(sql).toContain('unnest')
  const valid = await system.pool.query(sql.trim().replace(/;$/, ''), [0, 1, 2, 3, 4].map(column))
  const told = valid.rows.map(({ log_partition, log_offset }) => `${log_partition} ${log_offset}`)
  const judged = rows.filter((row) => row[5] === 'valid').map((row) => `${row[1]} ${row[2]}`)
  // Five rooms, a rider, a mark, 13 messages.
  expect(told).toHaveLength(20)
  expect(told.toSorted()).toEqual(judged.toSorted())
})

test('every topic with a schema is read and decoded', async () => {
  const names = Object.values(topics).filter(({ schema }) => schema !== null).map(({ name }) => name)
  const counts = JSON.parse(await recipe('record_types.py', ...names)) as Record<string, Record<string, number>>
  expect(Object.keys(counts)).toEqual(names)
  expect(counts['order-events']).toMatchObject({ OrderAccepted: 4, RiderAssigned: 1 })
  expect(counts['chat-commands']).toMatchObject({ SendMessage: 13, Mark: 1, CreateRoom: 1 })
  expect(counts['room-events']).toMatchObject({ RoomOpened: 5, ReceiptMoved: 1 })
  expect(counts['presence-events']!['UserOnline']).toBeGreaterThanOrEqual(5)
  expect(counts['room-state']).toHaveProperty('Sentinel')
})
