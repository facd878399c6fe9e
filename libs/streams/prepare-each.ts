import { ChatError } from '#libs/domain/errors.ts'
import type { InputRecord } from './fenced-ports.ts'
import { headerText } from './reader-rule.ts'
import type { OutRecord } from './record.ts'
import { headerNames } from './topics.ts'

export type PrepareEachOptions<Prepared> = {
  /** @throws ChatError that is not retriable for what nobody can decode */
  readonly prepare: (record: InputRecord) => Promise<Prepared>
  /** What takes the place of such an input. */
  readonly undecodable: (record: InputRecord, err: ChatError) => Prepared
  /** Resolves when the dead letter is durable. */
  readonly deadLetter: (letter: OutRecord) => Promise<void>
}

/**
 * Prepares inputs in order. What cannot be decoded is dead-lettered first and then takes its place as an input without
 * effect, so that positions stay contiguous. Any other failure (the registry cannot be reached) fails the whole call.
 */
export async function prepareEach<Prepared>({ prepare, undecodable, deadLetter }: PrepareEachOptions<Prepared>, records: readonly InputRecord[]): Promise<readonly Prepared[]> {
  const prepared: Prepared[] = []
  for (const record of records) {
    try {
      prepared.push(await prepare(record))
    } catch (err) {
      if (!(err instanceof ChatError) || err.retriable) throw err
      await deadLetter(letterOf(record, err))
      prepared.push(undecodable(record, err))
    }
  }
  return prepared
}

/** @throws ChatError `unavailable` where the registry cannot be asked: no reason to end the process, it would need it even more to start again */
export async function decoded(decode: (topic: string, bytes: Buffer) => unknown, { topic, value }: InputRecord): Promise<unknown> {
  if (value === null) throw new ChatError('undecodable', 'a tombstone')
  const found = decode(topic, value)
  return found instanceof Promise
    ? found.catch((err: unknown) => {
        throw err instanceof ChatError ? err : new ChatError('unavailable', 'the schema registry', { cause: err })
      })
    : found
}

function letterOf({ topic, offset, key, value, headers }: InputRecord, err: ChatError): OutRecord {
  const kept = Object.fromEntries(Object.entries(headers).flatMap(([name, v]) => (v === undefined || Array.isArray(v) ? [] : [[name, v]])))
  return {
    key,
    value,
    partition: 0,
    headers: { ...kept, [headerNames.source]: `${topic}:${offset}`, [headerNames.errorCode]: err.code, [headerNames.errorReason]: err.message },
  }
}

/** Headers that travel from an input to its effect. */
export function passedOn(record: InputRecord): Readonly<Record<string, string>> {
  const headers: Record<string, string> = {}
  for (const name of [headerNames.traceparent, headerNames.replyTo]) {
    const text = headerText(record.headers, name)
    if (text !== undefined) headers[name] = text
  }
  return headers
}
