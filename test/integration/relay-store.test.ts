import { afterAll, beforeAll, expect, test } from 'vitest'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { postgresConfigFromEnv } from '#libs/postgres/config.ts'
import { migrate } from '#libs/postgres/migrate.ts'
import { createPool, type Pool } from '#libs/postgres/pool.ts'
import { createPositionStore } from '#libs/postgres/position-store.ts'
import { topics } from '#libs/streams/topics.ts'
import type { Word } from '../../services/relay/core/facts.ts'
import { createRelayStore } from '../../services/relay/store.ts'
import { type Isolated, useStack } from '../support/stack.ts'
import { silent } from './api-fixture.ts'

let isolated: Isolated
let pool: Pool
beforeAll(async () => {
  isolated = await (await useStack()).isolate('relay-store')
  await migrate(isolated.postgresUrl)
  pool = createPool(postgresConfigFromEnv({ POSTGRES_URL: isolated.postgresUrl }), silent)
})
afterAll(async () => {
  await pool.end()
  await isolated.cleanup()
})

const user = (id: string) => id as UserId
const word = (blocker: string, blocked: string, on: boolean, occurredAtMs = 1): Word => ({ blockerId: user(blocker), blockedId: user(blocked), on, occurredAtMs })
const relayStore = () => createRelayStore(pool, topics.roomEvents.name)

test('the last word is kept, in any order; of two at the same time the block', async () => {
  const store = relayStore()
  const kept = async () => (await store.wordsAmong([user('a'), user('b')])).toSorted((x, y) => (x.blockerId < y.blockerId ? -1 : 1))
  await store.remember([word('a', 'b', false, 5), word('b', 'a', true, 5)])
  await store.remember([word('a', 'b', true, 4), word('b', 'a', false, 5)])
  expect(await kept()).toEqual([word('a', 'b', false, 5), word('b', 'a', true, 5)])
  await store.remember([word('a', 'b', true, 5)])
  await store.remember([word('b', 'a', false, 2 ** 52)])
  expect(await kept()).toEqual([word('a', 'b', true, 5), word('b', 'a', false, 2 ** 52)])
})

test('whom anything was said by or about, and what among whom', async () => {
  const store = relayStore()
  await store.remember([word('c', 'd', true), word('e', 'c', false)])
  expect(await store.concerned(['c', 'd', 'e', 'nobody'].map(user))).toEqual(new Set(['c', 'd', 'e']))
  expect(await store.concerned([])).toEqual(new Set())
  expect(await store.wordsAmong(['c', 'd', 'nobody'].map(user))).toEqual([word('c', 'd', true)])
})

test('common rooms are open, and no direct ones; people are those of now', async () => {
  const rooms: [roomId: string, kind: string, isReadOnly: boolean, people: string[]][] = [
    ['both', 'group', false, ['f', 'g', 'h']],
    ['order', 'order', false, ['g', 'f']],
    ['closed', 'order', true, ['f', 'g']],
    ['pair', 'direct', false, ['f', 'g']],
    ['one', 'group', false, ['f', 'h']],
  ]
  for (const [roomId, kind, isReadOnly, people] of rooms) {
    await pool.query('INSERT INTO chat_rooms (room_id, kind, is_readonly, participants, head_seq, message_count, opened_at, last_event_at) VALUES ($1, $2, $3, $4, 1, 0, now(), now())', [roomId, kind, isReadOnly, '[]'])
    for (const userId of people) await pool.query("INSERT INTO room_participants (user_id, room_id, role, since_seq) VALUES ($1, $2, 'member', 1)", [userId, roomId])
  }
  const store = relayStore()
  const [first, second] = [word('f', 'g', true), word('h', 'f', false)]
  const found = (await store.commonRooms([first, second, word('g', 'nobody', true)])).map(({ word: { blockerId }, roomId }) => [blockerId, roomId])
  expect(found.toSorted()).toEqual([['f', 'both'], ['f', 'order'], ['h', 'both'], ['h', 'one']])
  expect(await store.people(['one', 'no such room'] as RoomId[])).toEqual(new Map([['one', new Set(['f', 'h'])], ['no such room', new Set()]]))
})

test('positions move forward only, with their epochs, and are not those of the persister', async () => {
  const store = createPositionStore(pool, 'relay:room-events')
  const position = (nextOffset: bigint, ownerEpoch: bigint) => ({ nextOffset, ownerEpoch, lastSources: new Map() })
  expect(await store.read(3)).toBeUndefined()
  await store.save(new Map([[3, position(7n, 2n)], [4, position(2n ** 60n, -1n)]]))
  await store.save(new Map([[3, position(6n, 1n)]]))
  await store.save(new Map())
  expect([await store.read(3), await store.read(4)]).toEqual([position(7n, 2n), position(2n ** 60n, -1n)])
  expect(await relayStore().persisted()).toEqual(new Map())
  await pool.query('INSERT INTO persisted_offsets (topic, partition, next_offset, owner_epoch) VALUES ($1, 3, 9, 0)', [topics.roomEvents.name])
  expect(await relayStore().persisted()).toEqual(new Map([[3, 9n]]))
})
