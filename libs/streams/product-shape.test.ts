import { readFileSync } from 'node:fs'
import avro from 'avsc'
import { expect, test } from 'vitest'
import type { ProductFields } from '#libs/domain/frames.ts'
import { productUpdateFromAvro, productUpdateToAvro } from './product-shape.ts'

const schema = JSON.parse(readFileSync(new URL('../../schemas/product-updates.avsc', import.meta.url), 'utf8')) as avro.Schema
const type = avro.Type.forSchema(schema, { wrapUnions: true })

test.each<ProductFields>([
  { productId: 'p-1', name: 'Ramen ä💥', updatedAtMs: 1_700_000_000_000 },
  { productId: 'p-1', name: 'Ramen', priceMinor: 10 ** 15, currency: 'EUR', imageUrl: 'https://cdn.example/p.png', available: false, updatedAtMs: 1 },
  { productId: 'p-1', name: 'Free', priceMinor: 0, updatedAtMs: 0 },
])('$name comes back as it was, through the bytes', (product) => {
  expect(productUpdateFromAvro(type.fromBuffer(type.toBuffer(productUpdateToAvro(product))))).toEqual(product)
})

test.each([null, undefined, 'x', {}, { productId: 'p', name: 'n' }, { productId: 7, name: 'n', updatedAtMs: 1 }])('%j is undecodable, with a code', (value) => {
  expect(() => productUpdateFromAvro(value)).toThrow(expect.objectContaining({ code: 'undecodable' }))
})
