import { readFileSync } from 'node:fs'
import { ChatError } from '#libs/domain/errors.ts'

/** The environment, read once into a typed config. Every error names its variable. Only main.ts passes process.env. */
export type Env = Readonly<Record<string, string | undefined>>

function bad(name: string, problem: string): never {
  throw new ChatError('config_invalid', `${name} ${problem} (docs/operations.md lists all variables)`)
}

/** A variable that is set to nothing counts as not set. */
function raw(env: Env, name: string): string | undefined {
  const value = env[name]?.trim()
  return value === '' ? undefined : value
}

export function envText(env: Env, name: string, fallback?: string): string {
  return raw(env, name) ?? fallback ?? bad(name, 'is not set')
}

export const envOptional = (env: Env, name: string): string | undefined => raw(env, name)

export function envInt(env: Env, name: string, fallback?: number, range: { min?: number; max?: number } = {}): number {
  const text = raw(env, name)
  if (text === undefined) return fallback ?? bad(name, 'is not set')
  const value = Number(text)
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = range
  if (!/^-?\d+$/.test(text) || value < min || value > max) bad(name, `must be a whole number from ${min} to ${max}, not "${text}"`)
  return value
}

export function envBool(env: Env, name: string, fallback: boolean): boolean {
  const text = raw(env, name)
  if (text === undefined) return fallback
  if (text === 'true' || text === '1') return true
  if (text === 'false' || text === '0') return false
  return bad(name, `must be true or false, not "${text}"`)
}

/** Comma-separated. */
export function envList(env: Env, name: string, fallback?: readonly string[]): readonly string[] {
  const text = raw(env, name)
  if (text === undefined) return fallback ?? bad(name, 'is not set')
  const items = text.split(',').map((item) => item.trim())
  return items.every((item) => item !== '') ? items : bad(name, 'has an empty item')
}

export function envOneOf<T extends string>(env: Env, name: string, allowed: readonly T[], fallback?: T): T {
  const text = raw(env, name)
  if (text === undefined) return fallback ?? bad(name, 'is not set')
  return (allowed as readonly string[]).includes(text) ? (text as T) : bad(name, `must be one of ${allowed.join(', ')}, not "${text}"`)
}

export function envUrl(env: Env, name: string, fallback?: string): string {
  const text = envText(env, name, fallback)
  if (!URL.canParse(text)) bad(name, `must be a URL, not "${text.replace(/\/\/[^@]*@/, '//…@')}"`)
  return text
}

/** A secret from the variable itself, or from the file that `<name>_FILE` names (Docker and Kubernetes secrets). */
export function envSecret(env: Env, name: string): string | undefined {
  const file = raw(env, `${name}_FILE`)
  if (file === undefined) return raw(env, name)
  return envFile({ [`${name}_FILE`]: file }, `${name}_FILE`)?.trim()
}

/** The text of the file that the variable names. */
export function envFile(env: Env, name: string): string | undefined {
  const path = raw(env, name)
  if (path === undefined) return undefined
  try {
    return readFileSync(path, 'utf8')
  } catch (err) {
    return bad(name, `names a file that cannot be read: ${(err as Error).message}`)
  }
}
