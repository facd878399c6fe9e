import fc from 'fast-check'
import { expect, test } from 'vitest'
import { newCursor, onRoomInput, type RoomCursor, type RoomInput, startJoining } from './room-cursor.ts'

const live = (lastSeq: number): RoomCursor => ({ phase: 'live', lastSeq, fruitlessJoins: 0 })
const joining = (lastSeq: number): RoomCursor => startJoining(newCursor(lastSeq))
const outcomeOf = (cursor: RoomCursor, input: RoomInput) => onRoomInput(cursor, input).outcome

test('the next seq is delivered, an old one dropped, a later one makes it join again', () => {
  expect(outcomeOf(live(5), { type: 'event', seq: 6 })).toBe('deliver')
  expect(outcomeOf(live(5), { type: 'event', seq: 5 })).toBe('nothing')
  expect(onRoomInput(live(5), { type: 'event', seq: 7 })).toEqual({ cursor: { phase: 'joining', lastSeq: 5, fruitlessJoins: 1 }, outcome: 'join' })
})

test('while a join is on its way a hole asks for no second one', () => {
  expect(outcomeOf(joining(5), { type: 'event', seq: 9 })).toBe('nothing')
  expect(outcomeOf(joining(5), { type: 'event', seq: 6 })).toBe('deliver')
})

test('an own ack stands for its event; a repeat never does', () => {
  expect(outcomeOf(live(5), { type: 'ownAck', seq: 6, repeated: false })).toBe('deliver')
  expect(outcomeOf(live(5), { type: 'ownAck', seq: 8, repeated: false })).toBe('join')
  expect(outcomeOf(live(5), { type: 'ownAck', seq: 3, repeated: true })).toBe('nothing')
  expect(outcomeOf(live(5), { type: 'ownAck', seq: 6, repeated: true })).toBe('join')
})

test('a head above what is held, or a room that the server does not know as joined, makes a live room join again', () => {
  expect(outcomeOf(live(5), { type: 'head', seq: 5 })).toBe('nothing')
  expect(outcomeOf(live(5), { type: 'head', seq: 6 })).toBe('join')
  expect(outcomeOf(live(5), { type: 'head', seq: undefined })).toBe('join')
  expect(outcomeOf({ ...live(5), phase: 'replaying' }, { type: 'head', seq: 6 })).toBe('nothing')
})

test('a replay that ends above what is held has lost something', () => {
  const replaying = onRoomInput(joining(5), { type: 'joined', since: 5 }).cursor
  expect(outcomeOf(replaying, { type: 'caughtUp', seq: 5 })).toBe('live')
  expect(outcomeOf(replaying, { type: 'caughtUp', seq: 6 })).toBe('join')
})

test('what is not shown to this user is passed over at the join; any other since above the asked one is not for this join', () => {
  const shownFrom5 = onRoomInput(joining(0), { type: 'joined', since: 4, visibleFrom: 5 })
  expect(shownFrom5).toEqual({ cursor: { phase: 'replaying', lastSeq: 4, fruitlessJoins: 0 }, outcome: 'nothing' })
  expect(onRoomInput(shownFrom5.cursor, { type: 'event', seq: 5 }).outcome).toBe('deliver')
  expect(outcomeOf(joining(7), { type: 'joined', since: 7, visibleFrom: 5 })).toBe('nothing')
  expect(onRoomInput(joining(7), { type: 'joined', since: 7, visibleFrom: 5 }).cursor.lastSeq).toBe(7)
  expect(outcomeOf(joining(0), { type: 'joined', since: 6, visibleFrom: 5 })).toBe('join')
  expect(outcomeOf(joining(0), { type: 'joined', since: 6 })).toBe('join')
  expect(outcomeOf(live(3), { type: 'joined', since: 6, visibleFrom: 7 })).toBe('nothing')
})

test('a room that was left stays left, whatever arrives', () => {
  const left = onRoomInput(live(5), { type: 'left' }).cursor
  for (const input of [{ type: 'event', seq: 6 }, { type: 'joined', since: 5 }, { type: 'notJoined' }, { type: 'disconnected' }] as const) {
    expect(onRoomInput(left, input)).toEqual({ cursor: left, outcome: 'nothing' })
  }
})

/** A server with one room, shown from `visibleFrom` on, whose network loses, repeats and cuts as the script says. */
class Lossy {
  cursor = newCursor(0)
  readonly delivered: number[] = []
  head = 0
  joins = 0
  /** What the server has sent and the client has not received, in order. */
  #wire: RoomInput[] = []
  #joinsOnWire: number[] = []
  #connected = false
  #subscribed = false
  readonly #visibleFrom: number

  constructor(visibleFrom: number) {
    this.#visibleFrom = visibleFrom
    // It is the coming in of this user that is shown first.
    this.head = visibleFrom - 1
  }

  append(): void {
    this.head++
    if (this.#subscribed) this.#wire.push({ type: 'event', seq: this.head })
  }

  connect(): void {
    if (this.#connected) return
    this.#connected = true
    this.cursor = startJoining(this.cursor)
    this.#join()
  }

  disconnect(): void {
    this.#connected = false
    this.#subscribed = false
    this.#wire = []
    this.#joinsOnWire = []
    this.#take({ type: 'disconnected' })
  }

  serveJoin(): void {
    const asked = this.#joinsOnWire.shift()
    if (asked === undefined) return
    this.#subscribed = true
    const since = Math.max(asked, this.#visibleFrom - 1)
    this.#wire.push({ type: 'joined', since, ...(this.#visibleFrom > 1 && { visibleFrom: this.#visibleFrom }) })
    for (let seq = since + 1; seq <= this.head; seq++) this.#wire.push({ type: 'event', seq })
    this.#wire.push({ type: 'caughtUp', seq: this.head })
  }

  heartbeat(): void {
    if (this.#connected) this.#wire.push({ type: 'head', seq: this.#subscribed ? this.head : undefined })
  }

  receive(): void {
    const input = this.#wire.shift()
    if (input) this.#take(input)
  }

  lose(at: number): void {
    const index = this.#wire.length === 0 ? -1 : at % this.#wire.length
    // A lost reply ends the socket (request_timeout), which is what disconnect() does.
    if (this.#wire[index]?.type === 'event') this.#wire.splice(index, 1)
  }

  repeat(at: number): void {
    if (this.head >= this.#visibleFrom) this.#wire.push({ type: 'event', seq: Math.max(this.#visibleFrom, (at % this.head) + 1) })
  }

  settle(): void {
    this.connect()
    for (let round = 0; round < 4; round++) {
      this.heartbeat()
      while (this.#wire.length > 0 || this.#joinsOnWire.length > 0) {
        this.serveJoin()
        this.receive()
      }
    }
  }

  #take(input: RoomInput): void {
    const { cursor, outcome } = onRoomInput(this.cursor, input)
    this.cursor = cursor
    if (outcome === 'deliver') this.delivered.push(cursor.lastSeq)
    if (outcome === 'join') this.#join()
  }

  #join(): void {
    this.joins++
    this.#joinsOnWire.push(this.cursor.lastSeq)
  }
}

const at = fc.nat({ max: 1_000 })
const step = fc.oneof(
  { weight: 6, arbitrary: fc.constant((s: Lossy) => s.receive()) },
  { weight: 3, arbitrary: fc.constant((s: Lossy) => s.append()) },
  { weight: 2, arbitrary: fc.constant((s: Lossy) => s.serveJoin()) },
  { weight: 2, arbitrary: at.map((n) => (s: Lossy) => s.lose(n)) },
  { weight: 2, arbitrary: at.map((n) => (s: Lossy) => s.repeat(n)) },
  { weight: 1, arbitrary: fc.constant((s: Lossy) => s.heartbeat()) },
  { weight: 1, arbitrary: fc.constant((s: Lossy) => s.disconnect()) },
  { weight: 1, arbitrary: fc.constant((s: Lossy) => s.connect()) },
)

test('whatever is lost, repeated or cut, the app gets all that is shown to it in order, once each', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), fc.constantFrom(1, 1, 6), (steps, visibleFrom) => {
      const server = new Lossy(visibleFrom)
      const shownUpTo = (seq: number) => Array.from({ length: Math.max(0, seq - visibleFrom + 1) }, (_, i) => visibleFrom + i)
      for (const run of steps) {
        run(server)
        expect(server.delivered).toEqual(shownUpTo(server.cursor.lastSeq))
      }
      server.settle()
      expect(server.delivered).toEqual(shownUpTo(server.head))
      expect(server.cursor.phase).toBe('live')
    }),
    { numRuns: 500 },
  )
})
