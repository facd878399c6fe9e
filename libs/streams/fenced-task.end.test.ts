import { beforeEach, describe, expect, test } from 'vitest'
import type { InputRecord } from './fenced-ports.ts'
import type { TaskOptions } from './fenced-task.ts'
import { type AppendFate, MemoryPartition, VirtualTime } from './memory-log.ts'
import { appliedInputs, tallyInput, TallyProcessor, tallySnapshots, taskOn, testLimits, validRecords } from './memory-task.ts'

const limits = { ...testLimits, snapshotEveryMs: 5_000 }
const TOPICS = ['orders', 'commands']
let time: VirtualTime
let partition: MemoryPartition
let latencyMs: number
let appendFates: AppendFate[]

beforeEach(() => {
  time = new VirtualTime()
  latencyMs = 1
  appendFates = []
  partition = new MemoryPartition(time, { append: () => appendFates.shift() ?? 'ok', commit: () => 'ok', latencyMs: () => latencyMs })
  for (const topic of TOPICS) partition.inputs.set(topic, [])
})

function start(options: Partial<TaskOptions<InputRecord>> = {}) {
  const task = taskOn<InputRecord>(partition.machine('a'), { inputTopics: TOPICS, createProcessor: () => new TallyProcessor(), limits, ...options })
  const state = { task, ended: false }
  void task.run().then(() => (state.ended = true))
  return state
}

const feed = (id: string) => partition.addInput('commands', 'A', tallyInput(id))
const applied = () => appliedInputs(validRecords(partition.log).records).get('commands') ?? 0n

describe('checkpoint', () => {
  test('snapshots at once and goes on, so that the next owner replays no more than the markers', async () => {
    feed('1')
    const a = start()
    await time.advance(1_500)
    await Promise.all([a.task.checkpoint(), time.advance(50)])
    expect(tallySnapshots(partition)).toMatchObject({ rooms: new Map([['A', { seq: 1 }]]), checkpoint: { nextOffset: 2n } })
    feed('2')
    await time.advance(50)
    expect(applied()).toBe(2n)
  })

  test('in mid-append waits for the append: it holds acknowledged state only', async () => {
    const a = start()
    await time.advance(1_500)
    feed('1')
    latencyMs = 20
    await time.until(() => partition.arrivals.at(-1)!.kind === 'append')
    await Promise.all([a.task.checkpoint(), time.advance(500)])
    expect(tallySnapshots(partition)).toMatchObject({ rooms: new Map([['A', { seq: 1 }]]), checkpoint: { nextOffset: 2n } })
  })

  test('resolves where there is nothing to do, and where the task ends meanwhile', async () => {
    const a = start()
    await a.task.checkpoint()
    await time.advance(50)
    await Promise.all([a.task.checkpoint(), time.advance(50)])
    await a.task.checkpoint()
    feed('1')
    await time.advance(1_500)
    const last = a.task.checkpoint()
    await Promise.all([a.task.stop(), last, time.advance(500)])
    expect(a.ended).toBe(true)
    await a.task.checkpoint()
  })
})

test('a checkpoint right behind a snapshot makes no second one, which would meet the first one still ending', async () => {
  const a = start()
  feed('1')
  await time.advance(limits.snapshotEveryMs + 50)
  const before = partition.arrivals.length
  feed('2')
  await time.advance(50)
  await a.task.checkpoint()
  expect(partition.arrivals.slice(before).map(({ kind }) => kind)).toEqual(['append'])
})

describe('stop', () => {
  test('makes no snapshot of its own: who takes over would wait for it', async () => {
    feed('1')
    const a = start()
    await time.advance(50)
    const before = partition.arrivals.length
    await Promise.all([a.task.stop(), time.advance(50)])
    expect(a.ended).toBe(true)
    expect(partition.arrivals.length).toBe(before)
  })

  test('in mid-append finishes it, and does not wait for the next thing that is due', async () => {
    const a = start()
    await time.advance(limits.snapshotEveryMs + 50)
    feed('1')
    latencyMs = 20
    await time.until(() => partition.arrivals.at(-1)!.kind === 'append')
    void a.task.stop()
    await time.advance(200)
    expect(a.ended).toBe(true)
    expect(applied()).toBe(1n)
  })

  test.each([0, 1, 2, 3, 5, 7, 9, 11, 15])('%i ms after the start ends it, whatever it is at', async (afterMs) => {
    feed('1')
    const a = start()
    await time.advance(afterMs)
    await Promise.all([a.task.stop(), time.advance(500)])
    expect(a.ended).toBe(true)
    feed('2')
    await time.advance(500)
    const { length } = partition.log
    await time.advance(testLimits.remarkEveryMs * 2)
    expect(partition.log).toHaveLength(length)
    expect(applied() <= 1n).toBe(true)
  })

  test('in doubt does not wait for a group that it has left', async () => {
    const a = start({ confirmAssigned: (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))) })
    await time.advance(50)
    appendFates.push('lost')
    feed('1')
    await time.advance(500)
    await Promise.all([a.task.stop(), time.advance(50)])
    expect(a.ended).toBe(true)
  })

  test('before it was run, nothing is run', async () => {
    const machine = partition.machine('a')
    const task = taskOn<InputRecord>(machine, { inputTopics: TOPICS, createProcessor: () => new TallyProcessor() })
    await task.stop()
    await task.run()
    expect(partition.arrivals).toEqual([])
  })
})
