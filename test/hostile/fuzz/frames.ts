import fc from 'fast-check'

/** Frames that no client of ours would send, near the ones that it would. All as text: what is on the wire. */
const names = ['id', 'type', 'roomId', 'since', 'message', 'clientMessageId', 'token', 'messageId', 'emoji', 'on', 'seen', 'delivered', 'participants', 'kind', 'userId', 'attachments', 'location', 'mentions', 'replyTo', 'metadata', '__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', 'toJSON', 'then', 'length', '']
const types = ['join', 'leave', 'sendMessage', 'authenticate', 'ping', 'editMessage', 'deleteMessage', 'react', 'mark', 'typing', 'setPresence', 'watchProducts', 'createConversation', 'addParticipant', 'removeParticipant', 'changeRoom', 'inviteMediator', 'acceptInvitation', 'resolveDispute', 'Join', 'ping ', 'PING', '__proto__', 'constructor', 'toString', 'ack', 'error', 'newMessage', '']

const strangeTexts = ['', '\0', '\ud800', '\udfff', 'a\udc00b', '\u2028', '\ufeff', '𝄞', 'e\u0301', '\u202e', "'; DROP TABLE rooms; --", '${jndi}', '../../etc/passwd', '<script>', 'null', '[object Object]', '-1', '1e3', 'NaN']
const strangeNumbers = [0, -0, -1, 1.5, 2 ** 31, -(2 ** 31) - 1, 2 ** 53 - 1, 2 ** 53, -(2 ** 53), 1e21, 1e308, -1e308, 5e-324]
/** What JSON.stringify never writes. */
const strangeLiterals = ['1e400', '-1e400', '1E-999', '-0', '9007199254740993', '0.1e1', '123456789012345678901234567890', '01', '+1', '.5', '1.', '0x10', 'NaN', 'Infinity', 'undefined', "'x'", '"\\ud800"', '"\\u0000"', '"\\x41"', '"\t"', 'tru', '[1,]', '{,}', '{"a":1,}']

const text = fc.oneof({ weight: 4, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }) }, { weight: 3, arbitrary: fc.constantFrom(...strangeTexts) }, { weight: 1, arbitrary: fc.integer({ min: 60, max: 5_000 }).map((n) => 'x'.repeat(n)) })
const value = fc.oneof(text, fc.constantFrom<unknown>(...strangeNumbers), fc.jsonValue({ maxDepth: 3 }), fc.constantFrom<unknown>(null, true, false, [], {}, [[]], { id: 1 }))

const id = fc.oneof({ weight: 5, arbitrary: fc.integer({ min: -1_000, max: 1_000_000 }) as fc.Arbitrary<unknown> }, { weight: 2, arbitrary: fc.string({ minLength: 1, maxLength: 64 }) }, { weight: 1, arbitrary: value })
const roomId = fc.oneof({ weight: 4, arbitrary: fc.constantFrom('order-1', 'order-2', '__proto__', 'constructor', 'x'.repeat(128)) }, { weight: 1, arbitrary: text })
const clientMessageId = fc.oneof(fc.uuid({ version: 7 }), fc.uuid(), fc.ulid(), text)
const token = fc.oneof(fc.constantFrom('good', 'a.b.c', 'x'.repeat(8_192), 'x'.repeat(8_193)), text)

const messageId = fc.oneof(fc.uuid(), text)
const userId = fc.oneof(fc.constantFrom('customer', 'vendor', 'stranger', '__proto__'), text)
const cursor = fc.oneof(fc.nat(9), fc.constantFrom<unknown>(...strangeNumbers))
const attachment = fc.oneof(fc.record({ url: fc.oneof(fc.webUrl(), text), mimeType: fc.constantFrom('image/png', 'x', ''), bytes: cursor, name: text }, { requiredKeys: [] }), value)

const requests: readonly fc.Arbitrary<Record<string, unknown>>[] = [
  fc.record({ id, type: fc.constant('join'), roomId, since: fc.nat(5) }, { requiredKeys: ['type'] }),
  fc.record({ id, type: fc.constant('leave'), roomId }, { requiredKeys: ['type'] }),
  fc.record({ id, type: fc.constant('sendMessage'), roomId, clientMessageId, message: text }, { requiredKeys: ['type', 'message'] }),
  fc.record({ id, type: fc.constant('sendMessage'), roomId, clientMessageId, message: text, messageType: fc.constantFrom('image', 'file', 'location', 'productCard', 'orderCard', 'system'), attachments: fc.array(attachment, { maxLength: 12 }), location: value, productId: text, replyTo: messageId, mentions: fc.array(userId) }, { requiredKeys: ['type', 'message'] }),
  fc.record({ id, type: fc.constantFrom('editMessage', 'deleteMessage'), roomId, clientMessageId, messageId, message: text }, { requiredKeys: ['type'] }),
  fc.record({ id, type: fc.constant('react'), roomId, clientMessageId, messageId, emoji: text, on: fc.boolean() }, { requiredKeys: ['type'] }),
  fc.record({ id, type: fc.constant('mark'), roomId, delivered: cursor, seen: cursor, hidden: fc.boolean() }, { requiredKeys: ['type'] }),
  fc.record({ id, type: fc.constantFrom('typing', 'setPresence', 'watchProducts'), roomId, on: fc.boolean(), status: fc.constantFrom('online', 'away', 'gone'), productIds: fc.array(text) }, { requiredKeys: ['type'] }),
  fc.record({ id, type: fc.constant('createConversation'), kind: fc.constantFrom('direct', 'group', 'order', 'dispute'), participants: fc.array(userId, { maxLength: 4 }), clientId: text, name: text, metadata: fc.dictionary(text, value), history: fc.constantFrom('all', 'fromJoin', 'none') }, { requiredKeys: ['type'] }),
  fc.record({ id, type: fc.constantFrom('addParticipant', 'removeParticipant', 'changeRoom', 'inviteMediator', 'acceptInvitation', 'resolveDispute'), roomId, clientMessageId, userId, role: text, name: text, note: text }, { requiredKeys: ['type'] }),
  fc.record({ id, type: fc.constant('authenticate'), token }, { requiredKeys: ['type'] }),
  fc.record({ id, type: fc.constant('ping') }, { requiredKeys: ['type'] }),
]

/** A request with up to three of its fields changed, dropped or added. */
const nearRequest = fc.tuple(fc.oneof(...requests), fc.array(fc.tuple(fc.constantFrom(...names), fc.option(fc.oneof(value, fc.constantFrom<unknown>(...types)), { nil: undefined })), { maxLength: 3 })).map(([request, changes]) => {
  const changed = new Map<string, unknown>(Object.entries(request))
  for (const [name, to] of changes) {
    if (to === undefined) changed.delete(name)
    else changed.set(name, to)
  }
  // By hand, so that a key __proto__ is one.
  return `{${[...changed].map(([name, to]) => `${JSON.stringify(name)}:${JSON.stringify(to)}`).join(',')}}`
})

const plainRequest = fc.oneof(...requests).map((request) => JSON.stringify(request))

/** One field's value in words that only other parsers take, a field twice, a text cut short or with something put in. */
const damagedText = fc.tuple(plainRequest, fc.constantFrom(...names), fc.constantFrom(...strangeLiterals), fc.nat(), fc.constantFrom('literal', 'cut', 'insert', 'twice', 'wrap')).map(([request, name, literal, at, how]) => {
  const place = at % (request.length + 1)
  if (how === 'cut') return request.slice(0, place)
  if (how === 'insert') return request.slice(0, place) + literal + request.slice(place)
  if (how === 'twice') return `${request}${request}`
  if (how === 'wrap') return `[${request}]`
  return request.replace(/\}$/, `${request === '{}' ? '' : ','}${JSON.stringify(name)}:${literal}}`)
})

const deep = fc.tuple(fc.integer({ min: 10, max: 5_000 }), fc.constantFrom('[', '{"a":', '[{"id":'), fc.boolean(), fc.constantFrom(...names)).map(([levels, open, isClosed, name]) => {
  const close = [...open.replaceAll(/[^[{]/g, '')].toReversed().map((c) => (c === '[' ? ']' : '}')).join('')
  const nested = open.repeat(levels) + (isClosed ? `1${close.repeat(levels)}` : '')
  return name === '' ? nested : `{"id":1,"type":"sendMessage",${JSON.stringify(name)}:${nested}}`
})

export const textFrame: fc.Arbitrary<string> = fc.oneof(
  { weight: 8, arbitrary: nearRequest },
  { weight: 4, arbitrary: plainRequest },
  { weight: 4, arbitrary: damagedText },
  { weight: 2, arbitrary: fc.json({ maxDepth: 4 }) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 100 }) },
  { weight: 1, arbitrary: fc.constantFrom(...strangeLiterals) },
  { weight: 1, arbitrary: deep },
)

export const binaryFrame: fc.Arbitrary<Uint8Array> = fc.oneof(fc.uint8Array({ maxLength: 200 }), plainRequest.map((request) => Buffer.from(request)))
