import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { UserId } from '#libs/domain/ids.ts'
import { answered, interrupted, joinedWith, type Marks, type MarkState, moved, next, noMarks, refused, sending, unreadOf, wanting, withMessage, withOwnMessage } from './marks.ts'

const own = (seen: number, delivered = seen) => ({ userId: 'alice' as UserId, seen, delivered })
const joined = (messageCount: number, seen = 0) => joinedWith(noMarks, messageCount, own(seen))

test('the highest that was said is told; seen is delivered too', () => {
  const state = wanting(wanting(wanting(joined(10), { delivered: 3 }), { seen: 5 }), { seen: 2 })
  expect(next(state)).toEqual({ seen: 5 })
  expect(next(wanting(state, { delivered: 7 }))).toEqual({ seen: 5, delivered: 7 })
  expect(next(wanting(joined(10, 5), { delivered: 4, seen: 5 }))).toBeUndefined()
})

test('one request at a time; what was said meanwhile is told after it', () => {
  const state = wanting(sending(wanting(joined(10), { seen: 3 }), { seen: 3 }), { seen: 6 })
  expect(next(state)).toBeUndefined()
  expect(next(answered(state, 'taken'))).toEqual({ seen: 6 })
  expect(next(answered(state, 'again'))).toEqual({ seen: 6 })
  expect(next(refused(state))).toBeUndefined()
})

test('nothing is told before the first join, and nothing above the last message', () => {
  const early = wanting(noMarks, { seen: 50 })
  expect(next(early)).toBeUndefined()
  expect(next(joinedWith(early, 4, undefined))).toEqual({ seen: 4 })
})

test('unread is arithmetic on messageIndexes; what was said counts at once, also on another device', () => {
  expect(unreadOf(noMarks)).toBe(0)
  expect(unreadOf(joined(10, 4))).toBe(6)
  expect(unreadOf(withMessage(joined(10, 4), 11))).toBe(7)
  expect(unreadOf(withMessage(joined(10, 4), 3))).toBe(6)
  expect(unreadOf(wanting(joined(10, 4), { seen: 9 }))).toBe(1)
  expect(unreadOf(moved(joined(10, 4), own(10)))).toBe(0)
  expect(unreadOf(refused(wanting(joined(10, 4), { seen: 9 })))).toBe(6)
})

test('who writes has seen what was before his message, and the server need not be told', () => {
  const state = withOwnMessage(withMessage(joined(3), 4), 5)
  expect([unreadOf(state), next(state)]).toEqual([0, undefined])
  expect(unreadOf(withMessage(state, 6))).toBe(1)
  expect(next(withOwnMessage(wanting(joined(5), { seen: 2 }), 6))).toBeUndefined()
})

/** A server that takes marks, over a line that loses requests and answers. */
class Device {
  state: MarkState = noMarks
  server: Marks = { seen: 0, delivered: 0 }
  messages = 0
  highest = 0
  #request: Partial<Marks> | undefined

  write(): void {
    this.state = withMessage(this.state, ++this.messages)
  }

  say(index: number): void {
    const seen = Math.min(index, this.messages)
    this.highest = Math.max(this.highest, seen)
    this.state = wanting(this.state, { seen })
  }

  tell(): void {
    const marks = next(this.state)
    if (!marks) return
    expect(Math.max(marks.seen ?? 0, marks.delivered ?? 0)).toBeLessThanOrEqual(this.messages)
    this.#request = marks
    this.state = sending(this.state, marks)
  }

  arrive(answerArrives: boolean): void {
    if (!this.#request) return
    this.server = { seen: Math.max(this.server.seen, this.#request.seen ?? 0), delivered: Math.max(this.server.delivered, this.#request.delivered ?? 0, this.#request.seen ?? 0) }
    this.#request = undefined
    if (answerArrives) this.state = answered(this.state, 'taken')
    else this.reconnect()
  }

  refuse(): void {
    if (!this.#request) return
    this.#request = undefined
    this.state = answered(this.state, 'again')
  }

  reconnect(): void {
    this.#request = undefined
    this.state = joinedWith(interrupted(this.state), this.messages, { userId: 'alice' as UserId, ...this.server })
  }
}

test('whatever is lost, the server ends with the highest that was said', () => {
  const step = fc.oneof(
    fc.constant((d: Device) => d.write()),
    fc.nat(12).map((index) => (d: Device) => d.say(index)),
    fc.constant((d: Device) => d.tell()),
    fc.boolean().map((ok) => (d: Device) => d.arrive(ok)),
    fc.constant((d: Device) => d.refuse()),
    fc.constant((d: Device) => d.reconnect()),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const device = new Device()
      device.reconnect()
      for (const run of steps) {
        const before = device.state
        run(device)
        expect(device.state.wanted.seen).toBeGreaterThanOrEqual(before.wanted.seen)
        expect(device.state.known.seen).toBeLessThanOrEqual(device.highest)
      }
      device.reconnect()
      for (let i = 0; i < 3; i++) {
        device.tell()
        device.arrive(true)
      }
      expect(device.server.seen).toBe(device.highest)
      expect(next(device.state)).toBeUndefined()
    }),
  )
})
