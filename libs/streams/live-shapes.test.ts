import { readFileSync } from 'node:fs'
import avsc from 'avsc'
import { expect, test } from 'vitest'
import type { ProductFields } from '#libs/domain/frames.ts'
import type { UserId } from '#libs/domain/ids.ts'
import { presenceEventFromAvro, presenceEventToAvro } from './presence-shape.ts'
import { productUpdateFromAvro, productUpdateToAvro } from './product-shape.ts'

const typeOf = (file: string) => avsc.Type.forSchema(JSON.parse(readFileSync(new URL(`../../schemas/${file}`, import.meta.url), 'utf8')), { wrapUnions: true })

test.each<ProductFields>([
  { productId: 'p-1', name: 'Tea', priceMinor: 450, currency: 'EUR', imageUrl: 'https://shop.example/tea.png', available: false, updatedAtMs: 1_795_263_491_325 },
  { productId: 'p-2', name: 'Cake', updatedAtMs: 1 },
])('a product update comes back as it was written: $name', (product) => {
  const type = typeOf('product-updates.avsc')
  expect(productUpdateFromAvro(type.fromBuffer(type.toBuffer(productUpdateToAvro(product))))).toEqual(product)
})

test('a presence event comes back as it was written', () => {
  const type = typeOf('presence-events.avsc')
  const event = { userId: 'ann' as UserId, status: 'offline', atMs: 1_795_263_491_325, edgeId: 'edge-1' } as const
  expect(presenceEventFromAvro(type.fromBuffer(type.toBuffer(presenceEventToAvro(event))))).toEqual(event)
})
