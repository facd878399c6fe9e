import pino from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { ChatChanged } from '#libs/domain/inbox.ts'
import type { RoomEvent } from '#libs/domain/room.ts'
import { AvroCodecs, registryConfigFromEnv } from '#libs/kafka/avro.ts'
import { BatchingProducer } from '#libs/kafka/batching-producer.ts'
import { createKafkaClient, type KafkaClient, kafkaConfigFromEnv } from '#libs/kafka/client.ts'
import { PositionedConsumer } from '#libs/kafka/positioned-consumer.ts'
import { readLog } from '#libs/kafka/read-back.ts'
import { OffsetsAdmin } from '#libs/kafka/topics-admin.ts'
import { inboxCommandToAvro, userDecisionFromAvro } from '#libs/streams/inbox-shapes.ts'
import { readByRule } from '#libs/streams/read-by-rule.ts'
import { NO_EPOCH } from '#libs/streams/reader-rule.ts'
import { topics } from '#libs/streams/topics.ts'
import { ChatsOfLog, type ChatOfLog, ofFeed } from '../../services/inbox/core/test-support/chats-of-log.ts'
import type { ChatSocket } from '../support/chat-socket.ts'
import { type Stack, useStack } from '../support/stack.ts'
import { System } from '../support/system.ts'

const PARTITIONS = 3
const ORDERS = Array.from({ length: 6 }, (_, i) => `o-${i}`)
const customerOf = (orderId: string) => `customer-${Number(orderId.slice(2)) % 4}`
const vendorOf = (orderId: string) => `vendor-${Number(orderId.slice(2)) % 2}`

let stack: Stack
let system: System
let kafka: KafkaClient
let offsets: OffsetsAdmin
let codecs: AvroCodecs

beforeAll(async () => {
  stack = await useStack()
  system = await System.start(stack, 'inbox', { count: { inbox: 2, edge: 1 }, partitions: PARTITIONS, env: { INBOX_COMMIT_EVERY_MS: '300', INBOX_SNAPSHOT_EVERY_MS: '500', ROOM_SNAPSHOT_EVERY_MS: '700' } })
  const env = { KAFKA_BROKERS: stack.kafkaBrokers.join(','), KAFKA_TOPIC_PREFIX: system.names.topicPrefix, KAFKA_PARTITIONS: String(PARTITIONS), KAFKA_REPLICATION_FACTOR: String(stack.brokers), SCHEMA_REGISTRY_URL: stack.schemaRegistryUrl }
  kafka = createKafkaClient(kafkaConfigFromEnv(env), 'inbox-test', pino({ level: 'silent' }))
  codecs = new AvroCodecs(registryConfigFromEnv(env), kafka)
  offsets = new OffsetsAdmin(kafka)
})
afterAll(async () => {
  await offsets?.close()
  await system?.close()
})

type Talk = { readonly orderId: string; readonly customer: ChatSocket; readonly vendor: ChatSocket }

async function openAll(): Promise<Talk[]> {
  return Promise.all(
    ORDERS.map(async (orderId) => {
      const [customerId, vendorId] = [customerOf(orderId), vendorOf(orderId)]
      await system.openRoom(orderId, customerId, vendorId)
      const [customer, vendor] = await Promise.all([system.connect(1, { orderId, userId: customerId }), system.connect(1, { orderId, userId: vendorId })])
      return { orderId, customer, vendor }
    }),
  )
}

/** Both sides write, and one of them reads up to somewhere. */
async function talk(talks: readonly Talk[], round: number): Promise<void> {
  await Promise.all(
    talks.map(async ({ orderId, customer, vendor }, i) => {
      for (let nr = 0; nr < 3 + (i % 3); nr++) {
        expect(await customer.sendMessage(`${round} ${nr} of ${orderId}`, nr === 1 ? { mentions: [vendorOf(orderId)] } : {})).toMatchObject({ type: 'ack' })
        if ((nr + i) % 3 === 0) expect(await vendor.request({ type: 'mark', seen: round * 2 + nr })).toMatchObject({ type: 'ack' })
      }
      if (i % 2 === round % 2) expect(await vendor.sendMessage(`answer ${round} to ${orderId}`)).toMatchObject({ type: 'ack' })
    }),
  )
}

type Chats = Record<string, Record<string, ChatOfLog>>
const plain = (chats: ReadonlyMap<UserId, ReadonlyMap<RoomId, ChatOfLog>>): Chats => Object.fromEntries([...chats].map(([userId, rooms]) => [userId, Object.fromEntries(rooms)]))

/** From the events of the rooms alone, as Postgres has them. */
async function chatsOfEvents(): Promise<Chats> {
  const { rows } = await system.pool.query<{ room_id: RoomId; body: RoomEvent }>('SELECT room_id, body FROM room_events ORDER BY room_id, seq')
  const model = new ChatsOfLog()
  for (const { room_id: roomId, body } of rows) model.add(roomId, body)
  return plain(model.chats)
}

async function storedChats(): Promise<Chats> {
  const { rows } = await system.pool.query('SELECT * FROM user_chats')
  const stored: Chats = {}
  for (const row of rows) {
    const count = (name: string) => Number(row[name])
    stored[row.user_id] ??= {}
    stored[row.user_id]![row.room_id] = ofFeed({
      status: row.status, kind: row.kind, role: row.role ?? undefined, name: row.name ?? undefined, messageCount: count('message_count'), seen: count('seen'),
      mentions: row.mentions.map(Number), last: row.last_message ?? undefined, lastActivityMs: count('last_activity_ms'), closed: row.closed,
    })
  }
  return stored
}

/** Until the users' chats are what the rooms' events say. */
async function untilEqual(): Promise<void> {
  const deadline = Date.now() + 40_000
  for (;;) {
    const [expected, stored] = [await chatsOfEvents(), await storedChats()]
    if (Date.now() > deadline) return expect(stored).toEqual(expected)
    try {
      expect(stored).toEqual(expected)
      return
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
  }
}

/** What is valid in user-events, by user. */
async function feeds(): Promise<Map<UserId, ChatChanged[]>> {
  const topic = topics.userEvents.name
  const codec = await codecs.forTopic(topics.userEvents)
  const reader = new PositionedConsumer(kafka, { topics: [topic], onFailed: (err) => expect.fail(err.message) })
  await reader.start()
  const found = new Map<UserId, ChatChanged[]>()
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const { high } = await offsets.range(topic, partition)
    let at = { nextOffset: 0n, ownerEpoch: NO_EPOCH, lastSources: new Map<string, bigint>() }
    const onRecords = async (records: Parameters<typeof readByRule>[2]) => {
      if (records.length === 0) return
      const { after, read } = await readByRule({ codec, decidedOf: userDecisionFromAvro }, at, records)
      at = { ...after, lastSources: new Map(after.lastSources) }
      for (const { decided: { userId, entries } } of read) {
        for (const entry of entries) if (entry.type === 'chatChanged') found.set(userId, [...(found.get(userId) ?? []), entry])
      }
    }
    await readLog({ reader, offsets }, { topic, partition, from: 0n, upTo: high - 1n, onRecords, signal: AbortSignal.timeout(20_000) })
  }
  await reader.close()
  return found
}

test('kill -9 in mid-traffic and a second process that takes over partitions: the lists are what the rooms say, numbers have no holes', async () => {
  await system.process('inbox-2').stop()
  const talks = await openAll()
  await talk(talks, 1)
  await untilEqual()
  await Promise.all([talk(talks, 2), new Promise((resolve) => setTimeout(resolve, 30)).then(() => system.process('inbox-1').kill())])
  await Promise.all([talk(talks, 3), system.process('inbox-1').start()])
  await Promise.all([talk(talks, 4), system.process('inbox-2').start()])
  await system.order('delivered', ORDERS[0]!)
  await talks[0]!.vendor.waitFor((frame) => frame.type === 'roomUpdated' && frame['event'] === 'roomClosed')
  await Promise.all([talk(talks.slice(1), 5), system.process('inbox-1').stop()])
  await untilEqual()

  const byUser = await feeds()
  const heads = await system.pool.query<{ user_id: UserId; user_seq: string; unread: string; mentions: string; chats: string }>('SELECT * FROM user_heads')
  expect(new Set(byUser.keys())).toEqual(new Set([...ORDERS.map(customerOf), ...ORDERS.map(vendorOf)]))
  const stored = await storedChats()
  for (const [userId, events] of byUser) {
    expect(events.map(({ userSeq }) => userSeq), userId).toEqual(events.map((_, i) => i + 1))
    const chats = Object.values(stored[userId]!).filter(({ status }) => status === 'in')
    const sum = { unread: chats.reduce((all, { messageCount, seen }) => all + messageCount - seen, 0), mentions: chats.reduce((all, { mentions }) => all + mentions.length, 0), chats: chats.length }
    expect(events.at(-1)!.totals, userId).toEqual(sum)
    const head = heads.rows.find((row) => row.user_id === userId)!
    expect({ userSeq: Number(head.user_seq), unread: Number(head.unread), mentions: Number(head.mentions), chats: Number(head.chats) }).toEqual({ userSeq: events.length, ...sum })
  }
  expect([...byUser.values()].flat().some(({ totals }) => totals.mentions > 0)).toBe(true)
})

test('a command sets a chat and is answered in the log; what cannot be decoded is dead-lettered, and the next is heard', async () => {
  const producer = new BatchingProducer(kafka)
  const codec = await codecs.forTopic(topics.inboxCommands)
  const userId = customerOf(ORDERS[1]!) as UserId
  const before = (await feeds()).get(userId)!.length
  await producer.send(topics.inboxCommands.name, { key: userId, value: Buffer.from('nonsense'), headers: { 'command-id': 'bad', 'reply-to': 'test' } })
  const command = { userId, commandId: 'good', type: 'setChat', roomId: ORDERS[1]! as RoomId, mutedUntilMs: 1, archived: true } as const
  await producer.send(topics.inboxCommands.name, { key: userId, value: codec.encode(inboxCommandToAvro(command)), headers: {} })
  await expect.poll(async () => (await system.pool.query('SELECT muted_until_ms::int AS muted, archived FROM user_chats WHERE user_id = $1 AND room_id = $2', [userId, ORDERS[1]])).rows, { timeout: 20_000 }).toEqual([{ muted: 1, archived: true }])
  const events = (await feeds()).get(userId)!
  expect(events.slice(before)).toMatchObject([{ cause: 'set', userSeq: before + 1, chat: { archived: true } }])
  expect((await offsets.range(topics.inboxDlq.name, 0)).high).toBe(1n)
  await producer.close()
})
