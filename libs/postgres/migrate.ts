import { fileURLToPath } from 'node:url'
import { runner } from 'node-pg-migrate'
import pg from 'pg'
import type { Logger } from '#libs/runtime/logger.ts'
import type { PostgresConfig } from './config.ts'
import { mapError } from './errors.ts'
import { clientConfig } from './pool.ts'

/** The numbered SQL files of this project. */
export const migrationsDir = fileURLToPath(new URL('../../schemas/postgres', import.meta.url))

/**
 * Applies the numbered SQL files that have not been applied yet, all in one transaction, and gives their names.
 * Where several run at once, one works and the others wait for it (advisory lock) and find nothing to do.
 */
export async function migrate(
  target: string | PostgresConfig,
  dir: string = migrationsDir,
  logger?: Pick<Logger, 'info' | 'warn' | 'error'>,
): Promise<readonly string[]> {
  const config = typeof target === 'string' ? { connectionString: target, ssl: false } : clientConfig(target)
  const client = new pg.Client({ ...config, connectionTimeoutMillis: 5_000 })
  let broken: Error | undefined
  client.on('error', (err) => {
    broken = err
  })
  try {
    await client.connect()
    const applied = await runner({
      dbClient: client,
      dir,
      direction: 'up',
      migrationsTable: 'schema_migrations',
      migrationLoaderStrategies: [{ extensions: ['.sql'], loader: 'legacySql' }],
      checkOrder: true,
      singleTransaction: true,
      advisoryLockMode: 'wait',
      logger: {
        info: (line) => logger?.info(line),
        warn: (line) => logger?.warn(line),
        error: (line) => logger?.error(line),
      },
    })
    return applied.map(({ name }) => name)
  } catch (err) {
    throw mapError(broken ?? err)
  } finally {
    await client.end().catch(() => {})
  }
}
