import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import type { Mutation } from './mutations.ts'

const root = new URL('../../', import.meta.url)

/** The file's text with the bug in it. @throws where the place is not there exactly once any more */
export function mutated({ name, file, from, to }: Mutation, text = readFileSync(new URL(file, root), 'utf8')): string {
  const parts = text.split(from)
  if (parts.length !== 2) throw new Error(`"${name}": ${file} has the text ${parts.length - 1} times instead of once: ${from}`)
  return parts.join(to)
}

/** From now on this thread loads the file with the bug in it. */
export function plant(mutation: Mutation): void {
  const url = new URL(mutation.file, root).href
  const source = mutated(mutation)
  registerHooks({ load: (of, context, next) => (of === url ? { ...next(of, context), source } : next(of, context)) })
}
