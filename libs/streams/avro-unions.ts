import { ChatError } from '#libs/domain/errors.ts'

/**
 * Between our types and the Avro records of schemas/*.avsc (unions wrapped: `{ 'orderchat.Branch': {…} }`). Decoding
 * follows the writer's schema, so a branch of a newer writer arrives under a name that is not known here.
 */
type Wrapped = Readonly<Record<string, Readonly<Record<string, unknown>>>>

const NAMESPACE = 'orderchat.'
export const wrap = (name: string, fields: object) => ({ [NAMESPACE + name]: fields })

export function unwrap(union: unknown): { name: string; fields: any } {
  const [name, fields] = Object.entries(union as Wrapped)[0] ?? []
  if (name === undefined) throw new ChatError('undecodable', 'an empty union')
  return { name: name.startsWith(NAMESPACE) ? name.slice(NAMESPACE.length) : name, fields }
}

export const optional = (branch: string, value: unknown) => (value === undefined || value === null ? null : { [branch]: value })
export const unwrapOptional = (union: unknown): any => (union === null ? undefined : Object.values(union as object)[0])

/** Fields that may be left out: null in Avro, absent in ours. The branch of each by record. */
export type OptionalFields = Readonly<Record<string, Readonly<Record<string, 'string' | 'long' | 'boolean' | 'array' | 'map'>>>>
export function wrapFields(table: OptionalFields, name: string, fields: Readonly<Record<string, unknown>>): object {
  const branches = table[name]
  if (!branches) return wrap(name, fields)
  const wrapped: Record<string, unknown> = { ...fields }
  for (const field in branches) wrapped[field] = optional(branches[field]!, fields[field])
  return wrap(name, wrapped)
}

/** Writers of before do not know all of them. */
export function unwrapFields(table: OptionalFields, name: string, fields: Record<string, unknown>): Record<string, unknown> {
  const branches = table[name]
  if (!branches) return { ...fields }
  const unwrapped: Record<string, unknown> = { ...fields }
  for (const field in branches) {
    const value = fields[field]
    if (value === null || value === undefined) delete unwrapped[field]
    else unwrapped[field] = unwrapOptional(value)
  }
  return unwrapped
}

export const capitalized = (type: string) => type.charAt(0).toUpperCase() + type.slice(1)
export const uncapitalized = (name: string) => name.charAt(0).toLowerCase() + name.slice(1)
