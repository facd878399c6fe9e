import { describe, expect, test } from 'vitest'
import type { RoomUpdatedFrame } from '#libs/domain/frames.ts'
import type { ClientMessageId, MessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import { fixedLimits } from '#libs/domain/limits.ts'
import { judgeReply, laneOf, type Operation, type OperationRequest, OUTSIDE, requestProblem } from './operations.ts'

const roomId = 'g-1' as RoomId
const messageId = 'c39e3645-3be0-5a4c-97cc-d0631bd117c3' as MessageId
const rename: OperationRequest = { type: 'changeRoom', roomId, name: 'new' }
const operation: Operation = { clientMessageId: 'm1' as ClientMessageId, roomId, request: rename }

describe('what a reply means', () => {
  test('an ack ends it; the event that it carries is passed on', () => {
    const event = { type: 'roomUpdated', roomId, seq: 7, timestamp: 1, event: 'roomChanged', name: 'new' } as RoomUpdatedFrame
    const ack = { roomId, clientMessageId: operation.clientMessageId, seq: 7, repeated: false, unchanged: false, event, timestamp: 1 }
    expect(judgeReply(operation, { id: 1, type: 'ack', roomId, seq: 7, timestamp: 1, event })).toEqual({ kind: 'acked', ack })
  })

  test('so do a repeat and what was so already, without an event', () => {
    const base = { roomId, clientMessageId: operation.clientMessageId, seq: 7 }
    expect(judgeReply(operation, { type: 'ack', roomId, seq: 7, repeated: true })).toEqual({ kind: 'acked', ack: { ...base, repeated: true, unchanged: false } })
    expect(judgeReply(operation, { type: 'ack', roomId, seq: 7, unchanged: true })).toEqual({ kind: 'acked', ack: { ...base, repeated: false, unchanged: true } })
  })

  test('a refusal ends it, unless it may pass or the join was lost', () => {
    const error = { type: 'error', message: 'words' } as const
    expect(judgeReply(operation, { ...error, code: 'not_allowed', retriable: false })).toEqual({ kind: 'failed', code: 'not_allowed', retriable: false, message: 'words' })
    expect(judgeReply(operation, { ...error, code: 'rate_limited', retriable: true, retryAfterMs: 300 })).toEqual({ kind: 'again', retryAfterMs: 300, why: 'refused' })
    expect(judgeReply(operation, { ...error, code: 'not_joined', retriable: false })).toEqual({ kind: 'again', retryAfterMs: undefined, why: 'notJoined' })
  })

  test('an ack that says too little is none', () => {
    expect(judgeReply(operation, { type: 'ack', roomId })).toMatchObject({ kind: 'again', why: 'unreadable' })
    const creation: Operation = { ...operation, request: { type: 'createConversation', kind: 'direct', participants: ['bob' as UserId] } }
    expect(judgeReply(creation, { type: 'ack', seq: 1 })).toMatchObject({ kind: 'again', why: 'unreadable' })
    expect(judgeReply(creation, { type: 'ack', seq: 1, roomId })).toMatchObject({ kind: 'acked', ack: { roomId } })
  })
})

test('what needs no room waits for none', () => {
  expect(laneOf(rename)).toBe(roomId)
  expect(laneOf({ type: 'acceptInvitation', roomId })).toBe(OUTSIDE)
  expect(laneOf({ type: 'createConversation', kind: 'direct', participants: [] })).toBe(OUTSIDE)
})

test('a request that the server would take for a broken client is told here', () => {
  const bob = 'bob' as UserId
  const fine: OperationRequest[] = [
    rename,
    { type: 'editMessage', roomId, messageId, message: '' },
    { type: 'react', roomId, messageId, emoji: '👍', on: false },
    { type: 'addParticipant', roomId, userId: bob },
    { type: 'resolveDispute', roomId, note: 'x'.repeat(fixedLimits.noteCharsMax) },
    { type: 'acceptInvitation', roomId },
    { type: 'createConversation', kind: 'group', participants: [bob], clientId: 'mine', metadata: { a: 'b' } },
  ]
  expect(fine.map(requestProblem)).toEqual(fine.map(() => undefined))
  const { emojiCharsMax, metadataKeyCharsMax, metadataValueCharsMax, noteCharsMax, nameCharsMax } = fixedLimits
  const wrong: OperationRequest[] = [
    { type: 'editMessage', roomId, messageId: 'nothing' as MessageId, message: 'x' },
    { type: 'deleteMessage', roomId, messageId: '' as MessageId },
    { type: 'react', roomId, messageId, emoji: '' },
    { type: 'react', roomId, messageId, emoji: 'x'.repeat(emojiCharsMax + 1) },
    { type: 'addParticipant', roomId, userId: 'has space' as UserId },
    { type: 'inviteMediator', roomId, userId: '' as UserId },
    { type: 'changeRoom', roomId, name: 'x'.repeat(4 * nameCharsMax + 1) },
    { type: 'changeRoom', roomId, metadata: { ['k'.repeat(metadataKeyCharsMax + 1)]: 'v' } },
    { type: 'changeRoom', roomId, metadata: { k: 'v'.repeat(metadataValueCharsMax + 1) } },
    { type: 'resolveDispute', roomId, note: 'x'.repeat(4 * noteCharsMax + 1) },
    { type: 'createConversation', kind: 'group', participants: [bob, bob] },
    { type: 'createConversation', kind: 'group', participants: [bob], clientId: 'has space' },
  ]
  expect(wrong.filter((request) => requestProblem(request) === undefined)).toEqual([])
})
