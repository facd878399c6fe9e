import { describe, expect, test } from 'vitest'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { HeadWaiters, type Waiter } from './head-waiters.ts'

const bounds = { max: 3, perUserMax: 2 }
const room = (id: string) => id as RoomId

function waiter(roomId: string, after: number, userId = `u${roomId}${after}`) {
  const outcomes: string[] = []
  const made: Waiter = {
    roomId: room(roomId),
    userId: userId as UserId,
    after,
    settle: (outcome) => outcomes.push(outcome),
    fail: (err) => outcomes.push(err.message),
  }
  return { made, outcomes }
}

describe('those who wait for a room', () => {
  test('are asked for once per room, with the lowest seq', () => {
    const waiters = new HeadWaiters(bounds)
    for (const { made } of [waiter('a', 5), waiter('a', 3), waiter('b', 9)]) waiters.add(made)
    expect(waiters.asked()).toEqual({ roomIds: ['a', 'b'], afters: [3, 9] })
  })

  test('are woken only by a head above what they have', () => {
    const waiters = new HeadWaiters(bounds)
    const [low, high, other] = [waiter('a', 3), waiter('a', 5), waiter('b', 0)]
    for (const { made } of [low, high, other]) waiters.add(made)
    waiters.moved([{ roomId: room('a'), headSeq: 5 }, { roomId: room('c'), headSeq: 9 }])
    expect([low.outcomes, high.outcomes, other.outcomes]).toEqual([['moved'], [], []])
    expect(waiters.size).toBe(2)
    waiters.moved([{ roomId: room('a'), headSeq: 6 }])
    expect(high.outcomes).toEqual(['moved'])
    expect(waiters.asked().roomIds).toEqual(['b'])
  })

  test('are bounded in all and per user, and a place is free again after', () => {
    const waiters = new HeadWaiters(bounds)
    const mine = [waiter('a', 1, 'me'), waiter('b', 1, 'me'), waiter('c', 1, 'me')]
    expect(mine.map(({ made }) => waiters.add(made))).toEqual(['added', 'added', 'user_full'])
    expect(waiters.add(waiter('d', 1).made)).toBe('added')
    expect(waiters.add(waiter('e', 1).made)).toBe('full')
    expect(waiters.remove(mine[0]!.made)).toBe(true)
    expect(waiters.remove(mine[0]!.made)).toBe(false)
    expect(waiters.remove(mine[2]!.made)).toBe(false)
    expect(waiters.add(mine[2]!.made)).toBe('added')
  })

  test('taken all together leave nothing behind', () => {
    const waiters = new HeadWaiters(bounds)
    for (const { made } of [waiter('a', 1, 'me'), waiter('a', 2, 'me'), waiter('b', 1)]) waiters.add(made)
    expect(waiters.takeAll()).toHaveLength(3)
    expect(waiters.size).toBe(0)
    expect(waiters.asked()).toEqual({ roomIds: [], afters: [] })
    expect(waiters.add(waiter('a', 1, 'me').made)).toBe('added')
  })
})
