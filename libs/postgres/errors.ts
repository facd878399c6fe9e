import { ChatError } from '#libs/domain/errors.ts'

/** Whole SQLSTATE classes: connection exception, insufficient resources, operator intervention (shutdown, timeout). */
const UNAVAILABLE_CLASSES = new Set(['08', '53', '57'])
/** Serialization failure, deadlock, lock not available, and writing on a standby after a failover. */
const UNAVAILABLE_STATES = new Set(['40001', '40P01', '55P03', '25006'])
const SOCKET_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EHOSTDOWN',
  'ENETDOWN',
  'ENOTFOUND',
  'EAI_AGAIN',
])
/** pg says these in words only. */
const PG_MESSAGES = [
  'timeout exceeded when trying to connect',
  'timeout expired',
  'Connection terminated',
  'Query read timeout',
  'Client has encountered a connection error',
  'Client was closed and is not queryable',
  'Cannot use a pool after calling end on the pool',
]

/** The five-character SQLSTATE of an error that Postgres itself reported. */
export function sqlStateOf(err: unknown): string | undefined {
  const code = (err as { code?: unknown } | null)?.code
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && !SOCKET_CODES.has(code) ? code : undefined
}

/** Whether the server could not be reached or could not take work: the same request may succeed later. */
export function isUnavailable(err: unknown): boolean {
  if (err instanceof AggregateError) return err.errors.length > 0 && err.errors.every(isUnavailable)
  if (!(err instanceof Error)) return false
  const code = (err as { code?: unknown }).code
  if (typeof code === 'string' && SOCKET_CODES.has(code)) return true
  const state = sqlStateOf(err)
  if (state !== undefined) return UNAVAILABLE_STATES.has(state) || UNAVAILABLE_CLASSES.has(state.slice(0, 2))
  return PG_MESSAGES.some((message) => err.message.startsWith(message))
}

/** Whether the connection itself must not be used again: its state is unknown, or it leads to a standby. */
export function isBroken(err: unknown): boolean {
  const state = sqlStateOf(err)
  if (state === undefined) return isUnavailable(err)
  return state.startsWith('08') || state.startsWith('57P') || state === '25006'
}

/** What a caller of this library gets: ChatError `unavailable` for all of the above, else the error itself. */
export function mapError(err: unknown): unknown {
  return isUnavailable(err) ? new ChatError('unavailable', 'Postgres', { cause: err }) : err
}
