import { beforeEach, expect, test } from 'vitest'
import { ChatError } from '#libs/domain/errors.ts'
import type { MessageId } from '#libs/domain/ids.ts'
import { VirtualTime } from '#libs/streams/memory-log.ts'
import { Lookups } from './lookups.ts'
import { room, user } from './memory-edge.ts'

let time: VirtualTime
let takesMs: number
let isDown: boolean
let reads: string[]
let troubles: unknown[]
let lookups: Lookups

beforeEach(() => {
  time = new VirtualTime()
  takesMs = 5
  isDown = false
  reads = []
  troubles = []
  const read = async <T>(what: string, value: T): Promise<T> => {
    reads.push(what)
    await time.sleep(takesMs)
    if (isDown) throw new ChatError('unavailable')
    return value
  }
  lookups = new Lookups({
    history: { messageSeq: (_, messageId) => read(messageId, messageId === 'known' ? 7 : undefined), settings: (userId) => read(userId, { hideReceipts: userId === 'shy', hideLastSeen: false }), hasConversationsMax: (userId) => read(userId, userId === 'many') },
    clock: time,
    onTrouble: (err) => troubles.push(err),
  })
})

async function answerOf<T>(question: Promise<T>, ms = 10): Promise<T | 'waiting'> {
  let answer: T | 'waiting' = 'waiting'
  void question.then((value) => (answer = value))
  await time.advance(ms)
  return answer
}
const seqOf = (messageId: string, ms?: number) => answerOf(lookups.messageSeq(room('r'), messageId as MessageId), ms)
const settingsOf = (userId: string, ms?: number) => answerOf(lookups.settings(user(userId)), ms)
const shown = { hideReceipts: false, hideLastSeen: false }

test('a message has its seq; one that the history does not have has none', async () => {
  expect(await seqOf('known')).toBe(7)
  expect(await seqOf('new')).toBeUndefined()
  expect(troubles).toEqual([])
})

test('without the history a request goes without, and the next ones do not wait', async () => {
  isDown = true
  expect(await seqOf('known')).toBeUndefined()
  expect(troubles).toHaveLength(1)
  isDown = false
  expect(await seqOf('known', 0)).toBeUndefined()
  expect(reads).toHaveLength(1)
  await time.advance(2_000)
  expect(await seqOf('known')).toBe(7)
})

test('a history that does not answer is waited for a second', async () => {
  takesMs = 60_000
  expect(await seqOf('known', 990)).toBe('waiting')
  expect(await seqOf('known', 1_000)).toBeUndefined()
  expect(await seqOf('known', 0)).toBeUndefined()
  // Its late failure is nobody's.
  isDown = true
  await time.advance(60_000)
})

test('settings are read once in 30 s, however many ask', async () => {
  const questions = [lookups.settings(user('a')), lookups.settings(user('a'))]
  expect(await answerOf(Promise.all(questions))).toEqual([shown, shown])
  await time.advance(29_000)
  expect(await settingsOf('a')).toEqual(shown)
  expect(reads).toEqual(['a'])
  await time.advance(2_000)
  await settingsOf('a')
  expect(reads).toEqual(['a', 'a'])
  expect(await settingsOf('shy')).toMatchObject({ hideReceipts: true })
})

test('what cannot be read is the more private, and asked for again', async () => {
  isDown = true
  expect(await settingsOf('a')).toEqual({ hideReceipts: true, hideLastSeen: true })
  isDown = false
  await time.advance(2_000)
  expect(await settingsOf('a')).toEqual(shown)
})

test('of very many users only the latest are kept', async () => {
  takesMs = 0
  for (let i = 0; i <= 10_000; i++) void lookups.settings(user(`u${i}`))
  await time.advance(10)
  expect(reads).toHaveLength(10_001)
  await settingsOf('u10000')
  expect(reads).toHaveLength(10_001)
  await settingsOf('u0')
  expect(reads).toHaveLength(10_002)
})
