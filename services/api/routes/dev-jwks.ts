import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { devJwks } from '#libs/auth/dev-key.ts'
import { errorResponses, jwks } from '../schemas.ts'

/** The local stack is its own token issuer: `npm run token` signs with the key in this file. */
export const devJwksRoutes: FastifyPluginCallbackTypebox<{ readonly keyFile: string }> = (app, { keyFile }, done) => {
  app.get(
    '/.well-known/jwks.json',
    {
      schema: {
        tags: ['development'],
        summary: 'The public part of the development key',
        security: [],
        response: { 200: jwks, ...errorResponses },
      },
    },
    // Read each time, so that a new key counts without a restart.
    async () => ({ keys: [...(await devJwks(keyFile)).keys] }),
  )
  done()
}
