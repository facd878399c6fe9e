import type { Tables } from './tables.ts'

/** One statement, understood: what it reads now, and what it writes at the commit. */
export type Statement = {
  readonly name: string
  /** The row that it locks until its transaction ends. */
  readonly lock?: string
  readonly run: (tables: Tables) => { readonly rows?: readonly unknown[]; readonly rowCount?: number; readonly write?: (tables: Tables) => void }
}

export type Values = readonly any[]
export type Meaning = { readonly text: RegExp; readonly of: (values: Values, match: RegExpExecArray) => Statement }

export const writing = (name: string, write: (tables: Tables) => void): Statement => ({ name, run: () => ({ write }) })
export const reading = (name: string, rows: (tables: Tables) => readonly unknown[]): Statement => ({ name, run: (tables) => ({ rows: rows(tables) }) })

/** Of `SET a = …, b = …`. */
export function assignments(set: string): ReadonlyMap<string, string> {
  return new Map(set.split(/, (?=\w+ = )/).map((assignment) => assignment.split(' = ') as [string, string]))
}
