import { readFileSync } from 'node:fs'
import avro from 'avsc'
import { beforeEach, describe, expect, test } from 'vitest'
import { ChatError } from '#libs/domain/errors.ts'
import type { ClientMessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import type { RoomInput } from '#libs/domain/inputs.ts'
import { BUCKET_ENTRIES_MAX } from '#libs/domain/dedupe.ts'
import { DEDUPE_WINDOW_MS, defaultRoomLimits, STUB_KEPT_MS } from '#libs/domain/limits.ts'
import type { RoomState } from '#libs/domain/room.ts'
import { evolve } from '#libs/domain/evolve.ts'
import { type Checkpoint, commandToAvro, decisionFromAvro, orderEventToAvro } from '#libs/streams/avro-shapes.ts'
import { MemoryPartition, seededRandom, VirtualTime } from '#libs/streams/memory-log.ts'
import { appliedInputs, pick, playRivals, randomFaults, validRecords } from '#libs/streams/memory-task.ts'
import { partitionOf } from '#libs/streams/murmur2.ts'
import type { InRecord, OutRecord } from '#libs/streams/record.ts'
import { inputTopics, topics } from '#libs/streams/topics.ts'
import { prepareInputs } from './prepare.ts'
import { type PreparedInput, RoomProcessor } from './room-processor.ts'

const T0 = 1_700_000_000_000
const HOUR = 3_600_000

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
const codecs = { orders: codecOf('order-events.avsc'), commands: codecOf('chat-commands.avsc'), events: codecOf('room-events.avsc'), state: codecOf('room-state.avsc') }

let letters: OutRecord[] = []
beforeEach(() => {
  letters = []
})
const prepareDeps = {
  partition: 0,
  partitions: 1,
  decode: (topic: string, bytes: Buffer) => (topic === topics.orderEvents.name ? codecs.orders : codecs.commands).decode(bytes),
  deadLetter: async (letter: OutRecord) => {
    letters.push(letter)
  },
}
/** Tests say the same over and over. */
const limits = { ...defaultRoomLimits, messagesPerSecondMax: 1_000, content: { ...defaultRoomLimits.content, duplicatesMax: 1_000 } }
const newProcessor = () =>
  new RoomProcessor({ roomEvents: codecs.events, roomState: codecs.state, limits, prepare: (records) => prepareInputs(prepareDeps, records) })

const room = (id: string) => id as RoomId
const user = (id: string) => id as UserId
function idAt(timeMs: number, nr: number): ClientMessageId {
  const time = timeMs.toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-${nr.toString(16).padStart(12, '0')}` as ClientMessageId
}
const accepted = (id: string): RoomInput => ({ type: 'orderAccepted', orderId: room(id), eventId: 'e', occurredAtMs: T0, customerId: user('customer'), vendorId: user('vendor') })
const rider = (id: string, riderId: string, at: number): RoomInput => ({ type: 'riderAssigned', orderId: room(id), eventId: `e${at}`, occurredAtMs: T0 + at, riderId: user(riderId) })
const ended = (id: string): RoomInput => ({ type: 'orderEnded', orderId: room(id), eventId: 'd', occurredAtMs: T0, reason: 'delivered' })
const said = (id: string, timeMs: number, nr: number): RoomInput => ({ type: 'sendMessage', roomId: room(id), commandId: `c${nr}`, senderId: user('customer'), clientMessageId: idAt(timeMs, nr), content: 'hi', salt: 's' })

const prepared = (input: RoomInput): PreparedInput => ({ roomId: 'orderId' in input ? input.orderId : input.roomId, commandId: 'commandId' in input ? input.commandId : undefined, input, headers: {} })
const inRecord = (offset: number, { key, value, headers }: OutRecord): InRecord => ({ offset: BigInt(offset), key, value, headers, timestampMs: 0 })
const checkpoint: Checkpoint = { nextOffset: 5n, ownerEpoch: 0n, inputs: new Map([['chat-commands', 3n]]) }

/** The compacted topic. */
class Topic {
  readonly latest = new Map<string, OutRecord>()
  take(records: readonly OutRecord[]): readonly OutRecord[] {
    for (const record of records) this.latest.set(record.key!, record)
    return records
  }
  restored(without?: string): { processor: RoomProcessor; checkpoint: Checkpoint | undefined } {
    const processor = newProcessor()
    let found: Checkpoint | undefined
    let offset = 0
    for (const [key, record] of this.latest) if (key !== without) found = processor.restore(inRecord(offset++, record)) ?? found
    return { processor, checkpoint: found }
  }
  keys(): string[] {
    return [...this.latest].filter(([, { value }]) => value !== null).map(([key]) => key).sort()
  }
}

describe('snapshot and restore', () => {
  test('every kind of room comes back as it was, with the checkpoint', () => {
    const processor = newProcessor()
    const inputs = [accepted('open'), rider('open', 'r1', 1), said('open', T0, 1), accepted('closed'), said('closed', T0, 2), ended('closed'), rider('held', 'r1', 1), ended('held')]
    for (const input of inputs) processor.process(prepared(input), T0)
    const topic = new Topic()
    topic.take(processor.snapshot(checkpoint, T0))
    const back = topic.restored()
    expect(back.processor.rooms).toEqual(processor.rooms)
    expect(back.checkpoint).toEqual(checkpoint)
    expect(back.processor.isDirty()).toBe(false)
  })

  test('only what has changed is written: dirty rooms, and of their buckets only the last', () => {
    const processor = newProcessor()
    processor.process(prepared(accepted('a')), T0)
    processor.process(prepared(accepted('b')), T0)
    for (let i = 0; i < BUCKET_ENTRIES_MAX * 1.5; i++) processor.process(prepared(said('a', T0, i)), T0 + i * 100)
    const topic = new Topic()
    expect(topic.take(processor.snapshot(checkpoint, T0)).map((r) => r.key)).toEqual(['a#0', 'a#1', 'a', 'b', '~checkpoint'])
    expect(processor.isDirty()).toBe(false)
    processor.process(prepared(said('a', T0, 999)), T0 + 30_000)
    expect(topic.take(processor.snapshot(checkpoint, T0)).map((r) => r.key)).toEqual(['a#1', 'a', '~checkpoint'])
    const back = topic.restored().processor
    expect(back.rooms).toEqual(processor.rooms)
    // Nor does the next owner write again what stands.
    back.process(prepared(said('a', T0, 1_000)), T0 + 30_000)
    expect(back.snapshot(checkpoint, T0).map((r) => r.key)).toEqual(['a#1', 'a', '~checkpoint'])
  })

  test('buckets of expired ids are tombstoned, by the next owner too', () => {
    const processor = newProcessor()
    processor.process(prepared(accepted('a')), T0)
    for (let i = 0; i < BUCKET_ENTRIES_MAX * 2.5; i++) processor.process(prepared(said('a', T0, i)), T0 + i * 100)
    const topic = new Topic()
    topic.take(processor.snapshot(checkpoint, T0))
    expect(topic.keys()).toEqual(['a', 'a#0', 'a#1', 'a#2', '~checkpoint'])
    const later = T0 + DEDUPE_WINDOW_MS + HOUR
    const { processor: next } = topic.restored()
    next.process(prepared(said('a', later, 1)), later)
    topic.take(next.snapshot(checkpoint, T0))
    expect(topic.keys()).toEqual(['a', 'a#3', '~checkpoint'])
    expect(topic.restored().processor.rooms).toEqual(next.rooms)
  })

  test('a closed room shrinks to a stub, then is forgotten, and nothing of it is left in the topic', () => {
    const processor = newProcessor()
    for (const input of [accepted('a'), said('a', T0, 1), ended('a'), accepted('open')]) processor.process(prepared(input), T0)
    const topic = new Topic()
    topic.take(processor.snapshot(checkpoint, T0))
    const stubMs = T0 + DEDUPE_WINDOW_MS + 2 * HOUR
    topic.take(processor.snapshot(checkpoint, stubMs))
    expect(topic.keys()).toEqual(['a', 'open', '~checkpoint'])
    const { processor: next } = topic.restored()
    expect(next.rooms.get(room('a'))).toMatchObject({ status: 'closed', headSeq: 3, messageCount: 1, participants: new Map() })
    expect(next.rooms).toEqual(processor.rooms)
    topic.take(next.snapshot(checkpoint, T0 + STUB_KEPT_MS + HOUR))
    expect(topic.keys()).toEqual(['open', '~checkpoint'])
  })

  test('a bucket that is missing below the sentinel means that somebody else owns the partition', () => {
    const processor = newProcessor()
    for (const input of [accepted('a'), said('a', T0, 1)]) processor.process(prepared(input), T0)
    const topic = new Topic()
    topic.take(processor.snapshot(checkpoint, T0))
    const { processor: next } = topic.restored('a#0')
    expect(() => next.process(prepared(said('a', T0, 2)), T0)).toThrow(expect.objectContaining({ code: 'ownership_lost' }))
    // Whatever else it does in between, it cannot have been heard: who has written the bucket anew has marked the log first.
    expect(() => next.process(prepared(accepted('b')), T0)).not.toThrow()
  })

  test('what is replayed gives what was processed, and is dirty', () => {
    const [processor, replica] = [newProcessor(), newProcessor()]
    for (const input of [rider('a', 'r1', 1), accepted('a'), said('a', T0, 1), rider('a', 'r2', 2), said('a', T0, 1), ended('a')]) {
      replica.replay(inRecord(0, processor.process(prepared(input), T0)))
    }
    replica.replay(inRecord(0, processor.marker('me', 'n')))
    expect(replica.rooms).toEqual(processor.rooms)
    expect(replica.isDirty()).toBe(true)
    expect(replica.snapshot(checkpoint, T0).map((r) => r.key)).toEqual(['a#0', 'a', '~checkpoint'])
  })
})

describe('rivals with real rooms', () => {
  const ROOMS = ['a', 'b', 'c']
  const inputOf = (random: () => number, nowMs: number): RoomInput => {
    const [id, dice] = [pick(random, ROOMS), random()]
    if (dice < 0.15) return accepted(id)
    if (dice < 0.25) return rider(id, pick(random, ['r1', 'r2']), Math.floor(random() * 4))
    return dice < 0.28 ? ended(id) : said(id, nowMs, Math.floor(random() * 10))
  }

  function fold(partition: MemoryPartition, upTo?: number) {
    const { records } = validRecords(partition.log, upTo)
    const rooms = new Map<RoomId, RoomState>()
    for (const { value } of records) {
      const { roomId, entries } = decisionFromAvro(codecs.events.decode(value!))!
      for (const entry of entries) {
        const state = evolve(rooms.get(roomId), roomId, entry)
        if (state) rooms.set(roomId, state)
      }
    }
    return { rooms, positions: appliedInputs(records) }
  }

  function checkSnapshots(partition: MemoryPartition): void {
    const topic = new Topic()
    topic.take(partition.snapshots.map(({ key, value }) => ({ key, value, headers: {} })))
    const { processor, checkpoint: found } = topic.restored()
    if (!found) return
    const due = fold(partition, Number(found.nextOffset))
    expect(found.inputs).toEqual(due.positions)
    expect(processor.rooms).toEqual(due.rooms)
  }

  test.each(Array.from({ length: 60 }, (_, i) => i + 1))('every restore is the fold of the log (seed %i)', async (seed) => {
    const random = seededRandom(seed)
    const faults = randomFaults(random)
    const time = new VirtualTime()
    const partition = new MemoryPartition(time, faults)
    for (const topic of inputTopics) partition.inputs.set(topic, [])
    let left = 40
    const startMs = time.nowMs()
    await playRivals<PreparedInput>({
      random,
      partition,
      faults,
      inputTopics,
      createProcessor: newProcessor,
      checkSnapshots: () => checkSnapshots(partition),
      feed: () => {
        if (left-- <= 0) return false
        const input = inputOf(random, startMs)
        if ('commandId' in input) partition.addInput('chat-commands', input.roomId, random() < 0.1 ? Buffer.from('?') : codecs.commands.encode(commandToAvro(input)))
        else partition.addInput('order-events', input.orderId, codecs.orders.encode(orderEventToAvro(input)))
        return true
      },
      onTakenOver: (processor, epoch) => {
        if (validRecords(partition.log).epoch === epoch) expect((processor as RoomProcessor).rooms).toEqual(fold(partition).rooms)
      },
      rounds: 50,
    })
    const { rooms, positions } = fold(partition)
    for (const topic of inputTopics) expect(positions.get(topic) ?? 0n).toBe(BigInt(partition.inputs.get(topic)!.length))
    for (const { headSeq, messageCount } of rooms.values()) expect(messageCount).toBeLessThanOrEqual(headSeq)
  })
})

describe('prepareInputs', () => {
  const deps = { ...prepareDeps, partitions: 12, partition: partitionOf('a', 12) }
  const record = (key: string | null, value: Buffer | null, headers = {}) => ({ topic: 'chat-commands', offset: 7n, key, value, headers, timestampMs: 0 })
  const valid = codecs.commands.encode(commandToAvro(said('a', T0, 1) as never))

  test('what decodes is handed on with its trace, and its id is made canonical', async () => {
    const upper = codecs.commands.encode(commandToAvro({ ...said('a', T0, 1), clientMessageId: idAt(T0, 10).toUpperCase() } as never))
    const [input] = await prepareInputs(deps, [record('a', upper, { traceparent: 't', 'reply-to': Buffer.from('edge'), other: 'x' })])
    expect(input).toMatchObject({ roomId: 'a', commandId: 'c1', headers: { traceparent: 't', 'reply-to': 'edge' }, input: { clientMessageId: idAt(T0, 10) } })
    expect(letters).toEqual([])
  })

  const other = Array.from({ length: 50 }, (_, i) => `room-${i}`).find((id) => partitionOf(id, 12) !== deps.partition)!
  test.each([
    ['bytes', record('a', Buffer.from('?')), 'undecodable', 'a'],
    ['a tombstone', record('a', null), 'undecodable', 'a'],
    ['another key', record('b', valid), 'undecodable', partitionOf('b', 12) === deps.partition ? 'b' : 'undecodable'],
    ['no key', record(null, valid), 'undecodable', 'undecodable'],
    ['a wrong partition', record(other, codecs.commands.encode(commandToAvro(said(other, T0, 1) as never))), 'wrong_partition', 'undecodable'],
    ['a bad message id', record('a', codecs.commands.encode(commandToAvro({ ...said('a', T0, 1), clientMessageId: 'x' } as never))), 'invalid_client_message_id', 'a'],
    ['a bad user id', record('a', codecs.commands.encode(commandToAvro({ ...said('a', T0, 1), senderId: 'a b' } as never))), 'undecodable', 'a'],
  ])('%s: a dead letter first, then an input without effect, and the sender is refused', async (_, bad, code, roomId) => {
    const [first, input, last] = await prepareInputs(deps, [record('a', valid), { ...bad, headers: { 'command-id': Buffer.from('c9') } }, record('a', valid)])
    expect([first?.input.type, last?.input.type]).toEqual(['sendMessage', 'sendMessage'])
    expect(letters).toMatchObject([{ key: bad.key, value: bad.value, headers: { 'error-code': code, source: 'chat-commands:7', 'command-id': Buffer.from('c9') } }])
    expect(input).toMatchObject({ roomId, commandId: 'c9', input: { type: 'undecodable' } })
    const out = newProcessor().process(input!, T0)
    expect(decisionFromAvro(codecs.events.decode(out.value!))).toMatchObject({ commandId: 'c9', entries: [{ type: 'refused', code: 'undecodable' }] })
  })

  test('a registry that cannot be reached is worth another try, and ends no process', async () => {
    const failing = { ...deps, decode: () => Promise.reject(new Error('ECONNREFUSED')) }
    await expect(prepareInputs(failing, [record('a', valid)])).rejects.toMatchObject({ code: 'unavailable' })
    expect(letters).toEqual([])
    const processor = new RoomProcessor({ roomEvents: { ...codecs.events, learn: () => Promise.reject(new Error('ECONNREFUSED')) }, roomState: codecs.state, limits: defaultRoomLimits, prepare: async () => [] })
    await expect(processor.learn([record('a', valid)])).rejects.toMatchObject({ code: 'unavailable' })
  })

  test('a dead letter that is not durable fails the whole call', async () => {
    const err = new ChatError('unavailable')
    await expect(prepareInputs({ ...deps, deadLetter: () => Promise.reject(err) }, [record('a', null)])).rejects.toBe(err)
  })
})
