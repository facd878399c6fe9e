import { createRequire } from 'node:module'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { murmur2, partitionOf } from './murmur2.ts'

const require = createRequire(import.meta.url)
const kafkajsMurmur2 = require('kafkajs/src/producer/partitioners/default/murmur2.js') as (key: Buffer) => number

test.each([
  // Vectors of Apache Kafka's own UtilsTest.testMurmur2.
  ['21', -973932308],
  ['foobar', -790332482],
  ['a-little-bit-long-string', -985981536],
  ['a-little-bit-longer-string', -1486304829],
  ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
])('murmur2 of %s is what the Java client says', (key, hash) => {
  expect(murmur2(Buffer.from(key))).toBe(hash)
})

test('murmur2 equals the one that kafkajs partitions with', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      expect(murmur2(bytes) | 0).toBe(kafkajsMurmur2(Buffer.from(bytes)) | 0)
    }),
  )
})

test('every key has a partition within the count', () => {
  fc.assert(
    fc.property(fc.string(), fc.integer({ min: 1, max: 64 }), (key, count) => {
      const p = partitionOf(key, count)
      expect(p >= 0 && p < count).toBe(true)
    }),
  )
})
