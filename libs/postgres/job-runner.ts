import { EventEmitter } from 'node:events'
import { Logger as WorkerLogger, type JobHelpers, run, type Runner, runMigrations, type WorkerEvents } from 'graphile-worker'
import pg from 'pg'
import { systemClock } from '#libs/runtime/clock.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import { retryDelayMs } from '#libs/runtime/retry.ts'
import type { PostgresConfig } from './config.ts'
import { mapError } from './errors.ts'

export type JobHandler = (payload: unknown, job: { readonly attempt: number; readonly signal: AbortSignal }) => Promise<void>

export type JobRunnerOptions = {
  readonly config: PostgresConfig
  /** Of this life of the process: never the same twice. */
  readonly processId: string
  /** Each has workers of its own, so that none waits for another. */
  readonly tasks: Readonly<Record<string, { readonly concurrency: number; readonly handle: JobHandler }>>
  readonly pollMs: number
  /** What a process that is silent for so long had begun is begun again by another. */
  readonly deadMs: number
  readonly logger: Logger
}

const HEARTBEATS_PER_DEATH = 4
/** Beside the workers: one connection that listens for each task, and one for the heartbeat. */
const LISTENERS = 2

/** Makes and renews the schema `graphile_worker`. Run again, it changes nothing. */
export async function migrateJobs(target: string | PostgresConfig): Promise<void> {
  const pool = poolOf(typeof target === 'string' ? { connectionString: target, max: 2 } : poolConfig(target, 2), () => {
    // The query that used the connection is told.
  })
  try {
    await runMigrations({ pgPool: pool, logger: silent })
  } catch (err) {
    throw mapError(err)
  } finally {
    await pool.end()
  }
}

/**
 * Works off jobs, each at least once. A job that throws comes again after e^attempts seconds. Where Postgres is down, it
 * waits for it.
 */
export function startJobRunner({ config, processId, tasks, pollMs, deadMs, logger }: JobRunnerOptions): { close(): Promise<void> } {
  const stopping = new AbortController()
  const concurrency = Object.values(tasks).reduce((sum, task) => sum + task.concurrency, 0)
  const pool = poolOf(poolConfig(config, concurrency + Object.keys(tasks).length * LISTENERS), (err) =>
    logger.warn({ err: { message: err.message } }, 'a Postgres connection of the jobs has broken'),
  )
  const poolIds = new Map<string, Set<string>>()
  const running = Object.entries(tasks).map(([name, { concurrency: workers, handle }]) =>
    keepRunning(stopping.signal, name, logger, () => {
      const ids = new Set<string>()
      poolIds.set(name, ids)
      const events = new EventEmitter() as WorkerEvents
      events.on('pool:create', ({ workerPool }) => ids.add(workerPool.id))
      const call = (payload: unknown, { job, abortSignal }: JobHelpers) => handle(payload, { attempt: job.attempts, signal: abortSignal })
      return run({ pgPool: pool, taskList: { [name]: call }, concurrency: workers, pollInterval: pollMs, noHandleSignals: true, logger: silent, events })
    }),
  )
  const beating = beat()
  return {
    async close() {
      stopping.abort()
      await Promise.all(running)
      await beating
      await pool.query('DELETE FROM notifier_processes WHERE process_id = $1', [processId]).catch(() => {
        // It is found dead in time.
      })
      await pool.end()
    },
  }

  async function beat(): Promise<void> {
    while (!stopping.signal.aborted) {
      const ids = [...poolIds.values()].flatMap((one) => [...one])
      const freed = await pool.query<{ freed: number }>(BEAT, [processId, ids, deadMs]).catch((err: unknown) => logger.warn({ err }, 'the heartbeat of the jobs has failed'))
      const count = freed?.rows[0]?.freed ?? 0
      if (count > 0) logger.warn({ count }, 'jobs of a process that has ended are begun again')
      await systemClock.sleep(deadMs / HEARTBEATS_PER_DEATH, stopping.signal).catch(() => {
        // Stopped: the loop ends.
      })
    }
  }
}

/** Says that this process lives, and frees what is locked by none that does. A lock that is younger may be of one that has just begun. */
const BEAT = `
  WITH mine AS (
    INSERT INTO notifier_processes (process_id, pool_ids) VALUES ($1, $2)
    ON CONFLICT (process_id) DO UPDATE SET pool_ids = excluded.pool_ids, beat_at = now() RETURNING pool_ids
  ), ended AS (
    DELETE FROM notifier_processes WHERE process_id <> $1 AND beat_at < now() - $3 * interval '10 milliseconds'
  ), alive AS (
    SELECT unnest(pool_ids) AS id FROM mine
     UNION ALL
    SELECT unnest(pool_ids) FROM notifier_processes WHERE process_id <> $1 AND beat_at >= now() - $3 * interval '1 millisecond'
  ), dead AS (
    SELECT array_agg(DISTINCT locked_by) AS ids, count(*)::int AS freed FROM graphile_worker.jobs
     WHERE locked_at < now() - $3 * interval '1 millisecond' AND locked_by NOT IN (SELECT id FROM alive)
  )
  SELECT freed, graphile_worker.force_unlock_workers(ids) FROM dead WHERE freed > 0`

/** Its runner stops for good where Postgres is away for long: it is started again. */
async function keepRunning(signal: AbortSignal, name: string, logger: Logger, start: () => Promise<Runner>): Promise<void> {
  for (let attempt = 0; !signal.aborted; attempt++) {
    try {
      const runner = await start()
      const stop = () => void runner.stop().catch(() => {})
      signal.addEventListener('abort', stop, { once: true })
      if (signal.aborted) stop()
      attempt = 0
      await runner.promise.finally(() => signal.removeEventListener('abort', stop))
    } catch (err) {
      if (signal.aborted) return
      logger.warn({ err, task: name }, 'jobs wait: their runner is started again')
    }
    await systemClock.sleep(retryDelayMs(attempt), signal).catch(() => {
      // Stopped: the loop ends.
    })
  }
}

const poolConfig = (config: PostgresConfig, max: number): pg.PoolConfig => ({
  connectionString: config.url,
  ssl: config.ssl,
  application_name: `${config.applicationName}-jobs`,
  keepAlive: true,
  connectionTimeoutMillis: config.connectTimeoutMs,
  max,
})

/** Unheard, the error of a connection would end the process. */
function poolOf(config: pg.PoolConfig, onError: (err: Error) => void): pg.Pool {
  const pool = new pg.Pool(config)
  pool.on('error', onError)
  pool.on('connect', (client) => client.on('error', onError))
  return pool
}

/** What fails is told where it is known what it was for. */
const silent = new WorkerLogger(() => () => {})
