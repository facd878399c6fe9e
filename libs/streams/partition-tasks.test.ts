import { expect, test } from 'vitest'
import { PartitionTasks } from './partition-tasks.ts'

class FakeTask {
  readonly partition: number
  running = false
  stopped = false
  readonly ended = Promise.withResolvers<void>()
  readonly ran = Promise.withResolvers<void>()

  constructor(partition: number) {
    this.partition = partition
  }

  run(): Promise<void> {
    this.running = true
    return this.ran.promise
  }

  stop(): Promise<void> {
    this.stopped = true
    return this.ended.promise
  }
}

function fixture() {
  const created: FakeTask[] = []
  const failures: unknown[] = []
  const tasks = new PartitionTasks({ create: (partition) => created[created.push(new FakeTask(partition)) - 1]!, onFailure: (err) => failures.push(err) })
  return { created, failures, tasks }
}
const settle = () => new Promise((resolve) => setImmediate(resolve))

test('what stays ours runs on, what is new starts, what is not ours any more is stopped', async () => {
  const { created, tasks } = fixture()
  tasks.assign([0, 1])
  tasks.assign([1, 2])
  await settle()
  expect(created.map((t) => [t.partition, t.running, t.stopped])).toEqual([[0, true, true], [1, true, false], [2, true, false]])
  expect(tasks.partitions()).toEqual([1, 2])
})

test('a partition that comes back waits until its old task has ended', async () => {
  const { created, tasks } = fixture()
  tasks.assign([0])
  tasks.assign([])
  tasks.assign([0])
  await settle()
  expect(created.map((t) => t.running)).toEqual([true, false])
  created[0]!.ended.resolve()
  await settle()
  expect(created[1]!.running).toBe(true)
})

test('a partition that goes and comes twice waits for every task before it', async () => {
  const { created, tasks } = fixture()
  for (const partitions of [[0], [], [0], [], [0]]) tasks.assign(partitions)
  created[1]!.ended.resolve()
  await settle()
  expect(created[2]!.running).toBe(false)
  created[0]!.ended.resolve()
  await settle()
  expect(created[2]!.running).toBe(true)
})

test('what a task cannot mend is told', async () => {
  const { created, failures, tasks } = fixture()
  tasks.assign([0])
  await settle()
  created[0]!.ran.reject(new Error('fatal'))
  await settle()
  expect(failures).toEqual([new Error('fatal')])
})

test('stopAll ends with the last of them, those that were given back before too', async () => {
  const { created, tasks } = fixture()
  tasks.assign([0, 1])
  tasks.assign([1])
  let done = false
  const stopping = tasks.stopAll().then(() => (done = true))
  created[1]!.ended.resolve()
  await settle()
  expect(done).toBe(false)
  created[0]!.ended.resolve()
  await stopping
  expect(tasks.partitions()).toEqual([])
})
