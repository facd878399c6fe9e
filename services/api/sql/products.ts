import type { ProductFields } from '#libs/domain/frames.ts'
import type { Queryable } from '#libs/postgres/pool.ts'

type Row = { readonly [K in keyof Required<ProductFields>]: ProductFields[K] | null }

/** What is known of these products. */
export async function selectProducts(db: Queryable, productIds: readonly string[]): Promise<ReadonlyMap<string, ProductFields>> {
  if (productIds.length === 0) return new Map()
  const { rows } = await db.query<Row>(
    `SELECT product_id AS "productId", name, price_minor AS "priceMinor", currency, image_url AS "imageUrl", available, updated_at_ms AS "updatedAtMs"
       FROM products WHERE product_id = ANY($1::text[])`,
    [productIds],
  )
  const known = rows.map((row) => Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null)) as unknown as ProductFields)
  return new Map(known.map((product) => [product.productId, product]))
}
