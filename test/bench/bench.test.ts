import { describe, expect, test } from 'vitest'
import { readStamp, textOf } from './generator/protocol.ts'
import { scheduleOf } from './generator/schedule.ts'
import { cpuBetween, sampleCpu } from './procfs.ts'
import { formattedSpread, quantilesOf, ratiosOf, spreadOf } from './stats.ts'

/** The instrument itself: what it would measure wrongly, nobody would see. */
describe('the schedule', () => {
  const load = { rate: 500, seconds: 4, rooms: 40, seed: 3 }

  test('is the same for the same seed, another for another', () => {
    expect(scheduleOf(load)).toEqual(scheduleOf(load))
    expect(scheduleOf({ ...load, seed: 4 }).dueMs).not.toEqual(scheduleOf(load).dueMs)
  })

  test('has just the rate, in order, and each room as often as any other', () => {
    const { dueMs, room } = scheduleOf(load)
    expect(dueMs).toHaveLength(2_000)
    expect(dueMs.at(-1)).toBeCloseTo(4_000, 6)
    expect(dueMs).toEqual(dueMs.toSorted())
    const times = Array.from({ length: 40 }, (_, r) => room.filter((x) => x === r).length)
    expect(new Set(times)).toEqual(new Set([50]))
  })

  test('is irregular as people are: gaps spread like those of a Poisson process', () => {
    const { dueMs } = scheduleOf({ ...load, seconds: 40 })
    const gaps = dueMs.subarray(1).map((at, i) => at - dueMs[i]!)
    const mean = gaps.reduce((a, b) => a + b, 0) / gaps.length
    const deviation = Math.sqrt(gaps.reduce((a, b) => a + (b - mean) ** 2, 0) / gaps.length)
    expect(deviation / mean).toBeGreaterThan(0.95)
    expect(deviation / mean).toBeLessThan(1.05)
  })
})

describe('quantiles', () => {
  test('are those of the values themselves', () => {
    const values = Array.from({ length: 1_000 }, (_, i) => 1_000 - i)
    expect(quantilesOf(values)).toEqual({ p50: 500, p99: 990, max: 1_000, count: 1_000 })
  })

  test('take what was lost for slower than anything that came', () => {
    const values = [1, 2, 3, Number.NaN]
    expect(quantilesOf(values)).toMatchObject({ p50: 2, p99: Number.POSITIVE_INFINITY })
  })

  test('ratios are taken round by round', () => {
    expect(ratiosOf([2, 30, 8], [1, 10, 2])).toEqual({ median: 3, min: 2, max: 4, count: 3 })
    expect(spreadOf([4, 1, 2, 3]).median).toBe(2.5)
    expect(formattedSpread(spreadOf([1, 2, 30]))).toBe('2.00 (1.00–30.0)')
  })
})

test('a stamp is found in whatever frame it travels', () => {
  for (const frame of [textOf(3, 41, 120), `42["message",{"content":"${textOf(3, 41, 60)}"}]`, `{"type":"newMessage","roomId":"a.b","content":"${textOf(3, 41, 60)}"}`]) {
    const found: number[][] = []
    expect(readStamp(frame, (...numbers) => found.push(numbers))).toBe(true)
    expect(found).toEqual([[3, 41]])
  }
  expect(textOf(3, 41, 120)).toHaveLength(120)
  expect(readStamp('{"type":"connected"}', () => {})).toBe(false)
})

test('CPU seconds are those that a process has burnt', () => {
  const pids = new Map([['me', process.pid]])
  const before = sampleCpu(pids)
  const startedS = process.cpuUsage().user / 1e6
  let x = 1
  while (process.cpuUsage().user / 1e6 - startedS < 0.3) for (let i = 0; i < 1e6; i++) x = (x * 31 + i) | 0
  expect(x).toBeTypeOf('number')
  expect(cpuBetween(before, sampleCpu(pids)).get('me')).toBeGreaterThanOrEqual(0.28)
})
