import { describe, expect, test } from 'vitest'
import type { RoomId } from '#libs/domain/ids.ts'
import { fixedLimits } from '#libs/domain/limits.ts'
import { MemoryEdge } from './memory-edge.ts'
import { newWorld, RigNode, roomOfPeople } from './presence-rig.ts'
import { parseRequest } from './requests.ts'

// Bounds that an edge holds before the log is bothered, and that no other test tries.
const messageId = 'c39e3645-3be0-5a4c-97cc-d0631bd117c3'
const codeOf = (frame: object): string | undefined => {
  const parsed = parseRequest(JSON.stringify(frame))
  return parsed.ok ? undefined : parsed.error.code
}
const users = (count: number) => Array.from({ length: count }, (_, i) => `u${i}`)

describe('a request is no request beyond its bounds', () => {
  const { mentionsMax, emojiCharsMax, metadataValueCharsMax, nameCharsMax, noteCharsMax } = fixedLimits
  test.each<[string, (size: number) => object, number]>([
    ['id', (n) => ({ id: 'x'.repeat(n), type: 'ping' }), 64],
    ['roomId', (n) => ({ type: 'join', roomId: 'x'.repeat(n) }), 128],
    ['clientMessageId', (n) => ({ type: 'sendMessage', message: 'hi', clientMessageId: 'x'.repeat(n) }), 64],
    ['mentions', (n) => ({ type: 'sendMessage', message: 'hi', mentions: users(n) }), mentionsMax],
    ['emoji', (n) => ({ type: 'react', messageId, emoji: 'x'.repeat(n) }), emojiCharsMax],
    ['productIds', (n) => ({ type: 'watchProducts', productIds: users(n) }), 100],
    ['participants', (n) => ({ type: 'createConversation', kind: 'group', participants: users(n) }), 1_000],
    ['clientId', (n) => ({ type: 'createConversation', kind: 'group', participants: [], clientId: 'x'.repeat(n) }), 128],
    ['name', (n) => ({ type: 'changeRoom', name: 'x'.repeat(n) }), 4 * nameCharsMax],
    ['metadata value', (n) => ({ type: 'changeRoom', metadata: { k: 'x'.repeat(n) } }), metadataValueCharsMax],
    ['note', (n) => ({ type: 'resolveDispute', note: 'x'.repeat(n) }), 4 * noteCharsMax],
    ['token', (n) => ({ type: 'authenticate', token: 'x'.repeat(n) }), 8_192],
  ])('%s', (_, frame, max) => {
    expect([codeOf(frame(max)), codeOf(frame(max + 1))]).toEqual([undefined, 'malformed_frame'])
  })
})

/** That of the edge in memory. */
const REQUEST_TIMEOUT_MS = 60_000

test('a request that does not end costs its socket', async () => {
  const stuck = { handle: () => new Promise<void>(() => {}), joined: () => {}, left: () => {}, opened: () => {}, closed: () => {} }
  const edge = new MemoryEdge({}, stuck)
  edge.accepted()
  const client = await edge.joined('customer')
  client.request({ id: 1, type: 'setPresence', status: 'away' })
  await edge.run(REQUEST_TIMEOUT_MS)
  edge.sessions.tick()
  expect(client.socket.closedWith).toBeUndefined()
  await edge.run(1_000)
  edge.sessions.tick()
  expect(client.socket.closedWith).toBe('internal')
  expect(edge.troubles.length).toBe(1)
})

test('of a large room the first 200 are shown at a join', async () => {
  const world = newWorld()
  const names = users(250)
  world.rooms.set('large' as RoomId, roomOfPeople(Object.fromEntries(names.map((name) => [name, 'member']))))
  const node = new RigNode(world, 'edge-1')
  const client = node.connect(names[0]!, 'large')
  await world.time.advance(1_000)
  const shown = client.socket.ofType('presence').flatMap((frame) => frame.users as { userId: string }[])
  expect(shown.map(({ userId }) => userId)).toEqual(names.slice(1, 200))
  node.connect(names[249]!, 'large')
  await world.time.advance(1_000)
  expect(client.sees(names[249]!)).toBe('online')
})
