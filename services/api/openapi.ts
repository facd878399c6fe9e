import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'

/** All that the page loads comes from this server, so it also works offline. Swagger UI styles its elements inline. */
const DOCS_CSP = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"

/** Must come before the routes that it describes. The document is at /openapi.json, the page at /docs. */
export async function registerOpenApi(app: FastifyInstance): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'order-chat',
        version: '1',
        description:
          "Conversations over HTTP: reading, writing, and long polling where WebSocket is blocked. A write is answered when it is durable; what is read follows a moment later. Errors are `{code, message, retriable, retryAfterMs?}`; docs/protocol.md lists the codes.",
      },
      components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } } },
      security: [{ bearer: [] }],
    },
  })
  await app.register(swaggerUi, { routePrefix: '/docs', staticCSP: DOCS_CSP, uiConfig: { persistAuthorization: false } })
  app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger())
}
