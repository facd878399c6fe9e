import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { eventHash } from './chain.ts'
import { decide } from './decide.ts'
import { contentRefusal } from './decide-parts.ts'
import { evolve, shrinkToStub } from './evolve.ts'
import { clientMessageIdTimeMs, type ClientMessageId, messageIdOf, type RoomId, type UserId } from './ids.ts'
import type { OrderEvent, RoomInput } from './inputs.ts'
import { CLIENT_CLOCK_AHEAD_MS, DEDUPE_WINDOW_MS, defaultRoomLimits, HOLD_WINDOW_MS } from './limits.ts'
import { type Entry, isRoomEvent, newRoom, type OriginalAck, type RoomEvent, type RoomState } from './room.ts'

const ROOM = 'order-1' as RoomId
const T0 = 1_700_000_000_000
const HOUR = 3_600_000
// That the same text over and over is refused is content-rules.test.ts's.
const limits = { ...defaultRoomLimits, messagesPerSecondMax: 3, content: { ...defaultRoomLimits.content, duplicatesWindowMs: 0 } }
const u = (id: string) => id as UserId

/** A UUIDv7 of a time. */
function idAt(timeMs: number, nr: number): ClientMessageId {
  const time = timeMs.toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-${nr.toString(16).padStart(12, '0')}` as ClientMessageId
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value
  if (value instanceof Map) {
    const forbidden = () => {
      throw new Error('the state was changed')
    }
    for (const [k, v] of value) (deepFreeze(k), deepFreeze(v))
    value.set = value.delete = value.clear = forbidden
  }
  Object.freeze(value)
  for (const part of Object.values(value)) deepFreeze(part)
  return value
}

type Run = { state: RoomState | undefined; events: RoomEvent[]; steps: { input: RoomInput; nowMs: number; before: RoomState | undefined; entries: readonly Entry[] }[] }

/** Decides and evolves with frozen inputs, twice, which must give the same. */
function play(inputs: readonly (readonly [RoomInput, number])[], start?: RoomState): Run {
  const run: Run = { state: start, events: [], steps: [] }
  for (const [input, nowMs] of inputs) {
    const before = deepFreeze(run.state)
    const entries = deepFreeze(decide(before, deepFreeze(input), nowMs, limits))
    if (!isDeepStrictEqual(decide(before, input, nowMs, limits), entries)) throw new Error('decided otherwise the second time')
    for (const entry of entries) {
      const after = evolve(run.state, ROOM, entry)
      if (!isDeepStrictEqual(evolve(run.state, ROOM, entry), after)) throw new Error('evolved otherwise the second time')
      run.state = deepFreeze(after)
      if (isRoomEvent(entry)) run.events.push(entry)
    }
    run.steps.push({ input, nowMs, before, entries })
  }
  return run
}

const accepted = (eventId = 'acc'): RoomInput => ({ type: 'orderAccepted', orderId: ROOM, eventId, occurredAtMs: T0, customerId: u('customer'), vendorId: u('vendor') })
const assigned = (riderId: string, occurredAtMs: number, eventId: string): OrderEvent & { type: 'riderAssigned' } => ({ type: 'riderAssigned', orderId: ROOM, eventId, occurredAtMs, riderId: u(riderId) })
const ended = (reason: 'delivered' | 'cancelled' = 'delivered'): RoomInput => ({ type: 'orderEnded', orderId: ROOM, eventId: `end-${reason}`, occurredAtMs: T0, reason })
const send = (senderId: string, clientMessageId: ClientMessageId, content = 'hi'): RoomInput & { type: 'sendMessage' } => ({ type: 'sendMessage', roomId: ROOM, commandId: 'c', senderId: u(senderId), clientMessageId, content, salt: 's' })

const users = fc.constantFrom('customer', 'vendor', 'r1', 'r2', 'stranger')
const orderInputs = fc.oneof(
  fc.constant(accepted()),
  fc.tuple(fc.constantFrom('r1', 'r2', 'customer'), fc.integer({ min: 0, max: 4 }), fc.constantFrom('a', 'b', 'c')).map(([rider, at, id]) => assigned(rider, T0 + at, id)),
  fc.constantFrom(ended('delivered'), ended('cancelled')),
)
/** Ids of all ages around the clock, few enough to repeat. */
const sends = fc.tuple(users, fc.constantFrom(0, 1, 2, 3, -DEDUPE_WINDOW_MS + HOUR, -DEDUPE_WINDOW_MS - HOUR, CLIENT_CLOCK_AHEAD_MS - 1_000, CLIENT_CLOCK_AHEAD_MS + HOUR), fc.nat(3))
const clocks = fc.constantFrom(0, 0, 0, 10, 400, 1_000, -5_000, HOUR, 25 * HOUR, 8 * 24 * HOUR, -HOUR)
const histories = fc.array(fc.tuple(clocks, fc.oneof({ weight: 1, arbitrary: orderInputs }, { weight: 4, arbitrary: sends })), { maxLength: 60 }).map((steps) => {
  let nowMs = T0
  const inputs: (readonly [RoomInput, number])[] = [[accepted(), T0]]
  const base = new Map<string, number>()
  for (const [clock, what] of steps) {
    nowMs += clock
    if (!Array.isArray(what)) inputs.push([what, nowMs])
    else {
      const [senderId, offsetMs, nr] = what
      // The base keeps repeats repeats while the clock goes on.
      const key = `${offsetMs} ${nr}`
      const at = base.get(key) ?? nowMs + offsetMs
      if (nr < 3) base.set(key, at)
      inputs.push([send(senderId, idAt(at, nr)), nowMs])
    }
  }
  return inputs
})

/** What a send must give, from nothing but the events so far. */
function expectedSend({ input, nowMs }: Run['steps'][number], events: readonly RoomEvent[]): string {
  const { senderId, clientMessageId } = input as RoomInput & { type: 'sendMessage' }
  const timeMs = Math.max(nowMs, ...events.map((e) => e.timestampMs))
  if (events.length === 0) return 'room_not_found'
  const idTimeMs = clientMessageIdTimeMs(clientMessageId)
  if (idTimeMs < timeMs - DEDUPE_WINDOW_MS || idTimeMs > timeMs + CLIENT_CLOCK_AHEAD_MS) return 'client_message_id_expired'
  const messages = events.filter((e) => e.type === 'messageSent')
  if (messages.some((m) => m.senderId === senderId && m.clientMessageId === clientMessageId)) return 'repeated'
  if (events.some((e) => e.type === 'roomClosed')) return 'room_read_only'
  const present = new Set<string>()
  for (const e of events) {
    if (e.type === 'roomOpened') for (const p of e.participants) present.add(p.userId)
    if (e.type === 'participantAdded') present.add(e.participant.userId)
    if (e.type === 'participantRemoved') present.delete(e.participant.userId)
  }
  if (!present.has(senderId)) return 'not_a_participant'
  const inSecond = messages.filter((m) => m.senderId === senderId && Math.floor(m.timestampMs / 1_000) === Math.floor(timeMs / 1_000))
  return inSecond.length >= limits.messagesPerSecondMax ? 'rate_limited' : 'messageSent'
}

describe('any history of inputs', () => {
  test('seq has no holes, messageIndex counts messages, time never runs back, nothing follows the end', () => {
    fc.assert(
      fc.property(histories, (inputs) => {
        const { events, state } = play(inputs)
        expect(events.map((e) => e.seq)).toEqual(events.map((_, i) => i + 1))
        const messages = events.filter((e) => e.type === 'messageSent')
        expect(messages.map((m) => m.messageIndex)).toEqual(messages.map((_, i) => i + 1))
        for (const [i, event] of events.entries()) expect(event.timestampMs).toBeGreaterThanOrEqual(events[i - 1]?.timestampMs ?? 0)
        const end = events.findIndex((e) => e.type === 'roomClosed')
        expect(end === -1 || end === events.length - 1).toBe(true)
        expect(state).toMatchObject({ headSeq: events.length, messageCount: messages.length })
      }),
    )
  })

  test('every send gives what a model says that knows only the events', () => {
    fc.assert(
      fc.property(histories, (inputs) => {
        const events: RoomEvent[] = []
        const acks = new Map<string, OriginalAck>()
        for (const step of play(inputs).steps) {
          if (step.input.type === 'sendMessage') {
            const [entry] = step.entries
            expect(entry!.type === 'refused' ? entry!.code : entry!.type).toBe(expectedSend(step, events))
            const key = `${step.input.senderId} ${step.input.clientMessageId}`
            if (entry!.type === 'repeated') expect(entry!.ack).toEqual(acks.get(key))
            if (entry!.type === 'messageSent') {
              const { messageId, seq, messageIndex, timestampMs } = entry!
              expect(messageId).toBe(messageIdOf(ROOM, step.input.senderId, step.input.clientMessageId))
              acks.set(key, { messageId, seq, messageIndex, timestampMs })
            }
          }
          events.push(...step.entries.filter(isRoomEvent))
        }
      }),
      { numRuns: 200 },
    )
  })

  test('the rate is exact per sender and second of event time', () => {
    fc.assert(
      fc.property(histories, (inputs) => {
        const perSecond = new Map<string, number>()
        for (const e of play(inputs).events) {
          if (e.type !== 'messageSent') continue
          const key = `${e.senderId} ${Math.floor(e.timestampMs / 1_000)}`
          perSecond.set(key, (perSecond.get(key) ?? 0) + 1)
        }
        for (const count of perSecond.values()) expect(count).toBeLessThanOrEqual(limits.messagesPerSecondMax)
      }),
    )
  })

  test('order events that come again change nothing', () => {
    fc.assert(
      fc.property(fc.array(orderInputs, { maxLength: 12 }), fc.array(fc.nat(11), { maxLength: 12 }), (inputs, repeats) => {
        const once = play(inputs.map((input) => [input, T0] as const))
        const again = play(repeats.filter((i) => i < inputs.length).map((i) => [inputs[i]!, T0 + 1_000] as const), once.state)
        expect(again.events).toEqual([])
        expect({ ...again.state, lastEventMs: 0 }).toEqual({ ...once.state, lastEventMs: 0 })
      }),
    )
  })
})

const permutationsOf = (inputs: readonly RoomInput[]): RoomInput[][] => {
  if (inputs.length <= 1) return [[...inputs]]
  return inputs.flatMap((first, i) => permutationsOf(inputs.filter((_, j) => j !== i)).map((rest) => [first, ...rest]))
}
const endOf = (inputs: readonly RoomInput[], nowMs = T0) => play(inputs.map((input) => [input, nowMs] as const)).state!

describe('riders', () => {
  const riders = fc.array(fc.tuple(fc.constantFrom('r1', 'r2', 'r3', 'vendor'), fc.integer({ min: 0, max: 2 })), { minLength: 1, maxLength: 3 })
  const assignments = riders.map((list) => list.map(([rider, at], i) => assigned(rider, T0 + at, `e${i}`)))
  const winnerOf = (events: ReturnType<typeof assigned>[]) => [...events].sort((a, b) => a.occurredAtMs - b.occurredAtMs || (a.eventId < b.eventId ? -1 : 1)).at(-1)!

  test('the later assignment wins, in any order of arrival; a tie goes by event id', () => {
    fc.assert(
      fc.property(assignments, (events) => {
        const winner = winnerOf(events)
        for (const order of permutationsOf([accepted(), ...events])) {
          const { participants, riderWon, status } = endOf(order)
          expect(status).toBe('open')
          expect(riderWon).toEqual({ occurredAtMs: winner.occurredAtMs, eventId: winner.eventId })
          expect([...participants.keys()].sort()).toEqual([...new Set(['customer', 'vendor', winner.riderId])].sort())
        }
      }),
    )
  })

  test('accepted, assignments and the end: read-only in any order, with the same people unless some came after the close', () => {
    fc.assert(
      fc.property(assignments, (events) => {
        const people = [...new Set(['customer', 'vendor', winnerOf(events).riderId])].sort()
        for (const order of permutationsOf([accepted(), ...events, ended()])) {
          const closedAt = Math.max(order.findIndex((i) => i.type === 'orderAccepted'), order.findIndex((i) => i.type === 'orderEnded'))
          const { participants, status } = endOf(order)
          expect(status).toBe('closed')
          if (order.slice(closedAt).every((i) => i.type !== 'riderAssigned')) expect([...participants.keys()].sort()).toEqual(people)
        }
      }),
    )
  })

  test('one who was replaced is refused from that seq on, and may come back', () => {
    const { steps } = play([accepted(), assigned('r1', T0, 'a'), assigned('r2', T0 + 1, 'b'), send('r1', idAt(T0, 1)), assigned('r1', T0 + 2, 'c'), send('r1', idAt(T0, 2))].map((input) => [input, T0] as const))
    expect(steps.map(({ entries }) => entries.map((e) => e.type).join(','))).toEqual([
      'roomOpened',
      'participantAdded,riderStands',
      'participantRemoved,participantAdded,riderStands',
      'refused',
      'participantRemoved,participantAdded,riderStands',
      'messageSent',
    ])
  })

  test.each([
    [HOLD_WINDOW_MS, ['customer', 'vendor', 'r1']],
    [HOLD_WINDOW_MS + 1, ['customer', 'vendor']],
  ])('one who is held for %i ms: the room opens with %j', (heldMs, people) => {
    const { state } = play([[assigned('r1', T0, 'a'), T0], [accepted(), T0 + heldMs]])
    expect([...state!.participants.keys()]).toEqual(people)
  })
})

describe('the end', () => {
  test('accepted after delivered opens a room that is read-only, with who was held', () => {
    const { events } = play([[ended(), T0], [assigned('r1', T0, 'a'), T0], [accepted(), T0], [send('customer', idAt(T0, 1)), T0]])
    expect(events.map((e) => e.type)).toEqual(['roomOpened', 'participantAdded', 'roomClosed'])
  })

  test('what was accepted is acknowledged again after the close and after a removal, within the window', () => {
    const [c, r] = [idAt(T0, 1), idAt(T0, 2)]
    const ackAt = (nowMs: number) => [c, r].map((id, i) => decide(state, send(['customer', 'r1'][i]!, id), nowMs, limits)[0]!)
    const { state, events } = play([accepted(), assigned('r1', T0, 'a'), send('customer', c), send('r1', r), assigned('r2', T0 + 1, 'b'), ended()].map((input) => [input, T0] as const))
    const sent = events.filter((e) => e.type === 'messageSent')
    expect(ackAt(T0 + DEDUPE_WINDOW_MS)).toMatchObject(sent.map(({ seq, messageId }) => ({ type: 'repeated', ack: { seq, messageId } })))
    expect(ackAt(T0 + DEDUPE_WINDOW_MS + 1)).toMatchObject([{ code: 'client_message_id_expired' }, { code: 'client_message_id_expired' }])
  })

  test('a stub decides as the whole room does, once every id has expired', () => {
    fc.assert(
      fc.property(histories, fc.array(fc.oneof(orderInputs, sends), { maxLength: 8 }), (inputs, later) => {
        const { state } = play([...inputs, [ended(), T0]])
        const nowMs = state!.lastEventMs + DEDUPE_WINDOW_MS + HOUR
        for (const what of later) {
          const input = Array.isArray(what) ? send(what[0], idAt(nowMs + what[1] - 10 * HOUR, what[2])) : what
          expect(decide(shrinkToStub(state!), input, nowMs, limits)).toEqual(decide(state, input, nowMs, limits))
        }
      }),
    )
  })
})

describe('strangers', () => {
  test('no content throws, and what is refused changes nothing', () => {
    const open = play([[accepted(), T0]]).state
    const hostile = fc.oneof(fc.string({ unit: 'binary', maxLength: 60 }), fc.string({ maxLength: 20 }).map((s) => `${s}\ud800`), fc.constantFrom('', '\0', 'x'.repeat(4_001), '💥'.repeat(4_000), '💥'.repeat(4_001)))
    fc.assert(
      fc.property(hostile, fc.string({ unit: 'binary' }), (content, salt) => {
        const entries = decide(open, { ...send('customer', idAt(T0, 1), content), salt }, T0, limits)
        const refusal = contentRefusal(content, limits)
        const chars = [...content].length
        expect(entries).toMatchObject([refusal ? { type: 'refused', code: refusal } : { type: 'messageSent', content }])
        expect(refusal).toBe(chars === 0 ? 'content_empty' : chars > 4_000 ? 'content_too_long' : content.includes('\0') || !content.isWellFormed() ? 'content_invalid' : undefined)
      }),
      { numRuns: 60 },
    )
  })

  test('an entry of a newer writer takes its seq, if it has one, and changes nothing else', () => {
    const room = { ...newRoom(ROOM), status: 'open' as const, headSeq: 4, lastEventMs: T0 }
    const event = { type: 'messageForwarded', seq: 5, timestampMs: T0 + 1, content: 'x' } as unknown as Entry
    expect(evolve(room, ROOM, event)).toEqual({ ...room, headSeq: 5, lastEventMs: T0 + 1, headHash: eventHash(ROOM, event as RoomEvent) })
    const note = { type: 'somethingHeld', what: 'x' } as unknown as Entry
    expect(evolve(room, ROOM, note)).toEqual(room)
    expect(evolve(undefined, ROOM, note)).toBeUndefined()
  })
})
