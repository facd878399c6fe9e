import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ClientMessageId, RoomId } from '#libs/domain/ids.ts'
import type { OutboxEntry } from '../ports.ts'
import { emptyOutbox, enqueued, entriesOf, interrupted, nextOf, type Outbox, putOff, removed, sent, stored } from './outbox.ts'

const room = (name: string) => name as RoomId
const entry = (position: number, roomId = room('A')): OutboxEntry => ({ clientMessageId: `m${position}` as ClientMessageId, roomId, content: `c${position}`, position })
const filled = (...entries: OutboxEntry[]): Outbox<OutboxEntry> => entries.reduce<Outbox<OutboxEntry>>((outbox, e) => enqueued(outbox, e, true), emptyOutbox)

test('a room sends one message at a time, its first', () => {
  const outbox = filled(entry(1), entry(2))
  expect(nextOf(outbox, room('A'), 0)).toEqual({ send: entry(1) })
  expect(nextOf(sent(outbox, entry(1)), room('A'), 0)).toBeUndefined()
  expect(nextOf(removed(sent(outbox, entry(1)), room('A'), entry(1).clientMessageId), room('A'), 0)).toEqual({ send: entry(2) })
})

test('a message that the storage does not have yet holds up its room, not others', () => {
  const outbox = enqueued(enqueued(emptyOutbox, entry(1), false), entry(2, room('B')), true)
  expect(nextOf(outbox, room('A'), 0)).toBeUndefined()
  expect(nextOf(outbox, room('B'), 0)).toEqual({ send: entry(2, room('B')) })
  expect(nextOf(stored(outbox, entry(1)), room('A'), 0)).toEqual({ send: entry(1) })
})

test('a refusal that may pass is obeyed: the same message, not before retryAfterMs', () => {
  const outbox = putOff(sent(filled(entry(1), entry(2)), entry(1)), entry(1), 700, 1_000, 0)
  expect(nextOf(outbox, room('A'), 1_000)).toEqual({ waitMs: 700 })
  expect(nextOf(outbox, room('A'), 1_700)).toEqual({ send: entry(1) })
})

test('after an interruption what was on its way is sent again', () => {
  const outbox = interrupted(sent(filled(entry(1)), entry(1)))
  expect(nextOf(outbox, room('A'), 0)).toEqual({ send: entry(1) })
})

type Fate = 'ack' | 'ackLost' | 'requestLost' | 'retriable' | 'final'

/** What the client sees of a server that dedupes by (room, clientMessageId). */
function play(rooms: readonly string[], fates: readonly Fate[]) {
  const entries = rooms.map((name, i) => entry(i + 1, room(name)))
  const log: OutboxEntry[] = []
  const ends = new Map<string, string[]>()
  const end = ({ clientMessageId }: OutboxEntry, how: string) => ends.set(clientMessageId, [...(ends.get(clientMessageId) ?? []), how])
  let outbox = filled(...entries)
  let nowMs = 0
  for (let turn = 0; outbox.size > 0; turn++) {
    expect(turn).toBeLessThan(10_000)
    nowMs += 1_000
    for (const roomId of outbox.queues.keys()) {
      const next = nextOf(outbox, roomId, nowMs)
      if (!next || !('send' in next)) continue
      const message = next.send
      // Faults run out, as they do in life.
      const fate = fates[turn] ?? 'ack'
      outbox = sent(outbox, message)
      const known = log.some((e) => e.clientMessageId === message.clientMessageId)
      if ((fate === 'ack' || fate === 'ackLost') && !known) log.push(message)
      if (fate === 'ackLost' || fate === 'requestLost') outbox = interrupted(outbox)
      else if (fate === 'retriable') outbox = putOff(outbox, message, undefined, nowMs, 0.5)
      else {
        // A repeat is acknowledged even where the same message sent anew would be refused.
        end(message, fate === 'final' && !known ? 'failed' : 'acked')
        outbox = removed(outbox, roomId, message.clientMessageId)
      }
    }
  }
  return { entries, log, ends }
}

test('every message ends once, acked or failed; what was acked is in the log once, in each room in the order of sending', () => {
  const fate = fc.constantFrom<Fate>('ack', 'ackLost', 'requestLost', 'retriable', 'final')
  fc.assert(
    fc.property(fc.array(fc.constantFrom('A', 'B', 'C'), { maxLength: 20 }), fc.array(fate, { maxLength: 60 }), (rooms, fates) => {
      const { entries, log, ends } = play(rooms, fates)
      expect([...ends.values()].every((how) => how.length === 1)).toBe(true)
      expect(ends.size).toBe(entries.length)
      const acked = entries.filter((e) => ends.get(e.clientMessageId)?.[0] === 'acked')
      for (const name of new Set(rooms)) {
        expect(log.filter((e) => e.roomId === name)).toEqual(acked.filter((e) => e.roomId === name))
      }
    }),
  )
})

test('size and entries count what waits', () => {
  const outbox = removed(filled(entry(1), entry(2, room('B')), entry(3)), room('A'), entry(1).clientMessageId)
  expect(outbox.size).toBe(2)
  expect(entriesOf(outbox, room('A'))).toEqual([entry(3)])
  expect(entriesOf(outbox).length).toBe(2)
})
