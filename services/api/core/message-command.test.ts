import { describe, expect, test } from 'vitest'
import type { RoomId } from '#libs/domain/ids.ts'
import { defaultRoomLimits } from '#libs/domain/limits.ts'
import { checkEmoji, checkText, checkUpload, sendCommand } from './message-command.ts'

const roomId = 'r1' as RoomId
const send = (request: Parameters<typeof sendCommand>[1]) => sendCommand(roomId, request, 'salt', { ...defaultRoomLimits, attachmentHosts: ['cdn.example'] })
const withCode = (code: string) => expect.objectContaining({ code })
const file = { key: 'rooms/r1/k', mimeType: 'image/png', bytes: 10, name: 'a.png' }

describe('a message', () => {
  test('becomes a command with what it says and nothing else', () => {
    expect(send({ message: 'hi', mentions: [] })).toEqual({ type: 'sendMessage', content: 'hi', salt: 'salt' })
    expect(send({ message: '', messageType: 'image', attachments: [file], replyTo: 'm' as never, mentions: ['bob' as never] })).toEqual({
      type: 'sendMessage', content: '', salt: 'salt', messageType: 'image', payload: JSON.stringify({ attachments: [{ key: 'rooms/r1/k', mimeType: 'image/png', bytes: 10, name: 'a.png' }] }), replyTo: 'm', mentions: ['bob'],
    })
  })

  test('is refused early where the log would refuse it', () => {
    expect(() => send({ message: '' })).toThrow(withCode('content_empty'))
    expect(() => send({ message: 'x'.repeat(4_001) })).toThrow(withCode('content_too_long'))
    expect(() => send({ message: '\0' })).toThrow(withCode('content_invalid'))
    expect(() => send({ message: '', attachments: [{ ...file, key: 'rooms/other/k' }] })).toThrow(expect.objectContaining({ code: 'invalid_attachment', message: expect.stringContaining('key is not of an upload to this room') }))
    expect(() => send({ message: 'x', messageType: 'location' })).toThrow(withCode('invalid_attachment'))
    expect(() => send({ message: 'x', attachments: [{ url: 'https://evil.example/x', mimeType: 'image/png', bytes: 1, name: 'x' }] })).toThrow(withCode('invalid_attachment'))
    expect(send({ message: 'x', attachments: [{ url: 'https://cdn.example/x', mimeType: 'image/png', bytes: 1, name: 'x' }] }).payload).toContain('cdn.example')
  })
})

test('an upload is judged as the attachment that it will be', () => {
  expect(() => checkUpload(roomId, file, defaultRoomLimits)).not.toThrow()
  for (const wrong of [{ bytes: defaultRoomLimits.attachmentBytesMax + 1 }, { mimeType: 'png' }, { name: '' }, { name: 'a\nb' }]) {
    expect(() => checkUpload(roomId, { ...file, ...wrong }, defaultRoomLimits)).toThrow(withCode('invalid_attachment'))
  }
})

test('texts and emojis are bounded', () => {
  for (const good of ['👍', ':ship:', '👩‍👩‍👧']) expect(() => checkEmoji(good)).not.toThrow()
  for (const bad of ['a b', 'x'.repeat(33), '\u0007']) expect(() => checkEmoji(bad)).toThrow(withCode('invalid_request'))
  expect(() => checkText('name', '👍'.repeat(100), 100)).not.toThrow()
  expect(() => checkText('name', undefined, 100)).not.toThrow()
  for (const bad of ['👍'.repeat(101), '\ud800']) expect(() => checkText('name', bad, 100)).toThrow(withCode('invalid_request'))
})
