import { rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { seededRandom } from '#libs/streams/memory-log.ts'
import { useStack } from '../support/stack.ts'
import { playRound, type RoundResult } from './harness/round.ts'
import { World } from './harness/world.ts'
import { scenarios } from './scenarios/index.ts'

/** A short form of `npm run faults`, which plays these and others many times. */
const dir = fileURLToPath(new URL('../../.local/faults/npm-test', import.meta.url))
const TEST_TIMEOUT_MS = 300_000

let world: World
beforeAll(async () => {
  rmSync(dir, { recursive: true, force: true })
  world = await World.open(await useStack(), dir)
}, TEST_TIMEOUT_MS)
afterAll(() => world?.close())

/** Plays it, and lets the checker speak. */
async function play(name: string, times: number): Promise<RoundResult> {
  const scenario = scenarios.find((one) => one.name === name)!
  const seed = Math.floor(Math.random() * 1_000_000)
  const said: string[] = []
  const result = await playRound(world, { name, times, fault: scenario.fault, random: seededRandom(seed), say: (text) => said.push(text) })
  expect(result.violations, `seed ${seed}\n${[...said, ...result.unasked].join('\n')}`).toEqual([])
  expect(result.acked, 'messages').toBeGreaterThan(500)
  return result
}

test('SIGKILL of room-state, persister, edge, inbox and bridge in mid-traffic: acked = seen = Postgres = topic, gapless, and so are the lists of chats', async () => {
  await play('kill', 8)
}, TEST_TIMEOUT_MS)

test('appends of an owner that was paused or cut off land behind its successor: nothing of them counts', async () => {
  const { log } = await play('late-appends', 2)
  expect(log.voids).toBeGreaterThan(0)
}, TEST_TIMEOUT_MS)

test('a marker of its own that lands late voids what the owner writes, and it notices', async () => {
  const { log } = await play('late-markers', 1)
  expect(log.voids).toBeGreaterThan(0)
}, TEST_TIMEOUT_MS)

test('a Kafka broker is killed: sends are held up, never lost or doubled', async () => {
  await play('brokers', 1)
}, TEST_TIMEOUT_MS)

test('Postgres is stopped and started: chat goes on meanwhile, and history catches up', async () => {
  await play('postgres', 1)
}, TEST_TIMEOUT_MS)
