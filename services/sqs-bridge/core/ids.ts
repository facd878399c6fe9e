import { ChatError } from '#libs/domain/errors.ts'
import { isUserId, type UserId } from '#libs/domain/ids.ts'
import { type JsonObject, quoted } from './unwrap-sns.ts'

/**
 * The first of `names` that is there. Ids may be JSON numbers, so far as JavaScript reads them without loss; they become
 * their decimal text. @throws ChatError `invalid_event`
 */
export function idText(payload: JsonObject, ...names: readonly [string, ...string[]]): string {
  const name = names.find((one) => payload[one] !== undefined) ?? names[0]
  const id = payload[name]
  if (typeof id === 'string') return id
  if (typeof id === 'number' && Number.isSafeInteger(id) && id >= 0) return String(id)
  if (typeof id === 'number') throw new ChatError('invalid_event', `${name} ${id} is not a whole number below 2^53: send it as text`)
  throw new ChatError('invalid_event', id === undefined ? `${name} is missing` : `${name} is neither text nor a number`)
}

/** @throws ChatError `invalid_event` */
export function userIdOf(payload: JsonObject, ...names: readonly [string, ...string[]]): UserId {
  const id = idText(payload, ...names)
  if (!isUserId(id)) throw new ChatError('invalid_event', `${names[0]} ${quoted(id)} is not 1 to 128 printable ASCII characters without spaces`)
  return id
}
