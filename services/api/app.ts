import type { Socket } from 'node:net'
import cors from '@fastify/cors'
import { TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import { type ConnectionError, type FastifyBaseLogger, type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest, fastify, LogController } from 'fastify'
import type { TokenVerifier } from '#libs/auth/verifier.ts'
import { ChatError, errorCatalogue } from '#libs/domain/errors.ts'
import { isRoomId, type RoomId } from '#libs/domain/ids.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import type { RateLimiter } from '#libs/redis/rate-limit.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import { newTraceparent, traceIdOf } from '#libs/runtime/trace.ts'
import type { Presigner } from '#libs/s3/presigner.ts'
import { authenticate, moderatorOnly } from './access.ts'
import type { Commands, InboxCommands } from './commands.ts'
import type { ApiConfig } from './config.ts'
import { type ErrorBody, errorAnswer } from './core/error-answer.ts'
import type { HeadWatch } from './head-watch.ts'
import type { InFlight } from './in-flight.ts'
import type { ApiMetrics } from './metrics.ts'
import { registerOpenApi } from './openapi.ts'
import { adminRoutes } from './routes/admin.ts'
import { attachmentRoutes, attachmentWriteRoutes } from './routes/attachments.ts'
import { devJwksRoutes } from './routes/dev-jwks.ts'
import { jobRoutes, jobWriteRoutes } from './routes/jobs.ts'
import { inboxRoutes, inboxWriteRoutes } from './routes/inbox.ts'
import { meRoutes, settingsWriteRoutes } from './routes/me.ts'
import { messageWriteRoutes } from './routes/message-writes.ts'
import { moderationRoutes, moderationWriteRoutes, reportWriteRoutes } from './routes/moderation.ts'
import { notificationRoutes, notificationWriteRoutes } from './routes/notifications.ts'
import { productRoutes } from './routes/products.ts'
import { roomWriteRoutes } from './routes/room-writes.ts'
import { roomRoutes } from './routes/rooms.ts'
import { threadRoutes } from './routes/threads.ts'
import { allowNoBody, notTooOften, writersOnly } from './routes/writing.ts'

export type AppDeps = {
  readonly config: Pick<ApiConfig, 'allowedOrigins' | 'devKeyFile' | 'room' | 'push' | 'conversationsPerUserMax'>
  readonly logger: Logger
  readonly metrics: ApiMetrics
  readonly db: Queryable
  readonly tokens: TokenVerifier
  readonly heads: HeadWatch
  readonly commands: Commands
  readonly inbox: InboxCommands
  /** Writes of one user. */
  readonly writers: RateLimiter
  /** Undefined: no uploads. */
  readonly files: Presigner | undefined
  readonly inFlight: InFlight
  readonly isStopping: () => boolean
}

const LIMITS = {
  /** A token of 8 KB, and the usual rest. URLs are within it. */
  headerBytesMax: 16_384,
  /** What is larger says so at its route. */
  bodyBytesMax: 16_384,
  /** A request must have arrived within this. */
  requestTimeoutMs: 10_000,
  /** A connection on which nothing moves: longer than the longest long poll. */
  silenceMaxMs: 90_000,
} as const

/** All of the HTTP side, not yet listening. */
export async function createApp(deps: AppDeps): Promise<FastifyInstance> {
  const app = fastify({
    loggerInstance: deps.logger as FastifyBaseLogger,
    // Our own line below has no URL: a token that somebody put into one must not get into the log.
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'traceId' }),
    requestIdHeader: false,
    genReqId: (req) => traceIdOf(newTraceparent(req.headers['traceparent'] as string | undefined)) as string,
    http: { maxHeaderSize: LIMITS.headerBytesMax },
    bodyLimit: LIMITS.bodyBytesMax,
    requestTimeout: LIMITS.requestTimeoutMs,
    connectionTimeout: LIMITS.silenceMaxMs,
    // Ours answers with a code.
    return503OnClosing: false,
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: 1_024 },
    ajv: { customOptions: { removeAdditional: false } },
    clientErrorHandler: refuseUnparsed,
    frameworkErrors: (err: FastifyError, _request: FastifyRequest, reply: FastifyReply) => {
      const { status, body } = errorAnswer(err)
      reply.code(status).send(body)
    },
  })

  app.decorateRequest('identity', null)
  app.decorateRequest('hasWaited', false)
  app.setErrorHandler((err, request, reply) => refuse(err, request, reply))
  app.setNotFoundHandler((request, reply) => refuse(new ChatError('not_found'), request, reply))
  addCommonHooks(app, deps)
  if (deps.config.allowedOrigins.length > 0) {
    await app.register(cors, {
      origin: [...deps.config.allowedOrigins],
      methods: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'],
      allowedHeaders: ['authorization', 'content-type', 'traceparent'],
      exposedHeaders: ['x-trace-id', 'retry-after'],
      maxAge: 600,
    })
  }
  await registerOpenApi(app)
  const { devKeyFile: keyFile } = deps.config
  if (keyFile !== undefined) await app.register(devJwksRoutes, { keyFile })
  await app.register(async (guarded) => {
    guarded.addHook('onRequest', authenticate(deps.tokens))
    const { room: limits, push, conversationsPerUserMax } = deps.config
    const all = { ...deps, limits, push, conversationsPerUserMax }
    for (const routes of [threadRoutes, meRoutes, jobRoutes, productRoutes, adminRoutes, moderationRoutes, inboxRoutes]) await guarded.register(routes, all)
    await guarded.register(notificationRoutes, all)
    await guarded.register(roomRoutes, all)
    await guarded.register(attachmentRoutes, all)
    await guarded.register(async (moderating) => {
      moderating.addHook('onRequest', moderatorOnly)
      addWriteHooks(moderating, deps)
      await moderating.register(moderationWriteRoutes, all)
    })
    await guarded.register(async (writing) => {
      writing.addHook('onRequest', writersOnly)
      addWriteHooks(writing, deps)
      for (const routes of [messageWriteRoutes, reportWriteRoutes, jobWriteRoutes]) await writing.register(routes, all)
      await writing.register(roomWriteRoutes, all)
      await writing.register(inboxWriteRoutes, all)
      await writing.register(notificationWriteRoutes, all)
      await writing.register(settingsWriteRoutes, all)
      await writing.register(attachmentWriteRoutes, all)
    })
  })
  await app.ready()
  return app
}

/** Of all that writes. */
function addWriteHooks(app: FastifyInstance, { writers }: AppDeps): void {
  // The other one makes text of numbers, which is for URLs.
  app.setValidatorCompiler(TypeBoxValidatorCompiler)
  app.addHook('onRequest', notTooOften(writers))
  app.addHook('preValidation', allowNoBody)
}

function addCommonHooks(app: FastifyInstance, { metrics, inFlight, isStopping }: AppDeps): void {
  app.addHook('onRequest', async (request, reply) => {
    inFlight.add(reply.raw)
    reply.headers({
      'x-trace-id': request.id,
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
      'referrer-policy': 'no-referrer',
    })
    if (!isStopping()) return
    reply.header('connection', 'close')
    throw new ChatError('shutting_down')
  })
  app.addHook('onSend', async (_request, reply) => {
    if (isStopping()) reply.header('connection', 'close')
  })
  app.addHook('onResponse', async (request, reply) => {
    const pattern = request.is404 ? undefined : request.routeOptions.url
    const route = pattern === undefined ? 'none' : `${pattern}${request.hasWaited ? ' (waited)' : ''}`
    const { method } = request
    const { statusCode: status, elapsedTime } = reply
    metrics.requestDuration.observe({ method, route, status: String(status) }, elapsedTime / 1000)
    request.log.info({ method, route, status, durationMs: Math.round(elapsedTime), userId: request.identity?.userId, roomId: roomIdOf(request) }, 'request')
  })
}

/** Nothing else from a path gets into the log: a room id has 128 characters at most, a token more. */
function roomIdOf(request: FastifyRequest): RoomId | undefined {
  const { id, chatId = id, roomId = chatId } = (request.params ?? {}) as { id?: unknown; chatId?: unknown; roomId?: unknown }
  return isRoomId(roomId) ? roomId : undefined
}

function refuse(err: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const { status, body } = errorAnswer(err)
  if (status >= 500) {
    const level = body.code === 'internal' ? 'error' : 'warn'
    request.log[level]({ err, code: body.code, roomId: roomIdOf(request) }, 'the request has failed')
  }
  if (body.retryAfterMs !== undefined) reply.header('retry-after', Math.ceil(body.retryAfterMs / 1000))
  if (status === 401) reply.header('www-authenticate', 'Bearer')
  reply.code(status).send(body)
}

/** What is no HTTP, or too large a header, or too slow, gets an answer in the same form, before any route. */
function refuseUnparsed(err: ConnectionError, socket: Socket): void {
  if (err.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const { retriable, message } = errorCatalogue.invalid_request
  const status = statusOfUnparsed[err.code] ?? '400 Bad Request'
  const body = JSON.stringify({ code: 'invalid_request', message: `${message}: ${status.slice(4)}`, retriable } satisfies ErrorBody)
  const headers = `content-type: application/json; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close`
  socket.end(`HTTP/1.1 ${status}\r\n${headers}\r\n\r\n${body}`)
}

const statusOfUnparsed: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
}
