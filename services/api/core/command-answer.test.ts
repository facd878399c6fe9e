import { describe, expect, test } from 'vitest'
import { errorCatalogue } from '#libs/domain/errors.ts'
import type { RoomId } from '#libs/domain/ids.ts'
import type { Entry } from '#libs/domain/room.ts'
import { answerOf, statusOf } from './command-answer.ts'

const roomId = 'room' as RoomId
const answer = (type: Parameters<typeof answerOf>[0]['type'], ...entries: unknown[]) => answerOf({ roomId, type }, { roomId, commandId: 'c', entries: entries as Entry[] })
const ack = { messageId: 'm', seq: 7, messageIndex: 3, timestampMs: 1_000 }

describe('the answer to a command', () => {
  test('of a message has its place among events and messages', () => {
    const sent = { type: 'messageSent', seq: 7, timestampMs: 1_000, messageId: 'm', messageIndex: 3, content: 'hi' }
    expect(answer('sendMessage', sent)).toEqual({ roomId, seq: 7, messageId: 'm', messageIndex: 3, timestamp: 1_000 })
  })

  test('of several events is that of the last one, which is its own', () => {
    const added = { type: 'participantAdded', seq: 7, timestampMs: 1_000, participant: {} }
    const removed = { type: 'participantRemoved', seq: 8, timestampMs: 1_000, participant: {} }
    expect(answer('removeParticipant', added, removed)).toEqual({ roomId, seq: 8, timestamp: 1_000 })
  })

  test('names the message that it is about', () => {
    expect(answer('react', { type: 'reactionSet', seq: 9, timestampMs: 2_000, messageId: 'm', messageSeq: 7 })).toEqual({ roomId, seq: 9, messageId: 'm', timestamp: 2_000 })
  })

  test('of a repeat is the original one, with no more than the original had', () => {
    expect(answer('sendMessage', { type: 'repeated', ack })).toEqual({ roomId, seq: 7, messageId: 'm', messageIndex: 3, timestamp: 1_000, repeated: true })
    expect(answer('editMessage', { type: 'repeated', ack })).toEqual({ roomId, seq: 7, messageId: 'm', timestamp: 1_000, repeated: true })
    expect(answer('addParticipant', { type: 'repeated', ack })).toEqual({ roomId, seq: 7, timestamp: 1_000, repeated: true })
  })

  test('of what was so already is the head of the room', () => {
    expect(answer('mark', { type: 'unchanged', headSeq: 12 })).toEqual({ roomId, seq: 12, unchanged: true })
  })

  test('a refusal keeps its code and its pause', () => {
    expect(() => answer('sendMessage', { type: 'refused', code: 'rate_limited', retryAfterMs: 300 })).toThrow(expect.objectContaining({ code: 'rate_limited', retryAfterMs: 300 }))
    expect(() => answer('sendMessage', { type: 'refused', code: 'room_read_only' })).toThrow(errorCatalogue.room_read_only.message)
  })

  test('in words of a newer version is no answer', () => {
    expect(() => answer('sendMessage', { type: 'postponed' })).toThrow(expect.objectContaining({ code: 'outcome_unknown' }))
    expect(() => answer('sendMessage')).toThrow(expect.objectContaining({ code: 'outcome_unknown' }))
  })

  test('201 is for what was made', () => {
    expect([statusOf({ roomId, seq: 1 }), statusOf({ roomId, seq: 1, repeated: true }), statusOf({ roomId, seq: 1, unchanged: true })]).toEqual([201, 200, 200])
  })
})
