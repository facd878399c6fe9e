import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ChatFields } from '#libs/domain/frames.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { CHATS_MAX, type InboxTotals } from '#libs/domain/inbox.ts'
import { byActivity, disconnected, emptyInbox, forgotten, type InboxState, onChange, onPage, onSynced, restored, snapshotOf, startSyncing } from './inbox-state.ts'

const alice = 'alice' as UserId
const totals = (chats: number): InboxTotals => ({ unread: chats, mentions: 0, chats })
const chat = (roomId: string, change: Partial<ChatFields> = {}): ChatFields => ({ roomId: roomId as RoomId, roomSeq: 1, status: 'in', kind: 'order', messageCount: 1, unread: 1, mentions: 0, lastActivityMs: 1, ...change })
const live = onSynced(startSyncing({ ...emptyInbox, phase: 'away' }, alice), 3, totals(0)).state

test('the next change is taken, an earlier one is not, and a later one is a reason to sync', () => {
  const { state, outcome, changed } = onChange(live, { userSeq: 4, chat: chat('a'), totals: totals(1) })
  expect([state.cursor, outcome, changed, [...state.chats.keys()]]).toEqual([4, 'nothing', [chat('a')], ['a']])
  expect(onChange(state, { userSeq: 4, chat: chat('b'), totals: totals(2) })).toEqual({ state, outcome: 'nothing', changed: [] })
  const hole = onChange(state, { userSeq: 6, chat: chat('b'), totals: totals(2) })
  expect([hole.outcome, hole.state.phase, hole.state.cursor]).toEqual(['sync', 'syncing', 4])
  // The pages will bring it.
  expect(onChange(hole.state, { userSeq: 5, chat: chat('b'), totals: totals(2) }).changed).toEqual([])
})

test('pages move the cursor, so a sync that was cut goes on from there', () => {
  const { state } = onPage(live, [{ userSeq: 5, ...chat('a') }, { userSeq: 9, ...chat('b', { status: 'left' }) }])
  expect([state.cursor, state.phase, [...state.chats.keys()]]).toEqual([9, 'syncing', ['a']])
  expect(disconnected(state)).toMatchObject({ phase: 'away', cursor: 9 })
  expect(onPage(disconnected(state), [{ userSeq: 10, ...chat('c') }]).changed).toEqual([])
})

test('another user begins with nothing, and so does who has a cursor of another log', () => {
  const { state } = onChange(live, { userSeq: 4, chat: chat('a'), totals: totals(1) })
  expect(startSyncing(state, alice).chats.size).toBe(1)
  expect(startSyncing(state, 'bob' as UserId)).toMatchObject({ userId: 'bob', cursor: 0, chats: new Map(), totals: totals(0) })
  expect(forgotten(state)).toMatchObject({ userId: 'alice', cursor: 0, chats: new Map() })
})

test('what was kept for so long that the server may have forgotten chats since is not taken', () => {
  const dayMs = 24 * 3_600_000
  const kept = snapshotOf(onChange(live, { userSeq: 4, chat: chat('a'), totals: totals(1) }).state, 1_000)
  expect(restored(emptyInbox, kept, 20 * dayMs)).toMatchObject({ cursor: 4, userId: 'alice' })
  expect(restored(emptyInbox, kept, 26 * dayMs)).toEqual(emptyInbox)
})

test('by last activity, the latest first, whatever changed last', () => {
  const { state } = onPage(live, [{ userSeq: 4, ...chat('b', { lastActivityMs: 9 }) }, { userSeq: 5, ...chat('a', { lastActivityMs: 3 }) }, { userSeq: 6, ...chat('c', { lastActivityMs: 9 }) }])
  expect(byActivity(state).map(({ roomId }) => roomId)).toEqual(['c', 'b', 'a'])
})

/** A server whose frames may be lost, and a client that is cut off at any moment. */
class World {
  state: InboxState = { ...emptyInbox, phase: 'away' }
  userSeq = 0
  readonly chats = new Map<RoomId, { userSeq: number; chat: ChatFields }>()
  /** What is on its way. */
  wire: (() => void)[] = []
  isSynced = false

  change(roomId: string, status: ChatFields['status'], isLost: boolean): void {
    const changed = { userSeq: ++this.userSeq, chat: chat(roomId, { status, lastActivityMs: this.userSeq }) }
    this.chats.delete(changed.chat.roomId)
    this.chats.set(changed.chat.roomId, changed)
    const all = this.totals()
    if (this.isSynced && !isLost) this.wire.push(() => this.take(onChange(this.state, { ...changed, totals: all })))
  }

  totals(): InboxTotals {
    return totals([...this.chats.values()].filter((c) => c.chat.status !== 'left').length)
  }

  take({ state, outcome }: { readonly state: InboxState; readonly outcome: string }): void {
    expect(state.cursor).toBeGreaterThanOrEqual(this.state.cursor)
    this.state = state
    if (outcome === 'sync') this.ask()
  }

  ask(): void {
    const { cursor } = this.state
    this.wire.push(() => {
      this.isSynced = true
      const pages = [...this.chats.values()].filter(({ userSeq }) => userSeq > cursor)
      for (const page of pages) this.wire.push(() => this.take(onPage(this.state, [{ userSeq: page.userSeq, ...page.chat }])))
      const [userSeq, all] = [this.userSeq, this.totals()]
      this.wire.push(() => this.take(onSynced(this.state, userSeq, all)))
    })
  }

  connect(): void {
    this.cut()
    this.state = startSyncing(this.state, alice)
    this.ask()
  }

  cut(): void {
    this.wire = []
    this.isSynced = false
    this.state = disconnected(this.state)
  }

  restart(): void {
    this.cut()
    this.state = { ...restored(emptyInbox, JSON.parse(JSON.stringify(snapshotOf(this.state, 0))), 0), phase: 'away' }
  }

  deliver(count: number): void {
    for (let i = 0; i < count && this.wire.length > 0; i++) this.wire.shift()!()
  }
}

test('whatever is lost, cut or restarted, once a sync has ended the list is as the server has it', () => {
  const step = fc.oneof(
    fc.tuple(fc.nat(5), fc.constantFrom('in' as const, 'in' as const, 'left' as const), fc.integer({ min: 0, max: 4 })).map(([room, status, lost]) => (w: World) => w.change(`r${room}`, status, lost === 0)),
    fc.nat(4).map((count) => (w: World) => w.deliver(count)),
    fc.constant((w: World) => w.connect()),
    fc.constant((w: World) => w.cut()),
    fc.constant((w: World) => w.restart()),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const world = new World()
      world.connect()
      for (const run of steps) run(world)
      world.connect()
      world.deliver(Number.POSITIVE_INFINITY)
      expect(world.state).toMatchObject({ phase: 'live', cursor: world.userSeq, totals: world.totals() })
      const there = [...world.chats.values()].filter((c) => c.chat.status !== 'left').map((c) => c.chat)
      expect(byActivity(world.state)).toEqual(there.toReversed())
    }),
    { numRuns: 500 },
  )
})

test('a first sync of as many chats as there may be takes no longer for each page than its list', () => {
  let state = startSyncing({ ...emptyInbox, phase: 'away' }, alice)
  let copies = 0
  for (let page = 0; page < 100; page++) {
    const before = state.chats
    state = onPage(state, Array.from({ length: 100 }, (_, i) => ({ userSeq: page * 100 + i + 1, ...chat(`r${page * 100 + i}`, { lastActivityMs: page * 100 + i }) }))).state
    copies += state.chats === before ? 0 : 1
  }
  expect([state.chats.size, copies]).toEqual([CHATS_MAX, 100])
  // Above it those without activity for longest go, and of who is listed nobody else.
  const more = onPage(state, [1, 2, 3].map((i) => ({ userSeq: CHATS_MAX + i, ...chat(`new${i}`, { lastActivityMs: CHATS_MAX + i }) }))).state
  expect([more.chats.size, ['r0', 'r2', 'r3', 'new3'].map((id) => more.chats.has(id as RoomId))]).toEqual([CHATS_MAX, [false, false, true, true]])
})
