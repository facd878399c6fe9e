import { expect, test } from 'vitest'
import { directRoomId, type RoomId, type UserId } from '#libs/domain/ids.ts'
import type { Entry } from '#libs/domain/room.ts'
import { decisionToAvro } from '#libs/streams/avro-shapes.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { OWNERSHIP_MARKER } from '#libs/streams/topics.ts'
import type { ReadPosition } from '#libs/streams/read-by-rule.ts'
import { readFacts } from './facts.ts'

const [a, b] = ['a' as UserId, 'b' as UserId]
const PAIR = directRoomId(a, b)
const GROUP = 'group-1' as RoomId
const at = { seq: 1, timestampMs: 7 }
const start: ReadPosition = { nextOffset: 0n, ownerEpoch: -1n, lastSources: new Map() }

const marker = (offset: bigint): InRecord => ({ offset, key: null, value: null, headers: { 'event-type': OWNERSHIP_MARKER }, timestampMs: 0 })
function record(offset: bigint, epoch: bigint, roomId: RoomId, ...entries: Entry[]): InRecord {
  const headers = { 'owner-epoch': String(epoch), 'event-type': entries.map(({ type }) => type).join(','), source: `chat-commands:${offset}`, traceparent: 'abc' }
  return { offset, key: roomId, value: Buffer.from(JSON.stringify(decisionToAvro({ roomId, commandId: undefined, entries }))), headers, timestampMs: 0 }
}

let decoded = 0
const codec = {
  learn: () => undefined,
  decode: (bytes: Buffer): unknown => {
    decoded++
    return JSON.parse(bytes.toString())
  },
}
const read = (...batch: InRecord[]) => readFacts(codec, 3, start, batch)
const block: Entry = { type: 'blockSet', ...at, blockerId: a, blockedId: b, on: true, occurredAtMs: 5 }
const source = { partition: 3, timestampMs: 7, traceparent: 'abc' }

test('what was said between two, and who came in; nothing that was passed on already, no direct rooms', async () => {
  const { facts, after } = await read(
    marker(0n),
    record(1n, 0n, PAIR, { type: 'roomOpened', ...at, kind: 'direct', participants: [{ userId: a, role: 'member' }, { userId: b, role: 'member' }] }, block),
    record(2n, 0n, GROUP, { type: 'roomOpened', ...at, kind: 'group', participants: [{ userId: a, role: 'owner' }] }, { type: 'participantAdded', ...at, participant: { userId: b, role: 'member' } }),
    record(3n, 0n, GROUP, block),
  )
  expect(facts).toEqual([
    { ...source, offset: 1n, index: 1, roomId: PAIR, kind: 'said', word: { blockerId: a, blockedId: b, on: true, occurredAtMs: 5 } },
    { ...source, offset: 2n, index: 0, roomId: GROUP, kind: 'opened', userIds: [a] },
    { ...source, offset: 2n, index: 1, roomId: GROUP, kind: 'entered', userId: b },
  ])
  expect(after).toEqual({ nextOffset: 4n, ownerEpoch: 0n, lastSources: new Map([['chat-commands', 3n]]) })
})

test('what a former owner has written does not count', async () => {
  const { facts, after } = await read(marker(0n), marker(1n), record(2n, 0n, PAIR, block))
  expect([facts, after.ownerEpoch]).toEqual([[], 1n])
})

test('what concerns nobody else is not even decoded', async () => {
  decoded = 0
  await read(marker(0n), record(1n, 0n, GROUP, { type: 'receiptMoved', ...at, userId: a, delivered: 1, seen: 1 }), record(2n, 0n, GROUP, { type: 'participantRemoved', ...at, participant: { userId: a, role: 'member' }, reason: 'left' }))
  expect(decoded).toBe(0)
})

test('a registry that does not answer is waited for', async () => {
  const away = { ...codec, learn: () => Promise.reject(new Error('ECONNREFUSED')) }
  await expect(readFacts(away, 3, start, [marker(0n), record(1n, 0n, PAIR, block)])).rejects.toMatchObject({ code: 'unavailable' })
})
