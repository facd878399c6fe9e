import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'

const SUMMARY = fileURLToPath(new URL('../../.ci/summary.mjs', import.meta.url))

let dir: string
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'order-chat-summary-'))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

function summary(report: object | undefined): { line: string; status: number | null } {
  const file = path.join(dir, 'report.json')
  if (report) writeFileSync(file, JSON.stringify(report))
  const { stdout, status } = spawnSync(process.execPath, [SUMMARY, file], { encoding: 'utf8' })
  return { line: stdout.trimEnd(), status }
}

const report = (more: object = {}): object => ({
  success: true,
  numPassedTests: 3,
  numFailedTests: 0,
  numPendingTests: 0,
  numTodoTests: 0,
  testResults: [{ status: 'passed', assertionResults: [{}, {}, {}] }],
  ...more,
})

test('a good run', () => {
  expect(summary(report())).toEqual({ line: '3 passed, 0 failed', status: 0 })
  expect(summary(report({ numPendingTests: 2 }))).toEqual({ line: '3 passed, 0 failed, 2 skipped', status: 0 })
})

test('a failed test', () => {
  expect(summary(report({ success: false, numFailedTests: 1 }))).toEqual({ line: '3 passed, 1 failed', status: 1 })
})

test('a file that could not be loaded counts as a failure', () => {
  const testResults = [{ status: 'passed', assertionResults: [{}] }, { status: 'failed', assertionResults: [] }]
  expect(summary(report({ success: false, testResults }))).toEqual({ line: '3 passed, 1 failed', status: 1 })
})

test('no test, or no report at all, is no success', () => {
  expect(summary(report({ numPassedTests: 0, testResults: [] }))).toEqual({ line: '0 passed, 0 failed', status: 1 })
  expect(summary(undefined)).toEqual({ line: '0 passed, 0 failed', status: 1 })
})
