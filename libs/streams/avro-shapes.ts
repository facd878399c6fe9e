import type { ClientMessageId, MessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import type { DedupeBucket } from '#libs/domain/dedupe.ts'
import type { OrderEvent, RoomCommand } from '#libs/domain/inputs.ts'
import type { BlockKey, CloseReason, Entry, HistoryRule, MessageChange, Metadata, Participant, Receipt, Repeat, Role, RoomKind, RoomState } from '#libs/domain/room.ts'
import { ChatError } from '#libs/domain/errors.ts'
import { capitalized, optional, type OptionalFields, uncapitalized, unwrap, unwrapFields, unwrapOptional, wrap, wrapFields } from './avro-unions.ts'

const ASKED = { by: 'string', clientMessageId: 'string' } as const
/** Of each durable event. */
const EVENT = { prevHash: 'string' } as const

const optionalInCommands: OptionalFields = {
  SendMessage: { messageType: 'string', payload: 'string', replyTo: 'string', replyToSeq: 'long', mentions: 'array' },
  React: { messageSeq: 'long' },
  Mark: { delivered: 'long', seen: 'long', hidden: 'boolean' },
  CreateRoom: { name: 'string', metadata: 'map', history: 'string', subjectId: 'string' },
  ChangeRoom: { name: 'string', metadata: 'map' },
  ResolveDispute: { note: 'string' },
  SetBlock: { occurredAtMs: 'long' },
  ReportMessage: { messageSeq: 'long', note: 'string' },
  RedactMessage: { messageSeq: 'long' },
  FreezeRoom: { reason: 'string' },
}

const optionalInEvents: OptionalFields = {
  RoomOpened: { kind: 'string', creatorId: 'string', name: 'string', metadata: 'map', history: 'string', subjectId: 'string', ...EVENT },
  ParticipantAdded: { messageCount: 'long', seen: 'long', kind: 'string', name: 'string', ...ASKED, ...EVENT },
  ParticipantRemoved: { note: 'string', ...ASKED, ...EVENT },
  MessageSent: { messageType: 'string', payload: 'string', replyTo: 'string', replyToSeq: 'long', mentions: 'array', hiddenFor: 'array', ...EVENT },
  MessageEdited: EVENT,
  MessageDeleted: EVENT,
  ReactionSet: EVENT,
  ReceiptMoved: { hidden: 'boolean', ...EVENT },
  RoomChanged: { name: 'string', metadata: 'map', ...ASKED, ...EVENT },
  MediatorInvited: { ...ASKED, ...EVENT },
  BlockSet: { occurredAtMs: 'long', ...EVENT },
  MessageReported: { note: 'string', ...EVENT },
  MessageRedacted: EVENT,
  RoomFrozen: { reason: 'string', ...EVENT },
  RoomClosed: { note: 'string', ...ASKED, ...EVENT },
  Refused: { retryAfterMs: 'long' },
}

// order-events

export function orderEventToAvro(event: OrderEvent): object {
  const { orderId, eventId, occurredAtMs, type, ...fields } = event
  return { orderId, eventId, occurredAtMs, body: wrap(capitalized(type), fields) }
}

const orderEventTypes: ReadonlySet<string> = new Set(['orderAccepted', 'riderAssigned', 'orderEnded', 'orderCreated', 'blockChanged'] satisfies OrderEvent['type'][])

/** @throws ChatError `undecodable` for a type of a newer writer */
export function orderEventFromAvro(value: unknown): OrderEvent {
  const { body, ...envelope } = value as { body: unknown }
  const { name, fields } = unwrap(body)
  const type = uncapitalized(name)
  if (!orderEventTypes.has(type)) {
    throw new ChatError('undecodable', `order event ${name} is not known to this version`)
  }
  return { ...envelope, ...fields, type } as OrderEvent
}

// chat-commands

export function commandToAvro(command: RoomCommand): object {
  const { roomId, commandId, senderId, type, ...fields } = command
  return { roomId, commandId, senderId, body: wrapFields(optionalInCommands, capitalized(type), fields) }
}

const commandTypes: ReadonlySet<string> = new Set([
  'sendMessage',
  'editMessage',
  'deleteMessage',
  'react',
  'mark',
  'createRoom',
  'addParticipant',
  'removeParticipant',
  'changeRoom',
  'inviteMediator',
  'acceptInvitation',
  'resolveDispute',
  'setBlock',
  'reportMessage',
  'redactMessage',
  'freezeRoom',
  'expelParticipant',
] satisfies RoomCommand['type'][])

/** @throws ChatError `undecodable` for a type of a newer writer */
export function commandFromAvro(value: unknown): RoomCommand {
  const { body, ...envelope } = value as { body: unknown }
  const { name, fields } = unwrap(body)
  const type = uncapitalized(name)
  if (!commandTypes.has(type)) throw new ChatError('undecodable', `command ${name} is not known to this version`)
  return { ...envelope, ...unwrapFields(optionalInCommands, name, fields), type } as RoomCommand
}

// room-events

export type Decision = {
  readonly roomId: RoomId
  readonly commandId: string | undefined
  readonly entries: readonly Entry[]
}

export function markerToAvro(ownerId: string, nonce: string): object {
  return { body: wrap('OwnershipMarker', { ownerId, nonce }) }
}

export function decisionToAvro({ roomId, commandId, entries }: Decision): object {
  return { body: wrap('Decision', { roomId, commandId: optional('string', commandId), entries: entries.map(entryToAvro) }) }
}

function entryToAvro({ type, ...fields }: Entry): object {
  return wrapFields(optionalInEvents, capitalized(type), fields)
}

/** Undefined for a marker. Entries of unknown types keep their fields, `seq` among them. */
export function decisionFromAvro(value: unknown): Decision | undefined {
  const { name, fields } = unwrap((value as { body: unknown }).body)
  if (name !== 'Decision') return undefined
  return {
    roomId: fields.roomId as RoomId,
    commandId: unwrapOptional(fields.commandId) as string | undefined,
    entries: (fields.entries as unknown[]).map(entryFromAvro),
  }
}

function entryFromAvro(union: unknown): Entry {
  const { name, fields } = unwrap(union)
  return { ...unwrapFields(optionalInEvents, name, fields), type: uncapitalized(name) } as Entry
}

// room-state

export type Checkpoint = {
  /** Of the log: what is below is in the snapshots. */
  readonly nextOffset: bigint
  /** In force at `nextOffset`. */
  readonly ownerEpoch: bigint
  /** Input topic to the next offset there. */
  readonly inputs: ReadonlyMap<string, bigint>
}

export type StateRecord =
  | { readonly kind: 'room'; readonly room: Omit<RoomState, 'dedupe'>; readonly firstBucket: number; readonly bucketCount: number }
  | { readonly kind: 'bucket'; readonly roomId: RoomId; readonly bucket: number; readonly content: DedupeBucket }
  | { readonly kind: 'checkpoint'; readonly checkpoint: Checkpoint }
  | { readonly kind: 'sentinel' }

const participantsOf = (room: RoomState): Participant[] => [...room.participants].map(([userId, role]) => ({ userId, role }))

export function roomToAvro(room: RoomState): object {
  const { roomId, status, headSeq, messageCount, lastEventMs, riderWon, heldRider, heldClose, sendRate, dedupe, kind, name, metadata, history, frozen, headHash, repeats } = room
  const list = (values: readonly unknown[]) => optional('array', values.length === 0 ? null : values)
  return {
    body: wrap('RoomSnapshot', {
      roomId,
      status,
      headSeq,
      messageCount,
      lastEventMs,
      participants: participantsOf(room),
      riderWon: optional('orderchat.RiderWon', riderWon),
      heldRider: optional('orderchat.HeldRider', heldRider),
      heldClose: optional('orderchat.HeldClose', heldClose),
      sendSecond: sendRate.second,
      sendCounts: Object.fromEntries(sendRate.counts),
      firstBucket: dedupe.firstBucket,
      bucketCount: dedupe.buckets.length,
      kind: optional('string', kind === 'order' ? null : kind),
      name: optional('string', name),
      metadata: optional('map', Object.keys(metadata).length === 0 ? null : metadata),
      invited: list([...room.invited]),
      blocks: list([...room.blocks]),
      blockTimes: optional('map', room.blockTimes.size === 0 ? null : Object.fromEntries(room.blockTimes)),
      receipts: list([...room.receipts].map(([userId, receipt]) => ({ userId, ...receipt }))),
      changes: list([...room.changes].map(([messageId, change]) => ({ messageId, ...change }))),
      history: optional('string', history === 'all' ? null : history),
      frozen: optional('boolean', frozen || null),
      headHash: optional('string', headHash),
      repeats: list([...repeats].map(([userId, repeat]) => ({ userId, ...repeat }))),
    }),
  }
}

export function bucketToAvro(roomId: RoomId, bucket: number, { oldestMs, newestMs, acks }: DedupeBucket): object {
  const remembered = [...acks].map(([key, ack]) => {
    const space = key.indexOf(' ')
    return { senderId: key.slice(0, space), clientMessageId: key.slice(space + 1), ...ack }
  })
  return { body: wrap('DedupeBucket', { roomId, bucket, oldestMs, newestMs, acks: remembered }) }
}

export function checkpointToAvro({ nextOffset, ownerEpoch, inputs }: Checkpoint): object {
  return {
    body: wrap('Checkpoint', {
      nextOffset: nextOffset.toString(),
      ownerEpoch: ownerEpoch.toString(),
      inputs: Object.fromEntries([...inputs].map(([topic, next]) => [topic, next.toString()])),
    }),
  }
}

export const sentinelToAvro = (nonce: string): object => ({ body: wrap('Sentinel', { nonce }) })

export function stateRecordFromAvro(value: unknown): StateRecord {
  const { name, fields } = unwrap((value as { body: unknown }).body)
  switch (name) {
    case 'RoomSnapshot':
      return roomFromAvro(fields)
    case 'DedupeBucket': {
      const { roomId, bucket, oldestMs, newestMs } = fields
      const acks: DedupeBucket['acks'] = new Map(
        (fields.acks as ({ senderId: UserId; clientMessageId: ClientMessageId } & AckFields)[]).map(
          ({ senderId, clientMessageId, ...ack }) => [`${senderId} ${clientMessageId}` as const, { ...ack }],
        ),
      )
      return { kind: 'bucket', roomId, bucket, content: { oldestMs, newestMs, acks } }
    }
    case 'Checkpoint': {
      const inputs = new Map(Object.entries(fields.inputs as Record<string, string>).map(([topic, next]) => [topic, BigInt(next)]))
      return { kind: 'checkpoint', checkpoint: { nextOffset: BigInt(fields.nextOffset), ownerEpoch: BigInt(fields.ownerEpoch), inputs } }
    }
    case 'Sentinel':
      return { kind: 'sentinel' }
    default:
      throw new ChatError('undecodable', `state record ${name} is not known to this version`)
  }
}

type AckFields = { messageId: MessageId; seq: number; messageIndex: number; timestampMs: number }

function roomFromAvro(fields: any): StateRecord {
  const { roomId, status, headSeq, messageCount, lastEventMs, firstBucket, bucketCount } = fields
  // Of a writer that did not know the field: undefined.
  const given = (union: unknown) => (union === undefined ? undefined : unwrapOptional(union))
  const copy = (union: unknown) => {
    const value = unwrapOptional(union)
    return value === undefined ? null : { ...value }
  }
  return {
    kind: 'room',
    firstBucket,
    bucketCount,
    room: {
      roomId,
      status,
      headSeq,
      messageCount,
      lastEventMs,
      participants: new Map((fields.participants as { userId: UserId; role: Role }[]).map((p) => [p.userId, p.role])),
      riderWon: copy(fields.riderWon),
      heldRider: copy(fields.heldRider),
      heldClose: copy(fields.heldClose) as { reason: CloseReason; heldAtMs: number } | null,
      sendRate: { second: fields.sendSecond, counts: new Map(Object.entries(fields.sendCounts as Record<string, number>)) as never },
      kind: (given(fields.kind) ?? 'order') as RoomKind,
      name: (given(fields.name) ?? null) as string | null,
      metadata: { ...given(fields.metadata) } as Metadata,
      invited: new Set((given(fields.invited) ?? []) as UserId[]),
      blocks: new Set((given(fields.blocks) ?? []) as BlockKey[]),
      blockTimes: new Map(Object.entries((given(fields.blockTimes) ?? {}) as Record<string, number>)) as RoomState['blockTimes'],
      receipts: new Map(((given(fields.receipts) ?? []) as ({ userId: UserId } & Receipt)[]).map(({ userId, ...receipt }) => [userId, receipt])),
      changes: new Map(((given(fields.changes) ?? []) as ({ messageId: MessageId } & MessageChange)[]).map(({ messageId, ...change }) => [messageId, change])),
      history: (given(fields.history) ?? 'all') as HistoryRule,
      frozen: given(fields.frozen) ?? false,
      headHash: given(fields.headHash) ?? null,
      repeats: new Map(((given(fields.repeats) ?? []) as ({ userId: UserId } & Repeat)[]).map(({ userId, ...repeat }) => [userId, repeat])),
    },
  }
}
