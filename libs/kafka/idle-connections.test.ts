import { createRequire } from 'node:module'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { tameIdleConnections } from './idle-connections.ts'

const RequestQueue = createRequire(import.meta.url)('kafkajs/src/network/requestQueue') as new (options: object) => {
  throttledUntil: number
  push(request: object): void
  fulfillRequest(response: object): void
}

beforeEach(() => {
  tameIdleConnections()
  vi.useFakeTimers({ now: 1_000_000 })
})

afterEach(() => {
  vi.useRealTimers()
})

function queueOf(sent: number[]) {
  const logger = { debug: () => {}, warn: () => {} }
  const queue = new RequestQueue({ maxInFlightRequests: 1, requestTimeout: 1_000, enforceRequestTimeout: false, clientId: 'c', broker: 'b', logger })
  const push = (correlationId: number) =>
    queue.push({ entry: { correlationId, resolve: () => {}, reject: () => {} }, expectResponse: true, sendRequest: () => sent.push(correlationId) })
  return { queue, push }
}

test('a connection on which no request waits has no timer', () => {
  const { queue, push } = queueOf([])
  push(1)
  queue.fulfillRequest({ correlationId: 1, payload: null, size: 0 })
  expect(vi.getTimerCount()).toBe(0)
})

test('a request that waits for another goes out with its answer, one that waits for the broker when the throttle ends', () => {
  const sent: number[] = []
  const { queue, push } = queueOf(sent)
  push(1)
  push(2)
  queue.fulfillRequest({ correlationId: 1, payload: null, size: 0 })
  expect(sent).toEqual([1, 2])
  queue.fulfillRequest({ correlationId: 2, payload: null, size: 0 })
  queue.throttledUntil = Date.now() + 50
  vi.advanceTimersByTime(20)
  push(3)
  vi.advanceTimersByTime(25)
  expect(sent).toEqual([1, 2])
  vi.advanceTimersByTime(30)
  expect(sent).toEqual([1, 2, 3])
  queue.fulfillRequest({ correlationId: 3, payload: null, size: 0 })
  vi.advanceTimersByTime(1_000)
  expect(vi.getTimerCount()).toBe(0)
})
