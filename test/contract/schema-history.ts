import { readdirSync, readFileSync } from 'node:fs'
import avro from 'avsc'
import { topics } from '#libs/streams/topics.ts'

/** What test/contract/schema-history.test.ts asks about the versions of each schema. */
const schemas = new URL('../../schemas/', import.meta.url)

export type AvroSchema = { readonly [key: string]: any }
export type Version = { readonly number: number; readonly file: string; readonly schema: AvroSchema }
export type Subject = { readonly name: string; readonly topic: string; readonly file: string; readonly newest: AvroSchema; readonly versions: readonly Version[] }

const parsed = (file: string): AvroSchema => JSON.parse(readFileSync(new URL(file, schemas), 'utf8')) as AvroSchema

/** Every schema with its versions, the oldest first. The last version is the one that is in use. */
export function readSubjects(): Subject[] {
  return Object.values(topics).flatMap((spec) => {
    if (spec.schema === null) return []
    const name = `${spec.name}-value`
    return [{ name, topic: spec.name, file: spec.schema, newest: parsed(spec.schema), versions: versionsOf(name) }]
  })
}

function versionsOf(subject: string): Version[] {
  const dir = new URL(`history/${subject}/`, schemas)
  const numbers = readdirSync(dir).map((file) => Number(/^(\d+)\.avsc$/.exec(file)?.[1] ?? Number.NaN))
  return numbers.toSorted((a, b) => a - b).map((number) => {
    const file = `history/${subject}/${number}.avsc`
    return { number, file: `schemas/${file}`, schema: parsed(file) }
  })
}

/** Folders of schemas/history that no topic has. */
export const strayHistories = (subjects: readonly Subject[]): string[] =>
  readdirSync(new URL('history/', schemas)).filter((dir) => !subjects.some(({ name }) => name === dir))

export const typeOf = (schema: AvroSchema): avro.Type => avro.Type.forSchema(schema as avro.Schema, { wrapUnions: true })

/**
 * What is wrong with the versions of a schema: the present file must be the last of them, the numbers have no holes, and
 * the reader of each version reads what the writers of every version before it wrote (BACKWARD_TRANSITIVE).
 */
export function problemsOf({ name, file, newest, versions }: Omit<Subject, 'topic'>): string[] {
  const problems: string[] = []
  const holes = versions.filter(({ number }, i) => number !== i + 1)
  if (holes.length > 0 || versions.length === 0) problems.push(`schemas/history/${name} must hold 1.avsc, 2.avsc … without a hole`)
  for (const [i, reader] of versions.entries()) {
    for (const writer of versions.slice(0, i)) problems.push(...unreadable(`${name} ${reader.number}`, reader.schema, writer))
  }
  const last = versions.at(-1)
  if (last && JSON.stringify(last.schema) === JSON.stringify(newest)) return problems
  const next = (last?.number ?? 0) + 1
  problems.push(
    `schemas/${file} is not its last version, schemas/history/${name}/${last?.number}.avsc. Where that version was never deployed, replace it; ` +
      `else add the next: cp schemas/${file} schemas/history/${name}/${next}.avsc. A version that was deployed never changes again`,
  )
  for (const writer of versions) problems.push(...unreadable(`schemas/${file}`, newest, writer))
  return problems
}

function unreadable(who: string, reader: AvroSchema, writer: Version): string[] {
  try {
    typeOf(reader).createResolver(typeOf(writer.schema))
    return []
  } catch (err) {
    return [`${who} cannot read what version ${writer.number} wrote: ${(err as Error).message}`]
  }
}

/** Small and good enough: the same seed gives the same values. */
export function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** Kafka's offsets travel as text. */
const OFFSETS = new Set(['nextOffset', 'ownerEpoch', 'inputs'])
const WORDS = ['', 'a', 'order-1', 'ä💥', 'null', '{}', 'x'.repeat(300)]

/** A value that this schema can write, with unions wrapped. */
export function randomValue(schema: AvroSchema, random: () => number): unknown {
  const named = new Map<string, AvroSchema>()
  const below = (n: number) => Math.floor(random() * n)
  const one = (s: any, isOffset = false): any => {
    const type = typeof s === 'string' ? s : Array.isArray(s) ? 'union' : s.type
    if (type === 'union') {
      const branch = s[below(s.length)]
      return branch === 'null' ? null : { [branchName(branch)]: one(branch) }
    }
    switch (type) {
      case 'record':
        named.set(s.name, s)
        return Object.fromEntries(s.fields.map((f: AvroSchema) => [f['name'], one(f['type'], s.name === 'Checkpoint' && OFFSETS.has(f['name']))]))
      case 'array':
        return Array.from({ length: below(4) }, () => one(s.items))
      case 'map':
        return Object.fromEntries(Array.from({ length: below(4) }, (_, i) => [`k${i}`, one(s.values, isOffset)]))
      case 'string':
        return isOffset ? String(below(1_000_000)) : WORDS[below(WORDS.length)]
      case 'boolean':
        return random() < 0.5
      case 'int':
        return below(2 ** 31)
      case 'long':
        return random() < 0.1 ? 2 ** 53 - 2 : below(2 ** 40)
      case 'double':
        return random() * 1_000
      case 'enum':
        return s.symbols[below(s.symbols.length)]
      default: {
        const known = named.get(type) ?? (typeof type === 'object' ? type : undefined)
        if (!known) throw new Error(`this test makes no values of ${JSON.stringify(type)}`)
        return one(known, isOffset)
      }
    }
  }
  // Named types may be met before the branch that defines them is drawn.
  learn(schema, named)
  return one(schema)
}

function learn(schema: any, named: Map<string, AvroSchema>): void {
  if (Array.isArray(schema)) for (const branch of schema) learn(branch, named)
  else if (schema && typeof schema === 'object') {
    if (schema.name && ['record', 'enum', 'fixed'].includes(schema.type)) named.set(schema.name, schema)
    for (const part of [schema.type, schema.items, schema.values, ...(schema.fields ?? []).map((f: AvroSchema) => f['type'])]) learn(part, named)
  }
}

const PRIMITIVES = new Set(['boolean', 'int', 'long', 'float', 'double', 'bytes', 'string', 'array', 'map'])
function branchName(branch: any): string {
  const name = typeof branch === 'string' ? branch : (branch.name ?? branch.type)
  return PRIMITIVES.has(name) || name.includes('.') ? name : `orderchat.${name}`
}

/** Names of every record and enum of a schema, the envelope first. */
export function recordNames(schema: AvroSchema): string[] {
  const named = new Map<string, AvroSchema>()
  learn(schema, named)
  return [...named.keys()]
}
