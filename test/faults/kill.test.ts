import { afterAll, beforeAll, expect, test } from 'vitest'
import { System } from '../support/system.ts'
import { type Stack, useStack } from '../support/stack.ts'
import { Traffic } from '../support/traffic.ts'

let stack: Stack
let system: System
beforeAll(async () => {
  stack = await useStack()
  system = await System.start(stack, 'kill', { count: { 'room-state': 2, 'message-persister': 2 } })
})
afterAll(() => system?.close())

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

test('SIGKILL of room-state, persister and edge in mid-traffic: acked = seen = Postgres = topic, gapless', async () => {
  const traffic = await Traffic.start(system, { name: 'kill', rooms: 12, messagesPerSecond: 4 })
  for (const id of ['room-state-1', 'edge-1', 'message-persister-1', 'room-state-2', 'edge-2', 'message-persister-2', 'sqs-bridge-1']) {
    await pause(1_500 + Math.random() * 1_000)
    await system.process(id).kill()
    await pause(500)
    await system.process(id).start()
  }
  await pause(2_000)
  await traffic.finishAndCheck()
  expect(traffic.sent).toBeGreaterThan(500)
}, 240_000)

test('a room-state that was paused for longer than its session wakes up as a zombie: nothing it does counts', async () => {
  const traffic = await Traffic.start(system, { name: 'zombie', rooms: 8, messagesPerSecond: 4 })
  await pause(1_000)
  system.process('room-state-1').pause()
  // The session timeout is 6 s: by then its partitions are the other's.
  await pause(10_000)
  system.process('room-state-1').resume()
  await pause(5_000)
  await traffic.finishAndCheck()
}, 180_000)

test('Postgres is stopped and started: chat goes on meanwhile, and history catches up', async () => {
  const traffic = await Traffic.start(system, { name: 'postgres', rooms: 8, messagesPerSecond: 4 })
  await pause(1_000)
  await stack.control.stopPostgres()
  const before = traffic.seen
  await pause(4_000)
  expect(traffic.seen - before, 'events seen while Postgres was down').toBeGreaterThan(100)
  await stack.control.startPostgres()
  await pause(2_000)
  await traffic.finishAndCheck()
}, 180_000)

test('each Kafka broker is restarted in turn: sends are held up, never lost or doubled', async () => {
  const traffic = await Traffic.start(system, { name: 'broker', rooms: 8, messagesPerSecond: 4 })
  for (const id of [1, 2, 3] as const) {
    await pause(1_000)
    await stack.control.restartBroker(id)
  }
  await pause(3_000)
  await traffic.finishAndCheck()
}, 240_000)
