import { expect, test, vi } from 'vitest'
import { ChatError } from '#libs/domain/errors.ts'
import { type CommitFate, MemoryPartition, VirtualTime } from './memory-log.ts'
import { tallyInput, TallyProcessor, taskOn, testLimits } from './memory-task.ts'
import type { InputRecord } from './fenced-ports.ts'

/** What the simulation (npm run sim) has found in the owner of a partition, each as small as it gets. */
const TOPICS = ['orders', 'commands']

function world(commitFates: CommitFate[] = []) {
  const time = new VirtualTime()
  const latency = { ms: 1 }
  const partition = new MemoryPartition(time, { commit: () => commitFates.shift() ?? 'ok', latencyMs: () => latency.ms })
  for (const topic of TOPICS) partition.inputs.set(topic, [])
  return { time, latency, partition, machine: partition.machine('a'), feed: (id: string) => partition.addInput('commands', 'A', tallyInput(id)) }
}

test('no snapshot follows one that has failed in mid-append: it would leave out what that one held', async () => {
  const { time, latency, machine, feed } = world(['ok', 'lost'])
  const processors: TallyProcessor[] = []
  const lost: string[] = []
  feed('1')
  const task = taskOn<InputRecord>(machine, {
    inputTopics: TOPICS,
    createProcessor: () => processors[processors.push(new TallyProcessor()) - 1]!,
    observer: { lost: (err) => lost.push((err as ChatError).code) },
  })
  void task.run()
  const snapshot = vi.spyOn(processors[0]!, 'snapshot')
  await time.advance(testLimits.snapshotEveryMs - 100)
  // The commit takes longer than the pause between two snapshots, and the append ends after it.
  latency.ms = 700
  await time.advance(200)
  feed('2')
  await time.until(() => lost.length > 0)
  expect(lost).toEqual(['ownership_lost'])
  expect(snapshot).toHaveBeenCalledTimes(1)
})

test('an input that was opened after the queue had filled is held too', async () => {
  const { time, machine, feed } = world()
  for (let i = 0; i < 60; i++) feed(`${i}`)
  const calls: string[] = []
  const { taskInputs } = machine
  const inputs: typeof taskInputs = {
    open: async (positions, sink) => {
      await taskInputs.open(positions, sink)
      await time.sleep(100)
      calls.push('opened')
    },
    hold: (on) => {
      calls.push(on ? 'held' : 'let go')
      taskInputs.hold(on)
    },
    close: () => taskInputs.close(),
  }
  void taskOn<InputRecord>(machine, { inputTopics: TOPICS, createProcessor: () => new TallyProcessor(), inputs }).run()
  await time.advance(300)
  expect(calls).toEqual(['held', 'opened', 'held', 'let go'])
})
