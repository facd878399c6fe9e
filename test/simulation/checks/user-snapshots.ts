import { isDeepStrictEqual } from 'node:util'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { Chat, UserState } from '#libs/domain/inbox.ts'
import type { Checkpoint } from '#libs/streams/avro-shapes.ts'
import { inboxStateFromAvro } from '#libs/streams/inbox-shapes.ts'
import { topics } from '#libs/streams/topics.ts'
import { type Kafka, ofUsers } from '../world/kafka.ts'
import { decodeValue } from '../world/registry.ts'
import type { World } from '../world/world.ts'
import type { Users } from './users.ts'

type Head = Omit<UserState, 'chats'>

/** What the compacted topic says now: the last committed value of each key. */
function latest(kafka: Kafka, partition: number) {
  const values = new Map<string, Buffer | null>()
  for (const { key, value } of kafka.snapshots(ofUsers, partition).records) values.set(key!, value)
  const heads = new Map<UserId, Head>()
  const chats = new Map<UserId, Map<RoomId, Chat>>()
  let checkpoint: Checkpoint | undefined
  for (const value of values.values()) {
    if (value === null) continue
    const record = inboxStateFromAvro(decodeValue(value))
    if (record.kind === 'checkpoint') checkpoint = record.checkpoint
    if (record.kind === 'user') heads.set(record.user.userId, record.user)
    if (record.kind === 'chat') chats.set(record.userId, (chats.get(record.userId) ?? new Map()).set(record.chat.roomId, record.chat))
  }
  return { heads, chats, checkpoint }
}

export function feedCheckpointOf(kafka: Kafka, partition: number): { readonly nextOffset: number; readonly inputs: ReadonlyMap<string, number> } | undefined {
  const { checkpoint } = latest(kafka, partition)
  return checkpoint && { nextOffset: Number(checkpoint.nextOffset), inputs: new Map([...checkpoint.inputs].map(([topic, next]) => [topic, Number(next)])) }
}

/** After each commit: whoever restored now would have the fold of user-events at the checkpoint. */
export function checkUserSnapshots(world: World, kafka: Kafka, users: Users, partition: number): void {
  const { heads, chats, checkpoint } = latest(kafka, partition)
  if (!checkpoint) return
  const offset = Number(checkpoint.nextOffset)
  const fail = (message: string) => world.fail('user-snapshots', `partition ${partition}, checkpoint @${offset}: ${message}`)
  if (offset > kafka.log(topics.userEvents.name, partition).high) return fail('is above the log')
  if (Number(checkpoint.ownerEpoch) !== users.log.epochBelow(partition, offset)) fail(`epoch ${checkpoint.ownerEpoch}, the log has ${users.log.epochBelow(partition, offset)}`)
  for (const [topic, next] of users.log.inputsBelow(partition, offset)) if (Number(checkpoint.inputs.get(topic) ?? 0n) !== next) fail(`${topic} ${checkpoint.inputs.get(topic)}, the log has ${next}`)
  for (const [userId, { partition: of, offsets }] of users.users) {
    if (of !== partition) continue
    const userSeq = offsets.filter((at) => at < offset).length
    const difference = differenceOf(users, userId, userSeq, heads.get(userId), chats.get(userId) ?? new Map())
    if (difference) fail(`${userId} ${difference}`)
  }
}

/** Who takes a partition over has restored the fold of the log, unless somebody else has taken it since. */
export function checkUsersRestored(world: World, kafka: Kafka, users: Users, partition: number, epoch: bigint, restored: ReadonlyMap<UserId, UserState>): void {
  if (users.log.epochBelow(partition, kafka.log(topics.userEvents.name, partition).high) !== Number(epoch)) return
  for (const [userId, { partition: of, events }] of users.users) {
    const state = restored.get(userId)
    const difference = of === partition ? differenceOf(users, userId, events.length, state, state?.chats ?? new Map()) : undefined
    if (difference) world.fail('restore', `partition ${partition} of users, epoch ${epoch}: ${userId} ${difference}`)
  }
}

function differenceOf(users: Users, userId: UserId, userSeq: number, head: Head | undefined, chats: ReadonlyMap<RoomId, Chat>): string | undefined {
  if (userSeq === 0) return head && head.userSeq > 0 ? `is there with ${head.userSeq}, and nothing has come yet` : undefined
  const event = users.users.get(userId)!.events[userSeq - 1]!
  if (head?.userSeq !== userSeq || head.lastEventMs !== event.timestampMs || !isDeepStrictEqual({ ...head.totals }, { ...event.totals })) {
    return `is at ${head?.userSeq} with ${JSON.stringify(head?.totals)}, the log at ${userSeq} with ${JSON.stringify(event.totals)}`
  }
  const due = users.chatsAt(userId, userSeq)
  const has = (map: ReadonlyMap<RoomId, Chat>) => Object.fromEntries([...map].sort(([a], [b]) => (a < b ? -1 : 1)))
  const [a, b] = [JSON.stringify(has(chats)), JSON.stringify(has(due))]
  return isDeepStrictEqual(JSON.parse(a), JSON.parse(b)) ? undefined : `has ${a}, the log ${b}`
}
