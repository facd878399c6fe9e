import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decide } from './decide.ts'
import { contentHashOf } from './decide-parts.ts'
import { evolve } from './evolve.ts'
import { clientMessageIdOf, groupRoomId, type UserId } from './ids.ts'
import type { RoomCommandBody } from './inputs.ts'
import { defaultRoomLimits } from './limits.ts'
import { attachmentKeyPrefix, payloadText } from './payload.ts'
import { type Entry, newRoom } from './room.ts'

const T0 = 1_700_000_000_000
const limits = { ...defaultRoomLimits, attachmentHosts: ['files.example'] }
const senderId = 'a' as UserId
const roomId = groupRoomId(senderId, '1')

function ask(body: RoomCommandBody): readonly Entry[] {
  const opened: Entry = { type: 'roomOpened', seq: 1, timestampMs: T0, kind: 'group', participants: [{ userId: senderId, role: 'owner' }] }
  const room = evolve(newRoom(roomId), roomId, opened)
  return decide(room, { roomId, commandId: 'c', senderId, clientMessageId: clientMessageIdOf('x', T0), ...body }, T0, limits)
}

const refusedWith = (code: string) => [{ type: 'refused', code }]

describe('payloads', () => {
  const file = { url: 'https://files.example/x.png', mimeType: 'image/png', bytes: 10, name: 'x.png', width: 2, height: 3 }
  const send = (payload: string | undefined, messageType: 'image' | 'file' | 'location' | 'productCard' | 'orderCard' = 'image', content = '') =>
    ask({ type: 'sendMessage', content, salt: 's', messageType, ...(payload !== undefined && { payload }) })

  test.each([
    ['image', payloadText({ attachments: [file] })],
    ['image', payloadText({ attachments: [{ key: `${attachmentKeyPrefix(roomId)}k`, mimeType: 'image/png', bytes: 1, name: 'k' }] })],
    ['location', payloadText({ location: { latitude: -90, longitude: 180, label: 'here' } })],
    ['productCard', payloadText({ productId: 'p1' })],
    ['orderCard', payloadText({ orderId: 'o1' })],
  ] as const)('%s is taken, its payload in the hash', (type, payload) => {
    expect(send(payload, type)).toMatchObject([{ type: 'messageSent', messageType: type, payload, contentHash: contentHashOf('s', '', payload) }])
  })

  test.each([
    ['an unknown host', payloadText({ attachments: [{ ...file, url: 'https://evil.example/x' }] })],
    ['no https', payloadText({ attachments: [{ ...file, url: 'http://files.example/x' }] })],
    ['another room', payloadText({ attachments: [{ key: 'rooms/other/k', mimeType: 'image/png', bytes: 1, name: 'k' }] })],
    ['too large', payloadText({ attachments: [{ ...file, bytes: limits.attachmentBytesMax + 1 }] })],
    ['too many', payloadText({ attachments: Array.from({ length: limits.attachmentsMax + 1 }, () => file) })],
    ['not an image', payloadText({ attachments: [{ ...file, mimeType: 'text/plain' }] })],
    ['no JSON', '{'],
    ['nothing', '{}'],
    ['a list', '[]'],
    ['attachments that are none', '{"attachments":[null]}'],
  ])('%s is invalid_attachment', (_, payload) => {
    expect(send(payload)).toEqual(refusedWith('invalid_attachment'))
  })

  test('whatever is said to be a payload, deciding never throws', () => {
    fc.assert(fc.property(fc.json(), (payload) => void send(payload, 'file')))
  })

  test('without a payload there must be a text; system messages are not for people', () => {
    expect(send(undefined)).toEqual(refusedWith('content_empty'))
    expect(ask({ type: 'sendMessage', content: 'x', salt: 's', messageType: 'system' })).toEqual(refusedWith('not_allowed'))
  })
})
