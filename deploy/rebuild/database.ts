import { ChatError } from '#libs/domain/errors.ts'
import type { PostgresConfig } from '#libs/postgres/config.ts'
import { sqlStateOf } from '#libs/postgres/errors.ts'
import type { Pool, Queryable } from '#libs/postgres/pool.ts'
import { withTransaction } from '#libs/postgres/transaction.ts'
import { copiedTables, POSITIONS_TABLE, rebuiltTopics } from './tables.ts'

const UNKNOWN_DATABASE = '3D000'
const ROWS_AT_ONCE = 500
/** Quoted nowhere, so it must need no quotes. */
const NAME = /^[a-z_][a-z0-9_]{0,62}$/

export type Position = { readonly topic: string; readonly partition: number; readonly nextOffset: bigint; readonly ownerEpoch: bigint; readonly lastSources: string }

/** The same server and user, another database. */
export function configOf(live: PostgresConfig, database: string): PostgresConfig {
  const url = new URL(live.url)
  url.pathname = `/${database}`
  return { ...live, url: url.href }
}

export const databaseOf = (config: PostgresConfig): string => decodeURIComponent(new URL(config.url).pathname.slice(1))

/** @throws ChatError `config_invalid` for a name that is not plain, or that is the live database's */
export function checkName(name: string, live: PostgresConfig): void {
  if (!NAME.test(name)) throw new ChatError('config_invalid', `the name of a database must be ${NAME.source}, not "${name}"`)
  if (name === databaseOf(live)) throw new ChatError('config_invalid', `${name} is the live database`)
}

/** Makes the database, or takes one that is there and empty. True: it was made. */
export async function createDatabase(live: Queryable, name: string, tablesIn: () => Promise<readonly string[]>): Promise<boolean> {
  const { rows } = await live.query('SELECT FROM pg_database WHERE datname = $1', [name])
  if (rows.length === 0) {
    await live.query(`CREATE DATABASE ${name}`)
    return true
  }
  const tables = await tablesIn()
  if (tables.length > 0) throw new ChatError('config_invalid', `the database ${name} is not empty: it has ${tables.slice(0, 3).join(', ')}`)
  return false
}

export async function dropDatabase(live: Queryable, name: string): Promise<void> {
  await live.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`).catch((err: unknown) => {
    if (sqlStateOf(err) !== UNKNOWN_DATABASE) throw err
  })
}

export async function tablesOf(db: Queryable): Promise<string[]> {
  const { rows } = await db.query<{ name: string }>(`SELECT tablename AS name FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1`)
  return rows.map(({ name }) => name)
}

/** Both must have the same tables, or comparing says nothing. */
export async function checkMigrations(live: Queryable, rebuilt: Queryable): Promise<void> {
  const namesOf = async (db: Queryable) => {
    const { rows } = await db.query<{ name: string }>(`SELECT name FROM schema_migrations ORDER BY name`)
    return rows.map(({ name }) => name)
  }
  const [ours, theirs] = await Promise.all([namesOf(live), namesOf(rebuilt)])
  const missing = theirs.filter((name) => !ours.includes(name))
  const unknown = ours.filter((name) => !theirs.includes(name))
  if (missing.length > 0) throw new ChatError('config_invalid', `the live database lacks the migrations ${missing.join(', ')}: run the set-up first`)
  if (unknown.length > 0) throw new ChatError('config_invalid', `the live database has the migrations ${unknown.join(', ')}, which this version does not know`)
}

/** How far the persister has brought each partition of the topics that are rebuilt. */
export async function positionsOf(db: Queryable): Promise<Map<string, Position>> {
  const { rows } = await db.query<{ topic: string; partition: number; next_offset: string; owner_epoch: string; last_sources: string }>(
    `SELECT topic, partition, next_offset::text, owner_epoch::text, last_sources::text FROM ${POSITIONS_TABLE} WHERE topic = ANY($1)`,
    [[...rebuiltTopics]],
  )
  return new Map(
    rows.map(({ topic, partition, next_offset, owner_epoch, last_sources }) => [
      `${topic}[${partition}]`,
      { topic, partition, nextOffset: BigInt(next_offset), ownerEpoch: BigInt(owner_epoch), lastSources: last_sources },
    ]),
  )
}

/**
 * Takes from the rebuilt database what was erased in the live one. `admin_audit` says which messages; of their edits those
 * that were erased with them (an edit may have come to Postgres after the erasure). Gives the number of contents.
 */
export async function repeatErasures(live: Queryable, rebuilt: Pool): Promise<number> {
  const { rows } = await live.query<{ room_id: string; seq: string; at: string }>(
    `WITH asked AS (
       SELECT room_id, (details ->> 'seq')::bigint AS seq, at FROM admin_audit
        WHERE action = 'erase_message_content' AND (details ->> 'erased')::boolean)
     SELECT room_id, seq::text, min(at)::text AS at FROM asked GROUP BY room_id, seq
     UNION ALL
     SELECT c.room_id, c.seq::text, c.erased_at::text
       FROM (SELECT DISTINCT room_id, seq FROM asked) a
       JOIN room_events e ON e.room_id = a.room_id AND e.event_type = 'messageEdited' AND (e.body ->> 'messageSeq')::bigint = a.seq
       JOIN message_contents c ON c.room_id = e.room_id AND c.seq = e.seq
      WHERE c.erased_at IS NOT NULL`,
  )
  let erased = 0
  for (const { room_id, seq, at } of rows) {
    await withTransaction(rebuilt, 'read committed', async (tx) => {
      await tx.query(`SELECT set_config('order_chat.erasing', $1, true)`, [`${room_id} ${seq}`])
      const { rowCount } = await tx.query(
        `UPDATE message_contents SET content = NULL, salt = NULL, payload = NULL, erased_at = $3::timestamptz WHERE room_id = $1 AND seq = $2 AND erased_at IS NULL`,
        [room_id, seq, at],
      )
      erased += rowCount
    })
  }
  return erased
}

/** What no topic has, for a database that is kept. Gives the rows by table. */
export async function copyTables(live: Queryable, rebuilt: Pool): Promise<ReadonlyMap<string, number>> {
  const there = new Set(await tablesOf(rebuilt))
  const copied = new Map<string, number>()
  for (const table of copiedTables.filter((name) => there.has(name))) copied.set(table, await copyRows(live, rebuilt, table, 'true'))
  const others = rebuiltTopics.map((topic) => `'${topic}'`).join(', ')
  await copySequences(live, rebuilt)
  copied.set(`${POSITIONS_TABLE} of other readers`, await copyRows(live, rebuilt, POSITIONS_TABLE, `topic NOT IN (${others})`))
  return copied
}

async function copyRows(live: Queryable, rebuilt: Pool, table: string, where: string): Promise<number> {
  const { rows: columns } = await rebuilt.query<{ name: string }>(
    `SELECT column_name AS name FROM information_schema.columns
      WHERE table_schema = current_schema() AND table_name = $1 AND is_generated = 'NEVER' ORDER BY ordinal_position`,
    [table],
  )
  const names = columns.map(({ name }) => name).join(', ')
  // As text: numbers above 2^53 stay what they are.
  await live.query(`DECLARE copied NO SCROLL CURSOR FOR SELECT to_jsonb(t)::text AS row FROM ${table} t WHERE ${where}`)
  let total = 0
  for (;;) {
    const { rows } = await live.query<{ row: string }>(`FETCH ${ROWS_AT_ONCE} FROM copied`)
    if (rows.length === 0) break
    const values = [`[${rows.map(({ row }) => row).join(',')}]`]
    await rebuilt.query(`INSERT INTO ${table} (${names}) OVERRIDING SYSTEM VALUE SELECT ${names} FROM jsonb_populate_recordset(NULL::${table}, $1::jsonb)`, values)
    total += rows.length
  }
  await live.query('CLOSE copied')
  return total
}

/** So that what is numbered in the new database goes on behind what was copied. */
async function copySequences(live: Queryable, rebuilt: Pool): Promise<void> {
  const { rows } = await live.query<{ name: string; last: string }>(
    'SELECT sequencename AS name, last_value::text AS last FROM pg_sequences WHERE schemaname = current_schema() AND last_value IS NOT NULL',
  )
  for (const { name, last } of rows) await rebuilt.query('SELECT setval($1::regclass, $2::bigint)', [name, last])
}
