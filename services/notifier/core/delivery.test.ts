import { beforeEach, describe, expect, test } from 'vitest'
import { ChatError } from '#libs/domain/errors.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { collapseKeyOf, type DeadLetter, deliver, type DeliveryJob, type DeliveryPorts, InTurn, type NotificationState, type Payload } from './delivery.ts'

const ann = 'ann' as UserId
const r1 = 'r1' as RoomId
const job: DeliveryJob = { userId: ann, roomId: r1, subscriptionId: null }
const toBrowser: DeliveryJob = { ...job, subscriptionId: 's1' }
const opened: NotificationState = {
  notificationId: 'n1', kind: 'message', firstIndex: 1, lastIndex: 3, lastSeq: 9, count: 3, senderId: 'bob' as UserId, roomKind: 'group', roomName: null, version: 5, isOpen: true,
  updatedAtMs: 1_000, badge: 4, preview: null,
}

let state: NotificationState | undefined
let shown: Map<string, number>
let subscriptions: Map<string, { userId: UserId; endpoint: string; p256dh: string; auth: string }>
let letters: DeadLetter[]
let sent: Payload[]
let answer: 'sent' | 'gone' | ChatError
let nowMs: number
beforeEach(() => {
  ;[state, shown, letters, sent, answer, nowMs] = [opened, new Map(), [], [], 'sent', 2_000]
  subscriptions = new Map([['s1', { userId: ann, endpoint: 'https://push', p256dh: 'p', auth: 'a' }]])
})

const ports: DeliveryPorts = {
  store: {
    state: async () => state,
    isShown: async (_, __, target) => shown.has(target),
    setShown: async (_, __, target, version) => void shown.set(target, version),
    setCleared: async (_, __, target, version) => void ((shown.get(target) ?? version) <= version && shown.delete(target)),
    subscription: async (id) => subscriptions.get(id),
    removeSubscription: async (id) => void subscriptions.delete(id),
    addDeadLetter: async (letter) => void letters.push(letter),
  },
  send: async (payload) => {
    sent.push(payload)
    if (answer instanceof ChatError) throw answer
    return answer
  },
  nowMs: () => nowMs,
  limits: { attemptsMax: 3, ttlMs: 10_000 },
}

describe('a delivery', () => {
  test('says what holds now', async () => {
    expect(await deliver(ports, 'webhook', job, 1)).toBe('sent')
    expect(sent).toEqual([
      {
        type: 'notification', dedupeId: 'n1.5', collapseKey: collapseKeyOf(ann, r1), version: 5, notificationId: 'n1', userId: 'ann', roomId: 'r1', kind: 'message', count: 3, badge: 4,
        title: { senderId: 'bob', roomKind: 'group' }, firstIndex: 1, lastIndex: 3, lastSeq: 9, timestampMs: 1_000,
      },
    ])
  })

  test('clears only what may be shown there, and is then done with it', async () => {
    state = { ...opened, isOpen: false, version: 6 }
    expect(await deliver(ports, 'webhook', job, 1)).toBe('nothing_to_clear')
    shown.set('webhook', 5)
    expect(await deliver(ports, 'webhook', job, 1)).toBe('cleared')
    expect(sent).toMatchObject([{ type: 'cleared', dedupeId: 'n1.6', count: 0 }])
    expect(shown.size).toBe(0)
  })

  test('counts as shown before it is sent: what a crash leaves unknown is cleared too', async () => {
    answer = new ChatError('unavailable', 'no answer')
    await expect(deliver(ports, 'webPush', toBrowser, 1)).rejects.toThrow('no answer')
    expect(shown).toEqual(new Map([['webPush:s1', 5]]))
  })

  test('is tried again as often as it may be, and then dead-lettered without the message itself', async () => {
    answer = new ChatError('unavailable', 'no answer')
    state = { ...opened, preview: 'secret' }
    await expect(deliver(ports, 'sqs', job, 2)).rejects.toThrow()
    expect(letters).toEqual([])
    expect(await deliver(ports, 'sqs', job, 3)).toBe('dead_lettered')
    expect(sent[0]).toMatchObject({ preview: 'secret' })
    expect(letters).toMatchObject([{ target: 'sqs', code: 'unavailable', reason: expect.stringMatching('no answer'), attempts: 3, payload: { dedupeId: 'n1.5' } }])
    expect(letters[0]!.payload).not.toHaveProperty('preview')
  })

  test('is dead-lettered at once where it is refused', async () => {
    answer = new ChatError('delivery_refused', '410')
    expect(await deliver(ports, 'webhook', job, 1)).toBe('dead_lettered')
    expect(letters).toMatchObject([{ code: 'delivery_refused', attempts: 1 }])
  })

  test('ends a subscription that is gone, and does not go to a browser that has changed hands', async () => {
    answer = 'gone'
    expect(await deliver(ports, 'webPush', toBrowser, 1)).toBe('gone')
    expect(subscriptions.size).toBe(0)
    expect(await deliver(ports, 'webPush', toBrowser, 1)).toBe('gone')
    subscriptions.set('s1', { userId: 'eve' as UserId, endpoint: 'https://push', p256dh: 'p', auth: 'a' })
    expect(await deliver(ports, 'webPush', toBrowser, 1)).toBe('gone')
    expect(sent).toHaveLength(1)
  })

  test('is not made of what is too old, or no more', async () => {
    nowMs = 11_001
    expect(await deliver(ports, 'sqs', job, 1)).toBe('expired')
    state = undefined
    expect(await deliver(ports, 'sqs', job, 1)).toBe('expired')
    expect(sent).toEqual([])
  })

  test('has a preview of bounded length, of whole characters', async () => {
    state = { ...opened, preview: '🙂'.repeat(300) }
    await deliver(ports, 'sqs', job, 1)
    expect(sent[0]!.preview).toBe(`${'🙂'.repeat(239)}…`)
  })
})

test('a collapse key is what Web Push takes for a topic, and of one user and room', () => {
  const keys = [collapseKeyOf(ann, r1), collapseKeyOf(ann, 'r2' as RoomId), collapseKeyOf('bob' as UserId, r1)]
  for (const key of keys) expect(key).toMatch(/^[A-Za-z0-9_-]{32}$/)
  expect(new Set(keys).size).toBe(3)
})

test('deliveries of one key go one after the other, also where one fails; others do not wait', async () => {
  const inTurn = new InTurn()
  const log: string[] = []
  const gate = Promise.withResolvers<void>()
  const first = inTurn.run('a', async () => {
    await gate.promise
    log.push('first')
    throw new Error('fails')
  })
  const second = inTurn.run('a', async () => void log.push('second'))
  await inTurn.run('b', async () => void log.push('other'))
  gate.resolve()
  await expect(first).rejects.toThrow('fails')
  await second
  expect(log).toEqual(['other', 'first', 'second'])
})
