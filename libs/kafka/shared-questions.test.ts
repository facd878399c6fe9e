import { expect, test } from 'vitest'
import { VirtualTime } from '#libs/streams/memory-log.ts'
import { SharedQuestions } from './shared-questions.ts'

/** Each answer takes 5 ms, and is the time at which it was asked for. */
function questions() {
  const time = new VirtualTime(1_000)
  const asked: number[] = []
  const shared = new SharedQuestions<string, number>(async () => {
    asked.push(time.nowMs())
    const askedMs = time.nowMs()
    await time.sleep(5)
    if (askedMs === 1_020) throw new Error('down')
    return askedMs
  }, time)
  return { time, asked, shared }
}

test('who asks alone waits for nobody', async () => {
  const { time, asked, shared } = questions()
  for (let i = 0; i < 3; i++) {
    const answer = shared.ask('t')
    await time.advance(30)
    await answer
  }
  expect(asked).toEqual([1_000, 1_030, 1_060])
})

test('a flood asks one at a time and 50 times a second; no answer is older than its question, and a failure is told to its own askers alone', async () => {
  const { time, asked, shared } = questions()
  const answers: Promise<string | undefined>[] = []
  for (let i = 0; i < 1_000; i++) {
    const atMs = time.nowMs()
    answers.push(shared.ask('t').then((askedMs) => (askedMs >= atMs ? undefined : `${askedMs} for a question at ${atMs}`), (err: Error) => (atMs <= 1_020 ? undefined : err.message)))
    await time.advance(1)
  }
  await time.advance(100)
  expect((await Promise.all(answers)).filter((wrong) => wrong !== undefined)).toEqual([])
  expect(asked.length).toBeLessThanOrEqual(52)
})
