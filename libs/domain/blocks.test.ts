import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decide } from './decide.ts'
import { evolve } from './evolve.ts'
import { clientMessageIdOf, directRoomId, type RoomId, type UserId } from './ids.ts'
import type { OrderEvent, RoomCommand, RoomInput } from './inputs.ts'
import { defaultRoomLimits } from './limits.ts'
import { blockKey, type Entry, isRoomEvent, type RoomEvent, type RoomState } from './room.ts'

const T0 = 1_700_000_000_000
const [a, b] = ['a' as UserId, 'b' as UserId]
const PAIR = directRoomId(a, b)
const GROUP = 'group-1' as RoomId

type Word = OrderEvent & { type: 'blockChanged' }

function play(roomId: RoomId, inputs: readonly RoomInput[], start?: RoomState): { state: RoomState | undefined; entries: Entry[] } {
  let state = start
  const all: Entry[] = []
  for (const input of inputs) {
    const entries = decide(state, input, T0, defaultRoomLimits)
    for (const entry of entries) state = evolve(state, roomId, entry)
    all.push(...entries)
  }
  return { state, entries: all }
}

const word = (blockerId: UserId, on: boolean, at: number): Word => ({ type: 'blockChanged', orderId: PAIR, eventId: `${blockerId} ${on} ${at}`, occurredAtMs: T0 + at, blockerId, blockedId: blockerId === a ? b : a, on })
const words = fc.array(fc.tuple(fc.constantFrom(a, b), fc.boolean(), fc.nat(3)).map(([by, on, at]) => word(by, on, at)), { minLength: 1, maxLength: 8 })
const shuffled = words.chain((list) => fc.tuple(fc.constant(list), fc.shuffledSubarray([...list, ...list], { minLength: list.length * 2, maxLength: list.length * 2 })))

/** Who blocks whom by the last word of each; of two words at the same time the block counts. */
function lastWords(list: readonly Word[]): string[] {
  return [a, b].flatMap((blockerId) => {
    const [last] = list.filter((one) => one.blockerId === blockerId).sort((x, y) => y.occurredAtMs - x.occurredAtMs || Number(y.on) - Number(x.on))
    return last?.on ? [blockKey(blockerId, last.blockedId)] : []
  })
}

const opened = play(GROUP, [
  {
    type: 'createRoom', roomId: GROUP, commandId: 'c', senderId: a, clientMessageId: clientMessageIdOf('x', T0), kind: 'group',
    participants: [{ userId: a, role: 'owner' }, { userId: b, role: 'member' }],
  },
]).state

/** What the relay makes of an event of the pair's room. */
const passedOn = ({ blockerId, blockedId, on, occurredAtMs }: RoomEvent & { type: 'blockSet' }, nr: number): RoomCommand => ({
  type: 'setBlock', roomId: GROUP, commandId: `c${nr}`, senderId: blockerId, clientMessageId: clientMessageIdOf(`${nr}`, T0), blockerId, blockedId, on, ...(occurredAtMs !== undefined && { occurredAtMs }),
})

test('the last word about a block wins, in any order of arrival and however often it comes', () => {
  fc.assert(
    fc.property(shuffled, ([list, arrivals]) => {
      const { state } = play(PAIR, arrivals)
      expect([...state!.blocks].toSorted()).toEqual(lastWords(list))
      expect([state!.kind, state!.status]).toEqual(['direct', 'open'])
    }),
  )
})

test('what the pair says reaches another room in any order and any number of times, and ends as it is between them', () => {
  fc.assert(
    fc.property(words, fc.infiniteStream(fc.nat()), (list, picks) => {
      const { state, entries } = play(PAIR, list)
      const events = entries.filter(isRoomEvent).flatMap((event, nr) => (event.type === 'blockSet' ? [passedOn(event, nr)] : []))
      const arrivals = [...events, ...events, ...events].map((command) => ({ command, at: picks.next().value })).toSorted((x, y) => x.at - y.at)
      const other = play(GROUP, arrivals.map(({ command }) => command), opened)
      expect(other.state!.blocks).toEqual(state!.blocks)
    }),
  )
})

test('a repeat makes no event; a later word that says the same only moves the time', () => {
  const types = (list: readonly Word[]) => play(PAIR, list).entries.map((entry) => entry.type)
  expect(types([word(a, true, 0), word(a, true, 0)])).toEqual(['roomOpened', 'blockSet', 'ignored'])
  expect(types([word(a, true, 0), word(a, true, 2), word(a, false, 1)])).toEqual(['roomOpened', 'blockSet', 'blockStands', 'ignored'])
  expect(types([word(a, false, 1), word(a, true, 0), word(a, true, 2)])).toEqual(['roomOpened', 'blockStands', 'ignored', 'blockSet'])
})

test('a word without a time wins over what stands', () => {
  const { occurredAtMs: _, ...timeless } = passedOn({ type: 'blockSet', seq: 1, timestampMs: T0, blockerId: a, blockedId: b, on: false, occurredAtMs: T0 }, 1) as RoomCommand & { type: 'setBlock' }
  const blocked = play(GROUP, [{ ...timeless, on: true, occurredAtMs: T0 }], opened).state
  expect(play(GROUP, [timeless], blocked).state!.blocks.size).toBe(0)
})
