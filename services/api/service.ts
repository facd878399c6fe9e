import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { createTokenVerifier } from '#libs/auth/verifier.ts'
import { createPool } from '#libs/postgres/pool.ts'
import { createLogger, type Logger } from '#libs/runtime/logger.ts'
import { createRegistry, startHealthServer } from '#libs/runtime/metrics.ts'
import { Releasers } from '#libs/runtime/releasers.ts'
import type { RunningService } from '#libs/runtime/run-main.ts'
import { createApp } from './app.ts'
import type { ApiConfig } from './config.ts'
import { HeadWatch } from './head-watch.ts'
import { historyOf } from './history.ts'
import { InFlight } from './in-flight.ts'
import { createMetrics } from './metrics.ts'
import { selectMovedHeads } from './sql/rooms.ts'

export type RunningApi = RunningService & {
  readonly port: number
  readonly metricsPort: number
  readonly logger: Logger
  readonly stopTimeoutMs: number
}

/** Needs no other server to start: without Postgres or the token issuer it refuses with a retriable code. */
export async function startApi(config: ApiConfig, logger: Logger = createLogger('api', config.instanceId, config.logLevel)): Promise<RunningApi> {
  const releasers = new Releasers()
  const finished = Promise.withResolvers<void>()
  let isStopping = false
  try {
    const pool = createPool(config.postgres, logger)
    releasers.add(() => pool.end())
    const db = historyOf(pool)
    const heads = new HeadWatch(config.waiters, (roomIds, afters) => selectMovedHeads(db, roomIds, afters), logger)
    const registry = createRegistry('api')
    const metrics = createMetrics(registry, { waiters: () => heads.size, connections: () => pool.stats() })
    const inFlight = new InFlight()
    const tokens = createTokenVerifier(config.auth)
    const app = await createApp({ config, logger, metrics, db, tokens, heads, inFlight, isStopping: () => isStopping })
    releasers.add(() => stopServing(app, inFlight))
    // First, so that the long polls under way get their answers.
    releasers.add(() => heads.stop())
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

/** Takes no new connections, lets the requests under way get their answers, then ends every connection. */
async function stopServing(app: FastifyInstance, inFlight: InFlight): Promise<void> {
  const closed = app.close()
  await Promise.race([closed, inFlight.drained()])
  // Node does not count a connection as idle before its first request: one that was opened in advance would hold the stop.
  app.server.closeAllConnections()
  await closed
}
