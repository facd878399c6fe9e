import { describe, expect, test } from 'vitest'
import { decide } from '#libs/domain/decide.ts'
import { decideInbox, evolveInbox } from '#libs/domain/decide-inbox.ts'
import { ChatError } from '#libs/domain/errors.ts'
import { evolve } from '#libs/domain/evolve.ts'
import type { ClientMessageId, MessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import { type InboxUpdate, newUser, type UserState } from '#libs/domain/inbox.ts'
import type { RoomCommandBody, RoomInput } from '#libs/domain/inputs.ts'
import { defaultRoomLimits } from '#libs/domain/limits.ts'
import { isRoomEvent, type RoomState } from '#libs/domain/room.ts'
import { checkpointToAvro, type Decision, decisionToAvro, roomToAvro } from '#libs/streams/avro-shapes.ts'
import { seededRandom } from '#libs/streams/memory-log.ts'
import { pick } from '#libs/streams/memory-task.ts'
import type { ReadPosition } from '#libs/streams/read-by-rule.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { OWNERSHIP_MARKER } from '#libs/streams/topics.ts'
import { FanOut, HEADS_EVERY_MS } from './fan-out.ts'
import { FanOutTask } from './fan-out-task.ts'
import { ChatsOfLog, ofFeed } from './test-support/chats-of-log.ts'

const T0 = 1_700_000_000_000
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))
const codec = { decode: (bytes: Buffer): unknown => JSON.parse(bytes.toString()), learn: () => undefined }
const room = (id: string) => id as RoomId
const user = (id: string) => id as UserId
const [ann, bob, eve] = [user('ann'), user('bob'), user('eve')]
const limits = { ...defaultRoomLimits, messagesPerSecondMax: 1_000, content: { ...defaultRoomLimits.content, duplicatesMax: 1_000 } }
const idAt = (nr: number) => `${T0.toString(16).padStart(12, '0').replace(/^(.{8})/, '$1-')}-7000-8000-${nr.toString(16).padStart(12, '0')}` as ClientMessageId

/** A log as room-state would have written it, and the rooms at any offset of it. */
class Log {
  readonly records: InRecord[] = []
  readonly decisions: Decision[] = []
  readonly #rooms = new Map<RoomId, RoomState>()
  #nr = 0

  constructor() {
    this.#append({ 'event-type': OWNERSHIP_MARKER }, { roomId: room('none'), commandId: undefined, entries: [] })
  }

  input(input: RoomInput): void {
    const roomId = 'orderId' in input ? input.orderId : input.roomId
    const entries = decide(this.#rooms.get(roomId), input, T0 + this.records.length * 300, limits)
    for (const entry of entries) {
      const state = evolve(this.#rooms.get(roomId), roomId, entry)
      if (state) this.#rooms.set(roomId, state)
    }
    this.#append({ 'owner-epoch': '0', source: `chat-commands:${this.records.length}`, 'event-type': entries.map(({ type }) => type).join(',') }, { roomId, commandId: undefined, entries })
  }

  by(roomId: RoomId, senderId: UserId, body: RoomCommandBody): void {
    this.input({ roomId, commandId: 'c', senderId, clientMessageId: idAt(this.#nr++), ...body })
  }

  say(roomId: RoomId, senderId: UserId, mentions: UserId[] = []): void {
    this.by(roomId, senderId, { type: 'sendMessage', content: `text ${this.#nr}`, salt: 's', ...(mentions.length > 0 && { mentions }) })
  }

  /** Of a zombie: void by the reader's rule. */
  void(roomId: RoomId): void {
    this.#append({ 'owner-epoch': '77', source: 'chat-commands:0', 'event-type': 'messageSent' }, { roomId, commandId: undefined, entries: [] })
  }

  /** room-state as it would be with a checkpoint at this offset. */
  snapshots(at: number): InRecord[] {
    const rooms = new Map<RoomId, RoomState>()
    for (const { roomId, entries } of this.decisions.slice(0, at)) {
      for (const entry of entries) {
        const state = evolve(rooms.get(roomId), roomId, entry)
        if (state) rooms.set(roomId, state)
      }
    }
    const inputs = new Map(at > 1 ? [['chat-commands', BigInt(at)]] : [])
    const records = [...rooms].map(([roomId, state]) => ({ key: roomId as string, value: json(roomToAvro(state)) }))
    return [...records, { key: '~checkpoint', value: json(checkpointToAvro({ nextOffset: BigInt(at), ownerEpoch: at > 0 ? 0n : -1n, inputs })) }, { key: '~sentinel', value: json({}) }].map((record, i) => ({ ...record, offset: BigInt(i), headers: {}, timestampMs: T0 }))
  }

  model(): ChatsOfLog {
    const model = new ChatsOfLog()
    for (const { roomId, entries } of this.decisions) for (const entry of entries) if (isRoomEvent(entry)) model.add(roomId, entry)
    return model
  }

  #append(headers: Record<string, string>, decision: Decision): void {
    this.records.push({ offset: BigInt(this.records.length), key: decision.roomId, value: json(decisionToAvro(decision)), headers, timestampMs: T0 })
    this.decisions.push(decision)
  }
}

/** All users of all partitions. */
class Feed {
  readonly users = new Map<UserId, UserState>()
  readonly got: InboxUpdate[] = []

  take(update: InboxUpdate): void {
    this.got.push(update)
    const { userId } = update
    const state = this.users.get(userId) ?? newUser(userId)
    for (const entry of decideInbox(state, update, T0)) this.users.set(userId, evolveInbox(state, userId, entry))
  }

  chats(): Map<UserId, Map<RoomId, ReturnType<typeof ofFeed>>> {
    return new Map([...this.users].filter(([, { chats }]) => chats.size > 0).map(([userId, { chats }]) => [userId, new Map([...chats].map(([roomId, chat]) => [roomId, ofFeed(chat)]))]))
  }
}

const turns = async (count: number) => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}

/** Random lives of a few rooms with few people, most of them in most rooms. */
function randomLog(random: () => number, length: number): Log {
  const log = new Log()
  const people = ['ann', 'bob', 'eve', 'kim', 'joe', 'may'].map(user)
  const rooms = ['g1', 'g2', 'd'].map(room)
  const group = (roomId: RoomId, history: 'all' | 'fromJoin') =>
    log.by(roomId, ann, { type: 'createRoom', kind: 'group', participants: [{ userId: ann, role: 'owner' }, { userId: bob, role: 'member' }], name: 'n', history })
  group(rooms[0]!, 'all')
  group(rooms[1]!, 'fromJoin')
  log.by(rooms[2]!, ann, { type: 'createRoom', kind: 'dispute', participants: [{ userId: ann, role: 'customer' }, { userId: bob, role: 'vendor' }], subjectId: 'o' })
  for (let i = 0; i < length; i++) {
    const [roomId, someone, dice] = [pick(random, rooms), pick(random, people), random()]
    const sender = random() < 0.5 ? ann : pick(random, people)
    if (dice < 0.4) log.say(roomId, sender, random() < 0.3 ? [someone, pick(random, people)] : [])
    else if (dice < 0.55) log.by(roomId, sender, { type: 'mark', delivered: Math.floor(random() * 30), seen: Math.floor(random() * 30) })
    else if (dice < 0.7) log.by(roomId, ann, { type: 'addParticipant', userId: someone, role: pick(random, ['owner', 'member', 'observer'] as const) })
    else if (dice < 0.82) log.by(roomId, random() < 0.5 ? someone : ann, { type: 'removeParticipant', userId: someone })
    else if (dice < 0.86) log.by(roomId, ann, { type: 'changeRoom', name: pick(random, ['', 'a', 'b']) })
    else if (dice < 0.9) log.by(roomId, ann, { type: 'inviteMediator', userId: someone })
    else if (dice < 0.94) log.by(roomId, someone, { type: 'acceptInvitation' })
    else if (dice < 0.96) log.by(roomId, ann, { type: 'setBlock', blockerId: ann, blockedId: someone, on: random() < 0.7 })
    else if (dice < 0.97) log.by(rooms[2]!, someone, { type: 'resolveDispute' })
    else log.void(roomId)
  }
  return log
}

type World = { readonly log: Log; readonly feed: Feed; readonly random: () => number; saved: ReadPosition | undefined; nowMs: number; calm: boolean }

/** A fan-out in its own process. `isDead`: nothing of what it does counts any more. */
function startFanOut(world: World, options: { readonly headsOnlyAbove: number; readonly batchRecordsMax: number }) {
  const { log, feed, random } = world
  let push = (_count: number): void => {}
  const state = { isDead: false, failure: undefined as unknown, unknown: [] as RoomId[] }
  const task: FanOutTask = new FanOutTask({
    ...options,
    log: {
      open: async (from, sink) => {
        let next = Number(from)
        push = (count) => {
          const records = log.records.slice(next, next + count)
          next += records.length
          if (records.length > 0) sink(records)
        }
      },
      hold: () => {},
      close: () => (push = () => {}),
    },
    roomEvents: codec,
    roomState: codec,
    readSnapshots: async (onRecords) => onRecords(log.snapshots(Math.floor(random() * (log.records.length + 1)))),
    readLog: async (from, upTo, onRecords) => {
      for (let at = Number(from); at <= Number(upTo); at += 7) await onRecords(log.records.slice(at, Math.min(at + 7, Number(upTo) + 1)))
    },
    readPosition: async () => world.saved,
    logBegin: async () => 0n,
    async send(updates) {
      if (state.isDead) await new Promise(() => {})
      const isFailing = !world.calm && random() < 0.1
      // The updates of one user are in one partition of the topic: they become durable in order, or not at all.
      const lost = new Set(isFailing ? updates.filter(() => random() < 0.5).map(({ userId }) => userId) : [])
      for (const update of updates) if (!lost.has(update.userId)) feed.take(update)
      if (isFailing) throw new ChatError('unavailable', 'Kafka')
      await turns(random() < 0.2 ? 2 : 0)
    },
    onUnknownRoom: (roomId) => state.unknown.push(roomId),
    nowMs: () => (world.nowMs += Math.floor(random() * 200)),
    sleep: () => turns(1),
    retryDelayMs: () => 1,
    onRetry: () => {},
    observer: { applied: () => {}, restored: () => {} },
  })
  task.run().catch((err: unknown) => (state.failure = err))
  return { task, state, push: (count: number) => push(count) }
}

const newWorld = (log: Log, random: () => number): World => ({ log, feed: new Feed(), random, saved: undefined, nowMs: T0, calm: false })

test.each(Array.from({ length: 120 }, (_, i) => i + 1))('killed, paused and started again anywhere, from snapshots of any age, users end with the chats that the log alone gives (seed %i)', async (seed) => {
  const random = seededRandom(seed)
  const world = newWorld(randomLog(random, 60), random)
  const options = { headsOnlyAbove: pick(random, [1, 3, 200]), batchRecordsMax: pick(random, [1, 5, 50]) }
  const fanOuts = [startFanOut(world, options)]
  for (let round = 0; round < 40; round++) {
    await turns(3)
    const one = pick(random, fanOuts)
    const dice = random()
    if (dice < 0.6) one.push(1 + Math.floor(random() * 8))
    // Forward only, as the store does; maybe long after it was so.
    else if (dice < 0.75) {
      const { position } = one.task
      if (position && !one.state.isDead && position.nextOffset > (world.saved?.nextOffset ?? 0n)) world.saved = { ...position, lastSources: new Map() }
    } else if (dice < 0.85) one.state.isDead = true
    else if (fanOuts.length < 6) fanOuts.push(startFanOut(world, options))
  }
  world.calm = true
  for (const { state } of fanOuts) state.isDead = true
  const last = startFanOut(world, options)
  await turns(20)
  last.push(1_000)
  await turns(300)
  await last.task.stop()
  expect([...fanOuts, last].map(({ state }) => state.failure)).toEqual([...fanOuts, last].map(() => undefined))
  expect(last.state.unknown).toEqual([])
  expect(last.task.position?.nextOffset).toBe(BigInt(world.log.records.length))
  expect(world.feed.chats()).toEqual(new Map([...world.log.model().chats].filter(([, chats]) => chats.size > 0)))
})

test('the position stays below a head that is not told yet; a stop tells it', async () => {
  const log = new Log()
  log.by(room('g'), ann, { type: 'createRoom', kind: 'group', participants: [{ userId: ann, role: 'owner' }, { userId: bob, role: 'member' }, { userId: eve, role: 'member' }] })
  for (let i = 0; i < 3; i++) log.say(room('g'), ann)
  // The clock stands still.
  const world: World = { ...newWorld(log, () => 0), calm: true }
  const { task, push } = startFanOut(world, { headsOnlyAbove: 1, batchRecordsMax: 1 })
  await turns(10)
  push(3)
  await turns(20)
  expect([task.position?.nextOffset, world.feed.users.get(bob)?.totals.unread]).toEqual([3n, 1])
  push(10)
  await turns(20)
  expect([task.position?.nextOffset, world.feed.users.get(bob)?.totals.unread]).toEqual([3n, 1])
  await task.stop()
  expect([task.position?.nextOffset, world.feed.users.get(bob)?.totals.unread]).toEqual([5n, 3])
})

describe('updates', () => {
  const position: ReadPosition = { nextOffset: 0n, ownerEpoch: 0n, lastSources: new Map() }
  const members = (n: number) => Array.from({ length: n }, (_, i) => user(`m${i}`))
  function logWith(people: readonly UserId[]): Log {
    const log = new Log()
    log.by(room('g'), ann, { type: 'createRoom', kind: 'group', participants: [{ userId: ann, role: 'owner' }, ...people.map((userId) => ({ userId, role: 'member' as const }))] })
    return log
  }
  const fanned = (log: Log, from = 0) => log.decisions.slice(from).map((decision, i) => ({ offset: BigInt(from + i), decision }))
  const newFanOut = (headsOnlyAbove?: number) => new FanOut<ReadPosition>({ decodeState: codec.decode, onUnknownRoom: () => expect.fail('unknown'), ...(headsOnlyAbove !== undefined && { headsOnlyAbove }) })
  const brief = ({ userId, roomSeq, change }: InboxUpdate) => `${userId} ${roomSeq} ${change.type}${change.type === 'messages' ? ` ${change.messageCount}${change.mentions.length > 0 ? ` @${change.mentions}` : ''}` : ''}`

  test('a message is told to everybody who is in; what follows in the batch makes one of it', () => {
    const log = logWith([bob])
    log.say(room('g'), ann)
    log.say(room('g'), ann, [bob])
    log.by(room('g'), bob, { type: 'mark', seen: 1 })
    log.say(room('g'), ann)
    const updates = [...newFanOut().updates(fanned(log), position)].flat()
    expect(updates.map(brief)).toEqual(['ann 1 entered', 'bob 1 entered', 'ann 5 messages 3', 'bob 3 messages 2 @2', 'bob 4 seen', 'bob 5 messages 3'])
  })

  test('edits, deletions, reactions and cursors that tell nothing new are told to nobody', () => {
    const log = logWith([bob])
    log.say(room('g'), ann)
    const { entries } = log.decisions.at(-1)!
    const messageId = (entries[0] as { messageId: MessageId }).messageId
    log.by(room('g'), bob, { type: 'mark', seen: 1 })
    const told = log.records.length
    log.by(room('g'), ann, { type: 'editMessage', messageId, content: 'new', salt: 's' })
    log.by(room('g'), bob, { type: 'react', messageId, emoji: '+1', on: true })
    log.by(room('g'), ann, { type: 'deleteMessage', messageId })
    expect(log.decisions.slice(told).flatMap(({ entries }) => entries.map(({ type }) => type))).toEqual(['messageEdited', 'reactionSet', 'messageDeleted'])
    const fanOut = newFanOut()
    expect([...fanOut.updates(fanned(log), position)].flat().map(brief)).toEqual(['ann 1 entered', 'bob 1 entered', 'ann 2 messages 1', 'bob 2 messages 1', 'bob 3 seen'])
    const again = { ...log.decisions[3]!, entries: [{ type: 'receiptMoved' as const, seq: 9, timestampMs: T0, userId: bob, delivered: 5, seen: 1 }] }
    expect([...fanOut.updates([{ offset: 9n, decision: again }], position)].flat()).toEqual([])
  })

  test('a room with very many people: sender and mentioned at once, the others the head alone, once a second at most', () => {
    const people = members(210)
    const log = logWith(people)
    const fanOut = newFanOut()
    const opened = [...fanOut.updates(fanned(log), position)].flat()
    expect(opened.length).toBe(211)
    const [m0, m1] = people as [UserId, UserId]
    const tellOne = (mentions: UserId[] = []) => {
      const from = log.records.length
      log.say(room('g'), ann, mentions)
      return [...fanOut.updates(fanned(log, from), { ...position, nextOffset: BigInt(from) })].flat().map(brief)
    }
    expect(tellOne([m0])).toEqual(['ann 2 messages 1', 'm0 2 messages 1 @1'])
    expect(fanOut.deferredSince?.nextOffset).toBe(2n)
    expect([...fanOut.heads(T0)].flat().length).toBe(209)
    expect(fanOut.deferredSince).toBeUndefined()
    expect(tellOne()).toEqual(['ann 3 messages 2'])
    expect(tellOne([m1]).sort()).toEqual(['ann 4 messages 3', 'm1 4 messages 3 @3'])
    // Before what is his alone, or the head would come too late for him.
    const from = log.records.length
    log.by(room('g'), m0, { type: 'mark', seen: 3 })
    expect([...fanOut.updates(fanned(log, from), position)].flat().map(brief)).toEqual(['m0 4 messages 3', 'm0 5 seen'])
    expect([...fanOut.heads(T0 + HEADS_EVERY_MS - 1)].flat()).toEqual([])
    expect(fanOut.deferredSince?.nextOffset).toBe(3n)
    const heads = [...fanOut.heads(T0 + HEADS_EVERY_MS)].flat()
    expect([heads.length, brief(heads[0]!)]).toEqual([208, 'm2 4 messages 3'])
  })

  test('portions are bounded, also of many rooms at once', () => {
    const log = new Log()
    for (let i = 0; i < 40; i++) log.by(room(`g${i}`), ann, { type: 'createRoom', kind: 'group', participants: [{ userId: ann, role: 'owner' }, ...members(150).map((userId) => ({ userId, role: 'member' as const }))] })
    const portions = [...newFanOut().updates(fanned(log), position)]
    expect(portions.flat().length).toBe(40 * 151)
    expect(Math.max(...portions.map(({ length }) => length))).toBeLessThanOrEqual(1_000 + 150)
  })

  test('where nobody knows who is in a room it is restored again, unless its snapshot has forgotten', () => {
    const log = logWith([bob])
    log.say(room('g'), ann)
    const unknown: RoomId[] = []
    const fanOut = new FanOut<ReadPosition>({ decodeState: codec.decode, onUnknownRoom: (roomId) => unknown.push(roomId) })
    for (const record of log.snapshots(0)) fanOut.restore(record)
    expect(() => [...fanOut.updates(fanned(log, 2), position)]).toThrow(expect.objectContaining({ code: 'unavailable' }))
    const late = new FanOut<ReadPosition>({ decodeState: codec.decode, onUnknownRoom: (roomId) => unknown.push(roomId) })
    for (const record of log.snapshots(3)) if (record.key !== 'g') late.restore(record)
    expect([...late.updates(fanned(log, 2), position)]).toEqual([])
    expect(unknown).toEqual(['g'])
  })

  test('what is hidden from him counts, and is not his last message', () => {
    const log = logWith([bob, eve])
    log.by(room('g'), ann, { type: 'setBlock', blockerId: bob, blockedId: ann, on: true })
    log.say(room('g'), eve)
    log.say(room('g'), ann, [bob])
    const toBob = [...newFanOut().updates(fanned(log), position)].flat().filter(({ userId }) => userId === bob)
    expect(toBob.at(-1)?.change).toMatchObject({ type: 'messages', messageCount: 2, last: { messageIndex: 1 }, mentions: [] })
  })
})
