import { expect, test } from 'vitest'
import { runRawCases } from './raw.ts'

test('raw frames of every kind: the edge does what bare uWebSockets.js does', { timeout: 60_000 }, async () => {
  const report = await runRawCases()
  expect(report.failed).toEqual([])
  const outcomes = new Map((report.figures['rawCases'] as { case: string; ours: string }[]).map((one) => [one.case, one.ours]))
  // So that two servers that say nothing are not taken for two that agree.
  expect(outcomes.get('text of 126 bytes')).toBe('1 126 bytes | 8 03e8 | ended, 1000')
  expect(outcomes.get('a text of three frames, pings between')).toBe('10 31 | 10 32 | 1 616263 | 8 03e8 | ended, 1000')
  for (const name of ['opcode 3', 'reserved bits 4 on a text', 'a continuation of nothing', 'bad UTF-8: a surrogate', 'above the largest payload', 'a ping of 126 bytes'.slice(2)]) expect(outcomes.get(name)).toMatch(/ended, (1002|1006|1007|1009)$/)
})
