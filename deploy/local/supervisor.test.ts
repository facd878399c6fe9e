import { describe, expect, test } from 'vitest'
import { RestartPolicy } from './supervisor.ts'

describe('RestartPolicy', () => {
  test('waits longer each time and gives up after five starts in a row', () => {
    const policy = new RestartPolicy()
    const delays = Array.from({ length: 6 }, () => policy.next(0))
    expect(delays).toEqual([500, 1_000, 2_000, 4_000, 8_000, undefined])
  })

  test('a process that ran for half a minute begins a new row', () => {
    const policy = new RestartPolicy()
    for (let i = 0; i < 5; i++) policy.next(0)
    expect(policy.next(30_000)).toBe(500)
  })
})
