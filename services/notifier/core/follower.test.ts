import fc from 'fast-check'
import { beforeEach, describe, expect, test } from 'vitest'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { type Chat, unreadOf } from '#libs/domain/inbox.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { Follower, type FollowerOptions } from './follower.ts'
import { type Act, InboxWorld, jsonCodec, jsonDecided, marker, me, other, recordOf, T0 } from './test-support/inbox-world.ts'
import { MemoryNotifications } from './test-support/memory-notifications.ts'

const GRACE_MS = 5_000
const room = (id: string) => id as RoomId
const r1 = room('r1')
const turn = () => new Promise(setImmediate)

/** A log, a clock and a follower that may be crashed and begun again. */
class Rig {
  readonly world = new InboxWorld()
  readonly store = new MemoryNotifications()
  readonly log: InRecord[] = [marker]
  readonly active = new Set<UserId>()
  readonly silences: string[] = []
  nowMs = T0
  moved = 0
  #sleeps: { untilMs: number; resolve: () => void }[] = []
  #sink: ((records: readonly InRecord[]) => void) | undefined
  #read = 0
  #follower: Follower | undefined
  readonly #options: Partial<FollowerOptions>

  constructor(options: Partial<FollowerOptions> = {}) {
    this.#options = options
  }

  start(): void {
    this.#follower = new Follower({
      partition: 0,
      store: this.store,
      codec: jsonCodec,
      decidedOf: jsonDecided,
      log: {
        open: async (from, sink) => {
          this.#sink = sink
          this.#read = Number(from)
          this.#deliver()
        },
        hold: () => {},
        close: () => {
          this.#sink = undefined
        },
      },
      activeAmong: async (userIds) => new Set(userIds.filter((userId) => this.active.has(userId))),
      nowMs: () => this.nowMs,
      sleep: (ms, signal) =>
        new Promise((resolve, reject) => {
          this.#sleeps.push({ untilMs: this.nowMs + ms, resolve })
          signal.addEventListener('abort', () => reject(signal.reason), { once: true })
        }),
      retryDelayMs: () => 10,
      batchRecordsMax: 5,
      graceMs: GRACE_MS,
      staleMs: 86_400_000,
      windowMax: 1_000,
      rememberedMax: 1_000,
      observer: { read: () => {}, silent: (reason) => this.silences.push(reason), applied: () => {}, behind: () => {}, moved: () => this.moved++ },
      ...this.#options,
    })
    void this.#follower.run()
  }

  /** As a kill does: nothing of it is finished. */
  async crash(): Promise<void> {
    await this.#follower?.stop()
    this.#follower = undefined
  }

  get position(): bigint | undefined {
    return this.#follower?.position?.nextOffset
  }

  act(act: Act, userId = me, roomId = r1): void {
    const decision = this.world.act(userId, roomId, act, this.nowMs)
    if (!decision) return
    this.log.push(recordOf(BigInt(this.log.length), decision))
    this.#deliver()
  }

  append(record: (offset: bigint) => InRecord): void {
    this.log.push(record(BigInt(this.log.length)))
    this.#deliver()
  }

  #deliver(): void {
    const records = this.log.slice(this.#read)
    this.#read = this.log.length
    if (this.#sink && records.length > 0) this.#sink(records)
  }

  async pass(ms: number): Promise<void> {
    await this.settle()
    const untilMs = this.nowMs + ms
    for (;;) {
      const next = this.#sleeps.filter((sleep) => sleep.untilMs <= untilMs).toSorted((a, b) => a.untilMs - b.untilMs)[0]
      if (!next) break
      this.#sleeps = this.#sleeps.filter((sleep) => sleep !== next)
      this.nowMs = Math.max(this.nowMs, next.untilMs)
      next.resolve()
      await this.settle()
    }
    this.nowMs = untilMs
  }

  async settle(): Promise<void> {
    for (let i = 0; i < 12; i++) await turn()
  }

  rows() {
    return this.store.rows.map(({ kind, firstIndex, lastIndex, count, badge, closedBy }) => ({ kind, firstIndex, lastIndex, count, badge, closedBy }))
  }
}

let rig: Rig
beforeEach(() => {
  rig = new Rig()
  rig.start()
})

describe('a message for somebody who is away', () => {
  test('is told when its grace is over, not before', async () => {
    rig.act({ type: 'said', by: other })
    await rig.pass(GRACE_MS - 1)
    expect(rig.rows()).toEqual([])
    expect(rig.position).toBe(1n)
    await rig.pass(1)
    expect(rig.rows()).toEqual([{ kind: 'message', firstIndex: 1, lastIndex: 1, count: 1, badge: 1, closedBy: undefined }])
    expect(rig.position).toBe(2n)
  })

  test.each<[string, Act[]]>([
    ['read', [{ type: 'read' }]],
    ['muted', [{ type: 'mute' }]],
    ['archived', [{ type: 'archive' }]],
    ['left', [{ type: 'leave' }]],
    ['read', [{ type: 'said', by: me }]],
  ])('is not told where within the grace it was %s', async (reason, acts) => {
    rig.act({ type: 'said', by: other })
    await rig.pass(GRACE_MS - 1_000)
    for (const act of acts) rig.act(act)
    await rig.pass(GRACE_MS)
    expect(rig.rows()).toEqual([])
    expect(rig.silences[0]).toBe(reason)
  })

  test('is not told where it was muted when it came, though not any more', async () => {
    rig.act({ type: 'mute' })
    rig.act({ type: 'said', by: other })
    rig.act({ type: 'unmute' })
    await rig.pass(GRACE_MS)
    expect([rig.rows(), rig.silences]).toEqual([[], ['muted']])
  })

  test('is not told where a device is in use when the grace is over', async () => {
    rig.act({ type: 'said', by: other })
    await rig.pass(GRACE_MS - 1)
    rig.active.add(me)
    await rig.pass(1)
    expect([rig.rows(), rig.silences]).toEqual([[], ['active']])
  })

  test('is told at once where it comes late', async () => {
    rig.nowMs += GRACE_MS
    const decision = rig.world.act(me, r1, { type: 'said', by: other }, T0)!
    rig.append((offset) => recordOf(offset, decision))
    await rig.settle()
    expect(rig.rows()).toHaveLength(1)
  })

  test('is told a grace after it came where the clock of its writer is ahead', async () => {
    const decision = rig.world.act(me, r1, { type: 'said', by: other }, T0 + 3_600_000)!
    rig.append((offset) => recordOf(offset, decision))
    await rig.pass(GRACE_MS)
    expect(rig.rows()).toHaveLength(1)
  })

  test('is not told where it is older than it may be', async () => {
    const decision = rig.world.act(me, r1, { type: 'said', by: other }, T0 - 86_400_001)!
    rig.append((offset) => recordOf(offset, decision))
    await rig.settle()
    expect([rig.rows(), rig.silences, rig.position]).toEqual([[], ['stale'], 2n])
  })

  test('a burst is one notification and one job; what comes later raises it', async () => {
    for (let i = 0; i < 4; i++) {
      rig.act({ type: 'said', by: other, mentions: i === 2 })
      await rig.pass(100)
    }
    await rig.pass(GRACE_MS)
    expect(rig.rows()).toEqual([{ kind: 'mention', firstIndex: 1, lastIndex: 4, count: 4, badge: 4, closedBy: undefined }])
    expect(rig.store.jobs).toHaveLength(1)
    rig.act({ type: 'said', by: other })
    await rig.pass(GRACE_MS)
    expect(rig.rows()).toMatchObject([{ firstIndex: 1, lastIndex: 5, count: 5 }])
    expect(rig.store.jobs).toHaveLength(2)
  })

  test('one that he may not see does not tell of the one before again', async () => {
    rig.active.add(me)
    rig.act({ type: 'said', by: other })
    await rig.pass(GRACE_MS)
    rig.active.clear()
    const decision = rig.world.act(me, r1, { type: 'said', by: other }, rig.nowMs)!
    const hidden = decision.entries.map((entry) => (entry.type === 'chatChanged' ? { ...entry, chat: { ...entry.chat, last: { ...entry.chat.last!, seq: 1, messageIndex: 1 } } } : entry))
    rig.append((offset) => recordOf(offset, { ...decision, entries: hidden }))
    await rig.pass(GRACE_MS)
    expect([rig.rows(), rig.silences]).toEqual([[], ['active', 'known']])
  })
})

describe('what closes it', () => {
  test.each<[string, Act]>([
    ['read', { type: 'read' }],
    ['read', { type: 'said', by: me }],
    ['muted', { type: 'mute' }],
    ['archived', { type: 'archive' }],
    ['left', { type: 'leave' }],
  ])('%s: at once, and the badge goes with it', async (closedBy, act) => {
    rig.act({ type: 'said', by: other })
    await rig.pass(GRACE_MS)
    rig.act(act)
    await rig.settle()
    expect(rig.rows()).toMatchObject([{ closedBy }])
    if (closedBy === 'read') expect(rig.rows()).toMatchObject([{ count: 0, badge: 0 }])
    expect(rig.store.jobs).toHaveLength(2)
  })

  test('what is read in part stays, with the count that is left, and nothing is sent', async () => {
    for (let i = 0; i < 3; i++) rig.act({ type: 'said', by: other })
    await rig.pass(GRACE_MS)
    rig.act({ type: 'read', upTo: 2 })
    await rig.settle()
    expect(rig.rows()).toMatchObject([{ lastIndex: 3, count: 1, badge: 1, closedBy: undefined }])
    expect(rig.store.jobs).toHaveLength(1)
  })

  test('the next message after it opens a new one', async () => {
    rig.act({ type: 'said', by: other })
    await rig.pass(GRACE_MS)
    rig.act({ type: 'read' })
    rig.act({ type: 'said', by: other })
    await rig.pass(GRACE_MS)
    expect(rig.rows()).toMatchObject([{ firstIndex: 1, closedBy: 'read' }, { firstIndex: 2, lastIndex: 2, closedBy: undefined }])
    expect(new Set(rig.store.rows.map(({ notificationId }) => notificationId)).size).toBe(2)
  })

  test('an invitation is told, and closed by its acceptance', async () => {
    rig.act({ type: 'leave' })
    rig.act({ type: 'invite' })
    await rig.pass(GRACE_MS)
    expect(rig.rows()).toMatchObject([{ kind: 'invitation', firstIndex: undefined, count: 0, closedBy: undefined }])
    rig.act({ type: 'enter' })
    await rig.settle()
    expect(rig.rows()).toMatchObject([{ kind: 'invitation', closedBy: 'answered' }])
  })
})

test('records of a former owner count for nothing', async () => {
  const decision = rig.world.act(me, r1, { type: 'said', by: other }, rig.nowMs)!
  rig.append((offset) => recordOf(offset, decision, 7n))
  await rig.pass(GRACE_MS)
  expect([rig.rows(), rig.position]).toEqual([[], 2n])
})

test('no more is read than the window holds, and all of it is told in the end', async () => {
  const small = new Rig({ windowMax: 3, batchRecordsMax: 2 })
  small.start()
  for (let i = 0; i < 20; i++) {
    small.act({ type: 'said', by: other }, me, room(`r${i}`))
    await small.pass(10)
  }
  // The last of them are gathered for a moment more.
  await small.pass(GRACE_MS + 1_000)
  expect(small.store.rows).toHaveLength(20)
})

const acts = fc.oneof(
  { weight: 6, arbitrary: fc.record({ type: fc.constant('said' as const), by: fc.constantFrom(other, other, other, me, 'you' as UserId), mentions: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('read' as const), upTo: fc.nat(6) }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constantFrom('mute' as const, 'unmute' as const, 'archive' as const, 'leave' as const, 'enter' as const, 'invite' as const) }) },
)
const steps = fc.array(
  fc.oneof(
    { weight: 8, arbitrary: fc.record({ do: fc.constant('act' as const), act: acts, userId: fc.constantFrom(me, 'you' as UserId), roomId: fc.constantFrom(r1, room('r2')) }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 7_000 }) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('fail' as const), when: fc.constantFrom('before' as const, 'after' as const) }) },
  ),
  { maxLength: 40 },
)

test('whatever happens, whoever is away has in the end one open notification about each room with unread messages that he may be told of', async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (script) => {
      const one = new Rig()
      one.start()
      for (const step of script) {
        if (step.do === 'act') one.act(step.act, step.userId, step.roomId)
        else if (step.do === 'pass') await one.pass(step.ms)
        else if (step.do === 'fail') one.store.failures.push(step.when)
        else {
          await one.crash()
          one.start()
        }
      }
      // Twice, since what failed is read anew.
      for (let i = 0; i < 3; i++) await one.pass(GRACE_MS + 100)
      expect(one.store.position.nextOffset).toBe(BigInt(one.log.length))
      for (const [key, chat] of one.world.chats) expectRight(one, key, chat)
      expect(new Set(one.store.rows.map(({ notificationId }) => notificationId)).size).toBe(one.store.rows.length)
    }),
    { numRuns: 150 },
  )
})

function expectRight(one: Rig, key: string, chat: Chat): void {
  const [userId, roomId] = key.split(' ') as [UserId, RoomId]
  const open = one.store.open(userId, roomId)
  const mayBeTold = chat.status === 'in' && unreadOf(chat) > 0 && chat.mutedUntilMs === 0 && !chat.archived
  if (chat.status === 'invited') return
  if (!mayBeTold) expect(open, key).toBeUndefined()
  if (!open) return
  // It never says more or less than there is.
  expect(open.count, key).toBe(unreadOf(chat))
  expect(open.lastIndex).toBeGreaterThan(chat.seen)
}

test('nothing is lost: who is never in a room with a mute, an archive or an end has a notification of the last unread message', async () => {
  const plain = steps.map((script) => script.filter((step) => step.do !== 'act' || step.act.type === 'said' || step.act.type === 'read'))
  await fc.assert(
    fc.asyncProperty(plain, async (script) => {
      const one = new Rig()
      one.start()
      for (const step of script) {
        if (step.do === 'act') one.act(step.act, step.userId, step.roomId)
        else if (step.do === 'pass') await one.pass(step.ms)
        else if (step.do === 'fail') one.store.failures.push(step.when)
        else {
          await one.crash()
          one.start()
        }
      }
      for (let i = 0; i < 3; i++) await one.pass(GRACE_MS + 100)
      for (const [key, chat] of one.world.chats) {
        const [userId, roomId] = key.split(' ') as [UserId, RoomId]
        const expected = unreadOf(chat) > 0 ? { lastIndex: chat.messageCount, count: unreadOf(chat) } : undefined
        const open = one.store.open(userId, roomId)
        expect(open && { lastIndex: open.lastIndex, count: open.count }, key).toEqual(expected)
      }
    }),
    { numRuns: 150 },
  )
})
