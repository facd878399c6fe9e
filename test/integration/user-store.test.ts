import { afterAll, beforeAll, expect, test } from 'vitest'
import { decideInbox, evolveInbox, evolveOwned, type OwnedUser } from '#libs/domain/decide-inbox.ts'
import type { MessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import { CHATS_MAX, ENDED_CHAT_KEPT_MS, FOREVER_MS, type InboxChange, type InboxInput, newUser, type UserDecision } from '#libs/domain/inbox.ts'
import { postgresConfigFromEnv } from '#libs/postgres/config.ts'
import { migrate } from '#libs/postgres/migrate.ts'
import { createPool, type Pool } from '#libs/postgres/pool.ts'
import { userRowsOf } from '../../services/message-persister/core/user-rows.ts'
import { createUserStore } from '../../services/message-persister/user-store.ts'
import { type Isolated, useStack } from '../support/stack.ts'
import { silent } from './api-fixture.ts'

let isolated: Isolated
let pool: Pool
beforeAll(async () => {
  isolated = await (await useStack()).isolate('user-store')
  await migrate(isolated.postgresUrl)
  pool = createPool(postgresConfigFromEnv({ POSTGRES_URL: isolated.postgresUrl }), silent)
})
afterAll(async () => {
  await pool.end()
  await isolated.cleanup()
})

const T0 = 1_700_000_000_000
const me = 'me' as UserId
const update = (roomId: string, roomSeq: number, change: InboxChange, timestampMs = T0 + roomSeq): InboxInput => ({ userId: me, roomId: roomId as RoomId, roomSeq, timestampMs, change })
const entered: InboxChange = { type: 'entered', kind: 'group', role: 'owner', name: 'It\'s "ours"', messageCount: 3, seen: 1 }
const last = { seq: 4, messageIndex: 4, messageId: 'm' as MessageId, senderId: 'x' as UserId, timestampMs: T0 + 4 }

/** What the feed decides, and the user whom it leaves. */
function decided(inputs: readonly InboxInput[]) {
  let state = newUser(me)
  const decisions = inputs.map((input): UserDecision => {
    const entries = decideInbox(state, input, T0)
    for (const entry of entries) state = evolveInbox(state, me, entry)
    return { userId: me, commandId: undefined, entries }
  })
  return { decisions, state }
}

async function persist(decisions: readonly UserDecision[], topic: string, batch: number): Promise<void> {
  const store = createUserStore(pool, topic)
  for (let from = 0; from < decisions.length; from += batch) {
    const applied = decisions.slice(from, from + batch).map((decision, i) => ({ offset: BigInt(from + i), decision }))
    const before = await store.readPosition(0)
    const after = { nextOffset: before.nextOffset + BigInt(applied.length), ownerEpoch: 0n, lastSources: new Map() }
    expect(await store.apply(0, before, after, userRowsOf(applied))).toBe(true)
  }
}

test('the tables are what the feed has, in any batches, with what was evicted gone', async () => {
  const late = T0 + ENDED_CHAT_KEPT_MS + 100
  const { decisions, state } = decided([
    update('old', 1, entered),
    update('gone', 1, entered),
    update('old', 2, { type: 'closed', reason: 'delivered' }),
    update('gone', 3, { type: 'left', reason: 'removed' }),
    update('kept', 1, entered),
    update('kept', 4, { type: 'messages', messageCount: 4, last, mentions: [2, 4] }),
    { userId: me, commandId: 'c', type: 'setChat', roomId: 'kept' as RoomId, mutedUntilMs: FOREVER_MS },
    update('asked', 2, { type: 'invited', kind: 'dispute' }, late),
    update('new', 1, entered, late),
    update('kept', 9, { type: 'renamed' }, late),
  ])
  for (const batch of [1, 3, 100]) {
    await pool.query('TRUNCATE user_heads, user_chats')
    await persist(decisions, `cut-${batch}`, batch)
    const { rows: chats } = await pool.query<Record<string, any>>('SELECT * FROM user_chats ORDER BY room_id')
    expect(chats.map((row) => row.room_id)).toEqual([...state.chats.keys()].sort())
    for (const row of chats) {
      const chat = state.chats.get(row.room_id)!
      expect([row.status, row.kind, row.role, row.name, row.mentions.map(Number), row.last_message, row.closed, row.archived]).toEqual([chat.status, chat.kind, chat.role ?? null, chat.name ?? null, chat.mentions, chat.last ?? null, chat.closed, chat.archived])
      expect([row.room_seq, row.message_count, row.seen, row.last_activity_ms, row.muted_until_ms].map(Number)).toEqual([chat.roomSeq, chat.messageCount, chat.seen, chat.lastActivityMs, chat.mutedUntilMs])
    }
    const { rows: [head] } = await pool.query<Record<string, string>>('SELECT user_seq, unread, mentions, chats FROM user_heads')
    expect(Object.entries(head!).map(([name, n]) => [name, Number(n)])).toEqual([['user_seq', state.userSeq], ...Object.entries(state.totals)])
  }
})

test('where another has been nothing is written, and numbers that do not go up are fatal', async () => {
  await pool.query('TRUNCATE user_heads, user_chats')
  const { decisions } = decided([update('r', 1, entered), update('r', 2, { type: 'seen', seen: 2 })])
  const rows = userRowsOf(decisions.map((decision, i) => ({ offset: BigInt(i), decision })))
  const store = createUserStore(pool, 'cas')
  const before = await store.readPosition(0)
  const after = { nextOffset: 2n, ownerEpoch: 0n, lastSources: new Map() }
  expect(await store.apply(0, before, after, rows)).toBe(true)
  expect(await store.apply(0, before, after, rows)).toBe(false)
  await expect(store.apply(0, after, { ...after, nextOffset: 4n }, rows)).rejects.toMatchObject({ code: 'log_corrupt' })
  expect(await store.readPosition(0)).toMatchObject({ nextOffset: 2n })
  expect((await pool.query('SELECT user_seq::int AS seq FROM user_heads')).rows).toEqual([{ seq: 2 }])
})

test('above the most that there may be the feed and the tables let go of the same chats', async () => {
  await pool.query('TRUNCATE user_heads, user_chats')
  const inputs = Array.from({ length: CHATS_MAX + 3 }, (_, i) => update(`r${i}`, 1, entered, T0 + i))
  inputs.splice(60, 0, update('r50', 2, { type: 'closed', reason: 'delivered' }, T0 + 60))
  let state: OwnedUser = { ...newUser(me), chats: new Map() }
  const decisions = inputs.map((input): UserDecision => {
    const entries = decideInbox(state, input, T0)
    for (const entry of entries) if (entry.type === 'chatChanged') state = evolveOwned(state, entry).user
    return { userId: me, commandId: undefined, entries }
  })
  await persist(decisions, 'many', 4_000)
  const { rows } = await pool.query<{ room_id: string }>('SELECT room_id FROM user_chats')
  expect(new Set(rows.map((row) => row.room_id))).toEqual(new Set(state.chats.keys()))
  expect([state.chats.size, ...['r50', 'r0', 'r1', 'r2'].map((id) => state.chats.has(id as RoomId))]).toEqual([CHATS_MAX, false, false, false, true])
})
