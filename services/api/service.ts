import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { createTokenVerifier } from '#libs/auth/verifier.ts'
import { createPool } from '#libs/postgres/pool.ts'
import { createRedis } from '#libs/redis/client.ts'
import { createSharedRateLimiter } from '#libs/redis/rate-limit.ts'
import { createLogger, type Logger } from '#libs/runtime/logger.ts'
import { createRegistry, startHealthServer } from '#libs/runtime/metrics.ts'
import { Releasers } from '#libs/runtime/releasers.ts'
import type { RunningService } from '#libs/runtime/run-main.ts'
import { createPresigner } from '#libs/s3/presigner.ts'
import { AnsweredCommands } from './answered-commands.ts'
import { type AppDeps, createApp } from './app.ts'
import { Commands, type InboxCommands } from './commands.ts'
import type { ApiConfig } from './config.ts'
import { HeadWatch } from './head-watch.ts'
import { historyOf } from './history.ts'
import { InFlight } from './in-flight.ts'
import { LogLink } from './log-link.ts'
import { createMetrics } from './metrics.ts'
import { selectMovedHeads } from './sql/rooms.ts'

export type RunningApi = RunningService & {
  readonly port: number
  readonly metricsPort: number
  readonly logger: Logger
  readonly stopTimeoutMs: number
}

/** Needs no other server to start: what cannot be reached is refused with a retriable code, each part by itself. */
export async function startApi(config: ApiConfig, logger: Logger = createLogger('api', config.instanceId, config.logLevel)): Promise<RunningApi> {
  const releasers = new Releasers()
  const finished = Promise.withResolvers<void>()
  let isStopping = false
  try {
    const registry = createRegistry('api')
    const parts = connect(config, logger, registry, releasers)
    const { heads, inFlight, commands, inbox } = parts
    const app = await createApp({ ...parts, config, logger, isStopping: () => isStopping })
    releasers.add(() => stopServing(app, inFlight))
    // First, so that the long polls and commands under way get their answers.
    releasers.add(() => {
      heads.stop()
      commands.stop()
      inbox.stop()
    })
    const health = await startHealthServer({
      host: config.metricsHost,
      port: config.metricsPort,
      registry,
      isReady: () => app.server.listening && !isStopping,
    })
    releasers.add(() => health.close())
    await app.listen({ host: config.host, port: config.port })
    const { port } = app.server.address() as AddressInfo
    logger.info({ port, metricsPort: health.port }, 'api is up')
    let closing: Promise<void> | undefined
    const close = async (): Promise<void> => {
      isStopping = true
      await releasers.releaseAll()
      finished.resolve()
    }
    return {
      finished: finished.promise,
      close: () => (closing ??= close()),
      port,
      metricsPort: health.port,
      logger,
      stopTimeoutMs: config.stopTimeoutMs,
    }
  } catch (err) {
    await releasers.releaseAll().catch((releaseErr: unknown) => logger.warn({ err: releaseErr }, 'the failed start could not be undone'))
    throw err
  }
}

/** Everything outside this process, and what waits for it. Nothing here needs any of it to be there now. */
function connect(config: ApiConfig, logger: Logger, registry: ReturnType<typeof createRegistry>, releasers: Releasers): Omit<AppDeps, 'config' | 'logger' | 'isStopping'> {
  const pool = createPool(config.postgres, logger)
  releasers.add(() => pool.end())
  const redis = createRedis(config.redis, logger)
  releasers.add(() => redis.disconnect())
  const files = config.s3 && createPresigner(config.s3)
  releasers.add(() => files?.close())
  const db = historyOf(pool)
  const heads = new HeadWatch(config.waiters, (roomIds, afters) => selectMovedHeads(db, roomIds, afters), logger)
  const { kafka, instanceId, writes } = config
  const link: LogLink = new LogLink({ kafka, registry: config.registry, instanceId, db, onReply: (decision) => commands.onReply(decision), onInboxReply: (decision) => inbox.onReply(decision), logger })
  const metrics = createMetrics(registry, {
    waiters: () => heads.size,
    connections: () => pool.stats(),
    pending: () => commands.pending + inbox.pending,
    isListening: () => link.isListening,
    isInboxListening: () => link.isInboxListening,
  })
  const answered = {
    pendingMax: writes.pendingMax,
    answerTimeoutMs: writes.answerTimeoutMs,
    onOutcome: (outcome: string, tookMs: number) => metrics.commandSeconds.observe({ outcome }, tookMs / 1_000),
  }
  const commands = new Commands({ ...answered, publish: (command, traceId) => link.publish(command, traceId), isListening: () => link.isListening })
  const inbox: InboxCommands = new AnsweredCommands({ ...answered, publish: (command, traceId) => link.publishInbox(command, traceId), isListening: () => link.isInboxListening })
  link.start()
  releasers.add(() => link.stop())
  const writers = createSharedRateLimiter(redis, `${config.redis.prefix}writes`, { points: writes.perSecondUser, durationS: 1 })
  return { db, heads, metrics, commands, inbox, writers, files, inFlight: new InFlight(), tokens: createTokenVerifier(config.auth) }
}

/** Takes no new connections, lets the requests under way get their answers, then ends every connection. */
async function stopServing(app: FastifyInstance, inFlight: InFlight): Promise<void> {
  const closed = app.close()
  await Promise.race([closed, inFlight.drained()])
  // Node does not count a connection as idle before its first request: one that was opened in advance would hold the stop.
  app.server.closeAllConnections()
  await closed
}
