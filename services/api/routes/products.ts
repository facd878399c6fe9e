import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { ChatError } from '#libs/domain/errors.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import { errorResponses, product } from '../schemas.ts'
import { selectProducts } from '../sql/products.ts'
import { productParams } from '../write-schemas.ts'

export const productRoutes: FastifyPluginCallbackTypebox<{ readonly db: Queryable }> = (app, { db }, done) => {
  app.get(
    '/products/:productId',
    {
      schema: { tags: ['products'], summary: 'What the card of a product shows now', description: 'For everybody with a token: a card may be shown to anybody.', params: productParams, response: { 200: product, ...errorResponses } },
    },
    async ({ params: { productId } }) => {
      const found = (await selectProducts(db, [productId])).get(productId)
      if (!found) throw new ChatError('not_found')
      return found
    },
  )
  done()
}
