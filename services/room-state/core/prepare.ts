import { ChatError, hasCode } from '#libs/domain/errors.ts'
import { isRoomId, isUserId, parseClientMessageId, type RoomId } from '#libs/domain/ids.ts'
import type { RoomInput } from '#libs/domain/inputs.ts'
import { commandFromAvro, orderEventFromAvro } from '#libs/streams/avro-shapes.ts'
import type { InputRecord } from '#libs/streams/fenced-ports.ts'
import { partitionOf } from '#libs/streams/murmur2.ts'
import { headerText } from '#libs/streams/reader-rule.ts'
import type { OutRecord } from '#libs/streams/record.ts'
import { headerNames, topics } from '#libs/streams/topics.ts'
import { passedOn, type PreparedInput } from './room-processor.ts'

export type PrepareDeps = {
  readonly partition: number
  readonly partitions: number
  readonly decode: (topic: string, bytes: Buffer) => unknown
  /** Resolves when the dead letter is durable. */
  readonly deadLetter: (record: OutRecord) => Promise<void>
}

/** The effect of an input whose key is no room id still needs a key. */
const NOWHERE = 'undecodable' as RoomId

/**
 * Decodes inputs in order. What cannot be decoded, or lies in a partition where its key does not belong, is
 * dead-lettered first and then takes its place as an input without effect, so that positions stay contiguous. Any other
 * failure (the registry cannot be reached) fails the whole call.
 */
export async function prepareInputs(deps: PrepareDeps, records: readonly InputRecord[]): Promise<readonly PreparedInput[]> {
  const prepared: PreparedInput[] = []
  for (const record of records) {
    try {
      const input = await decodeInput(deps, record)
      const commandId = 'commandId' in input ? input.commandId : undefined
      prepared.push({ roomId: roomOf(input), commandId, input, headers: passedOn(record) })
    } catch (err) {
      if (!(err instanceof ChatError) || err.retriable) throw err
      await deps.deadLetter(letterOf(record, err))
      prepared.push(undecodable(deps, record, err))
    }
  }
  return prepared
}

const roomOf = (input: RoomInput): RoomId => ('orderId' in input ? input.orderId : input.roomId)

async function decodeInput(deps: PrepareDeps, record: InputRecord): Promise<RoomInput> {
  if (record.value === null) throw new ChatError('undecodable', 'a tombstone')
  const decoded = deps.decode(record.topic, record.value)
  const value = decoded instanceof Promise ? await decoded.catch(registryFailure) : decoded
  const input = record.topic === topics.orderEvents.name ? orderEventFromAvro(value) : commandFromAvro(value)
  const roomId = roomOf(input)
  if (!isRoomId(roomId) || record.key !== roomId) throw new ChatError('undecodable', `the key ${record.key} is not the room id ${roomId}`)
  if (partitionOf(roomId, deps.partitions) !== deps.partition) throw new ChatError('wrong_partition')
  for (const userId of userIdsOf(input)) if (!isUserId(userId)) throw new ChatError('undecodable', 'a malformed user id')
  // Also makes the id canonical: whoever wrote the command may not have.
  return 'commandId' in input ? { ...input, clientMessageId: parseClientMessageId(input.clientMessageId) } : input
}

/** No reason to end the process: it would need the registry even more to start again. */
function registryFailure(err: unknown): never {
  throw err instanceof ChatError ? err : new ChatError('unavailable', 'the schema registry', { cause: err })
}

function userIdsOf(input: RoomInput): readonly string[] {
  switch (input.type) {
    case 'orderAccepted':
    case 'orderCreated':
      return [input.customerId, input.vendorId]
    case 'riderAssigned':
      return [input.riderId]
    case 'orderEnded':
      return []
    case 'blockChanged':
    case 'setBlock':
      return [input.blockerId, input.blockedId]
    case 'createRoom':
      return [input.senderId, ...input.participants.map(({ userId }) => userId)]
    case 'addParticipant':
    case 'removeParticipant':
    case 'inviteMediator':
      return [input.senderId, input.userId]
    case 'sendMessage':
      return [input.senderId, ...(input.mentions ?? [])]
    default:
      return [input.senderId]
  }
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

/** The sender is told where he can be known: edges put the command id into a header too, for where the value cannot be read. */
function undecodable(deps: PrepareDeps, record: InputRecord, err: ChatError): PreparedInput {
  const key = record.key
  const roomId = isRoomId(key) && partitionOf(key, deps.partitions) === deps.partition && !hasCode(err, 'wrong_partition') ? key : NOWHERE
  const commandId = record.topic === topics.chatCommands.name ? headerText(record.headers, headerNames.commandId) : undefined
  return { roomId, commandId, input: { type: 'undecodable', reason: `${err.code}: ${err.message}` }, headers: passedOn(record) }
}
