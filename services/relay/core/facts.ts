import { directRoomId, type RoomId, type UserId } from '#libs/domain/ids.ts'
import { type BlockWord, isRoomEvent, type RoomEvent } from '#libs/domain/room.ts'
import { type Decision, decisionFromAvro } from '#libs/streams/avro-shapes.ts'
import { type LearningCodec, readByRule, type ReadPosition } from '#libs/streams/read-by-rule.ts'
import { headerText } from '#libs/streams/reader-rule.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { headerNames } from '#libs/streams/topics.ts'

export type Word = Required<BlockWord>

/** What happened in a room, so far as it may concern other rooms. */
export type Fact = {
  readonly partition: number
  readonly offset: bigint
  /** Among the entries of its record. */
  readonly index: number
  readonly timestampMs: number
  readonly roomId: RoomId
  readonly traceparent: string | undefined
} & (
  | { readonly kind: 'said'; readonly word: Word }
  /** With whom. */
  | { readonly kind: 'opened'; readonly userIds: readonly UserId[] }
  /** To whom, only the tables know. */
  | { readonly kind: 'entered'; readonly userId: UserId }
)

const CONCERNING = /\b(blockSet|roomOpened|participantAdded)\b/

/** Reads a batch by the reader's rule. Nearly all records are told by a header to be of no concern, and not decoded. */
export async function readFacts(codec: LearningCodec, partition: number, before: ReadPosition, batch: readonly InRecord[]): Promise<{ after: ReadPosition; facts: readonly Fact[] }> {
  const concerns = ({ headers }: InRecord) => CONCERNING.test(headerText(headers, headerNames.eventType) ?? 'blockSet')
  const { after, read } = await readByRule({ codec, decidedOf: decisionFromAvro, concerns }, before, batch)
  return { after, facts: read.flatMap(({ record, decided }) => factsOf(partition, record, decided)) }
}

function factsOf(partition: number, { offset, headers }: InRecord, { roomId, entries }: Decision): Fact[] {
  const traceparent = headerText(headers, headerNames.traceparent)
  return entries.flatMap((entry, index) => {
    const what = isRoomEvent(entry) ? factOf(roomId, entry) : undefined
    return what ? [{ partition, offset, index, timestampMs: (entry as RoomEvent).timestampMs, roomId, traceparent, ...what }] : []
  })
}

type What<F = Fact> = F extends Fact ? Pick<F, Extract<keyof F, 'kind' | 'word' | 'userIds' | 'userId'>> : never

function factOf(roomId: RoomId, event: RoomEvent): What | undefined {
  switch (event.type) {
    case 'blockSet': {
      const { blockerId, blockedId, on, occurredAtMs = event.timestampMs } = event
      // Elsewhere than between the two alone it was passed on from there.
      return roomId === directRoomId(blockerId, blockedId) ? { kind: 'said', word: { blockerId, blockedId, on, occurredAtMs } } : undefined
    }
    case 'roomOpened':
      return event.kind === 'direct' ? undefined : { kind: 'opened', userIds: event.participants.map(({ userId }) => userId) }
    case 'participantAdded':
      return { kind: 'entered', userId: event.participant.userId }
    default:
      return undefined
  }
}
