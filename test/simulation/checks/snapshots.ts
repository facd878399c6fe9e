import { isDeepStrictEqual } from 'node:util'
import { DEDUPE_WINDOW_MS } from '#libs/domain/limits.ts'
import type { RoomId } from '#libs/domain/ids.ts'
import type { RoomState } from '#libs/domain/room.ts'
import { type Checkpoint, stateRecordFromAvro } from '#libs/streams/avro-shapes.ts'
import { type Kafka, ofRooms } from '../world/kafka.ts'
import { decodeValue } from '../world/registry.ts'
import type { World } from '../world/world.ts'
import type { Truth } from './truth.ts'

type RoomRecord = Extract<ReturnType<typeof stateRecordFromAvro>, { kind: 'room' }>
type BucketRecord = Extract<ReturnType<typeof stateRecordFromAvro>, { kind: 'bucket' }>

/** What the compacted topic says now: the last committed value of each key. */
function latest(kafka: Kafka, partition: number) {
  const values = new Map<string, Buffer | null>()
  for (const { key, value } of kafka.snapshots(ofRooms, partition).records) values.set(key!, value)
  const rooms: RoomRecord[] = []
  const buckets = new Map<string, BucketRecord>()
  let checkpoint: Checkpoint | undefined
  for (const value of values.values()) {
    if (value === null) continue
    const record = stateRecordFromAvro(decodeValue(value))
    if (record.kind === 'checkpoint') checkpoint = record.checkpoint
    if (record.kind === 'room') rooms.push(record)
    if (record.kind === 'bucket') buckets.set(`${record.roomId}#${record.bucket}`, record)
  }
  return { rooms, buckets, checkpoint }
}

/** Where a takeover would begin to read. */
export function checkpointOf(kafka: Kafka, partition: number): { readonly nextOffset: number; readonly inputs: ReadonlyMap<string, number> } | undefined {
  const { checkpoint } = latest(kafka, partition)
  return checkpoint && { nextOffset: Number(checkpoint.nextOffset), inputs: new Map([...checkpoint.inputs].map(([topic, next]) => [topic, Number(next)])) }
}

/** After each commit: whoever restored now would have the fold of the log at the checkpoint. */
export function checkSnapshots(world: World, kafka: Kafka, truth: Truth, partition: number): void {
  const { rooms, buckets, checkpoint } = latest(kafka, partition)
  if (!checkpoint) return
  const fail = (message: string) => world.fail('snapshots', `partition ${partition}, checkpoint @${checkpoint.nextOffset}: ${message}`)
  const offset = Number(checkpoint.nextOffset)
  const inputs = truth.inputsBelow(partition, offset)
  if (offset > kafka.log('room-events', partition).high) return fail('is above the log')
  if (Number(checkpoint.ownerEpoch) !== truth.epochBelow(partition, offset)) fail(`epoch ${checkpoint.ownerEpoch}, the log has ${truth.epochBelow(partition, offset)}`)
  for (const [topic, next] of inputs) if (Number(checkpoint.inputs.get(topic) ?? 0n) !== next) fail(`${topic} ${checkpoint.inputs.get(topic)}, the log has ${next}`)
  const known = new Set(rooms.map(({ room }) => room.roomId))
  for (const [roomId, { partition: of }] of truth.rooms) {
    const state = of === partition ? truth.stateBelow(roomId, offset) : undefined
    // An order's room that ended long ago may be forgotten; others never, or they could be created again.
    if (state && !known.has(roomId) && !(isOld(world, state) && state.kind === 'order')) fail(`room ${roomId} is missing`)
  }
  for (const record of rooms) {
    const { mayBeForgotten, mayBeStub = false } = truth.rooms.get(record.room.roomId) ?? {}
    if (mayBeForgotten) continue
    const state = truth.stateBelow(record.room.roomId, offset)
    const difference = state ? differenceOf(state, record, buckets, mayBeStub || isOld(world, state)) : 'is not in the log'
    if (difference) fail(`room ${record.room.roomId} ${difference}`)
  }
}

/** Who takes a partition over has restored the fold of the log, unless somebody else has taken it since. */
export function checkRestored(world: World, kafka: Kafka, truth: Truth, partition: number, epoch: bigint, rooms: ReadonlyMap<RoomId, RoomState>): void {
  if (truth.epochBelow(partition, kafka.log('room-events', partition).high) !== Number(epoch)) return
  for (const [roomId, { partition: of, mayBeForgotten, mayBeStub }] of truth.rooms) {
    const state = of === partition && !mayBeForgotten && !mayBeStub ? truth.state(roomId) : undefined
    if (!state || isOld(world, state)) continue
    const restored = rooms.get(roomId)
    const acks = (room: RoomState | undefined) => new Map<string, unknown>(room?.dedupe.buckets.flatMap((bucket) => [...bucket.acks]))
    const isEqual = isDeepStrictEqual({ ...restored, dedupe: acks(restored) }, { ...state, dedupe: acks(state) })
    if (!isEqual) world.fail('restore', `partition ${partition}, epoch ${epoch}: room ${roomId} is restored as ${JSON.stringify(restored)}, the log has ${JSON.stringify(state)}`)
  }
}

const isOld = (world: World, state: RoomState): boolean => state.status !== 'open' && world.nowMs - state.lastEventMs > DEDUPE_WINDOW_MS

function differenceOf(state: RoomState, { room, firstBucket, bucketCount }: RoomRecord, buckets: ReadonlyMap<string, BucketRecord>, mayBeStub: boolean): string | undefined {
  const { dedupe, ...rest } = state
  if (!isDeepStrictEqual(rest, room)) {
    const isStub = mayBeStub && room.status === 'closed' && room.kind === state.kind && room.headSeq === state.headSeq && room.messageCount === state.messageCount && room.headHash === state.headHash
    if (!isStub) return `is ${JSON.stringify(room)}, the log has ${JSON.stringify(rest)}`
    return undefined
  }
  const remembered = new Map<string, unknown>()
  for (let i = firstBucket; i < firstBucket + bucketCount; i++) {
    const bucket = buckets.get(`${room.roomId}#${i}`)
    if (!bucket) return `lacks bucket ${i}`
    for (const [key, ack] of bucket.content.acks) remembered.set(key, ack)
  }
  const due = new Map<string, unknown>(dedupe.buckets.flatMap(({ acks }) => [...acks]))
  return isDeepStrictEqual(remembered, due) ? undefined : `remembers ${remembered.size} messages, the log has ${due.size}`
}
