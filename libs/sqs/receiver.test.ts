import { pino } from 'pino'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { systemClock } from '#libs/runtime/clock.ts'
import type { QueueMessage, SqsQueue, VisibilityChange } from './queue.ts'
import { type ReceiverDeps, type Settle, SqsReceiver } from './receiver.ts'

type Stored = { body: string; visibleAtMs: number; receives: number; handle: string }

/** A standard queue in memory, with visibility timeouts and long polls. */
class MemoryQueue implements Pick<SqsQueue, 'receive' | 'remove' | 'changeVisibility'> {
  readonly stored = new Map<string, Stored>()
  polls = 0
  removeCalls: number[] = []
  visibilityCalls: VisibilityChange[][] = []
  failRemoves = 0

  put(...bodies: string[]): void {
    for (const body of bodies) this.stored.set(body, { body, visibleAtMs: 0, receives: 0, handle: '' })
  }

  async receive({ max, waitS, visibilityTimeoutS, signal }: Parameters<SqsQueue['receive']>[0]): Promise<QueueMessage[]> {
    this.polls++
    try {
      for (const untilMs = Date.now() + waitS * 1_000; ; await systemClock.sleep(10, signal)) {
        const found = [...this.stored.values()].filter((message) => message.visibleAtMs <= Date.now()).slice(0, max)
        if (found.length === 0 && Date.now() < untilMs) continue
        return found.map((message) => {
          Object.assign(message, { visibleAtMs: Date.now() + visibilityTimeoutS * 1_000, receives: message.receives + 1, handle: `${message.body}#${message.receives}` })
          return { messageId: message.body, receiptHandle: message.handle, body: message.body, sentTimestampMs: 0, receiveCount: message.receives, attributes: {} }
        })
      }
    } finally {
      this.polls--
    }
  }

  async remove(handles: readonly string[]): Promise<readonly string[]> {
    this.removeCalls.push(handles.length)
    if (this.failRemoves-- > 0) return handles
    for (const handle of handles) this.stored.delete(handle.split('#')[0]!)
    return []
  }

  async changeVisibility(changes: readonly VisibilityChange[]): Promise<readonly string[]> {
    this.visibilityCalls.push([...changes])
    for (const { receiptHandle, visibilityTimeoutS } of changes) {
      const message = this.stored.get(receiptHandle.split('#')[0]!)
      if (message?.handle === receiptHandle) message.visibleAtMs = Date.now() + visibilityTimeoutS * 1_000
    }
    return []
  }
}

let queue: MemoryQueue
let receiver: SqsReceiver

beforeEach(() => {
  vi.useFakeTimers()
  queue = new MemoryQueue()
})
afterEach(async () => {
  const closed = receiver.close(1_000)
  await vi.advanceTimersByTimeAsync(10_000)
  await closed
  vi.useRealTimers()
})

function start(handle: ReceiverDeps['handle'], config: Partial<ReceiverDeps['config']> = {}, hooks: Partial<ReceiverDeps> = {}): void {
  receiver = new SqsReceiver({
    queue,
    clock: systemClock,
    logger: pino({ level: 'silent' }),
    config: { receivers: 4, waitS: 2, visibilityTimeoutS: 30, inWorkMax: 100, ...config },
    handle,
    admit: async () => {},
    ...hooks,
  })
  receiver.start()
}

const numbered = (count: number) => Array.from({ length: count }, (_, i) => `m${i}`)
const removeAll = async (batch: readonly QueueMessage[], settle: Settle) => batch.forEach((message) => settle.remove(message))
const never = () => new Promise<void>(() => {})

test('everything is received and removed, in few calls', async () => {
  queue.put(...numbered(95))
  start(removeAll)
  await vi.advanceTimersByTimeAsync(1_000)
  expect(queue.stored.size).toBe(0)
  expect(queue.removeCalls.length).toBeLessThanOrEqual(12)
  expect(receiver.inWork).toBe(0)
})

test('an idle queue is asked by one receiver, a busy one by all', async () => {
  start(removeAll)
  await vi.advanceTimersByTimeAsync(5_000)
  expect(queue.polls).toBe(1)
  queue.put(...numbered(50))
  await vi.advanceTimersByTimeAsync(500)
  expect(queue.polls).toBe(4)
})

test('what is in work stays hidden for as long as it takes', async () => {
  queue.put('slow')
  start(async (batch, settle) => {
    await systemClock.sleep(300_000)
    await removeAll(batch, settle)
  })
  await vi.advanceTimersByTimeAsync(299_000)
  expect(queue.stored.get('slow')!.receives).toBe(1)
  // Half of 30 s each: about twenty renewals in five minutes, not hundreds.
  expect(queue.visibilityCalls.length).toBeGreaterThan(10)
  expect(queue.visibilityCalls.length).toBeLessThan(25)
  await vi.advanceTimersByTimeAsync(2_000)
  expect(queue.stored.size).toBe(0)
})

test('no more than inWorkMax are in work', async () => {
  queue.put(...numbered(100))
  start(never, { inWorkMax: 25 })
  await vi.advanceTimersByTimeAsync(10_000)
  expect(receiver.inWork).toBe(20)
})

test('a removal that fails is tried again, four times at most', async () => {
  const removed: boolean[] = []
  queue.put('a')
  queue.failRemoves = 2
  start(removeAll, {}, { onRemoved: (worked) => removed.push(worked) })
  await vi.advanceTimersByTimeAsync(5_000)
  expect([removed, queue.stored.size, queue.removeCalls.length]).toEqual([[true], 0, 3])
  queue.put('b')
  queue.failRemoves = 100
  await vi.advanceTimersByTimeAsync(10_000)
  expect([removed, queue.stored.size, queue.removeCalls.length]).toEqual([[true, false], 1, 7])
  expect(receiver.inWork).toBe(0)
})

test('what a handler leaves behind or throws over is shown again', async () => {
  queue.put('left')
  start(async (batch) => {
    if (batch[0]!.receiveCount === 1) throw new Error('planted')
    await never()
  })
  await vi.advanceTimersByTimeAsync(9_000)
  expect(queue.stored.get('left')!.receives).toBe(1)
  await vi.advanceTimersByTimeAsync(4_000)
  expect(queue.stored.get('left')!.receives).toBe(2)
})

test('a stop waits for the long poll and for work, and shows the rest again at once', async () => {
  queue.put('stuck')
  let signal: AbortSignal | undefined
  start((_, __, stopping) => {
    signal = stopping
    return never()
  })
  await vi.advanceTimersByTimeAsync(100)
  const closed = receiver.close(5_000)
  expect(signal!.aborted).toBe(true)
  await vi.advanceTimersByTimeAsync(1_500)
  expect(queue.polls).toBeGreaterThan(0)
  await vi.advanceTimersByTimeAsync(4_500)
  await closed
  expect(queue.polls).toBe(0)
  expect(queue.visibilityCalls.at(-1)).toEqual([{ receiptHandle: 'stuck#0', visibilityTimeoutS: 0 }])
})

test('receiving goes on after failures', async () => {
  let failures = 0
  const receive = queue.receive.bind(queue)
  queue.receive = (options) => (failures < 3 ? Promise.reject(new Error('planted')) : receive(options))
  queue.put('a')
  start(removeAll, { receivers: 1 }, { onReceiveFailed: () => failures++ })
  await vi.advanceTimersByTimeAsync(3_000)
  expect([failures, queue.stored.size]).toEqual([3, 0])
})
