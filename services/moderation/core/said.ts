import { clientMessageIdOf, type ClientMessageId, type RoomId } from '#libs/domain/ids.ts'
import type { Entry, RoomEvent } from '#libs/domain/room.ts'
import { type Decision, decisionFromAvro } from '#libs/streams/avro-shapes.ts'
import { type LearningCodec, readByRule, type ReadPosition } from '#libs/streams/read-by-rule.ts'
import { headerText } from '#libs/streams/reader-rule.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { headerNames } from '#libs/streams/topics.ts'

/** A message, or an edit of one, that somebody else shall judge. */
export type Said = {
  readonly kind: 'said'
  readonly roomId: RoomId
  readonly event: RoomEvent & { readonly type: 'messageSent' | 'messageEdited' }
  /** Made from where it stands in the log: the same for whoever reads it, as often as he does. */
  readonly id: ClientMessageId
  readonly traceparent: string | undefined
}

/** The log has not done what we asked for. */
export type Refused = { readonly kind: 'refused'; readonly roomId: RoomId; readonly commandId: string; readonly code: string }

const CONCERNING = /\b(messageSent|messageEdited|refused)\b/
const COMMAND_PREFIX = 'moderation:'
export const commandIdOf = (id: ClientMessageId): string => COMMAND_PREFIX + id

/** Reads a batch by the reader's rule; what is told by a header to be of no concern is not decoded. */
export async function readSaid(codec: LearningCodec, partition: number, before: ReadPosition, batch: readonly InRecord[]): Promise<{ after: ReadPosition; facts: readonly (Said | Refused)[] }> {
  const concerns = ({ headers }: InRecord) => CONCERNING.test(headerText(headers, headerNames.eventType) ?? 'messageSent')
  const { after, read } = await readByRule({ codec, decidedOf: decisionFromAvro, concerns }, before, batch)
  return { after, facts: read.flatMap(({ record, decided }) => factsOf(partition, record, decided)) }
}

function factsOf(partition: number, { offset, headers }: InRecord, { roomId, commandId, entries }: Decision): (Said | Refused)[] {
  const traceparent = headerText(headers, headerNames.traceparent)
  return entries.flatMap((entry: Entry, index): (Said | Refused)[] => {
    if (entry.type === 'messageSent' || entry.type === 'messageEdited') {
      return [{ kind: 'said', roomId, event: entry, id: clientMessageIdOf(`moderation ${partition}:${offset}:${index}`, entry.timestampMs), traceparent }]
    }
    return entry.type === 'refused' && commandId?.startsWith(COMMAND_PREFIX) ? [{ kind: 'refused', roomId, commandId, code: entry.code }] : []
  })
}
