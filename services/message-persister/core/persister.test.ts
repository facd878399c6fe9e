import { beforeEach, describe, expect, test } from 'vitest'
import { ChatError } from '#libs/domain/errors.ts'
import type { RoomInput } from '#libs/domain/inputs.ts'
import { decisionFromAvro, decisionToAvro } from '#libs/streams/avro-shapes.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { OWNERSHIP_MARKER } from '#libs/streams/topics.ts'
import type { ReadPosition } from '#libs/streams/read-by-rule.ts'
import type { PartitionStore } from './partition-store.ts'
import { PersisterTask } from './persister-task.ts'
import { type Rows, rowsOf } from './rows.ts'
import { accepted, by, customer, logOf, room, Tables } from './test-support/memory-tables.ts'

describe('the task', () => {
  const records: InRecord[] = []
  let tables: Tables
  let position: ReadPosition
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
    for (const [i, { decision }] of logOf(Array.from({ length: 6 }, (_, nr): RoomInput => (nr === 0 ? accepted : by(room('a'), customer, nr, { type: 'sendMessage', content: 'x', salt: 's' })))).applied.entries()) {
      append({ 'owner-epoch': '0', source: `chat-commands:${i}` }, decisionToAvro(decision))
    }
  })

  function append(headers: Record<string, string>, value: object = {}): void {
    records.push({ offset: BigInt(records.length), key: 'a', value: Buffer.from(JSON.stringify(value)), headers, timestampMs: 0 })
  }

  const store: PartitionStore<Rows> = {
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
      decidedOf: decisionFromAvro,
      rowsOf,
      sleep: async () => {},
      retryDelayMs: () => 1,
      batchRecordsMax: 2,
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
