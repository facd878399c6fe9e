import { ChatError } from '#libs/domain/errors.ts'
import { directRoomId, type RoomId, type UserId } from '#libs/domain/ids.ts'
import { type BlockWord, isRoomEvent, type RoomEvent } from '#libs/domain/room.ts'
import { decisionFromAvro } from '#libs/streams/avro-shapes.ts'
import { headerText, ReaderRule, sourceOf } from '#libs/streams/reader-rule.ts'
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

/** Where a partition was read to. */
export type Position = {
  readonly nextOffset: bigint
  /** The owner epoch in force there. */
  readonly ownerEpoch: bigint
  /** Last applied offset of each input topic, so far as it is known. */
  readonly lastSources: ReadonlyMap<string, bigint>
}

type Codec = { decode(bytes: Buffer): unknown; learn(bytes: Buffer): Promise<void> | undefined }

const CONCERNING = /\b(blockSet|roomOpened|participantAdded)\b/

/** Reads a batch by the reader's rule. Nearly all records are told by a header to be of no concern, and not decoded. */
export async function readFacts(codec: Codec, partition: number, before: Position, batch: readonly InRecord[]): Promise<{ after: Position; facts: readonly Fact[] }> {
  const rule = new ReaderRule(before.ownerEpoch, before.lastSources)
  const lastSources = new Map(before.lastSources)
  const facts: Fact[] = []
  for (const record of batch) {
    if (rule.judge(record.offset, record.headers) !== 'valid') continue
    const source = sourceOf(record.headers)
    if (source) lastSources.set(source.topic, source.offset)
    if (CONCERNING.test(headerText(record.headers, headerNames.eventType) ?? 'blockSet')) facts.push(...(await factsOf(codec, partition, record)))
  }
  return { after: { nextOffset: batch.at(-1)!.offset + 1n, ownerEpoch: rule.epoch, lastSources }, facts }
}

async function factsOf(codec: Codec, partition: number, { offset, value, headers }: InRecord): Promise<Fact[]> {
  if (value === null) throw new ChatError('log_corrupt', `offset ${offset} has no value`)
  try {
    await codec.learn(value)
  } catch (err) {
    throw new ChatError('unavailable', 'the schema registry', { cause: err })
  }
  const decision = decisionFromAvro(codec.decode(value))
  const traceparent = headerText(headers, headerNames.traceparent)
  return (decision?.entries ?? []).flatMap((entry, index) => {
    const what = isRoomEvent(entry) ? factOf(decision!.roomId, entry) : undefined
    return what ? [{ partition, offset, index, timestampMs: (entry as RoomEvent).timestampMs, roomId: decision!.roomId, traceparent, ...what }] : []
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
