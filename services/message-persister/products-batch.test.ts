import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ChatError } from '#libs/domain/errors.ts'
import type { ProductFields } from '#libs/domain/frames.ts'
import { productUpdateToAvro } from '#libs/streams/product-shape.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { readProducts } from './products-batch.ts'

const codec = {
  learn: () => undefined,
  decode: (bytes: Buffer): unknown => {
    const text = bytes.toString()
    if (text === 'garbage') throw new ChatError('undecodable', 'garbage')
    return JSON.parse(text)
  },
}
const record = (offset: number, value: object | string | null, key: string | null = (value as { productId?: string } | null)?.productId ?? 'p'): InRecord => ({
  offset: BigInt(offset),
  key,
  value: value === null ? null : Buffer.from(typeof value === 'string' ? value : JSON.stringify(productUpdateToAvro(value as ProductFields))),
  headers: {},
  timestampMs: 0,
})

test('of each product the latest by its own time, in any order', async () => {
  const updates = fc.array(fc.record({ productId: fc.constantFrom('p', 'q'), name: fc.string({ minLength: 1 }), updatedAtMs: fc.nat(5) }), { maxLength: 12 })
  await fc.assert(
    fc.asyncProperty(updates, async (list) => {
      const { products, skipped } = await readProducts(codec, list.map((product, i) => record(i, product)))
      expect(skipped.length + list.filter(({ name }) => !name.includes('\0')).length).toBe(list.length)
      const ids = [...new Set(list.map(({ productId }) => productId))]
      expect(products.map(({ productId, updatedAtMs }) => [productId, updatedAtMs]).toSorted()).toEqual(
        ids.map((id) => [id, Math.max(...list.filter(({ productId }) => productId === id).map(({ updatedAtMs }) => updatedAtMs))]).toSorted(),
      )
    }),
  )
})

test('what cannot be read is left out with its code, and the rest goes on', async () => {
  const good = { productId: 'p', name: 'n', updatedAtMs: 1 }
  const { products, skipped } = await readProducts(codec, [record(0, 'garbage'), record(1, null), record(2, good, 'q'), record(3, '{"productId":7}'), record(4, good)])
  expect(products).toEqual([good])
  expect(skipped.map(({ offset, code }) => [offset, code])).toEqual([[0n, 'undecodable'], [1n, 'undecodable'], [2n, 'undecodable'], [3n, 'undecodable']])
})

test('a registry that does not answer is no reason to leave anything out', async () => {
  const away = { ...codec, learn: () => Promise.reject(new Error('ECONNREFUSED')) }
  await expect(readProducts(away, [record(0, { productId: 'p', name: 'n', updatedAtMs: 1 })])).rejects.toMatchObject({ code: 'unavailable' })
})
