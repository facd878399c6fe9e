import { expect, test } from 'vitest'
import type { HistoryEntry } from './history.ts'
import { checkLists, type ListEvidence } from './lists.ts'
import type { LoggedEvent } from './topic.ts'
import type { LoggedChange } from './user-topic.ts'

const ROOM = 'r'

/** Opened; two messages of ann; bob has seen one. */
function room(): LoggedEvent[] {
  const at = (seq: number) => ({ seq, timestamp: 1_000 + seq, partition: 0, offset: BigInt(seq) })
  const message = (n: number) => ({ id: `id-${n}`, messageId: `m-${n}`, senderId: 'ann', text: 'x', index: n })
  return [{ ...at(1), type: 'roomOpened' }, { ...at(2), type: 'messageSent', message: message(1) }, { ...at(3), type: 'receiptMoved', change: { userId: 'bob', delivered: 1, seen: 1 } }, { ...at(4), type: 'messageSent', message: message(2) }]
}

function changes(): LoggedChange[] {
  const of = (userSeq: number, roomSeq: number, messageCount: number, seen: number): LoggedChange => ({ userSeq, roomId: ROOM, roomSeq, isIn: true, messageCount, seen, unread: messageCount - seen, chats: 1 })
  return [of(1, 1, 0, 0), of(2, 2, 1, 0), of(3, 3, 1, 1), of(4, 4, 2, 1)]
}

const list = (cursor: number, unread: number): HistoryEntry => ({ at: cursor, user: 'bob', room: '', what: 'list', cursor, unread, chats: cursor === 0 ? [] : [[ROOM, unread]] })

function evidence(): ListEvidence & { readonly history: HistoryEntry[]; readonly users: Map<string, LoggedChange[]> } {
  return {
    history: [list(0, 0), list(2, 1), list(4, 1)],
    views: [{ user: 'bob', room: ROOM }],
    topic: new Map([[ROOM, room()]]),
    users: new Map([['bob', changes()]]),
    stored: { heads: new Map([['bob', { userSeq: 4, unread: 1, chats: 1 }]]), chats: new Map([[`bob ${ROOM}`, { userSeq: 4, messageCount: 2, seen: 1 }]]) },
  }
}

test('finds nothing wrong where all agree', () => {
  expect(checkLists(evidence())).toEqual([])
})

const withChange = (at: number, change: Partial<LoggedChange>) => new Map([['bob', changes().with(at, { ...changes()[at]!, ...change })]])

test.each<[string, (e: ReturnType<typeof evidence>) => Partial<ListEvidence>, RegExp]>([
  ['a hole in a feed', () => ({ users: new Map([['bob', changes().toSpliced(1, 1)]]) }), /userSeq 3 where 2 was due/],
  ['a count that the room does not have', () => ({ users: withChange(3, { seen: 2, unread: 0 }) }), /has 2 messages of r, 2 seen; the room at 4 has 2, 1/],
  ['totals that are not the sum', () => ({ users: withChange(1, { unread: 7 }) }), /is told 7 unread in 1 chats; they are 1 in 1/],
  ['a message that nobody was told of', () => ({ users: new Map([['bob', changes().slice(0, 3)]]) }), /bob ends with .* of r, the room with/],
  ['a head in Postgres that is behind', ({ stored }) => ({ stored: { ...stored, heads: new Map([['bob', { userSeq: 3, unread: 0, chats: 1 }]]) } }), /bob in Postgres/],
  ['a chat in Postgres that is behind', ({ stored }) => ({ stored: { ...stored, chats: new Map() } }), /bob in r in Postgres: undefined/],
  ['a wrong count that was shown', () => ({ history: [list(2, 0), list(4, 1)] }), /was shown 0 unread/],
  ['a list that was not shown to its end', () => ({ history: [list(2, 1)] }), /last shown his list at 2, it ends at 4/],
  ['a list that goes back', () => ({ history: [list(4, 1), list(2, 1), list(4, 1)] }), /goes back from 4 to 2/],
])('finds %s', (_, change, expected) => {
  const sound = evidence()
  expect(checkLists({ ...sound, ...change(sound) }).join('\n')).toMatch(expected)
})
