import pg from 'pg'
import type { Logger } from '#libs/runtime/logger.ts'
import type { PostgresConfig } from './config.ts'
import { isBroken, mapError } from './errors.ts'

export type Result<Row> = { readonly rows: readonly Row[]; readonly rowCount: number }

/** Where a statement can be sent: the pool, or one open transaction. */
export type Queryable = {
  /** @throws ChatError `unavailable` where Postgres cannot be reached or cannot take work now; else pg's own error */
  query<Row = Record<string, unknown>>(text: string, values?: readonly unknown[]): Promise<Result<Row>>
}

export type Pool = Queryable & {
  /** Runs `work` with one connection of its own. `work` must not keep it. */
  withConnection<T>(work: (connection: Queryable) => Promise<T>): Promise<T>
  /** Connections by what they do, and queries that wait for one. */
  stats(): { readonly total: number; readonly idle: number; readonly waiting: number }
  /** Waits for what is under way, but not for a server that does not answer. */
  end(): Promise<void>
}

const INT8 = 20
/** After the server's own timeout, for a server that does not answer at all. */
const CLIENT_TIMEOUT_EXTRA_MS = 250
const END_TIMEOUT_MS = 2_000

/** int8 as number. @throws RangeError above 2^53, rather than to be off by one silently */
export function parseInt8(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value)) throw new RangeError(`int8 ${text} is not a safe integer`)
  return value
}

// Of this pool only: setTypeParser would change every user of pg in the process.
const types = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
    oid === INT8 && format !== 'binary' ? parseInt8 : pg.types.getTypeParser(oid, format)) as typeof pg.types.getTypeParser,
}

export function clientConfig(config: PostgresConfig): pg.ClientConfig {
  return {
    connectionString: config.url,
    ssl: config.ssl,
    types,
    application_name: config.applicationName,
    keepAlive: true,
    connectionTimeoutMillis: config.connectTimeoutMs,
  }
}

/** Connects when it is first asked, so a service starts while Postgres is down. */
export function createPool(config: PostgresConfig, logger: Logger): Pool {
  const pool = new pg.Pool({
    ...clientConfig(config),
    max: config.poolMax,
    statement_timeout: config.statementTimeoutMs,
    query_timeout: config.statementTimeoutMs + CLIENT_TIMEOUT_EXTRA_MS,
    idle_in_transaction_session_timeout: config.statementTimeoutMs * 2,
  })
  // An idle connection that breaks is no business of any request; unheard, the event would end the process.
  pool.on('error', (err) => logger.warn({ err: { message: err.message, code: (err as { code?: string }).code } }, 'an idle Postgres connection has broken'))

  const withConnection: Pool['withConnection'] = async (work) => {
    const client = await pool.connect().catch((err: unknown) => {
      throw mapError(err)
    })
    let broken: Error | undefined
    // pg emits this beside the rejected query while the connection is checked out.
    const onError = (err: Error) => {
      broken = err
    }
    client.on('error', onError)
    try {
      return await work({
        query: (text, values) => {
          // A connection that hangs would make each further statement, ROLLBACK too, wait for its timeout.
          if (broken) return Promise.reject(mapError(broken))
          return send(client, text, values, onError)
        },
      })
    } finally {
      client.off('error', onError)
      client.release(broken)
    }
  }
  return {
    withConnection,
    query: (text, values) => withConnection((connection) => connection.query(text, values)),
    stats: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
    end: () => endWithin(pool, END_TIMEOUT_MS, logger),
  }
}

async function send<Row>(
  client: pg.PoolClient,
  text: string,
  values: readonly unknown[] | undefined,
  onBroken: (err: Error) => void,
): Promise<Result<Row>> {
  try {
    const { rows, rowCount } = await client.query(text, values as unknown[])
    return { rows: rows as Row[], rowCount: rowCount ?? 0 }
  } catch (err) {
    if (isBroken(err)) onBroken(err as Error)
    throw mapError(err)
  }
}

async function endWithin(pool: pg.Pool, timeoutMs: number, logger: Logger): Promise<void> {
  const timeout = Promise.withResolvers<'timeout'>()
  const timer = setTimeout(() => timeout.resolve('timeout'), timeoutMs)
  const outcome = await Promise.race([pool.end(), timeout.promise])
  clearTimeout(timer)
  if (outcome === 'timeout') logger.warn('Postgres did not close its connections in time')
}
