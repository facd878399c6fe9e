import { expect, test } from 'vitest'
import { check, type Evidence } from './check.ts'
import type { HistoryEntry } from './history.ts'
import { pausesOf } from './pauses.ts'
import type { LoggedEvent } from './topic.ts'

const ROOM = 'r'
const message = (n: number) => ({ id: `id-${n}`, messageId: `m-${n}`, senderId: 'ann', text: `text ${n}`, index: n })

function logged(): LoggedEvent[] {
  const opened = { seq: 1, type: 'roomOpened', timestamp: 1_000, partition: 0, offset: 1n }
  return [opened, ...[1, 2].map((n) => ({ seq: n + 1, type: 'messageSent', timestamp: 1_000 + n, partition: 0, offset: BigInt(n + 1), message: message(n) }))]
}

function saw(user: string, event: LoggedEvent): HistoryEntry {
  const { seq, type, timestamp } = event
  const { index: _, ...shown } = event.message ?? message(0)
  return { at: seq * 100, user, room: ROOM, what: 'saw', seq, type, timestamp, ...(event.message && { message: shown }) }
}

function history(): HistoryEntry[] {
  const own = { user: 'ann', room: ROOM }
  const sends = [1, 2].flatMap((n): HistoryEntry[] => [
    { at: n * 90, ...own, what: 'send', id: `id-${n}`, text: `text ${n}` },
    { at: n * 100, ...own, what: 'ack', id: `id-${n}`, seq: n + 1, messageId: `m-${n}`, timestamp: 1_000 + n, repeated: false },
  ])
  return [...sends, ...['ann', 'bob'].flatMap((user) => logged().map((event) => saw(user, event)))]
}

function evidence(): Evidence & { history: HistoryEntry[]; topic: Map<string, LoggedEvent[]> } {
  const positions = new Map([[0, { next: 4n, epoch: 0n }], [1, { next: 0n, epoch: -1n }]])
  return {
    history: history(),
    views: ['ann', 'bob'].map((user) => ({ user, room: ROOM })),
    topic: new Map([[ROOM, logged()]]),
    positions,
    database: { rooms: new Map([[ROOM, logged()]]), heads: new Map([[ROOM, { head: 3, messages: 2 }]]), positions: new Map([[0, { next: 4n, epoch: 0n }]]) },
  }
}

test('finds nothing wrong where all agree', () => {
  expect(check(evidence())).toEqual([])
})

const without = (entries: readonly HistoryEntry[], drop: (entry: HistoryEntry) => boolean) => entries.filter((entry) => !drop(entry))

test.each<[string, (e: ReturnType<typeof evidence>) => Partial<Evidence>, RegExp]>([
  ['an acked message that is not in the topic', ({ topic }) => ({ topic: new Map([[ROOM, topic.get(ROOM)!.slice(0, 2)]]) }), /acked as seq 3/],
  ['a message that was never acked', (e) => ({ history: without(e.history, (x) => x.what === 'ack' && x.id === 'id-2') }), /id-2 was never acked/],
  ['a message that failed', (e) => ({ history: [...e.history, { at: 1, user: 'ann', room: ROOM, what: 'failed', id: 'id-2', code: 'internal' }] }), /failed with internal/],
  ['two different acks', (e) => ({ history: [...e.history, { at: 1, user: 'ann', room: ROOM, what: 'ack', id: 'id-1', seq: 3, messageId: 'm-1', timestamp: 1_001, repeated: true }] }), /id-1 acked as seq 2, then as seq 3/],
  ['a message twice', ({ topic }) => ({ topic: new Map([[ROOM, [...topic.get(ROOM)!, { ...logged()[2]!, seq: 4 }]]]) }), /message id-2 of ann twice/],
  ['a hole in the topic', ({ topic }) => ({ topic: new Map([[ROOM, topic.get(ROOM)!.toSpliced(1, 1)]]) }), /seq 3 where 2 was due/],
  ['an event that one user did not see', (e) => ({ history: without(e.history, (x) => x.what === 'saw' && x.user === 'bob' && x.seq === 2) }), /bob in r saw 2 events; at 2/],
  ['an event that one user saw twice', (e) => ({ history: [...e.history, saw('bob', logged()[2]!)] }), /bob in r saw 4 events; at 4/],
  ['another text than was sent', (e) => ({ history: e.history.map((x) => (x.what === 'send' && x.id === 'id-1' ? { ...x, text: 'other' } : x)) }), /ann never sent message id-1 like this/],
  ['a user who saw nothing at all', (e) => ({ history: without(e.history, (x) => x.user === 'bob') }), /bob in r saw 0 events/],
  ['a room that Postgres lacks', (e) => ({ database: { ...e.database, rooms: new Map() } }), /r in Postgres at 1: nothing/],
  ['a position in Postgres that is behind', (e) => ({ database: { ...e.database, positions: new Map([[0, { next: 3n, epoch: 0n }]]) } }), /persisted_offsets of 0: 3/],
  ['a wrong head in Postgres', (e) => ({ database: { ...e.database, heads: new Map([[ROOM, { head: 2, messages: 2 }]]) } }), /r in chat_rooms/],
  ['what the protocol forbids', (e) => ({ history: [...e.history, { at: 1, user: 'bob', room: ROOM, what: 'anomaly', text: 'odd' }] }), /odd/],
])('finds %s', (_, change, expected) => {
  const sound = evidence()
  expect(check({ ...sound, ...change(sound) }).join('\n')).toMatch(expected)
})

test('a pause begins where something is due, not where nobody says anything', () => {
  const at = (ms: number, n: number): HistoryEntry => ({ ...saw('bob', { ...logged()[1]!, message: message(n) }), at: ms })
  const send = (ms: number, n: number): HistoryEntry => ({ at: ms, user: 'ann', room: ROOM, what: 'send', id: `id-${n}`, text: '' })
  // Nothing is due from 1,010 to 5,000; from 5,000 on message 2 is, and from 5,400 on nothing but message 3.
  const entries = [at(900, 0), send(1_000, 1), at(1_010, 1), send(5_000, 2), send(5_100, 3), at(5_400, 2), at(5_700, 3)]
  expect(pausesOf(entries, [{ what: 'x', fromMs: 5_200, toMs: 5_300 }])).toEqual({ x: { faults: 1, samples: 1, p50: 400, p99: 400, max: 400 } })
})
