import fc from 'fast-check'
import { beforeEach, describe, expect, test } from 'vitest'
import { VirtualTime } from '#libs/streams/memory-log.ts'
import { Connection } from './connection.ts'
import { type Mark, Marks } from './marks.ts'
import { MemorySocket, room, user } from './memory-edge.ts'

const GATHER_MS = 250

let time: VirtualTime
let published: (Mark & { readonly atMs: number })[]
let hidden: (userId: string) => Promise<boolean>
let marks: Marks

beforeEach(() => {
  time = new VirtualTime()
  published = []
  hidden = async () => false
  marks = new Marks({ clock: time, gatherMs: GATHER_MS, isHidden: (userId) => hidden(userId), publish: (mark) => published.push({ ...mark, atMs: time.nowMs() }) })
})

function connect(userId = 'a'): Connection {
  const speaker = { userId: user(userId), role: 'user' as const, expiresAtMs: 0 }
  return new Connection({ id: 'c', socket: new MemorySocket(), speaker, defaultRoom: undefined, nextHeartbeatMs: 0 })
}
const add = (connection: Connection, fields: { id?: number; delivered?: number; seen?: number; hidden?: boolean }, roomId = 'r') => marks.add(connection, room(roomId), { type: 'mark', ...fields })
const close = (connection: Connection) => {
  connection.onClosed()
  marks.forget(connection)
}

describe('gathering', () => {
  test('of each cursor the highest, in one command', async () => {
    const a = connect()
    add(a, { seen: 3 })
    add(a, { delivered: 9 })
    await time.advance(100)
    add(a, { seen: 2, delivered: 7 })
    expect(published).toEqual([])
    await time.advance(GATHER_MS)
    expect(published).toMatchObject([{ userId: 'a', roomId: 'r', delivered: 9, seen: 3, hidden: false, askers: [] }])
  })

  test('what was not marked is left out', async () => {
    add(connect(), { delivered: 0 })
    await time.advance(GATHER_MS)
    expect(published).toMatchObject([{ delivered: 0, seen: undefined }])
  })

  test('of all sockets of the user, but of each user and room apart', async () => {
    const [a, a2, b] = [connect(), connect(), connect('b')]
    add(a, { id: 1, seen: 1 })
    add(a2, { id: 1, seen: 2 })
    add(b, { id: 1, seen: 3 })
    add(a, { id: 2, seen: 4 }, 'r2')
    expect([a, a2, b].map(({ pending }) => pending)).toEqual([2, 1, 1])
    await time.advance(GATHER_MS)
    expect(published.map(({ userId, roomId, seen, askers }) => [userId, roomId, seen, askers.length])).toEqual([['a', 'r', 2, 2], ['b', 'r', 3, 1], ['a', 'r2', 4, 1]])
    expect([a, a2, b].map(({ pending }) => pending)).toEqual([0, 0, 0])
  })

  test('hidden where one of them says so, or the user does not want it known', async () => {
    add(connect('a'), { seen: 1, hidden: true })
    add(connect('a'), { seen: 2 })
    hidden = async (userId) => userId === 'b'
    add(connect('b'), { seen: 1, hidden: false })
    await time.advance(GATHER_MS)
    expect(published).toMatchObject([{ userId: 'a', hidden: true }, { userId: 'b', hidden: true }])
  })

  test('a question for the settings that takes long holds up nothing but its own mark', async () => {
    hidden = (userId) => (userId === 'a' ? time.sleep(1_000).then(() => true) : Promise.resolve(false))
    const a = connect('a')
    add(a, { id: 1, seen: 1 })
    add(connect('b'), { seen: 1 })
    await time.advance(GATHER_MS)
    expect(published).toMatchObject([{ userId: 'b' }])
    expect(a.pending).toBe(1)
    await time.advance(1_000)
    expect(published).toMatchObject([{ userId: 'b' }, { userId: 'a', hidden: true }])
  })
})

describe('at the close of a socket', () => {
  test('what it has marked is published at once, and nobody is answered there', async () => {
    const [a, other] = [connect(), connect()]
    add(a, { id: 1, seen: 5 })
    add(a, { id: 2, seen: 1 }, 'r2')
    add(other, { id: 3, seen: 4 })
    add(other, { id: 4, seen: 4 }, 'r3')
    close(a)
    await time.advance(0)
    expect(published.map(({ roomId, seen, askers }) => [roomId, seen, askers.map(({ requestId }) => requestId)])).toEqual([['r', 5, [3]], ['r2', 1, []]])
    await time.advance(GATHER_MS)
    expect(published).toHaveLength(3)
    expect(published[2]).toMatchObject({ roomId: 'r3', seen: 4 })
    expect(other.pending).toBe(0)
  })

  test('before the settings are known: published as soon as they are', async () => {
    hidden = () => time.sleep(50).then(() => false)
    const a = connect()
    add(a, { id: 1, seen: 5 })
    close(a)
    await time.advance(60)
    expect(published).toMatchObject([{ seen: 5, askers: [] }])
  })
})

test('every mark is in a published one, each with an id is answered once, and there is at most one command in the time', async () => {
  type Step = { readonly what: 'mark' | 'wait' | 'close'; readonly n: number; readonly value: number; readonly withId: boolean }
  const steps: fc.Arbitrary<Step[]> = fc.array(fc.record({ what: fc.constantFrom('mark', 'mark', 'mark', 'wait', 'close'), n: fc.nat(3), value: fc.nat(50), withId: fc.boolean() }), { maxLength: 40 })
  await fc.assert(
    fc.asyncProperty(steps, async (list) => {
      time = new VirtualTime()
      published = []
      marks = new Marks({ clock: time, gatherMs: GATHER_MS, isHidden: async () => false, publish: (mark) => published.push({ ...mark, atMs: time.nowMs() }) })
      const sockets = [connect('a'), connect('a'), connect('b'), connect('b')]
      const highest = new Map<string, number>()
      const open = new Set<string>()
      let id = 0
      let closes = 0
      for (const { what, n, value, withId } of list) {
        const socket = sockets[n]!
        if (what === 'wait') await time.advance(value * 10)
        else if (what === 'close') {
          close(socket)
          closes++
          for (const key of open) if (key.startsWith(`${n} `)) open.delete(key)
          sockets[n] = connect(socket.speaker.userId)
        } else {
          add(socket, { seen: value, ...(withId && { id: ++id }) })
          if (withId) open.add(`${n} ${id}`)
          highest.set(socket.speaker.userId, Math.max(highest.get(socket.speaker.userId) ?? 0, value))
        }
      }
      await time.advance(GATHER_MS)
      const answered = published.flatMap(({ askers }) => askers.map(({ requestId }) => requestId))
      expect(new Set(answered).size).toBe(answered.length)
      for (const key of open) expect(answered).toContain(Number(key.split(' ')[1]))
      for (const [userId, value] of highest) expect(Math.max(...published.filter((mark) => mark.userId === userId).map(({ seen }) => seen!))).toBe(value)
      for (const userId of ['a', 'b']) {
        const times = published.filter((mark) => mark.userId === userId).map(({ atMs }) => atMs)
        if (closes === 0) for (let i = 1; i < times.length; i++) expect(times[i]! - times[i - 1]!).toBeGreaterThanOrEqual(GATHER_MS)
      }
      for (const socket of sockets) expect(socket.pending).toBe(0)
    }),
    { numRuns: 300 },
  )
})
