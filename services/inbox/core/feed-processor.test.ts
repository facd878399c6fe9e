import { readFileSync } from 'node:fs'
import avro from 'avsc'
import { beforeEach, describe, expect, test } from 'vitest'
import { decideInbox, evolveInbox } from '#libs/domain/decide-inbox.ts'
import { ChatError } from '#libs/domain/errors.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { ENDED_CHAT_KEPT_MS, FOREVER_MS, type InboxChange, type InboxInput, newUser, type UserState } from '#libs/domain/inbox.ts'
import type { Checkpoint } from '#libs/streams/avro-shapes.ts'
import { inboxCommandToAvro, inboxUpdateToAvro, userDecisionFromAvro } from '#libs/streams/inbox-shapes.ts'
import { MemoryPartition, seededRandom, VirtualTime } from '#libs/streams/memory-log.ts'
import { appliedInputs, pick, playRivals, randomFaults, validRecords } from '#libs/streams/memory-task.ts'
import { partitionOf } from '#libs/streams/murmur2.ts'
import type { InRecord, OutRecord } from '#libs/streams/record.ts'
import { feedInputTopics, topics } from '#libs/streams/topics.ts'
import { FeedProcessor } from './feed-processor.ts'
import { type PreparedInboxInput, prepareInboxInputs } from './prepare.ts'

const T0 = 1_700_000_000_000

function codecOf(file: string) {
  const type = avro.Type.forSchema(JSON.parse(readFileSync(new URL(`../../../schemas/${file}`, import.meta.url), 'utf8')), { wrapUnions: true })
  const decode = (bytes: Buffer): unknown => {
    try {
      return type.fromBuffer(bytes)
    } catch (err) {
      throw new ChatError('undecodable', (err as Error).message)
    }
  }
  return { encode: (value: unknown) => type.toBuffer(value), decode, learn: () => undefined }
}
const codecs = { updates: codecOf('inbox-updates.avsc'), commands: codecOf('inbox-commands.avsc'), events: codecOf('user-events.avsc'), state: codecOf('inbox-state.avsc') }

let letters: OutRecord[] = []
beforeEach(() => {
  letters = []
})
const prepareDeps = {
  partition: 0,
  partitions: 1,
  decode: (topic: string, bytes: Buffer) => (topic === topics.inboxUpdates.name ? codecs.updates : codecs.commands).decode(bytes),
  deadLetter: async (letter: OutRecord) => {
    letters.push(letter)
  },
}
const newProcessor = () => new FeedProcessor({ userEvents: codecs.events, inboxState: codecs.state, prepare: (records) => prepareInboxInputs(prepareDeps, records) })

const user = (id: string) => id as UserId
const room = (id: string) => id as RoomId
const update = (userId: string, roomId: string, roomSeq: number, change: InboxChange, timestampMs = T0): InboxInput => ({ userId: user(userId), roomId: room(roomId), roomSeq, timestampMs, change })
const entered: InboxChange = { type: 'entered', kind: 'order', role: 'vendor', name: 'n', messageCount: 3, seen: 1 }
const said = (messageIndex: number, senderId = 'x'): InboxChange => ({ type: 'messages', messageCount: messageIndex, mentions: [messageIndex], last: { seq: messageIndex, messageIndex, messageId: 'm' as never, senderId: user(senderId), timestampMs: T0 } })
const prepared = (input: InboxInput): PreparedInboxInput => ({ userId: input.userId, commandId: undefined, input, headers: {} })

/** The latest value of every key, as compaction leaves it. */
class Topic {
  readonly #values = new Map<string, Buffer>()

  take(records: readonly OutRecord[]): readonly OutRecord[] {
    for (const { key, value } of records) {
      if (value === null) this.#values.delete(key!)
      else this.#values.set(key!, value)
    }
    return records
  }

  keys(): string[] {
    return [...this.#values.keys()].sort()
  }

  restored(): { processor: FeedProcessor; checkpoint: Checkpoint | undefined } {
    const processor = newProcessor()
    let checkpoint: Checkpoint | undefined
    for (const [key, value] of this.#values) checkpoint = processor.restore({ key, value, offset: 0n, headers: {}, timestampMs: T0 }) ?? checkpoint
    return { processor, checkpoint }
  }
}

const checkpoint: Checkpoint = { nextOffset: 9n, ownerEpoch: 4n, inputs: new Map([['inbox-updates', 7n]]) }

describe('snapshot and restore', () => {
  test('what is restored is what was, with all fields; only chats that changed are written', () => {
    const processor = newProcessor()
    const topic = new Topic()
    for (const input of [update('a', 'r1', 1, entered), update('a', 'r2', 1, { ...entered, name: undefined } as never), update('b', 'r1', 1, { type: 'invited', kind: 'dispute' }), update('a', 'r1', 5, said(5)), update('a', 'r2', 4, { type: 'left', reason: 'moderated' })]) processor.process(prepared(input), T0)
    processor.process(prepared({ userId: user('b'), commandId: 'c', type: 'setChat', roomId: room('r1'), mutedUntilMs: FOREVER_MS, archived: true }), T0)
    expect(processor.isDirty()).toBe(true)
    topic.take(processor.snapshot(checkpoint))
    expect(topic.keys()).toEqual([' checkpoint', 'a', 'a r1', 'a r2', 'b', 'b r1'])
    expect(processor.isDirty()).toBe(false)
    const next = topic.restored()
    expect(next.checkpoint).toEqual(checkpoint)
    expect(next.processor.users).toEqual(processor.users)
    expect(next.processor.isDirty()).toBe(false)
    next.processor.process(prepared(update('a', 'r1', 6, { type: 'seen', seen: 5 })), T0)
    expect(topic.take(next.processor.snapshot(checkpoint)).map(({ key }) => key)).toEqual(['a r1', 'a', ' checkpoint'])
  })

  test('a chat that goes is tombstoned, by the next owner too', () => {
    const processor = newProcessor()
    const topic = new Topic()
    for (const input of [update('a', 'r1', 1, entered), update('a', 'r1', 2, { type: 'closed', reason: 'delivered' })]) processor.process(prepared(input), T0)
    topic.take(processor.snapshot(checkpoint))
    const next = topic.restored().processor
    next.process(prepared(update('a', 'r9', 1, entered, T0 + ENDED_CHAT_KEPT_MS + 1)), T0)
    expect(topic.take(next.snapshot(checkpoint)).map(({ key, value }) => [key, value === null])).toEqual([['a r9', false], ['a r1', true], ['a', false], [' checkpoint', false]])
    expect(topic.restored().processor.users).toEqual(next.users)
  })

  test('nobody is taken for a checkpoint, whatever he is called', () => {
    const processor = newProcessor()
    const topic = new Topic()
    for (const name of ['~checkpoint', 'checkpoint', 'sentinel']) processor.process(prepared(update(name, '~x', 1, entered)), T0)
    topic.take([...processor.snapshot(checkpoint), processor.sentinel('n')])
    expect(topic.restored().processor.users).toEqual(processor.users)
  })

  test('a user whose head is missing cannot be woken: a later owner has written it', () => {
    const processor = newProcessor()
    const chat = { key: 'a r1', value: codecs.state.encode({ body: { 'orderchat.Sentinel': { nonce: 'n' } } }), offset: 0n, headers: {}, timestampMs: T0 }
    processor.restore(chat)
    expect(() => processor.process(prepared(update('a', 'r1', 1, entered)), T0)).toThrow(expect.objectContaining({ code: 'ownership_lost' }))
  })
})

describe('prepareInboxInputs', () => {
  const deps = { ...prepareDeps, partitions: 4, partition: partitionOf('a', 4) }
  const record = (topic: string, key: string | null, value: Buffer | null, headers: InRecord['headers'] = {}) => ({ topic, offset: 3n, key, value, headers, timestampMs: T0 })
  const good = codecs.updates.encode(inboxUpdateToAvro(update('a', 'r', 1, entered) as never))
  const command = (userId: string, roomId = 'r') => codecs.commands.encode(inboxCommandToAvro({ userId: user(userId), commandId: 'c', type: 'setChat', roomId: room(roomId), archived: true }))

  test('gives updates and commands, with what travels on', async () => {
    const [one, two] = await prepareInboxInputs(deps, [record('inbox-updates', 'a', good), record('inbox-commands', 'a', command('a'), { 'reply-to': 'edge', other: 'x' })])
    expect(one).toMatchObject({ userId: 'a', commandId: undefined, input: { roomSeq: 1, change: { type: 'entered', name: 'n' } } })
    expect(two).toEqual({ userId: 'a', commandId: 'c', input: { userId: 'a', commandId: 'c', type: 'setChat', roomId: 'r', archived: true }, headers: { 'reply-to': 'edge' } })
  })

  const stranger = ['b', 'c', 'd', 'e', 'f'].find((id) => partitionOf(id, 4) !== deps.partition)!
  test.each([
    ['garbage', record('inbox-updates', 'a', Buffer.from('x')), 'undecodable', 'a'],
    ['a tombstone', record('inbox-updates', 'a', null), 'undecodable', 'a'],
    ['another key', record('inbox-updates', 'z', good), 'undecodable', partitionOf('z', 4) === deps.partition ? 'z' : 'undecodable'],
    ['no key', record('inbox-updates', null, good), 'undecodable', 'undecodable'],
    ['a malformed room', record('inbox-commands', 'a', command('a', 'no room'), { 'command-id': 'c' }), 'undecodable', 'a'],
    ['another partition', record('inbox-commands', stranger, command(stranger), { 'command-id': 'c' }), 'wrong_partition', 'undecodable'],
  ])('%s is dead-lettered, and takes its place', async (_, bad, code, userId) => {
    const [input, next] = await prepareInboxInputs(deps, [bad, record('inbox-updates', 'a', good)])
    expect(input).toMatchObject({ userId, input: { type: 'undecodable' } })
    expect(next).toMatchObject({ userId: 'a', input: { roomSeq: 1 } })
    expect(letters.map(({ headers }) => headers['error-code'])).toEqual([code])
    const entry = userDecisionFromAvro(codecs.events.decode(newProcessor().process(input!, T0).value!))!.entries
    expect(entry).toEqual(bad.topic === 'inbox-commands' ? [{ type: 'inboxRefused', code: 'undecodable' }] : [{ type: 'inboxIgnored', reason: expect.stringContaining(code) }])
  })
})

const [UPDATES, COMMANDS] = feedInputTopics

/** The fold of the valid log, which also checks every decision against the input that it names. */
function foldLog(partition: MemoryPartition, upTo?: number) {
  const { records, epoch } = validRecords(partition.log, upTo)
  const users = new Map<UserId, UserState>()
  for (const { value, headers } of records) {
    const { userId, entries } = userDecisionFromAvro(codecs.events.decode(value!))!
    const [topic, offset] = `${headers['source']}`.split(':') as [string, string]
    const input = JSON.parse(partition.inputs.get(topic)![Number(offset)]!.headers['input'] as string) as InboxInput
    const state = users.get(userId) ?? newUser(userId)
    const [entry] = entries
    const timeMs = entry?.type === 'chatChanged' ? entry.timestampMs : 0
    if ('commandId' in input && entry?.type === 'chatChanged') expect({ ...decideInbox(state, input, timeMs)[0] }).toEqual(entry)
    else expect(entries).toEqual(decideInbox(state, input, timeMs))
    if (entry?.type === 'chatChanged') users.set(userId, evolveInbox(state, userId, entry))
  }
  return { users, epoch, positions: appliedInputs(records) }
}

test.each(Array.from({ length: 40 }, (_, i) => i + 1))('rivals apply every input once, and what any of them restores is the fold of the log (seed %i)', async (seed) => {
  const random = seededRandom(seed)
  const faults = randomFaults(random)
  const partition = new MemoryPartition(new VirtualTime(), faults)
  for (const topic of feedInputTopics) partition.inputs.set(topic, [])
  let left = 60
  await playRivals<PreparedInboxInput>({
    random,
    partition,
    faults,
    inputTopics: feedInputTopics,
    createProcessor: newProcessor,
    rounds: 120,
    checkSnapshots: () => {
      const processor = newProcessor()
      let found: Checkpoint | undefined
      for (const record of partition.snapshots) found = processor.restore(record) ?? found
      if (found) expect(processor.users).toEqual(foldLog(partition, Number(found.nextOffset)).users)
    },
    feed: () => {
      if (left-- <= 0) return false
      const [userId, roomId, roomSeq] = [pick(random, ['a', 'b']), pick(random, ['r1', 'r2', 'r3']), 60 - left]
      const change = pick<InboxChange>(random, [entered, said(roomSeq), said(roomSeq), { type: 'seen', seen: roomSeq }, { type: 'left', reason: 'left' }, { type: 'closed', reason: 'delivered' }])
      const isCommand = random() < 0.2
      const timestampMs = T0 + Math.floor(random() * ENDED_CHAT_KEPT_MS * 2)
      const input: InboxInput = isCommand ? { userId: user(userId), commandId: `c${left}`, type: 'setChat', roomId: room(roomId), archived: random() < 0.5 } : update(userId, roomId, roomSeq, change, timestampMs)
      const value = 'commandId' in input ? codecs.commands.encode(inboxCommandToAvro(input)) : codecs.updates.encode(inboxUpdateToAvro(input))
      const records = partition.inputs.get(isCommand ? COMMANDS : UPDATES)!
      records.push({ offset: BigInt(records.length), key: userId, value, headers: { input: JSON.stringify(input) }, timestampMs: T0 })
      return true
    },
    onTakenOver: (processor, epoch) => expect((processor as FeedProcessor).users).toEqual(foldLog(partition, Number(epoch)).users),
  })
  const { users, positions } = foldLog(partition)
  for (const [topic, records] of partition.inputs) expect(positions.get(topic) ?? 0n).toBe(BigInt(records.length))
  expect(users.size).toBeGreaterThan(0)
})
