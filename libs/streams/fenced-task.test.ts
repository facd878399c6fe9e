import { beforeEach, describe, expect, test } from 'vitest'
import { ChatError } from '#libs/domain/errors.ts'
import type { InputRecord, Processor } from './fenced-ports.ts'
import type { TaskOptions } from './fenced-task.ts'
import { type AppendFate, type CommitFate, type Machine, MemoryPartition, VirtualTime } from './memory-log.ts'
import { appliedInputs, tallyInput, TallyProcessor, tallySnapshots, taskOn, testLimits, validRecords } from './memory-task.ts'
import { OWNERSHIP_MARKER } from './topics.ts'

const TOPICS = ['orders', 'commands']
let time: VirtualTime
let partition: MemoryPartition
/** What becomes of the next appends and commits; then all is well. */
let appendFates: AppendFate[]
let commitFates: CommitFate[]
let latencyMs: number
let onAppend: () => void

beforeEach(() => {
  time = new VirtualTime()
  appendFates = []
  commitFates = []
  latencyMs = 1
  onAppend = () => {}
  partition = new MemoryPartition(time, {
    append: () => (onAppend(), appendFates.shift() ?? 'ok'),
    commit: () => commitFates.shift() ?? 'ok',
    latencyMs: () => latencyMs,
  })
  for (const topic of TOPICS) partition.inputs.set(topic, [])
})

type Options = Partial<TaskOptions<InputRecord>>

function start(machine: Machine = partition.machine('a'), options: Options = {}) {
  const lost: unknown[] = []
  const processors: TallyProcessor[] = []
  const task = taskOn<InputRecord>(machine, {
    inputTopics: TOPICS,
    createProcessor: () => processors[processors.push(new TallyProcessor()) - 1]!,
    observer: { lost: (err) => lost.push((err as ChatError).code) },
    ...options,
  })
  const state = { task, machine, lost, processors, failure: undefined as unknown, ended: false }
  task.run().then(
    () => (state.ended = true),
    (err: unknown) => (state.failure = err),
  )
  return state
}

const feed = (id: string, room = 'A', topic = 'commands') => partition.addInput(topic, room, tallyInput(id))
const marker = (owner = 'x') => new TallyProcessor().marker(owner, 'n')
const arrivalsOf = (machine: string) => partition.arrivals.filter((a) => a.machine === machine)
const applied = () => appliedInputs(validRecords(partition.log).records).get('commands') ?? 0n
const effects = () => validRecords(partition.log).records.map((r) => `${r.key} ${JSON.parse(r.value!.toString()).seq}`)
const marks = () => partition.log.filter((r) => r.key === OWNERSHIP_MARKER).length

describe('takeover', () => {
  test('fences snapshots, then marks, then commits the sentinel, then restores, then opens the inputs', async () => {
    start()
    await time.advance(100)
    const kinds = arrivalsOf('a').map(({ kind, keys }) => [kind, ...keys].join(' '))
    expect(kinds).toEqual(['openWriter', `append ${OWNERSHIP_MARKER}`, 'commit ~sentinel', 'readSnapshots', 'readLog', 'openInputs'])
  })

  test('the offset of its marker is the epoch of all that it writes', async () => {
    partition.append([marker(), marker()])
    feed('1')
    start()
    await time.advance(100)
    expect(partition.log.at(-1)!.headers).toMatchObject({ 'owner-epoch': Buffer.from('2'), source: Buffer.from('commands:0') })
  })

  test('positions are not known before it has ended', async () => {
    const { task } = start()
    expect(task.positions).toBeUndefined()
    await time.advance(100)
    expect(task.positions).toEqual(new Map())
  })

  test('a sentinel that finds itself fenced begins again, it does not end the process', async () => {
    const a = start()
    await time.until(() => marks() === 1)
    partition.fence()
    await time.advance(100)
    expect(a.failure).toBeUndefined()
    expect(a.lost).toEqual(['ownership_lost'])
    expect(a.task.positions).toBeDefined()
  })

  test.each(['lost', 'applied_unknown'] as const)('a sentinel whose transaction is %s begins again', async (fate) => {
    commitFates = [fate]
    feed('1')
    const a = start()
    await time.advance(200)
    expect(a.failure).toBeUndefined()
    expect(applied()).toBe(1n)
  })

  test('a checkpoint above its own marker begins again', async () => {
    const above = new TallyProcessor().snapshot({ nextOffset: 2n, ownerEpoch: 0n, inputs: new Map() })
    partition.commit(partition.fence(), above, false)
    partition.append([marker()])
    const a = start()
    await time.advance(100)
    expect(a.lost).toEqual(['ownership_lost'])
    expect(marks()).toBe(3)
  })

  test('a processor that misses snapshots begins again, with a new processor', async () => {
    let misses = 1
    class Missing extends TallyProcessor {
      override process(input: InputRecord) {
        if (misses-- > 0) throw new ChatError('ownership_lost')
        return super.process(input)
      }
    }
    feed('1')
    const processors: Processor<InputRecord>[] = []
    const a = start(undefined, { createProcessor: () => processors[processors.push(new Missing()) - 1]! })
    await time.advance(100)
    expect(a.task.positions).toBeDefined()
    expect(processors).toHaveLength(2)
    expect(applied()).toBe(1n)
  })

  test('an input that the log applies twice is fatal', async () => {
    const effect = { key: 'A', value: Buffer.from('{"id":"1","effect":"counted","seq":1}'), headers: { 'owner-epoch': '0', source: 'commands:0' } }
    partition.append([marker(), effect, effect])
    const a = start()
    await time.advance(100)
    expect(a.failure).toMatchObject({ code: 'log_corrupt' })
  })

  test('a position that an input no longer holds is fatal', async () => {
    feed('1')
    const a = start()
    await time.advance(100)
    await Promise.all([a.task.stop(), time.advance(100)])
    partition.inputs.set('commands', [])
    const b = start(partition.machine('b'))
    await time.advance(100)
    expect(b.failure).toMatchObject({ code: 'input_position_lost' })
  })
})

describe('one input, one output', () => {
  test('each input gives one record, orders before commands, repeats too', async () => {
    for (const id of ['1', '2', '1']) feed(id)
    feed('o', 'A', 'orders')
    start()
    await time.advance(100)
    expect(effects()).toEqual(['A 1', 'A 2', 'A 3', 'A 2'])
    expect(appliedInputs(validRecords(partition.log).records)).toEqual(new Map([['orders', 1n], ['commands', 3n]]))
  })

  test('what one append may carry is bounded by bytes', async () => {
    class Big extends TallyProcessor {
      override process(input: InputRecord) {
        return { ...super.process(input), value: Buffer.alloc(200_000, ' ') }
      }
    }
    for (let i = 0; i < 5; i++) feed(`${i}`)
    start(undefined, { createProcessor: () => new Big() })
    await time.advance(200)
    const sizes = arrivalsOf('a').filter((a) => a.kind === 'append').map((a) => a.keys.length)
    expect(sizes).toEqual([1, 2, 2, 1])
  })

  test('what one append may carry is bounded by inputs, and the rest follows', async () => {
    for (let i = 0; i < 25; i++) feed(`${i}`)
    start()
    await time.advance(200)
    expect(arrivalsOf('a').filter((a) => a.kind === 'append').map((a) => a.keys.length)).toEqual([1, 10, 10, 5])
  })

  test('delivery is held while the queue is full, and goes on below the low mark', async () => {
    for (let i = 0; i < 60; i++) feed(`${i}`)
    const a = start()
    await time.advance(200)
    expect(a.machine.holds).toEqual([true, false])
    expect(applied()).toBe(60n)
  })

  test('a stranger of an error in deciding is fatal', async () => {
    partition.addInput('commands', 'A', Buffer.from('no JSON'))
    const a = start()
    await time.advance(100)
    expect(a.failure).toBeInstanceOf(SyntaxError)
  })
})

describe('doubt', () => {
  test.each(['applied_unknown', 'lost', 'delayed'] as const)('an append that is %s is read back, never patched up', async (fate) => {
    const a = start()
    await time.advance(20)
    appendFates = [fate]
    feed('1')
    await time.advance(200)
    feed('2')
    await time.advance(200)
    expect(a.failure).toBeUndefined()
    expect(effects()).toEqual(['A 1', 'A 2'])
    expect(applied()).toBe(2n)
  })

  test.each(['applied_unknown', 'lost', 'delayed'] as const)('a marker that is %s is not believed', async (fate) => {
    appendFates = [fate]
    feed('1')
    const a = start()
    await time.advance(500)
    expect(a.failure).toBeUndefined()
    expect(applied()).toBe(1n)
  })

  test('a foreign record before its append: nothing is acknowledged, the partition is taken over again', async () => {
    const a = start()
    await time.advance(20)
    partition.append([marker('somebody else')])
    feed('1')
    await time.until(() => a.lost.length > 0)
    expect(a.task.positions).toEqual(new Map())
    expect(validRecords(partition.log).records).toEqual([])
    await time.advance(100)
    expect(a.lost).toEqual(['ownership_lost'])
    expect(applied()).toBe(1n)
    expect(effects()).toEqual(['A 1'])
  })

  test('an append at or below what was acknowledged is fatal: the log lost records', async () => {
    feed('1')
    const a = start()
    await time.advance(20)
    partition.log.length = 1
    feed('2')
    await time.advance(100)
    expect(a.failure).toMatchObject({ code: 'log_corrupt' })
  })

  test('the group is asked before the partition is taken over again, not before the first time', async () => {
    let asked = 0
    let confirms = false
    const a = start(undefined, {
      confirmAssigned: async () => {
        asked++
        if (!confirms) throw new ChatError('ownership_lost')
      },
    })
    feed('1')
    await time.advance(30)
    expect(asked).toBe(0)
    partition.append([marker('the new owner')])
    feed('2')
    await time.advance(100)
    expect(asked).toBeGreaterThan(2)
    // Nothing more of it arrived: it would fence, and void, the new owner.
    expect(arrivalsOf('a').filter((x) => x.kind === 'openWriter')).toHaveLength(1)
    expect(marks()).toBe(2)
    confirms = true
    await time.advance(100)
    expect(a.failure).toBeUndefined()
    expect(applied()).toBe(2n)
  })
})

describe('re-marking', () => {
  test('the owner marks again in time, and what follows has the new epoch', async () => {
    start()
    await time.advance(testLimits.remarkEveryMs + 100)
    expect(marks()).toBe(2)
    feed('1')
    await time.advance(100)
    expect(`${partition.log.at(-1)!.headers['owner-epoch']}`).toBe('1')
    expect(applied()).toBe(1n)
  })

  test('a new marker behind a foreign record is not believed', async () => {
    const a = start()
    await time.advance(100)
    partition.append([marker('somebody else')])
    await time.advance(testLimits.remarkEveryMs + 100)
    expect(a.lost).toEqual(['ownership_lost'])
  })
})

describe('snapshots', () => {
  const restart = async (name: string) => {
    const before = partition.arrivals.length
    const b = start(partition.machine(name))
    await time.advance(50)
    return { b, reads: partition.arrivals.slice(before).filter((x) => x.kind === 'readLog').length }
  }

  test('hold what is acknowledged, and nothing of an append that is on its way', async () => {
    feed('1')
    start()
    await time.advance(500)
    onAppend = () => (latencyMs = 3_000)
    feed('2')
    await time.advance(5_900)
    expect(tallySnapshots(partition).checkpoint).toBeUndefined()
    latencyMs = 1
    await time.advance(200)
    expect(tallySnapshots(partition)).toMatchObject({ rooms: new Map([['A', { seq: 2 }]]), checkpoint: { nextOffset: 3n, ownerEpoch: 0n, inputs: new Map([['commands', 2n]]) } })
  })

  test('go on beside appends, and hold the state as it was when they began', async () => {
    feed('1')
    start()
    await time.until(() => partition.arrivals.some((x) => x.keys.includes('~checkpoint')), 5_000)
    for (let i = 2; i < 8; i++) {
      feed(`${i}`)
      await time.advance(300)
      const { rooms, checkpoint } = tallySnapshots(partition)
      expect(BigInt(rooms.get('A')!.seq)).toBe(checkpoint!.inputs.get('commands'))
      expect(checkpoint!.nextOffset).toBe(checkpoint!.inputs.get('commands')! + 1n)
    }
  })

  test('rooms that the replay has changed are in the next one', async () => {
    feed('1', 'A')
    feed('2', 'B')
    const a = start()
    await time.advance(50)
    a.machine.crash()
    await restart('b')
    expect(tallySnapshots(partition).checkpoint).toBeUndefined()
    await time.advance(testLimits.snapshotEveryMs + 100)
    expect(tallySnapshots(partition).rooms).toEqual(new Map([['A', { seq: 1, ids: { 1: 1 } }], ['B', { seq: 1, ids: { 2: 1 } }]]))
  })

  test('a fenced one makes the owner take over again', async () => {
    feed('1')
    const a = start()
    await time.advance(100)
    partition.fence()
    await time.advance(testLimits.snapshotEveryMs + 100)
    expect(a.lost).toEqual(['ownership_lost'])
    expect(a.failure).toBeUndefined()
    await time.advance(testLimits.snapshotEveryMs + 100)
    expect(tallySnapshots(partition).rooms.size).toBe(1)
  })

  test.each(['lost', 'applied_unknown'] as const)('one that is %s leaves no room out of the next', async (fate) => {
    commitFates = ['ok', fate]
    feed('1')
    const a = start()
    await time.advance(3 * testLimits.snapshotEveryMs)
    expect(a.lost).toEqual(['ownership_lost'])
    expect(tallySnapshots(partition)).toMatchObject({ rooms: new Map([['A', { seq: 1 }]]), checkpoint: { inputs: new Map([['commands', 1n]]) } })
  })

  test('none is made where nothing has happened', async () => {
    start()
    await time.advance(testLimits.snapshotEveryMs * 10)
    expect(arrivalsOf('a').filter((x) => x.keys.includes('~checkpoint'))).toHaveLength(1)
  })
})
