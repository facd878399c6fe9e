import { ChatError } from '#libs/domain/errors.ts'
import type { ProductFields } from '#libs/domain/frames.ts'

/** Fields that may be left out: null in Avro, absent in ours. */
const optionalBranches = { priceMinor: 'long', currency: 'string', imageUrl: 'string', available: 'boolean' } as const
const optionalFields = Object.entries(optionalBranches) as [keyof typeof optionalBranches, string][]

/** A record of `product-updates` (schemas/product-updates.avsc), its key being the productId. */
export function productUpdateToAvro(product: ProductFields): object {
  const { productId, name, updatedAtMs } = product
  const wrapped = optionalFields.map(([field, branch]) => [field, product[field] === undefined ? null : { [branch]: product[field] }])
  return { productId, name, updatedAtMs, ...Object.fromEntries(wrapped) }
}

/** @throws ChatError `undecodable` for what is no product */
export function productUpdateFromAvro(value: unknown): ProductFields {
  const fields = value as Readonly<Record<string, any>> | null
  const { productId, name, updatedAtMs } = fields ?? {}
  if (typeof productId !== 'string' || typeof name !== 'string' || typeof updatedAtMs !== 'number') throw new ChatError('undecodable', 'not an update of a product')
  const given = optionalFields.flatMap(([field, branch]) => {
    const one = fields![field]?.[branch] as unknown
    return one === null || one === undefined ? [] : [[field, one]]
  })
  return { productId, name, updatedAtMs, ...Object.fromEntries(given) }
}
