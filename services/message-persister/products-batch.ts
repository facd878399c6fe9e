import { ChatError, type ErrorCode } from '#libs/domain/errors.ts'
import type { ProductFields } from '#libs/domain/frames.ts'
import { productUpdateFromAvro } from '#libs/streams/product-shape.ts'
import { decodeLearning, type LearningCodec } from '#libs/streams/read-by-rule.ts'
import type { InRecord } from '#libs/streams/record.ts'

export type Skipped = { readonly offset: bigint; readonly code: ErrorCode; readonly reason: string }

/** What a batch of `product-updates` leaves of each product, and what of it cannot be read. */
export type ProductsBatch = { readonly products: readonly ProductFields[]; readonly skipped: readonly Skipped[] }

/** @throws ChatError `unavailable` while the registry cannot be asked for the schema of a newer writer */
export async function readProducts(codec: LearningCodec, batch: readonly InRecord[]): Promise<ProductsBatch> {
  const latest = new Map<string, ProductFields>()
  const skipped: Skipped[] = []
  for (const { offset, key, value } of batch) {
    try {
      const product = productOf(key, value && (await decodeLearning(codec, value)))
      const before = latest.get(product.productId)
      if (!before || before.updatedAtMs < product.updatedAtMs) latest.set(product.productId, product)
    } catch (err) {
      if (!(err instanceof ChatError) || err.retriable) throw err
      skipped.push({ offset, code: err.code, reason: err.message })
    }
  }
  return { products: [...latest.values()], skipped }
}

/** The bridge writes no tombstones: products do not go away, they are not available. */
function productOf(key: string | null, value: unknown): ProductFields {
  if (value === null) throw new ChatError('undecodable', 'a tombstone')
  const product = productUpdateFromAvro(value)
  if (key !== product.productId) throw new ChatError('undecodable', `the key ${key} is not the product id ${product.productId}`)
  if (product.name.includes('\0') || !product.name.isWellFormed()) throw new ChatError('undecodable', 'a name that Postgres cannot store')
  return product
}
