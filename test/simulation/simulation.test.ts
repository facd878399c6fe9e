import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { mutations } from './mutations.ts'
import { mutated } from './plant.ts'

const run = promisify(execFile)
const program = fileURLToPath(new URL('sim.ts', import.meta.url))

/** In a process of its own, as people run it: a run takes the thread's clock and randomness away. */
async function sim(...args: string[]): Promise<{ readonly code: number; readonly out: string }> {
  try {
    const { stdout } = await run(process.execPath, ['--disable-warning=ExperimentalWarning', program, ...args], { maxBuffer: 64 * 1024 * 1024 })
    return { code: 0, out: stdout }
  } catch (err) {
    const { code, stdout, stderr } = err as { code: number; stdout: string; stderr: string }
    return { code, out: stdout + stderr }
  }
}

const digestOf = async (seed: number): Promise<string> => /digest ([0-9a-f]{64})/.exec((await sim('--seed', `${seed}`, '--digest')).out)![1]!

test('every invariant holds, whatever the seed does', { timeout: 300_000 }, async () => {
  const { code, out } = await sim('--seeds', '300')
  expect(out).toContain('Every invariant held.')
  expect(code).toBe(0)
})

test('one seed is one run, in every process; another seed is another', { timeout: 60_000 }, async () => {
  const [first, again, other] = [await digestOf(11), await digestOf(11), await digestOf(12)]
  expect(again).toBe(first)
  expect(other).not.toBe(first)
})

test('a replay tells all that happened, and a digest alone is that of the same run', { timeout: 60_000 }, async () => {
  const { out } = await sim('--seed', '11')
  expect(out).toMatch(/room-state-1\.1 took partition 0 of room-events over/)
  expect(out).toContain(await digestOf(11))
})

describe('planted bugs', () => {
  test('each still has its place in the sources, exactly once', () => {
    for (const mutation of mutations) expect(() => mutated(mutation), mutation.name).not.toThrow()
    expect(mutations.length).toBeGreaterThanOrEqual(15)
    expect(new Set(mutations.map(({ name }) => name)).size).toBe(mutations.length)
  })

  test('one whose place is gone is refused', () => {
    const mutation = { name: 'x', file: 'y', from: 'abc', to: '' }
    expect(() => mutated(mutation, 'nothing')).toThrow(/0 times/)
    expect(() => mutated(mutation, 'abc abc')).toThrow(/2 times/)
  })

  test.each(['owner epoch ignored', 'base offset not checked', 'dedupe forgotten', 'compare-and-set left out', 'since off by one', 'removed participant', 'a frozen room', 'a removal is told', 'who leaves a room'])('%s is found', { timeout: 120_000 }, async (name) => {
    const { code, out } = await sim('--mutations', name, '--seeds', '200', '--workers', '1')
    expect(out).toContain('1 of 1 planted bugs found')
    expect(code).toBe(0)
  })

  test('a replay shows what one of them does', { timeout: 60_000 }, async () => {
    const { code, out } = await sim('--seed', '1', '--plant', 'since off by one')
    expect(code).toBe(1)
    expect(out).toMatch(/violated: order: /)
  })
})
