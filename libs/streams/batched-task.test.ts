import { beforeEach, expect, test } from 'vitest'
import { ChatError } from '#libs/domain/errors.ts'
import { BatchedTask } from './batched-task.ts'
import type { InRecord } from './record.ts'

const record = (offset: bigint): InRecord => ({ offset, key: null, value: null, headers: {}, timestampMs: 0 })
const turn = () => new Promise(setImmediate)

let log: bigint
let position: bigint
let applied: bigint[][]
let failures: (unknown | false)[]
let delays: number[]
let holds: boolean[]
let sink: ((records: readonly InRecord[]) => void) | undefined

beforeEach(() => {
  ;[log, position, applied, failures, delays, holds, sink] = [0n, 0n, [], [], [], [], undefined]
})

function taskOf(batchRecordsMax = 3): BatchedTask {
  return new BatchedTask({
    log: {
      open: async (from, to) => {
        sink = to
        if (from < log) to(range(from, log))
      },
      hold: (on) => holds.push(on),
      close: () => {
        sink = undefined
      },
    },
    begin: async () => position,
    apply: async (batch) => {
      await turn()
      const failure = failures.shift()
      if (failure === false) return false
      if (failure !== undefined) throw failure
      applied.push(batch.map(({ offset }) => offset))
      position = batch.at(-1)!.offset + 1n
      return true
    },
    sleep: async (ms) => void delays.push(ms),
    retryDelayMs: (attempt) => attempt + 1,
    batchRecordsMax,
    onRetry: () => {},
  })
}

const range = (from: bigint, to: bigint) => Array.from({ length: Number(to - from) }, (_, i) => record(from + BigInt(i)))
function append(count: number): void {
  const from = log
  log += BigInt(count)
  sink?.(range(from, log))
}
async function until(done: () => boolean): Promise<void> {
  for (let i = 0; i < 1_000 && !done(); i++) await turn()
  expect(done()).toBe(true)
}
const inOrder = () => expect(applied.flat()).toEqual(range(0n, position).map(({ offset }) => offset))

test('takes all in order, in batches of at most so many, and reads no further ahead than two', async () => {
  const task = taskOf()
  append(8)
  void task.run()
  await until(() => position === 8n)
  append(1)
  await until(() => position === 9n)
  await task.stop()
  inOrder()
  expect(applied.every((batch) => batch.length <= 3)).toBe(true)
  expect(holds).toEqual([true, false])
})

test('what is unavailable is tried again with growing delays, which a success ends', async () => {
  failures = [new ChatError('unavailable'), new ChatError('unavailable'), undefined, new ChatError('unavailable')]
  const task = taskOf()
  append(4)
  void task.run()
  await until(() => position === 4n)
  await task.stop()
  inOrder()
  expect(delays).toEqual([1, 2, 1])
})

test('where somebody else has moved the position it goes on from there', async () => {
  failures = [false]
  const task = taskOf()
  append(2)
  void task.run()
  await until(() => position === 2n)
  await task.stop()
  inOrder()
})

test('anything else ends it, and whoever runs it is told', async () => {
  failures = [new ChatError('log_corrupt')]
  const task = taskOf()
  append(1)
  await expect(task.run()).rejects.toMatchObject({ code: 'log_corrupt' })
  await task.stop()
})

test('where nothing comes, it is called all the same when its time is over, with an empty batch; records come sooner', async () => {
  const waits: { ms: number; over: () => void }[] = []
  let due: number | undefined = 100
  const batches: number[] = []
  let to: ((records: readonly InRecord[]) => void) | undefined
  const task = new BatchedTask({
    log: {
      open: async (_, sink) => {
        to = sink
      },
      hold: () => {},
      close: () => {},
    },
    begin: async () => 0n,
    apply: async (batch) => {
      batches.push(batch.length)
      return true
    },
    idleMs: () => due,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        waits.push({ ms, over: resolve })
        signal.addEventListener('abort', () => reject(signal.reason))
      }),
    retryDelayMs: () => 0,
    batchRecordsMax: 3,
    onRetry: () => {},
  })
  const running = task.run()
  await until(() => waits.length === 1)
  to!([record(0n)])
  await until(() => waits.length === 2)
  expect([batches, waits.map(({ ms }) => ms)]).toEqual([[1], [100, 100]])
  due = undefined
  waits[1]!.over()
  await until(() => batches.length === 2)
  for (let i = 0; i < 5; i++) await turn()
  expect([batches, waits.length]).toEqual([[1, 0], 2])
  await task.stop()
  await running
})
