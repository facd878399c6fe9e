import fc from 'fast-check'
import { beforeEach, describe, expect, test } from 'vitest'
import { decide } from '#libs/domain/decide.ts'
import { ChatError } from '#libs/domain/errors.ts'
import { evolve } from '#libs/domain/evolve.ts'
import type { ClientMessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import type { RoomInput } from '#libs/domain/inputs.ts'
import { defaultRoomLimits } from '#libs/domain/limits.ts'
import type { Entry, RoomState } from '#libs/domain/room.ts'
import { decisionToAvro } from '#libs/streams/avro-shapes.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { OWNERSHIP_MARKER } from '#libs/streams/topics.ts'
import type { MessageStore, Position } from './message-store.ts'
import { PersisterTask } from './persister-task.ts'
import { type Applied, type Rows, rowsOf } from './rows.ts'

const T0 = 1_700_000_000_000
const room = (id: string) => id as RoomId
const user = (id: string) => id as UserId
const idAt = (nr: number) => `${T0.toString(16).padStart(12, '0').replace(/^(.{8})/, '$1-')}-7000-8000-${nr.toString(16).padStart(12, '0')}` as ClientMessageId

const inputs = fc.tuple(fc.constantFrom('a', 'b'), fc.nat(9), fc.nat(3)).map(([id, kind, nr]): RoomInput => {
  const envelope = { orderId: room(id), eventId: `e${nr}`, occurredAtMs: T0 + nr }
  if (kind < 2) return { type: 'orderAccepted', ...envelope, customerId: user('customer'), vendorId: user('vendor') }
  if (kind < 5) return { type: 'riderAssigned', ...envelope, riderId: user(`r${nr % 2}`) }
  if (kind === 5) return { type: 'orderEnded', ...envelope, reason: 'delivered' }
  return { type: 'sendMessage', roomId: room(id), commandId: 'c', senderId: user('customer'), clientMessageId: idAt(nr), content: `secret ${nr}`, salt: 'pepper' }
})

/** The log that a room-state would have made of the inputs, and the rooms that it then has. */
function logOf(list: readonly RoomInput[]): { applied: Applied[]; rooms: Map<RoomId, RoomState> } {
  const rooms = new Map<RoomId, RoomState>()
  const applied = list.map((input, i) => {
    const roomId = 'orderId' in input ? input.orderId : input.roomId
    const entries = decide(rooms.get(roomId), input, T0 + i, defaultRoomLimits)
    for (const entry of entries) {
      const state = evolve(rooms.get(roomId), roomId, entry)
      if (state) rooms.set(roomId, state)
    }
    return { offset: BigInt(i), decision: { roomId, commandId: undefined, entries } }
  })
  return { applied, rooms }
}

/** Tables, as the store's SQL keeps them. */
class Tables {
  readonly rooms = new Map<RoomId, { headSeq: number; messageCount: number; closed: boolean }>()
  readonly members = new Map<string, string>()
  readonly events = new Set<string>()
  readonly messages: string[] = []

  write(rows: Rows): void {
    for (const { roomId, seq } of rows.events) {
      if (this.events.has(`${roomId} ${seq}`)) throw new ChatError('duplicate_row')
      this.events.add(`${roomId} ${seq}`)
    }
    for (const { roomId } of rows.opened) this.rooms.set(roomId, { headSeq: 0, messageCount: 0, closed: false })
    for (const { roomId, headSeq, messageCount, closed } of rows.heads) {
      const before = this.rooms.get(roomId)!
      this.rooms.set(roomId, { headSeq, messageCount: messageCount ?? before.messageCount, closed: before.closed || closed !== null })
    }
    for (const { roomId, userId } of rows.gone) this.members.delete(`${roomId} ${userId}`)
    for (const { roomId, userId, role } of rows.joined) this.members.set(`${roomId} ${userId}`, role)
    for (const { roomId, seq, content } of rows.messages) this.messages.push(`${roomId} ${seq} ${content}`)
  }
}

describe('rowsOf', () => {
  test('however the log is cut into batches, the tables are what the rooms are', () => {
    fc.assert(
      fc.property(fc.array(inputs, { maxLength: 40 }), fc.array(fc.integer({ min: 1, max: 10 }), { minLength: 40, maxLength: 40 }), (list, cuts) => {
        const { applied, rooms } = logOf(list)
        const tables = new Tables()
        for (let from = 0, i = 0; from < applied.length; from += cuts[i++]!) tables.write(rowsOf(applied.slice(from, from + cuts[i]!)))
        const opened = [...rooms.values()].filter((r) => r.status !== 'pending')
        expect(tables.rooms).toEqual(new Map(opened.map((r) => [r.roomId, { headSeq: r.headSeq, messageCount: r.messageCount, closed: r.status === 'closed' }])))
        expect([...tables.members].sort()).toEqual(opened.flatMap((r) => [...r.participants].map(([userId, role]) => [`${r.roomId} ${userId}`, role])).sort())
        expect(tables.messages).toHaveLength(opened.reduce((sum, r) => sum + r.messageCount, 0))
        expect(tables.events.size).toBe(opened.reduce((sum, r) => sum + r.headSeq, 0))
      }),
    )
  })

  test('the audit log has the hash of a content, never the content or its salt', () => {
    const send: RoomInput = { type: 'sendMessage', roomId: room('a'), commandId: 'c', senderId: user('customer'), clientMessageId: idAt(1), content: 'secret', salt: 'pepper' }
    const { applied } = logOf([{ type: 'orderAccepted', orderId: room('a'), eventId: 'e', occurredAtMs: T0, customerId: user('customer'), vendorId: user('vendor') }, send])
    const { events, messages } = rowsOf(applied)
    expect(messages).toMatchObject([{ roomId: 'a', seq: 2, content: 'secret', salt: 'pepper' }])
    const bodies = events.map((e) => e.body).join()
    expect(bodies).not.toMatch(/secret|pepper/)
    expect(bodies).toMatch(/contentHash":"[0-9a-f]{64}/)
  })

  test('an event of a newer writer is kept and moves the head', () => {
    const entry = { type: 'messageEdited', seq: 3, timestampMs: T0, text: 'x' } as unknown as Entry
    const rows = rowsOf([{ offset: 9n, decision: { roomId: room('a'), commandId: undefined, entries: [entry] } }])
    expect(rows).toMatchObject({ heads: [{ headSeq: 3, messageCount: null, closed: null }], events: [{ seq: 3, type: 'messageEdited', offset: 9n }], messages: [] })
  })
})

describe('the task', () => {
  const records: InRecord[] = []
  let tables: Tables
  let position: Position
  let failures: unknown[]
  let opened: bigint[]
  let holds: boolean[]
  let push: (count: number) => void
  let seen: { applied: number; behind: number; moved: number }

  beforeEach(() => {
    records.length = 0
    tables = new Tables()
    position = { nextOffset: 0n, ownerEpoch: -1n, lastSources: new Map() }
    failures = []
    opened = []
    holds = []
    push = () => {}
    seen = { applied: 0, behind: 0, moved: 0 }
    append({ 'event-type': OWNERSHIP_MARKER })
    for (const [i, { decision }] of logOf(Array.from({ length: 6 }, (_, nr): RoomInput => (nr === 0 ? { type: 'orderAccepted', orderId: room('a'), eventId: 'e', occurredAtMs: T0, customerId: user('customer'), vendorId: user('vendor') } : { type: 'sendMessage', roomId: room('a'), commandId: 'c', senderId: user('customer'), clientMessageId: idAt(nr), content: 'x', salt: 's' }))).applied.entries()) {
      append({ 'owner-epoch': '0', source: `chat-commands:${i}` }, decisionToAvro(decision))
    }
  })

  function append(headers: Record<string, string>, value: object = {}): void {
    records.push({ offset: BigInt(records.length), key: 'a', value: Buffer.from(JSON.stringify(value)), headers, timestampMs: 0 })
  }

  const store: MessageStore = {
    readPosition: async () => {
      const failure = failures.shift()
      if (failure) throw failure
      return position
    },
    apply: async (_, before, after, rows) => {
      const failure = failures.shift()
      if (failure) throw failure
      if (before.nextOffset !== position.nextOffset || before.ownerEpoch !== position.ownerEpoch) return false
      tables.write(rows)
      position = after
      return true
    },
  }

  function start() {
    const task = new PersisterTask({
      partition: 0,
      store,
      log: {
        open: async (from, sink) => {
          opened.push(from)
          let next = Number(from)
          push = (count) => {
            const batch = records.slice(next, next + count)
            next += batch.length
            if (batch.length > 0) sink(batch)
          }
        },
        hold: (on) => holds.push(on),
        close: () => (push = () => {}),
      },
      codec: { decode: (bytes) => JSON.parse(bytes.toString()), learn: () => undefined },
      sleep: async () => {},
      retryDelayMs: () => 1,
      limits: { batchRecordsMax: 2, queueHighMark: 4, queueLowMark: 1 },
      observer: { applied: () => seen.applied++, behind: () => seen.behind++, moved: () => seen.moved++ },
      nowMs: () => 0,
    })
    const state = { task, failure: undefined as unknown }
    task.run().catch((err: unknown) => (state.failure = err))
    return state
  }
  const settle = async () => {
    for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve))
  }
  const isComplete = () => tables.events.size === 6 && position.nextOffset === BigInt(records.length)

  test('brings the log in, batch by batch, and moves the position with the epoch and the sources', async () => {
    const { task } = start()
    await settle()
    push(100)
    await settle()
    expect(isComplete()).toBe(true)
    expect(position).toEqual({ nextOffset: 7n, ownerEpoch: 0n, lastSources: new Map([['chat-commands', 5n]]) })
    expect(task.position).toEqual(position)
    expect(seen).toEqual({ applied: 4, behind: 0, moved: 0 })
    expect(holds).toEqual([true, false])
    await task.stop()
  })

  test('where another has been it reads the position again and goes on from there', async () => {
    start()
    await settle()
    const other = start()
    await settle()
    push(100)
    await settle()
    await other.task.stop()
    expect(isComplete()).toBe(true)
    position = { nextOffset: 0n, ownerEpoch: -1n, lastSources: new Map() }
    tables = new Tables()
    const mine = start()
    await settle()
    tables.write(rowsOf([]))
    position = { nextOffset: 1n, ownerEpoch: 0n, lastSources: new Map() }
    push(2)
    await settle()
    expect(seen.moved).toBe(1)
    expect(opened.at(-1)).toBe(1n)
    push(100)
    await settle()
    expect(mine.failure).toBeUndefined()
    expect(isComplete()).toBe(true)
  })

  test('while the store is unavailable it tries again, from the stored position', async () => {
    failures = [new ChatError('unavailable'), new ChatError('unavailable')]
    const a = start()
    await settle()
    push(3)
    await settle()
    failures = [new ChatError('unavailable')]
    push(2)
    await settle()
    expect(seen.behind).toBe(3)
    expect(opened.at(-1)).toBe(3n)
    push(100)
    await settle()
    expect(a.failure).toBeUndefined()
    expect(isComplete()).toBe(true)
  })

  test.each(['duplicate_row', 'log_corrupt'] as const)('%s is fatal', async (code) => {
    const a = start()
    await settle()
    failures = [new ChatError(code)]
    push(3)
    await settle()
    expect(a.failure).toMatchObject({ code })
  })

  test('an input that the log applies twice is fatal, also over a restart', async () => {
    const a = start()
    await settle()
    push(100)
    await settle()
    await a.task.stop()
    append({ 'owner-epoch': '0', source: 'chat-commands:5' })
    const b = start()
    await settle()
    push(1)
    await settle()
    expect(b.failure).toMatchObject({ code: 'log_corrupt' })
  })

  test('void records are not written, but the position moves over them', async () => {
    append({ 'event-type': OWNERSHIP_MARKER })
    append({ 'owner-epoch': '0', source: 'chat-commands:6' }, { nonsense: true })
    start()
    await settle()
    push(100)
    await settle()
    expect(isComplete()).toBe(true)
    expect(position.ownerEpoch).toBe(7n)
  })

  test('stop ends it, idle or not', async () => {
    const a = start()
    await a.task.stop()
    const b = start()
    await settle()
    await b.task.stop()
    expect([a.failure, b.failure]).toEqual([undefined, undefined])
  })
})
