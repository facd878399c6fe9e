import type { Pool, Queryable } from './pool.ts'

export type Isolation = 'read committed' | 'repeatable read' | 'serializable' | 'repeatable read, read only'

/**
 * Runs `work` in one transaction: committed if it resolves, rolled back if it throws (its error is passed on).
 * Where COMMIT itself fails with `unavailable`, the outcome is unknown to the caller.
 */
export function withTransaction<T>(pool: Pool, isolation: Isolation, work: (tx: Queryable) => Promise<T>): Promise<T> {
  return pool.withConnection(async (connection) => {
    await connection.query(`BEGIN ISOLATION LEVEL ${isolation.toUpperCase()}`)
    let result: T
    try {
      result = await work(connection)
    } catch (err) {
      // A broken connection is rolled back by the server and thrown away by the pool; the first error is what counts.
      await connection.query('ROLLBACK').catch(() => {})
      throw err
    }
    await connection.query('COMMIT')
    return result
  })
}
