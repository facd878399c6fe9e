import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decideInbox, evolveInbox, evolveOwned, mergeMessages, shareOf } from './decide-inbox.ts'
import type { MessageId, RoomId, UserId } from './ids.ts'
import { CHATS_MAX, type Chat, ENDED_CHAT_KEPT_MS, FOREVER_MS, type InboxChange, type InboxEntry, type InboxInput, type InboxUpdate, MENTIONS_MAX, newUser, unreadOf, type UserState } from './inbox.ts'

const T0 = 1_700_000_000_000
const me = 'me' as UserId
const other = 'other' as UserId
const room = (id: string | number) => `r${id}` as RoomId

const update = (roomId: RoomId, roomSeq: number, change: InboxChange, timestampMs = T0 + roomSeq): InboxUpdate => ({ userId: me, roomId, roomSeq, timestampMs, change })
const entered = (messageCount = 0, seen = 0): InboxChange => ({ type: 'entered', kind: 'order', role: 'vendor', messageCount, seen })
const lastAt = (roomSeq: number, messageIndex: number, senderId = other, timestampMs = T0 + roomSeq) => ({ seq: roomSeq, messageIndex, messageId: `m${messageIndex}` as MessageId, senderId, timestampMs })
const said = (roomSeq: number, messageCount: number, mentions: number[] = []): InboxChange => ({ type: 'messages', messageCount, last: lastAt(roomSeq, messageCount), mentions })
const wrote = (roomSeq: number, messageCount: number): InboxChange => ({ type: 'messages', messageCount, seen: messageCount, last: lastAt(roomSeq, messageCount, me), mentions: [] })
const set = (roomId: RoomId, what: { mutedUntilMs?: number; archived?: boolean }): InboxInput => ({ userId: me, commandId: 'c', type: 'setChat', roomId, ...what })

/** What a feed makes of these inputs. */
function feed(inputs: readonly InboxInput[], from: UserState = newUser(me), nowMs = T0): { state: UserState; entries: InboxEntry[] } {
  let state = from
  const entries: InboxEntry[] = []
  for (const input of inputs) {
    for (const entry of decideInbox(state, input, nowMs)) {
      state = evolveInbox(state, me, entry)
      entries.push(entry)
    }
  }
  return { state, entries }
}
const chatAfter = (...inputs: InboxInput[]): Chat => feed(inputs).state.chats.get(room(1))!
const entriesOf = (...inputs: InboxInput[]) => feed(inputs).entries
const totalsOf = ({ chats }: UserState) =>
  [...chats.values()].map(shareOf).reduce((sum, share) => ({ unread: sum.unread + share.unread, mentions: sum.mentions + share.mentions, chats: sum.chats + share.chats }), { unread: 0, mentions: 0, chats: 0 })

/** One user's updates of one room, in order, as a fan-out would say them: `seq` goes up, counts are what the room has. */
const roomHistory = (roomId: RoomId) =>
  fc.array(fc.tuple(fc.nat(10), fc.nat(20), fc.boolean()), { minLength: 1, maxLength: 25 }).map((steps): InboxUpdate[] => {
    let [seq, count, seen, isIn] = [1, 0, 0, true]
    const updates = [update(roomId, 1, entered())]
    for (const [what, size, flag] of steps) {
      seq += 1 + (size % 3)
      const add = (change: InboxChange) => updates.push(update(roomId, seq, change))
      if (!isIn) {
        isIn = true
        add(entered(count, flag ? count : seen))
        seen = flag ? count : seen
      } else if (what < 5) {
        count += 1 + (size % 4)
        add(flag ? said(seq, count, size % 2 ? [count] : []) : { type: 'messages', messageCount: count, mentions: [] })
      } else if (what === 5) {
        seen = ++count
        add(wrote(seq, count))
      } else if (what < 8) {
        seen = Math.min(count, seen + size)
        add({ type: 'seen', seen })
      } else if (what === 8) add(flag ? { type: 'renamed', name: `n${size}` } : { type: 'roleChanged', role: 'owner' })
      else if (what === 9) {
        isIn = false
        add({ type: 'left', reason: 'left' })
      } else add(flag ? { type: 'closed', reason: 'delivered' } : { type: 'invited', kind: 'dispute' })
    }
    return updates
  })

/** At least once: several readers, each from somewhere that was reached already, each in order. */
const deliveryOf = (updates: readonly InboxUpdate[]) =>
  fc.array(fc.tuple(fc.nat(100), fc.nat(100)), { maxLength: 40 }).map((jumps) => {
    const delivered: InboxUpdate[] = []
    let [at, reached] = [0, 0]
    const read = (count: number) => {
      for (let i = 0; i < count && at < updates.length; i++) delivered.push(updates[at++]!)
      reached = Math.max(reached, at)
    }
    for (const [back, count] of jumps) {
      at = reached === 0 ? 0 : back % (reached + 1)
      read(count % 7)
    }
    at = reached
    read(updates.length)
    return delivered
  })

const rooms = [room(1), room(2), room(3)]
const history = fc.tuple(...rooms.map(roomHistory))
const delivery = history.chain((perRoom) => fc.tuple(fc.constant(perRoom), fc.tuple(...perRoom.map(deliveryOf)), fc.array(fc.nat(2), { maxLength: 60 })))

/** Takes from each in order, by these turns, then what is left. */
function interleaved<T>(lists: readonly (readonly T[])[], turns: readonly number[]): T[] {
  const rest = lists.map((list) => [...list])
  return [...turns.flatMap((turn) => rest[turn]!.splice(0, 1)), ...rest.flat()]
}

const commands = fc.record({ roomId: fc.constantFrom(...rooms, room(9)), mutedUntilMs: fc.option(fc.constantFrom(0, T0 + 10, FOREVER_MS, -1, 0.5), { nil: undefined }), archived: fc.option(fc.boolean(), { nil: undefined }) })
const aCommand = commands.map(({ roomId, mutedUntilMs, archived }) => set(roomId, { ...(mutedUntilMs !== undefined && { mutedUntilMs }), ...(archived !== undefined && { archived }) }))

describe('properties', () => {
  test('any at-least-once, repeated, interleaved delivery ends in the same chats as each update once', () => {
    fc.assert(
      fc.property(delivery, ([perRoom, delivered, turns]) => {
        const once = feed(perRoom.flat()).state
        const { state } = feed(interleaved(delivered, turns))
        expect(new Map([...state.chats].sort())).toEqual(new Map([...once.chats].sort()))
        expect(state.totals).toEqual(once.totals)
      }),
      { numRuns: 300 },
    )
  })

  test('totals are the sum over the chats, in the state and in every entry; userSeq is 1 … n', () => {
    fc.assert(
      fc.property(delivery, fc.array(aCommand, { maxLength: 20 }), ([, delivered, turns], asked) => {
        let state = newUser(me)
        let due = 1
        for (const input of interleaved<InboxInput>([...delivered, asked], [...turns, 3, 0, 3, 1, 3, 2])) {
          for (const entry of decideInbox(state, input, T0)) {
            state = evolveInbox(state, me, entry)
            if (entry.type !== 'chatChanged') continue
            expect(entry.userSeq).toBe(due++)
            expect(entry.totals).toEqual(totalsOf(state))
            expect(entry.chat).toEqual(state.chats.get(entry.chat.roomId))
          }
          expect(state.totals).toEqual(totalsOf(state))
        }
        expect(state.userSeq).toBe(due - 1)
      }),
      { numRuns: 200 },
    )
  })

  test('messages in whatever portions are the same', () => {
    fc.assert(
      fc.property(roomHistory(room(1)), fc.array(fc.boolean(), { minLength: 30, maxLength: 30 }), (updates, merge) => {
        const portions: InboxUpdate[] = []
        for (const [i, next] of updates.entries()) {
          const before = portions.at(-1)
          const merged = before && merge[i] ? mergeMessages(before, next) : undefined
          if (merged) portions[portions.length - 1] = merged
          else portions.push(next)
        }
        const archived = set(room(1), { archived: true })
        const [first, ...rest] = portions
        const [, ...all] = updates
        expect(feed([first!, archived, ...rest]).state.chats).toEqual(feed([updates[0]!, archived, ...all]).state.chats)
      }),
      { numRuns: 300 },
    )
  })

  test('a portion that repeats the last message that he may see, with hidden ones behind it, is no new activity', () => {
    const hidden = (messageCount: number): InboxChange => ({ type: 'messages', messageCount, mentions: [] })
    const again = mergeMessages(update(room(1), 4, said(4, 3)), update(room(1), 6, hidden(5)))!
    const before = [update(room(1), 1, entered()), update(room(1), 4, said(4, 3)), update(room(1), 5, said(5, 4)), set(room(1), { archived: true })]
    expect(chatAfter(...before, again)).toEqual(chatAfter(...before, update(room(1), 6, hidden(5))))
    expect(chatAfter(...before, again)).toMatchObject({ archived: true, messageCount: 5, last: { seq: 5 } })
  })

  test('the fold that changes its own map is the fold', () => {
    fc.assert(
      fc.property(delivery, ([, delivered, turns]) => {
        const { state, entries } = feed(interleaved(delivered, turns))
        let owned = { ...newUser(me), chats: new Map<RoomId, Chat>() }
        for (const entry of entries) if (entry.type === 'chatChanged') owned = evolveOwned(owned, entry).user
        expect(owned).toEqual(state)
      }),
      { numRuns: 50 },
    )
  })
})

describe('a chat', () => {
  const inside = update(room(1), 1, entered())

  test('what comes for a room that he is not in is ignored', () => {
    for (const change of [said(5, 1), { type: 'seen', seen: 1 }, { type: 'left', reason: 'left' }, { type: 'closed', reason: 'cancelled' }, { type: 'renamed' }, { type: 'roleChanged', role: 'owner' }] satisfies InboxChange[]) {
      expect(entriesOf(update(room(1), 5, change))).toEqual([{ type: 'inboxIgnored', reason: 'is not in' }])
    }
    const left = update(room(1), 4, { type: 'left', reason: 'removed' })
    expect(entriesOf(inside, left, update(room(1), 5, said(5, 1))).at(-1)).toEqual({ type: 'inboxIgnored', reason: 'is not in' })
    expect(entriesOf(inside, left, update(room(1), 2, entered())).at(-1)).toEqual({ type: 'inboxIgnored', reason: 'applied before' })
  })

  test('unread is what is above the cursor; writing moves it, and mentions below it go', () => {
    const chat = chatAfter(inside, update(room(1), 4, said(4, 3, [1, 3])), update(room(1), 5, { type: 'seen', seen: 2 }))
    expect([unreadOf(chat), chat.mentions, chat.last?.messageIndex]).toEqual([1, [3], 3])
    expect(chatAfter(inside, update(room(1), 4, said(4, 3, [3])), update(room(1), 5, wrote(5, 4)))).toMatchObject({ seen: 4, messageCount: 4, mentions: [] })
    expect(entriesOf(inside, update(room(1), 3, { type: 'seen', seen: 0 })).at(-1)).toMatchObject({ type: 'inboxIgnored' })
  })

  test('who enters a room with a history has it unread, but for what he has seen', () => {
    expect(unreadOf(chatAfter(update(room(1), 9, entered(7, 0))))).toBe(7)
    expect(unreadOf(chatAfter(update(room(1), 9, entered(7, 7))))).toBe(0)
  })

  test('entering again begins anew, but for what he has set', () => {
    const before = [inside, update(room(1), 4, said(4, 3, [3])), set(room(1), { mutedUntilMs: FOREVER_MS, archived: true }), update(room(1), 5, { type: 'left', reason: 'removed' })]
    expect(chatAfter(...before)).toMatchObject({ status: 'left', mentions: [], mutedUntilMs: FOREVER_MS })
    const again = chatAfter(...before, update(room(1), 9, entered(6, 1)))
    expect(again).toMatchObject({ status: 'in', messageCount: 6, seen: 1, mentions: [], mutedUntilMs: FOREVER_MS, archived: false, closed: false })
    expect(again.last).toBeUndefined()
  })

  test('an invitation is not membership; it ends with the room, and entering follows it', () => {
    const invited = update(room(1), 3, { type: 'invited', kind: 'dispute' })
    expect(feed([invited, update(room(1), 4, said(4, 1))]).state.totals).toEqual({ unread: 0, mentions: 0, chats: 0 })
    expect(chatAfter(invited, update(room(1), 4, { type: 'closed', reason: 'resolved' }))).toMatchObject({ status: 'invited', closed: true })
    expect(chatAfter(invited, update(room(1), 4, entered(2, 0)))).toMatchObject({ status: 'in', messageCount: 2 })
    expect(entriesOf(inside, invited).at(-1)).toMatchObject({ type: 'inboxIgnored' })
  })

  test('a message of somebody else brings an archived chat back, unless it is muted at that time; his own, or a hidden one, does not', () => {
    const archive = set(room(1), { archived: true })
    const isArchived = (...inputs: InboxInput[]) => chatAfter(inside, ...inputs).archived
    expect(isArchived(archive, update(room(1), 4, said(4, 1)))).toBe(false)
    expect(isArchived(archive, update(room(1), 4, wrote(4, 1)))).toBe(true)
    expect(isArchived(archive, update(room(1), 4, { type: 'messages', messageCount: 1, mentions: [] }))).toBe(true)
    const muted = set(room(1), { archived: true, mutedUntilMs: T0 + 5 })
    expect(isArchived(muted, update(room(1), 4, said(4, 1)))).toBe(true)
    expect(isArchived(muted, update(room(1), 5, said(5, 1)))).toBe(false)
  })

  test('names come and go, roles change, and the end is kept', () => {
    expect(chatAfter(inside, update(room(1), 2, { type: 'renamed', name: 'a' })).name).toBe('a')
    expect('name' in chatAfter(inside, update(room(1), 2, { type: 'renamed', name: 'a' }), update(room(1), 3, { type: 'renamed' }))).toBe(false)
    expect(chatAfter(inside, update(room(1), 2, { type: 'roleChanged', role: 'observer' }))).toMatchObject({ role: 'observer', lastActivityMs: T0 + 1 })
    expect(chatAfter(inside, update(room(1), 2, { type: 'closed', reason: 'delivered' }))).toMatchObject({ closed: true, lastActivityMs: T0 + 2 })
  })

  test('as many mentions as there may be: the latest', () => {
    const chat = chatAfter(inside, update(room(1), 2, said(2, MENTIONS_MAX + 5, Array.from({ length: MENTIONS_MAX + 5 }, (_, i) => i + 1))))
    expect([chat.mentions.length, chat.mentions[0]]).toEqual([MENTIONS_MAX, 6])
  })
})

describe('a command', () => {
  const inside = update(room(1), 1, entered())

  test('sets what it names, says so once, and knows no other chats', () => {
    const muted = set(room(1), { mutedUntilMs: T0 + 1 })
    const { entries } = feed([inside, muted, muted, set(room(1), {}), set(room(2), { archived: true }), set(room(1), { mutedUntilMs: FOREVER_MS + 1 })])
    expect(entries.slice(1)).toMatchObject([
      { type: 'chatChanged', userSeq: 2, cause: 'set', chat: { mutedUntilMs: T0 + 1, archived: false } },
      { type: 'inboxUnchanged', userSeq: 2 },
      { type: 'inboxUnchanged', userSeq: 2 },
      { type: 'inboxRefused', code: 'chat_not_found' },
      { type: 'inboxRefused', code: 'invalid_request' },
    ])
  })

  test('time does not run back where the clock does', () => {
    const { entries } = feed([inside, set(room(1), { archived: true })], newUser(me), 5)
    expect(entries.at(-1)).toMatchObject({ timestampMs: T0 + 1 })
  })
})

describe('eviction', () => {
  const ended = (id: number, atMs: number): InboxUpdate[] => [update(room(id), 1, entered(), atMs), update(room(id), 2, { type: 'closed', reason: 'delivered' }, atMs)]

  test('what has ended long ago goes when another chat comes, not before, and what has not ended stays', () => {
    const old = [...ended(1, T0), update(room(2), 1, entered(3, 0), T0)]
    const late = T0 + ENDED_CHAT_KEPT_MS + 1
    const { state } = feed([...old, update(room(2), 5, said(5, 4), late)])
    expect([...state.chats.keys()]).toEqual([room(1), room(2)])
    const after = feed([update(room(3), 1, entered(), late)], state).state
    expect([...after.chats.keys()]).toEqual([room(2), room(3)])
    expect(after.totals).toEqual(totalsOf(after))
  })

  test('there are never more than CHATS_MAX: first those that have ended longest ago, then those without activity', () => {
    const chats = new Map(Array.from({ length: CHATS_MAX }, (_, i) => [room(i), { ...chatAfter(update(room(1), 1, entered(2, 0), T0 + i)), roomId: room(i) }]))
    chats.set(room(70), { ...chats.get(room(70))!, closed: true })
    const user: UserState = { userId: me, userSeq: 0, lastEventMs: T0, chats, totals: { unread: CHATS_MAX * 2, mentions: 0, chats: CHATS_MAX } }
    const one = feed([update(room('x'), 1, entered(), T0 + CHATS_MAX)], user).state
    expect([one.chats.size, one.chats.has(room(70)), one.chats.has(room(0))]).toEqual([CHATS_MAX, false, true])
    const two = feed([update(room('y'), 1, entered(), T0 + CHATS_MAX)], one).state
    expect([two.chats.size, two.chats.has(room(0)), two.totals]).toEqual([CHATS_MAX, false, totalsOf(two)])
  })
})
