import { expect, test } from 'vitest'
import { healthy, mayGiveBack, mayPublish, mayReceive, nextHealth, redeliveryDelayS, type SinkSignal } from './sink-health.ts'

const after = (...signals: SinkSignal[]) => signals.reduce(nextHealth, healthy)

test('in good times it receives and publishes', () => {
  expect(mayReceive(after('published', 'published'), 200)).toBe(true)
  expect(mayPublish(after('published'))).toBe(true)
})

test('after a failure nothing goes on but probes', () => {
  const health = after('published', 'failed', 'failed')
  expect(health).toEqual({ phase: 'down', failures: 1, unreachable: false })
  expect(mayReceive(health, 0)).toBe(false)
  expect(mayPublish(health)).toBe(false)
})

test('a probe that comes back lets what is in hand be tried, and receives only where there is nothing', () => {
  const health = after('failed', 'probed')
  expect(mayPublish(health)).toBe(true)
  expect(mayReceive(health, 1)).toBe(false)
  expect(mayReceive(health, 0)).toBe(true)
})

test('failures add up until something is published', () => {
  expect(after('failed', 'probed', 'failed', 'probed', 'failed').failures).toBe(3)
  expect(after('failed', 'probed', 'failed', 'published')).toEqual(healthy)
})

test('while Kafka answers and refuses, one message stays in hand to find out when it no longer does', () => {
  for (const health of [after('failed'), after('failed', 'probed', 'failed'), after('failed', 'probeFailed', 'probed', 'failed')]) {
    expect([1, 2].map((inHand) => mayGiveBack(health, inHand))).toEqual([false, true])
  }
  expect(mayGiveBack(after('failed', 'probeFailed'), 1)).toBe(true)
})

test('a late acknowledgement ends an outage', () => {
  expect(after('failed', 'published')).toEqual(healthy)
})

test('redelivery waits 5 s, doubling up to 15 min', () => {
  expect([0, 1, 2, 3, 8, 9, 1_000].map(redeliveryDelayS)).toEqual([5, 5, 10, 20, 640, 900, 900])
})
