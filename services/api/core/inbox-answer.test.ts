import { expect, test } from 'vitest'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { type Chat, FOREVER_MS, type InboxEntry } from '#libs/domain/inbox.ts'
import { inboxAnswerOf } from './inbox-answer.ts'

const roomId = 'r' as RoomId
const chat: Chat = {
  roomId, roomSeq: 5, status: 'in', kind: 'order', role: 'vendor', messageCount: 4, seen: 1, mentions: [2, 4], lastActivityMs: 9, closed: false, mutedUntilMs: FOREVER_MS, archived: false,
}
const totals = { unread: 3, mentions: 2, chats: 1 }
const answer = (...entries: InboxEntry[]) => inboxAnswerOf(roomId, { userId: 'ann' as UserId, commandId: 'c', entries })

test('a change is answered with the chat as it is then, unread by the one rule', () => {
  expect(answer({ type: 'chatChanged', userSeq: 7, timestampMs: 9, cause: 'set', chat, totals })).toEqual({
    roomId, userSeq: 7, totals,
    chat: { roomId, roomSeq: 5, status: 'in', kind: 'order', role: 'vendor', messageCount: 4, unread: 3, mentions: 2, lastActivityMs: 9, mutedUntilMs: FOREVER_MS },
  })
})

test('of a chat that was left nothing is unread', () => {
  const left = answer({ type: 'chatChanged', userSeq: 8, timestampMs: 9, cause: 'set', chat: { ...chat, status: 'left', mentions: [], archived: true, mutedUntilMs: 0 }, totals })
  expect(left.chat).toMatchObject({ status: 'left', unread: 0, mentions: 0, archived: true })
  expect(left.chat).not.toHaveProperty('mutedUntilMs')
})

test('what was so already is unchanged, a refusal has its code, and other words are no answer', () => {
  expect(answer({ type: 'inboxUnchanged', userSeq: 7 })).toEqual({ roomId, userSeq: 7, unchanged: true })
  expect(() => answer({ type: 'inboxRefused', code: 'chat_not_found' })).toThrow(expect.objectContaining({ code: 'chat_not_found' }))
  expect(() => answer({ type: 'inboxIgnored', reason: 'x' })).toThrow(expect.objectContaining({ code: 'outcome_unknown' }))
  expect(() => answer()).toThrow(expect.objectContaining({ code: 'outcome_unknown' }))
})
