import { expect, test } from 'vitest'
import { fuzzDirectly } from './direct.ts'
import { faultOf, idOf, miscounted } from './oracle.ts'

test('frames of any shape: a coded reply for each id, exactly one, and they get everywhere', { timeout: 60_000 }, async () => {
  const report = await fuzzDirectly(5_000, 1, () => {})
  expect(report.failed).toEqual([])
  const replies = report.figures['repliesDirect'] as Record<string, number>
  const everywhere = ['ack', 'joined', 'malformed_frame', 'unknown_type', 'not_joined', 'room_not_found', 'invalid_request', 'content_empty', 'content_too_long', 'content_invalid', 'invalid_client_message_id', 'client_message_id_expired', 'token_invalid', 'too_many_pending']
  expect(everywhere.filter((kind) => !(replies[kind]! > 0))).toEqual([])
})

test('a missing reply, one too many, an undocumented code and one that is our own fault are found', () => {
  expect(miscounted([1, 'a', undefined, 1], [{ id: 1 }, { id: 'a' }, { id: 1 }])).toEqual([])
  expect(miscounted([1, 'a'], [{ id: 1 }])).toEqual(['"a": 1 replies missing'])
  expect(miscounted(['1'], [{ id: 1 }])).toEqual(['"1": 1 replies missing', '1: 1 replies too many'])
  expect(faultOf({ type: 'error', code: 'malformed_frame', retriable: false, message: 'm' })).toBeUndefined()
  expect(faultOf({ type: 'error', code: 'malformed_frame', retriable: true, message: 'm' })).toMatch(/retriable/)
  expect(faultOf({ type: 'error', code: 'internal', retriable: true, message: 'm' })).toBe('code internal')
  expect(faultOf({ type: 'newMessage' })).toMatch(/a reply of type/)
})

test.each([
  ['{"id":1}', 1],
  ['{"id":-0}', -0],
  ['{"id":1e3}', 1_000],
  ['{"id":1,"id":"x"}', 'x'],
  ['{"id":1e400}', undefined],
  ['{"id":1.5}', undefined],
  ['{"id":""}', undefined],
  ['{"__proto__":{"id":1}}', undefined],
  ['[{"id":1}]', undefined],
  ['{"id":1', undefined],
])('the id of %s', (text, id) => expect(idOf(text)).toBe(id))
