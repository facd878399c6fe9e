import { describe, expect, test } from 'vitest'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { type Chat, type ChatCause, type ChatChanged, ENDED_CHAT_KEPT_MS, type InboxEntry } from '#libs/domain/inbox.ts'
import { concernsTables } from '../user-events.ts'
import { type AppliedUserRecord, userRowsOf } from './user-rows.ts'

const T0 = 1_700_000_000_000
const chat = (roomId: string, roomSeq: number): Chat => ({
  roomId: roomId as RoomId, roomSeq, status: 'in', kind: 'order', messageCount: roomSeq, seen: 0, mentions: [], lastActivityMs: T0, closed: false, mutedUntilMs: 0, archived: false,
})
const changed = (userSeq: number, roomId: string, cause: ChatCause = 'messages', timestampMs = T0): ChatChanged => ({ type: 'chatChanged', userSeq, timestampMs, cause, chat: chat(roomId, userSeq), totals: { unread: userSeq, mentions: 0, chats: 1 } })
let offset = 0n
const of = (userId: string, ...entries: InboxEntry[]): AppliedUserRecord => ({ offset: offset++, decision: { userId: userId as UserId, commandId: undefined, entries } })

describe('userRowsOf', () => {
  test('the last state of each user and each chat wins; what changes nothing has no row', () => {
    const rows = userRowsOf([
      of('a', changed(4, 'r1')),
      of('b', changed(1, 'r1', 'added')),
      of('a', changed(5, 'r2')),
      of('a', { type: 'inboxIgnored', reason: 'x' }),
      of('c', { type: 'inboxRefused', code: 'chat_not_found' }),
      of('a', changed(6, 'r1')),
    ])
    expect(rows.events).toBe(4)
    expect(rows.heads).toEqual([{ userId: 'a', userSeq: 6, unread: 6, mentions: 0, chats: 1 }, { userId: 'b', userSeq: 1, unread: 1, mentions: 0, chats: 1 }])
    expect(rows.chats).toEqual([
      { userId: 'a', userSeq: 6, chat: chat('r1', 6) },
      { userId: 'b', userSeq: 1, chat: chat('r1', 1) },
      { userId: 'a', userSeq: 5, chat: chat('r2', 5) },
    ])
  })

  test('evictions are looked for where a chat comes, as of the last one that came', () => {
    const rows = userRowsOf([of('a', changed(1, 'r1', 'added', T0)), of('a', changed(2, 'r2', 'invited', T0 + 9)), of('a', changed(3, 'r2', 'read', T0 + 20)), of('b', changed(1, 'r1', 'set'))])
    expect(rows.evictions).toEqual([{ userId: 'a', userSeq: 2, endedBeforeMs: T0 + 9 - ENDED_CHAT_KEPT_MS }])
  })

  test.each([[1, 3], [2, 2], [3, 2]])('a hole, a repeat or a step back is fatal (%i, %i)', (first, second) => {
    expect(() => userRowsOf([of('a', changed(first, 'r1')), of('a', changed(second, 'r1'))])).toThrow(expect.objectContaining({ code: 'log_corrupt' }))
  })
})

test('only what changes a chat is decoded', () => {
  const record = (type: string | undefined) => ({ offset: 0n, key: 'a', value: Buffer.alloc(0), headers: type === undefined ? {} : { 'event-type': Buffer.from(type) }, timestampMs: T0 })
  expect(['chatChanged', 'inboxIgnored', 'inboxRefused', undefined].map((type) => concernsTables(record(type)))).toEqual([true, false, false, true])
})
