import { ChatError, hasCode } from '#libs/domain/errors.ts'
import type { Queryable } from '#libs/postgres/pool.ts'

/** Postgres under the name that clients know it by: where it cannot be reached, `history_unavailable`. */
export function historyOf(db: Queryable): Queryable {
  return {
    query: (text, values) =>
      db.query<never>(text, values).catch((err: unknown) => {
        throw hasCode(err, 'unavailable') ? new ChatError('history_unavailable', undefined, { cause: err }) : err
      }),
  }
}
