import { ChatError, hasCode } from '#libs/domain/errors.ts'
import { isRoomId, isUserId, parseClientMessageId, type RoomId } from '#libs/domain/ids.ts'
import type { RoomInput } from '#libs/domain/inputs.ts'
import { commandFromAvro, orderEventFromAvro } from '#libs/streams/avro-shapes.ts'
import type { InputRecord } from '#libs/streams/fenced-ports.ts'
import { partitionOf } from '#libs/streams/murmur2.ts'
import { decoded, passedOn, prepareEach } from '#libs/streams/prepare-each.ts'
import { headerText } from '#libs/streams/reader-rule.ts'
import type { OutRecord } from '#libs/streams/record.ts'
import { headerNames, topics } from '#libs/streams/topics.ts'
import type { PreparedInput } from './room-processor.ts'

export type PrepareDeps = {
  readonly partition: number
  readonly partitions: number
  readonly decode: (topic: string, bytes: Buffer) => unknown
  /** Resolves when the dead letter is durable. */
  readonly deadLetter: (record: OutRecord) => Promise<void>
}

/** The effect of an input whose key is no room id still needs a key. */
const NOWHERE = 'undecodable' as RoomId

/** Decodes inputs in order; dead-letters what cannot be, or lies in a partition where its key does not belong. */
export function prepareInputs(deps: PrepareDeps, records: readonly InputRecord[]): Promise<readonly PreparedInput[]> {
  return prepareEach(
    {
      async prepare(record) {
        const input = await decodeInput(deps, record)
        const commandId = 'commandId' in input ? input.commandId : undefined
        return { roomId: roomOf(input), commandId, input, headers: passedOn(record) }
      },
      undecodable: (record, err) => undecodable(deps, record, err),
      deadLetter: deps.deadLetter,
    },
    records,
  )
}

const roomOf = (input: RoomInput): RoomId => ('orderId' in input ? input.orderId : input.roomId)

async function decodeInput(deps: PrepareDeps, record: InputRecord): Promise<RoomInput> {
  const value = await decoded(deps.decode, record)
  const input = record.topic === topics.orderEvents.name ? orderEventFromAvro(value) : commandFromAvro(value)
  const roomId = roomOf(input)
  if (!isRoomId(roomId) || record.key !== roomId) throw new ChatError('undecodable', `the key ${record.key} is not the room id ${roomId}`)
  if (partitionOf(roomId, deps.partitions) !== deps.partition) throw new ChatError('wrong_partition')
  for (const userId of userIdsOf(input)) if (!isUserId(userId)) throw new ChatError('undecodable', 'a malformed user id')
  // Also makes the id canonical: whoever wrote the command may not have.
  return 'commandId' in input ? { ...input, clientMessageId: parseClientMessageId(input.clientMessageId) } : input
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
    case 'expelParticipant':
    case 'inviteMediator':
      return [input.senderId, input.userId]
    case 'sendMessage':
      return [input.senderId, ...(input.mentions ?? [])]
    default:
      return [input.senderId]
  }
}

/** The sender is told where he can be known: edges put the command id into a header too, for where the value cannot be read. */
function undecodable(deps: PrepareDeps, record: InputRecord, err: ChatError): PreparedInput {
  const key = record.key
  const roomId = isRoomId(key) && partitionOf(key, deps.partitions) === deps.partition && !hasCode(err, 'wrong_partition') ? key : NOWHERE
  const commandId = record.topic === topics.chatCommands.name ? headerText(record.headers, headerNames.commandId) : undefined
  return { roomId, commandId, input: { type: 'undecodable', reason: `${err.code}: ${err.message}` }, headers: passedOn(record) }
}
