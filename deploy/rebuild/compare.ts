import type { Queryable } from '#libs/postgres/pool.ts'
import type { FoldedTable } from './tables.ts'

export type Row = Readonly<Record<string, unknown>>
/** One row that is not the same in both; absent where a database has none. */
export type Example = { readonly key: Row; readonly live: Row | undefined; readonly rebuilt: Row | undefined }
export type TableResult = {
  readonly table: string
  readonly live: number
  readonly rebuilt: number
  readonly onlyLive: number
  readonly onlyRebuilt: number
  readonly different: number
  readonly examples: readonly Example[]
}

export type Scope = {
  /** Rows that count, of both; `t` is the table. Default: all. */
  readonly where?: string
  readonly values?: readonly unknown[]
  /** The topic's start is gone: what the rebuilt database lacks may have come from there. */
  readonly mayLack?: boolean
}

const EXAMPLES_MAX = 5

type Sum = { readonly bucket: string; readonly rows: number; readonly sum: string }
type Hash = { readonly key: string; readonly hash: string }

/** Compares one table by ordered checksums over 256 parts, and looks into the parts that differ. */
export async function compareTable(table: FoldedTable, live: Queryable, rebuilt: Queryable, scope: Scope = {}): Promise<TableResult> {
  const [liveSums, rebuiltSums] = await Promise.all([sumsOf(live, table, scope), sumsOf(rebuilt, table, scope)])
  const found = { onlyLive: 0, onlyRebuilt: 0, different: 0 }
  const keys: string[] = []
  for (const bucket of [...new Set([...liveSums.keys(), ...rebuiltSums.keys()])].toSorted()) {
    if (liveSums.get(bucket)?.sum === rebuiltSums.get(bucket)?.sum) continue
    const [ours, theirs] = await Promise.all([hashesOf(live, table, scope, bucket), hashesOf(rebuilt, table, scope, bucket)])
    for (const [key, hash] of ours) {
      const other = theirs.get(key)
      if (other === hash || (other === undefined && scope.mayLack)) continue
      found[other === undefined ? 'onlyLive' : 'different']++
      keys.push(key)
    }
    for (const key of theirs.keys()) {
      if (ours.has(key)) continue
      found.onlyRebuilt++
      keys.push(key)
    }
  }
  const examples: Example[] = []
  for (const key of keys.slice(0, EXAMPLES_MAX)) examples.push(await exampleOf(table, key, live, rebuilt))
  const total = (sums: ReadonlyMap<string, Sum>) => [...sums.values()].reduce((all, { rows }) => all + rows, 0)
  return { table: table.name, live: total(liveSums), rebuilt: total(rebuiltSums), ...found, examples }
}

export const isEqual = ({ onlyLive, onlyRebuilt, different }: TableResult): boolean => onlyLive + onlyRebuilt + different === 0

const keyText = ({ key }: FoldedTable): string => `jsonb_build_array(${key.map((column) => `t.${column}`).join(', ')})::text`
const bucketOf = (table: FoldedTable): string => `left(md5(${keyText(table)}), 2)`
const whereOf = ({ where }: Scope): string => where ?? 'true'

async function sumsOf(db: Queryable, table: FoldedTable, scope: Scope): Promise<Map<string, Sum>> {
  const { rows } = await db.query<Sum>(
    `SELECT bucket, count(*) AS rows, md5(string_agg(hash, '' ORDER BY key COLLATE "C")) AS sum
       FROM (SELECT ${bucketOf(table)} AS bucket, ${keyText(table)} AS key, md5(to_jsonb(t)::text) AS hash FROM ${table.name} t WHERE ${whereOf(scope)}) r
      GROUP BY bucket`,
    scope.values ?? [],
  )
  return new Map(rows.map((row) => [row.bucket, row]))
}

async function hashesOf(db: Queryable, table: FoldedTable, scope: Scope, bucket: string): Promise<Map<string, string>> {
  const values = scope.values ?? []
  const { rows } = await db.query<Hash>(
    `SELECT ${keyText(table)} AS key, md5(to_jsonb(t)::text) AS hash FROM ${table.name} t
      WHERE ${bucketOf(table)} = $${values.length + 1} AND ${whereOf(scope)} ORDER BY 1`,
    [...values, bucket],
  )
  return new Map(rows.map(({ key, hash }) => [key, hash]))
}

async function exampleOf(table: FoldedTable, keyJson: string, live: Queryable, rebuilt: Queryable): Promise<Example> {
  const values = JSON.parse(keyJson) as unknown[]
  const where = table.key.map((column, i) => `t.${column} = $${i + 1}`).join(' AND ')
  const rowOf = async (db: Queryable) => {
    const { rows } = await db.query<{ row: Row }>(`SELECT to_jsonb(t) AS row FROM ${table.name} t WHERE ${where}`, values)
    return rows[0]?.row
  }
  const [ours, theirs] = await Promise.all([rowOf(live), rowOf(rebuilt)])
  const columns = [...new Set([...Object.keys(ours ?? {}), ...Object.keys(theirs ?? {})])]
  const differ = columns.filter((column) => JSON.stringify(ours?.[column]) !== JSON.stringify(theirs?.[column]))
  const shown = (row: Row | undefined) =>
    row && Object.fromEntries(differ.map((column) => [column, table.secret?.includes(column) && row[column] !== null ? '(not shown)' : row[column]]))
  return { key: Object.fromEntries(table.key.map((column, i) => [column, values[i]])), live: shown(ours), rebuilt: shown(theirs) }
}

/** What a person reads of one table. */
export function linesOf(result: TableResult): string[] {
  const { table, live, rebuilt, onlyLive, onlyRebuilt, different, examples } = result
  if (isEqual(result)) return [`  ${table}: ${rebuilt} rows, no difference`]
  const lines = [`  ${table}: DIFFERENT: ${live} rows live, ${rebuilt} rebuilt; ${onlyLive} only live, ${onlyRebuilt} only rebuilt, ${different} not the same`]
  for (const { key, live: ours, rebuilt: theirs } of examples) {
    lines.push(`    ${JSON.stringify(key)}`, `      live:    ${ours ? JSON.stringify(ours) : '(no row)'}`, `      rebuilt: ${theirs ? JSON.stringify(theirs) : '(no row)'}`)
  }
  const more = onlyLive + onlyRebuilt + different - examples.length
  return more > 0 ? [...lines, `    … and ${more} more`] : lines
}
