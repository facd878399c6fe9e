import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Bench, SystemName } from '../bench/bench.ts'
import { measureRates } from '../bench/measure-rates.ts'
import { QUICK } from '../bench/options.ts'
import { systemsOf } from '../bench/systems/all.ts'
import { World } from '../bench/world.ts'
import { useStack } from '../support/stack.ts'

/** That everything which is compared does its work. How fast is for `npm run bench` to say. */
let world: World
let bench: Bench

beforeAll(async () => {
  world = await World.on(await useStack(), 'bench-test')
  bench = { world, systems: systemsOf(world, {}), options: { ...QUICK, rooms: 10, rates: [100], seconds: 1 }, say: () => {}, signal: new AbortController().signal }
})

afterAll(() => world?.discard())

test.each(['order-chat', 'raw', 'usual', 'fan-out'] as const)('%s delivers every message once, and is measured', { timeout: 120_000 }, async (system: SystemName) => {
  const [result, ...more] = await measureRates(bench, [system], [100])
  expect(more).toEqual([])
  expect(result).toMatchObject({ system, rate: 100, round: 1, sent: 100, delivered: 100, duplicates: 0, troubles: [] })
  expect(result!.latencyMs.count).toBe(100)
  expect(result!.latencyMs.p50).toBeGreaterThan(0)
  expect(result!.latencyMs.p99).toBeLessThan(Number.POSITIVE_INFINITY)
  expect(Object.keys(result!.cpu).length).toBeGreaterThan(0)
  expect(Object.values(result!.residentMb).every((mb) => mb > 0)).toBe(true)
})
