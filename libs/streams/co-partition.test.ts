import fc from 'fast-check'
import { expect, test } from 'vitest'
import { assignCoPartitioned, type GroupMember } from './co-partition.ts'

const groups = fc.tuple(
  fc.uniqueArray(fc.string({ minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 8 }),
  fc.integer({ min: 1, max: 24 }),
  fc.array(fc.array(fc.integer({ min: -1, max: 30 }), { maxLength: 24 }), { maxLength: 8 }),
)
const membersOf = (ids: string[], owned: number[][]): GroupMember[] => ids.map((memberId, i) => ({ memberId, owned: owned[i] ?? [] }))

test('every partition goes to exactly one member and counts differ by at most one', () => {
  fc.assert(
    fc.property(groups, ([ids, count, owned]) => {
      const assignment = assignCoPartitioned(membersOf(ids, owned), count)
      expect([...assignment.values()].flat().sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, p) => p))
      const counts = [...assignment.values()].map((n) => n.length)
      expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1)
    }),
  )
})

test('an unchanged group keeps its assignment', () => {
  fc.assert(
    fc.property(groups, ([ids, count, owned]) => {
      const first = assignCoPartitioned(membersOf(ids, owned), count)
      const again = assignCoPartitioned(ids.map((memberId) => ({ memberId, owned: first.get(memberId)! })), count)
      expect(again).toEqual(first)
    }),
  )
})

test('when one member joins, the others only give: no partition moves between two that stay', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 7 }), fc.integer({ min: 1, max: 24 }), (size, count) => {
      const ids = Array.from({ length: size }, (_, i) => `m${i}`)
      const before = assignCoPartitioned(membersOf(ids, []), count)
      const after = assignCoPartitioned([...ids.map((memberId) => ({ memberId, owned: before.get(memberId)! })), { memberId: 'new', owned: [] }], count)
      for (const id of ids) for (const p of after.get(id)!) expect(before.get(id)).toContain(p)
    }),
  )
})
