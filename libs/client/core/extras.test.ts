import { expect, test } from 'vitest'
import type { ClientMessageId, MessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import { fixedLimits } from '#libs/domain/limits.ts'
import { extrasRefusal, normalExtras, ownMessageFrame } from './extras.ts'

const replyTo = 'c39e3645-3be0-5a4c-97cc-d0631bd117c3' as MessageId
const attachment = { url: 'https://files.example/a.png', mimeType: 'image/png', bytes: 12, name: 'a.png' }

test('extras are kept as the log keeps them: only what means something', () => {
  expect(normalExtras({})).toBeUndefined()
  expect(normalExtras({ mentions: [], attachments: [] })).toBeUndefined()
  expect(normalExtras({ mentions: ['bob', 'bob', 'carol'], replyTo })).toEqual({ mentions: ['bob', 'carol'], replyTo })
  const given = { messageType: 'image' as const, attachments: [{ ...attachment, width: undefined as never, preview: 'x' }] }
  expect(normalExtras(given)).toEqual({ messageType: 'image', attachments: [attachment] })
  expect(JSON.parse(JSON.stringify(normalExtras(given)))).toEqual(normalExtras(given))
})

test('what the server would refuse for ever is refused here', () => {
  expect(extrasRefusal({ replyTo, mentions: ['bob'], attachments: [attachment], productId: 'p-1' })).toBeUndefined()
  expect(extrasRefusal({ replyTo: 'nothing' })).toBe('invalid_request')
  expect(extrasRefusal({ mentions: ['has space'] })).toBe('invalid_request')
  expect(extrasRefusal({ mentions: Array.from({ length: fixedLimits.mentionsMax + 1 }, (_, i) => `u${i}`) })).toBe('invalid_request')
  expect(extrasRefusal({ location: { latitude: 1, longitude: 1, label: 'x'.repeat(fixedLimits.payloadCharsMax) } })).toBe('invalid_attachment')
})

test('the frame of an own message needs what the ack alone knows', () => {
  const ack = { roomId: 'o-1' as RoomId, clientMessageId: 'm' as ClientMessageId, messageId: replyTo, seq: 5, messageIndex: 3, timestamp: 9 }
  const alice = 'alice' as UserId
  expect(ownMessageFrame(ack, alice, 'hi')).toEqual({ type: 'newMessage', ...ack, senderId: alice, content: 'hi' })
  expect(ownMessageFrame(ack, alice, 'hi', { replyTo })).toBeUndefined()
  expect(ownMessageFrame({ ...ack, replyToSeq: 2 }, alice, 'hi', { replyTo })).toEqual({ type: 'newMessage', ...ack, senderId: alice, content: 'hi', replyTo, replyToSeq: 2 })
})
