import { afterAll, beforeAll, expect, test } from 'vitest'
import { decideInbox, evolveInbox } from '#libs/domain/decide-inbox.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { type InboxCommand, newUser, type UserState } from '#libs/domain/inbox.ts'
import { type AvroCodec, AvroCodecs, registryConfigFromEnv } from '#libs/kafka/avro.ts'
import { BatchingProducer } from '#libs/kafka/batching-producer.ts'
import { createKafkaClient, kafkaConfigFromEnv } from '#libs/kafka/client.ts'
import { PositionedConsumer } from '#libs/kafka/positioned-consumer.ts'
import { inboxCommandFromAvro, userDecisionToAvro, userMarkerToAvro } from '#libs/streams/inbox-shapes.ts'
import { headerText } from '#libs/streams/reader-rule.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { headerNames, OWNERSHIP_MARKER, topics } from '#libs/streams/topics.ts'
import { useStack } from '../support/stack.ts'
import { System } from '../support/system.ts'
import { silent } from './api-fixture.ts'
import { ApiUsers, codeOf } from './api-users.ts'

/** The feed, as far as the api can see it: owns every partition of user-events, and answers each command once. */
class Feed {
  readonly users = new Map<string, UserState>()
  readonly #producer: BatchingProducer
  readonly #consumer: PositionedConsumer
  readonly #log: AvroCodec
  readonly #commands: AvroCodec
  readonly #epochs = new Map<number, bigint>()

  private constructor(producer: BatchingProducer, consumer: PositionedConsumer, log: AvroCodec, commands: AvroCodec) {
    this.#producer = producer
    this.#consumer = consumer
    this.#log = log
    this.#commands = commands
  }

  static async start(env: Record<string, string>): Promise<Feed> {
    const kafka = createKafkaClient(kafkaConfigFromEnv(env), 'feed', silent)
    const codecs = new AvroCodecs(registryConfigFromEnv(env), kafka)
    const [log, commands] = await Promise.all([codecs.forTopic(topics.userEvents), codecs.forTopic(topics.inboxCommands)])
    const consumer = new PositionedConsumer(kafka, { topics: [topics.inboxCommands.name], onFailed: (err) => console.error(err) })
    const feed = new Feed(new BatchingProducer(kafka), consumer, log, commands)
    for (let partition = 0; partition < kafka.config.partitions; partition++) {
      await feed.takeOver(partition)
      consumer.open(topics.inboxCommands.name, partition, 0n, (records) => {
        for (const record of records) void feed.answer(partition, record)
      })
    }
    await consumer.start()
    await consumer.joined
    return feed
  }

  async takeOver(partition: number): Promise<void> {
    const value = this.#log.encode(userMarkerToAvro('feed', String(partition)))
    const { offset } = await this.#producer.send(topics.userEvents.name, { partition, key: null, value, headers: { [headerNames.eventType]: OWNERSHIP_MARKER } })
    this.#epochs.set(partition, offset)
  }

  /** The answer to the command at this place, by the epoch that is given. */
  async answer(partition: number, { offset, headers, value }: InRecord, epoch = this.#epochs.get(partition)!): Promise<void> {
    const command: InboxCommand = inboxCommandFromAvro(this.#commands.decode(value!))
    const state = this.users.get(command.userId) ?? newUser(command.userId)
    const entries = decideInbox(state, command, Date.now())
    this.users.set(command.userId, entries.reduce((before, entry) => evolveInbox(before, command.userId, entry), state))
    const answered = { [headerNames.replyTo]: headerText(headers, headerNames.replyTo)!, [headerNames.commandId]: command.commandId }
    const facts = { [headerNames.ownerEpoch]: String(epoch), [headerNames.source]: `${topics.inboxCommands.name}:${offset}`, [headerNames.eventType]: entries.map(({ type }) => type).join(',') }
    await this.#producer.send(topics.userEvents.name, { partition, key: command.userId, value: this.#log.encode(userDecisionToAvro({ userId: command.userId, commandId: command.commandId, entries })), headers: { ...facts, ...answered } })
  }

  /** What no owner writes: the same input a second time. */
  async corrupt(partition: number): Promise<void> {
    const facts = { [headerNames.ownerEpoch]: String(this.#epochs.get(partition)), [headerNames.source]: `${topics.inboxCommands.name}:0`, [headerNames.eventType]: 'inboxIgnored' }
    const value = this.#log.encode(userDecisionToAvro({ userId: 'x' as UserId, commandId: undefined, entries: [{ type: 'inboxIgnored', reason: 'x' }] }))
    for (let n = 0; n < 2; n++) await this.#producer.send(topics.userEvents.name, { partition, key: 'x', value, headers: facts })
  }

  async close(): Promise<void> {
    await this.#consumer.close()
    await this.#producer.close()
  }
}

let system: System
let api: ApiUsers
let feed: Feed
beforeAll(async () => {
  system = await System.start(await useStack(), 'api-inbox-log', { count: { edge: 0, 'sqs-bridge': 0, api: 1 } })
  api = new ApiUsers(system)
  feed = await Feed.start(system.process('api-1').env)
})
afterAll(async () => {
  await feed?.close()
  await system?.close()
})

const isUp = async (metric: string): Promise<boolean> => {
  const text = await (await fetch(`http://127.0.0.1:${system.process('api-1').env['METRICS_PORT']}/metrics`)).text()
  return new RegExp(`^${metric}(\\{[^}]*\\})? 1$`, 'm').test(text)
}
const entered = (userId: string, roomId: string): void => {
  const state = newUser(userId as UserId)
  const [entry] = decideInbox(state, { userId: state.userId, roomId: roomId as RoomId, roomSeq: 1, timestampMs: 5, change: { type: 'entered', kind: 'order', role: 'vendor', messageCount: 3, seen: 1 } }, 5)
  feed.users.set(userId, evolveInbox(state, state.userId, entry!))
}

test('a chat is muted by a command in the log, whose answer comes back in user-events', async () => {
  entered('shop', 'order-1')
  const muted = await api.write('PATCH', '/me/chats/order-1', 'shop', { mutedUntilMs: 99 })
  expect(muted).toMatchObject({ status: 200, body: { roomId: 'order-1', userSeq: 2, chat: { roomId: 'order-1', unread: 2, mutedUntilMs: 99 }, totals: { unread: 2, chats: 1 } } })
  expect((await api.write('PATCH', '/me/chats/order-1', 'shop', { mutedUntilMs: 99 })).body).toEqual({ roomId: 'order-1', userSeq: 2, unchanged: true })
  expect(codeOf(await api.write('PATCH', '/me/chats/order-2', 'shop', { archived: true }))).toEqual([404, 'chat_not_found'])
  expect(feed.users.get('shop')?.chats.get('order-1' as RoomId)).toMatchObject({ mutedUntilMs: 99, archived: false })
})

test('where user-events cannot be followed, rooms are written to all the same', async () => {
  expect([await isUp('api_log_up'), await isUp('api_inbox_log_up')]).toEqual([true, true])
  await feed.corrupt(0)
  await expect.poll(() => isUp('api_inbox_log_up'), { timeout: 15_000 }).toBe(false)
  await expect.poll(() => isUp('api_log_up'), { timeout: 15_000 }).toBe(true)
  expect((await api.post('/rooms', 'ann', { kind: 'direct', participants: ['bob'] })).status).toBe(201)
  expect(codeOf(await api.ask('PATCH', '/me/chats/order-1', 'shop', { archived: true }))).toEqual([503, 'unavailable'])
})
