import { ChatError, hasCode } from '#libs/domain/errors.ts'
import { isRoomId, isUserId, type UserId } from '#libs/domain/ids.ts'
import type { InboxInput } from '#libs/domain/inbox.ts'
import type { InputRecord } from '#libs/streams/fenced-ports.ts'
import { inboxCommandFromAvro, inboxUpdateFromAvro } from '#libs/streams/inbox-shapes.ts'
import { partitionOf } from '#libs/streams/murmur2.ts'
import { decoded, passedOn, prepareEach } from '#libs/streams/prepare-each.ts'
import { headerText } from '#libs/streams/reader-rule.ts'
import type { OutRecord } from '#libs/streams/record.ts'
import { headerNames, topics } from '#libs/streams/topics.ts'

/** An input, decoded; or the reason why it cannot be, its dead letter being durable already. */
export type PreparedInboxInput = {
  readonly userId: UserId
  readonly commandId: string | undefined
  readonly input: InboxInput | { readonly type: 'undecodable'; readonly reason: string }
  readonly headers: Readonly<Record<string, string>>
}

export type PrepareDeps = {
  readonly partition: number
  readonly partitions: number
  readonly decode: (topic: string, bytes: Buffer) => unknown
  /** Resolves when the dead letter is durable. */
  readonly deadLetter: (record: OutRecord) => Promise<void>
}

/** The effect of an input whose key is no user id still needs a key. */
const NOBODY = 'undecodable' as UserId

/** Decodes inputs in order; dead-letters what cannot be, or lies in a partition where its key does not belong. */
export function prepareInboxInputs(deps: PrepareDeps, records: readonly InputRecord[]): Promise<readonly PreparedInboxInput[]> {
  return prepareEach(
    {
      async prepare(record) {
        const input = await decodeInput(deps, record)
        return { userId: input.userId, commandId: 'commandId' in input ? input.commandId : undefined, input, headers: passedOn(record) }
      },
      undecodable: (record, err) => undecodable(deps, record, err),
      deadLetter: deps.deadLetter,
    },
    records,
  )
}

async function decodeInput(deps: PrepareDeps, record: InputRecord): Promise<InboxInput> {
  const value = await decoded(deps.decode, record)
  const input = record.topic === topics.inboxUpdates.name ? inboxUpdateFromAvro(value) : inboxCommandFromAvro(value)
  const { userId, roomId } = input
  if (!isUserId(userId) || record.key !== userId) throw new ChatError('undecodable', `the key ${record.key} is not the user id ${userId}`)
  if (partitionOf(userId, deps.partitions) !== deps.partition) throw new ChatError('wrong_partition')
  if (!isRoomId(roomId)) throw new ChatError('undecodable', 'a malformed room id')
  return input
}

/** The sender is told where he can be known: edges put the command id into a header too, for where the value cannot be read. */
function undecodable(deps: PrepareDeps, record: InputRecord, err: ChatError): PreparedInboxInput {
  const { key } = record
  const userId = isUserId(key) && partitionOf(key, deps.partitions) === deps.partition && !hasCode(err, 'wrong_partition') ? key : NOBODY
  const commandId = record.topic === topics.inboxCommands.name ? headerText(record.headers, headerNames.commandId) : undefined
  return { userId, commandId, input: { type: 'undecodable', reason: `${err.code}: ${err.message}` }, headers: passedOn(record) }
}
