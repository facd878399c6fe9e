import { ChatError } from '#libs/domain/errors.ts'
import { headerNames, OWNERSHIP_MARKER } from './topics.ts'

/** What the rule needs of a `room-events` record: known from its headers, without decoding. */
export type LogHeaders = { readonly [name: string]: Buffer | string | (Buffer | string)[] | undefined }
export type Verdict = 'marker' | 'valid' | 'void'
/** `topic:offset` of the input that a record is the effect of. */
export type Source = { readonly topic: string; readonly offset: bigint }

/** Before the first marker; 0 is a real epoch. */
export const NO_EPOCH = -1n

/**
 * The reader's rule of the fenced log, for one partition of `room-events`: on a marker, its offset is the current
 * epoch; a record whose `owner-epoch` is not the current one is void. Every reader follows it, so that a former owner
 * which still writes is ignored by all alike.
 *
 * A reader that starts in mid-log passes the epoch in force there (it stores it with its position); one that has none
 * begins at the first marker.
 */
export class ReaderRule {
  #epoch: bigint
  readonly #lastSource = new Map<string, bigint>()

  constructor(epoch: bigint = NO_EPOCH, lastSources: ReadonlyMap<string, bigint> = new Map()) {
    this.#epoch = epoch
    for (const [topic, offset] of lastSources) this.#lastSource.set(topic, offset)
  }

  get epoch(): bigint {
    return this.#epoch
  }

  /**
   * Judges the next record of the partition. Call it once for every record, in offset order.
   * @throws ChatError `log_corrupt` for a valid record whose input was applied before: the owner's fence has failed.
   */
  judge(offset: bigint, headers: LogHeaders): Verdict {
    if (headerText(headers, headerNames.eventType) === OWNERSHIP_MARKER) {
      this.#epoch = offset
      return 'marker'
    }
    const epoch = headerText(headers, headerNames.ownerEpoch)
    // Before the first marker nothing is valid, not even a record that claims so.
    if (this.#epoch === NO_EPOCH || epoch !== this.#epoch.toString()) return 'void'
    const source = sourceOf(headers)
    if (source) {
      const last = this.#lastSource.get(source.topic)
      if (last !== undefined && source.offset <= last) {
        throw new ChatError('log_corrupt', `offset ${offset} applies input ${source.topic}:${source.offset}, after ${last}`)
      }
      this.#lastSource.set(source.topic, source.offset)
    }
    return 'valid'
  }
}

export function headerText(headers: LogHeaders | undefined, name: string): string | undefined {
  const value = headers?.[name]
  const one = Array.isArray(value) ? value[0] : value
  return one?.toString()
}

export function sourceOf(headers: LogHeaders): Source | undefined {
  const text = headerText(headers, headerNames.source)
  if (text === undefined || !/^.+:\d{1,19}$/.test(text)) return undefined
  const colon = text.lastIndexOf(':')
  return { topic: text.slice(0, colon), offset: BigInt(text.slice(colon + 1)) }
}
