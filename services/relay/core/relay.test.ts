import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decide } from '#libs/domain/decide.ts'
import { ChatError, hasCode } from '#libs/domain/errors.ts'
import { evolve } from '#libs/domain/evolve.ts'
import { type ClientMessageId, clientMessageIdOf, directRoomId, type RoomId, type UserId } from '#libs/domain/ids.ts'
import type { RoomCommand, RoomInput } from '#libs/domain/inputs.ts'
import { defaultRoomLimits } from '#libs/domain/limits.ts'
import { blockKey, isRoomEvent, type RoomEvent, type RoomState } from '#libs/domain/room.ts'
import type { Fact, Word } from './facts.ts'
import { relayFacts, type RelayPorts, type RelayStore } from './relay.ts'

const T0 = 1_700_000_000_000
const USERS = ['a', 'b', 'c'] as UserId[]
const GROUPS = ['g0', 'g1', 'g2'] as RoomId[]
/** Opened only once things are going on. */
const LATE = GROUPS[2]!
const PAIRS = [[0, 1], [0, 2], [1, 2]].map(([x, y]) => directRoomId(USERS[x!]!, USERS[y!]!))
/** Each room in a partition of its own: nothing orders them but what the relay does. */
const ROOMS = [...GROUPS, ...PAIRS]

const pairOf = (word: { blockerId: UserId; blockedId: UserId }) => `${word.blockerId} ${word.blockedId}`

/** The log, what decides, Postgres and one relay for each partition, every step of each in an order that a test picks. */
class Town {
  readonly rooms = new Map<RoomId, RoomState>()
  readonly log = ROOMS.map((): RoomEvent[] => [])
  readonly commands = ROOMS.map((): RoomCommand[] => [])
  readonly words = new Map<string, Word>()
  readonly persisted = ROOMS.map(() => 0)
  readonly members = new Map<RoomId, Set<UserId>>()
  readonly positions = ROOMS.map(() => 0)
  readonly #waiting: (() => void)[] = []
  /** Of each partition's relay, where it has read all. */
  readonly #idle = ROOMS.map((): (() => void)[] => [])
  readonly #pick: (below: number) => number
  #running: AbortController[] = []
  #clock = T0
  #nr = 0

  constructor(pick: (below: number) => number) {
    this.#pick = pick
    for (const roomId of GROUPS) if (roomId !== LATE) this.input({ ...this.#asked(roomId, USERS[0]!), type: 'createRoom', kind: 'group', participants: [{ userId: USERS[0]!, role: 'owner' }] })
  }

  #asked(roomId: RoomId, senderId: UserId) {
    const id: ClientMessageId = clientMessageIdOf(`${this.#nr++}`, this.#clock)
    return { roomId, commandId: id, clientMessageId: id, senderId }
  }

  input(input: RoomInput): void {
    const roomId = 'orderId' in input ? input.orderId : input.roomId
    for (const entry of decide(this.rooms.get(roomId), input, ++this.#clock, { ...defaultRoomLimits, messagesPerSecondMax: 1_000 })) {
      const state = evolve(this.rooms.get(roomId), roomId, entry)
      if (state) this.rooms.set(roomId, state)
      if (isRoomEvent(entry)) this.log[ROOMS.indexOf(roomId)]!.push(entry)
    }
    for (const wake of this.#idle[ROOMS.indexOf(roomId)]!.splice(0)) wake()
  }

  say(blockerId: UserId, blockedId: UserId, on: boolean): void {
    this.input({ type: 'blockChanged', orderId: directRoomId(blockerId, blockedId), eventId: `${this.#nr++}`, occurredAtMs: this.#clock, blockerId, blockedId, on })
  }

  /** Opens a group with all in it, unless it is open already. */
  open(roomId: RoomId): void {
    const participants = USERS.map((userId, i) => ({ userId, role: i === 0 ? 'owner' : 'member' }) as const)
    this.input({ ...this.#asked(roomId, USERS[0]!), type: 'createRoom', kind: 'group', participants })
  }

  move(roomId: RoomId, userId: UserId, isIn: boolean): void {
    const asked = this.#asked(roomId, USERS[0]!)
    this.input(isIn ? { ...asked, type: 'addParticipant', userId, role: 'member' } : { ...asked, type: 'removeParticipant', userId })
  }

  /** One step of somebody who is not the relay. */
  persist(partition: number): void {
    const event = this.log[partition]![this.persisted[partition]!]
    if (!event) return
    this.persisted[partition]!++
    const inside = this.members.get(ROOMS[partition]!) ?? new Set()
    this.members.set(ROOMS[partition]!, inside)
    if (event.type === 'roomOpened') for (const { userId } of event.participants) inside.add(userId)
    if (event.type === 'participantAdded') inside.add(event.participant.userId)
    if (event.type === 'participantRemoved') inside.delete(event.participant.userId)
  }

  decideCommand(partition: number): void {
    const command = this.commands[partition]!.shift()
    if (command) this.input(command)
  }

  /** Reads a partition from its position on, so far as the log goes, in batches. */
  startRelay(partition: number): void {
    const stop = new AbortController()
    this.#running[partition]?.abort(new ChatError('shutting_down'))
    this.#running[partition] = stop
    const run = async () => {
      for (let at = this.positions[partition]!; !stop.signal.aborted; ) {
        const batch = this.log[partition]!.slice(at, at + 1 + this.#pick(3))
        if (batch.length === 0) {
          await new Promise<void>((resolve) => this.#idle[partition]!.push(resolve))
          continue
        }
        await relayFacts(this.#ports(), this.#facts(partition, at, batch), stop.signal)
        // A zombie has no say about positions, and moves none back.
        at += batch.length
        if (!stop.signal.aborted) this.positions[partition] = at
      }
    }
    run().catch((err: unknown) => {
      if (!hasCode(err, 'shutting_down')) throw err
    })
  }

  #facts(partition: number, from: number, batch: readonly RoomEvent[]): Fact[] {
    const roomId = ROOMS[partition]!
    return batch.flatMap((event, i): Fact[] => {
      const source = { partition, offset: BigInt(from + i), index: 0, timestampMs: event.timestampMs, roomId, traceparent: undefined }
      if (event.type === 'blockSet') {
        const { blockerId, blockedId, on, occurredAtMs = 0 } = event
        return PAIRS.includes(roomId) ? [{ ...source, kind: 'said', word: { blockerId, blockedId, on, occurredAtMs } }] : []
      }
      if (event.type === 'roomOpened') return event.kind === 'direct' ? [] : [{ ...source, kind: 'opened', userIds: event.participants.map((p) => p.userId) }]
      return event.type === 'participantAdded' ? [{ ...source, kind: 'entered', userId: event.participant.userId }] : []
    })
  }

  #ports(): RelayPorts {
    // Each question is answered some time after it was asked, and heard some time after that.
    const some = async <T>(work: () => T): Promise<T> => {
      await this.#turn()
      const answer = work()
      await this.#turn()
      return answer
    }
    const store: RelayStore = {
      remember: (words) =>
        some(() => {
          for (const word of words) if (word.occurredAtMs >= (this.words.get(pairOf(word))?.occurredAtMs ?? 0)) this.words.set(pairOf(word), word)
        }),
      wordsAmong: (ids) => some(() => [...this.words.values()].filter((w) => ids.includes(w.blockerId) && ids.includes(w.blockedId))),
      concerned: (ids) => some(() => new Set([...this.words.values()].flatMap((w) => [w.blockerId, w.blockedId]).filter((id) => ids.includes(id)))),
      commonRooms: (words) =>
        some(() => words.flatMap((word) => GROUPS.filter((id) => this.members.get(id)?.has(word.blockerId) && this.members.get(id)!.has(word.blockedId)).map((roomId) => ({ word, roomId })))),
      people: (roomIds) => some(() => new Map(roomIds.map((id) => [id, new Set(this.members.get(id))]))),
      persisted: () => some(() => new Map(this.persisted.map((next, p) => [p, BigInt(next)]))),
    }
    return {
      store,
      heads: () => some(() => this.log.map(({ length }) => BigInt(length))),
      send: (command) => some(() => void this.commands[ROOMS.indexOf(command.roomId)]!.push(command)),
      sleep: async (_, signal) => {
        await this.#turn()
        signal.throwIfAborted()
      },
      nowMs: () => 0,
    }
  }

  #turn(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  /** Lets one of those go on who wait for their turn. */
  async step(): Promise<void> {
    const [next] = this.#waiting.splice(this.#pick(this.#waiting.length), 1)
    next?.()
    for (let i = 0; i < 8; i++) await Promise.resolve()
  }

  /** Until nothing is left to do, the whole of it. */
  async settle(): Promise<void> {
    for (let quiet = 0; quiet < 40; quiet++) {
      const before = JSON.stringify([this.positions, this.persisted, this.log.map((l) => l.length), this.commands.map((c) => c.length)])
      for (let i = 0; i < 30; i++) await this.step()
      for (const p of ROOMS.keys()) {
        while (this.persisted[p]! < this.log[p]!.length) this.persist(p)
        while (this.commands[p]!.length > 0) this.decideCommand(p)
      }
      const isMoving = before !== JSON.stringify([this.positions, this.persisted, this.log.map((l) => l.length), this.commands.map((c) => c.length)])
      if (isMoving || this.positions.some((at, p) => at < this.log[p]!.length)) quiet = 0
    }
    for (const stop of this.#running) stop.abort(new ChatError('shutting_down'))
  }

  /** Blocks that a room should have, and has. */
  blocksOf(roomId: RoomId): { expected: string[]; found: string[] } {
    const room = this.rooms.get(roomId)
    if (!room) return { expected: [], found: [] }
    const inside = [...room.participants.keys()]
    const keys = inside.flatMap((x) => inside.filter((y) => y !== x).map((y) => [x, y] as const))
    const expected = keys.filter(([x, y]) => this.rooms.get(directRoomId(x, y))?.blocks.has(blockKey(x, y))).map(([x, y]) => blockKey(x, y))
    return { expected: expected.toSorted(), found: keys.map(([x, y]) => blockKey(x, y)).filter((key) => room.blocks.has(key)).toSorted() }
  }
}

const user = fc.nat(2)
const actions = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant('say' as const), by: user, about: user, on: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('move' as const), who: fc.integer({ min: 1, max: 2 }), group: fc.nat(2), isIn: fc.boolean() }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('persist' as const), partition: fc.nat(5) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('decide' as const), partition: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('open' as const) }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('step' as const), times: fc.integer({ min: 1, max: 8 }) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('restart' as const), partition: fc.nat(5) }) },
)

test('whatever happens at the same time, in the end a room has the blocks that stand between the people in it', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(actions, { maxLength: 100, size: 'max' }), fc.infiniteStream(fc.nat({ max: 1_000_000 })), async (list, picks) => {
      const town = new Town((below) => (below === 0 ? 0 : picks.next().value % below))
      for (const p of ROOMS.keys()) town.startRelay(p)
      for (const action of list) {
        if (action.do === 'say' && action.by !== action.about) town.say(USERS[action.by]!, USERS[action.about]!, action.on)
        if (action.do === 'move') town.move(GROUPS[action.group]!, USERS[action.who]!, action.isIn)
        if (action.do === 'open') town.open(LATE)
        if (action.do === 'persist') town.persist(action.partition)
        if (action.do === 'decide') town.decideCommand(action.partition)
        if (action.do === 'step') for (let i = 0; i < action.times; i++) await town.step()
        // What the old one has asked for still comes: it is a zombie.
        if (action.do === 'restart') town.startRelay(action.partition)
      }
      await town.settle()
      for (const roomId of GROUPS) {
        const { expected, found } = town.blocksOf(roomId)
        expect(found).toEqual(expected)
      }
    }),
    { numRuns: 250 },
  )
}, 60_000)

const fact = (what: Partial<Fact>): Fact => ({ partition: 0, offset: 4n, index: 0, timestampMs: T0, roomId: GROUPS[0]!, traceparent: undefined, ...what }) as Fact

/** Answers as it is told, and writes down what it is asked. */
function portsOf(answers: Partial<RelayStore>): { ports: RelayPorts; asked: string[]; sent: RoomCommand[] } {
  const asked: string[] = []
  const sent: RoomCommand[] = []
  const told = (name: keyof RelayStore) => (...args: never[]) => {
    asked.push(name)
    return (answers[name] as (...a: never[]) => Promise<never>)(...args)
  }
  const store = Object.fromEntries((['remember', 'wordsAmong', 'concerned', 'commonRooms', 'people', 'persisted'] as const).map((name) => [name, told(name)])) as unknown as RelayStore
  return {
    ports: { store, heads: async () => (asked.push('heads'), [9n]), send: async (command) => void sent.push(command), sleep: async () => void asked.push('sleep'), nowMs: () => 0 },
    asked,
    sent,
  }
}

const word: Word = { blockerId: USERS[0]!, blockedId: USERS[1]!, on: true, occurredAtMs: T0 - 5 }
const never = new AbortController().signal

test('where nothing was said of people, any number of rooms that open and of entrances cost one question each', async () => {
  const { ports, asked, sent } = portsOf({ concerned: async () => new Set(), wordsAmong: async () => [] })
  const many = Array.from({ length: 100 }, (_, i) => fact({ kind: 'opened', offset: BigInt(i), userIds: [USERS[0]!, `v${i}` as UserId] }))
  const riders = many.map(({ offset }) => fact({ kind: 'entered', offset, userId: `r${offset}` as UserId }))
  expect(await relayFacts(ports, [...many, ...riders], never)).toBe(0)
  expect([asked, sent]).toEqual([['wordsAmong', 'concerned'], []])
  expect(await relayFacts(ports, [], never)).toBe(0)
  expect(asked).toHaveLength(2)
})

test('a room that opens is told what was said among its people, also of lifted blocks, and nothing else', async () => {
  const [a, b, c] = USERS as [UserId, UserId, UserId]
  const lifted = { blockerId: b, blockedId: c, on: false, occurredAtMs: T0 }
  const { ports, asked, sent } = portsOf({ wordsAmong: async () => [word, lifted] })
  await relayFacts(ports, [fact({ kind: 'opened', userIds: [a, b] }), fact({ kind: 'opened', roomId: GROUPS[1]!, userIds: [b, c] }), fact({ kind: 'opened', userIds: [a, c] })], never)
  expect(asked).toEqual(['wordsAmong'])
  expect(sent).toMatchObject([{ roomId: GROUPS[0], ...word }, { roomId: GROUPS[1], ...lifted }])
})

test('a word is remembered before the end of the log is asked for, and rooms are looked for only once Postgres holds all up to there', async () => {
  let behind = 2
  const { ports, asked, sent } = portsOf({
    remember: async () => {},
    persisted: async () => new Map([[0, behind-- > 0 ? 8n : 9n]]),
    commonRooms: async ([one]) => [{ word: one!, roomId: GROUPS[0]! }],
  })
  expect(await relayFacts(ports, [fact({ kind: 'said', word: { ...word, on: false } }), fact({ kind: 'said', offset: 5n, word })], never)).toBe(1)
  expect(asked).toEqual(['remember', 'heads', 'persisted', 'sleep', 'persisted', 'sleep', 'persisted', 'commonRooms'])
  expect(sent).toMatchObject([{ type: 'setBlock', roomId: GROUPS[0], senderId: USERS[0], ...word }])
})

test('the same facts make the same commands; a time of its own is in each', async () => {
  const twice = [1, 2].map(() =>
    portsOf({
      concerned: async (ids) => new Set(ids),
      persisted: async () => new Map([[0, 5n]]),
      people: async () => new Map([[GROUPS[0]!, new Set(USERS)]]),
      wordsAmong: async () => [word, { ...word, blockerId: USERS[1]!, blockedId: USERS[2]! }, { ...word, blockerId: USERS[1]!, blockedId: USERS[0]!, on: false }],
    }),
  )
  for (const { ports } of twice) await relayFacts(ports, [fact({ kind: 'entered', userId: USERS[0]! })], never)
  // Of what the newcomer has nothing to do with, nothing is said again.
  expect(twice[0]!.sent.map((c) => c.type === 'setBlock' && [c.blockerId, c.blockedId, c.on, c.occurredAtMs])).toEqual([['a', 'b', true, T0 - 5], ['b', 'a', false, T0 - 5]])
  expect(twice[1]!.sent).toEqual(twice[0]!.sent)
  expect(new Set(twice[0]!.sent.map(({ clientMessageId }) => clientMessageId)).size).toBe(2)
})
