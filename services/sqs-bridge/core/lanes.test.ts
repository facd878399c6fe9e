import fc from 'fast-check'
import { expect, test } from 'vitest'
import { lanesOf } from './lanes.ts'

test('every item is in one lane, keys are never split, and each lane keeps the order', () => {
  const item = fc.record({ key: fc.option(fc.constantFrom('a', 'b', 'c'), { nil: undefined }) })
  fc.assert(
    fc.property(fc.array(item), (keys) => {
      const items = keys.map(({ key }, at) => ({ key, at }))
      const lanes = lanesOf(items, ({ key }) => key)
      expect(lanes.flat().toSorted((x, y) => x.at - y.at)).toEqual(items)
      for (const lane of lanes) {
        expect(new Set(lane.map(({ key }) => key)).size).toBe(1)
        expect(lane).toEqual(lane.toSorted((x, y) => x.at - y.at))
        if (lane[0]!.key === undefined) expect(lane).toHaveLength(1)
        else expect(lane).toHaveLength(items.filter(({ key }) => key === lane[0]!.key).length)
      }
    }),
  )
})
