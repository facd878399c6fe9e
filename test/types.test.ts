import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const root = fileURLToPath(new URL('../', import.meta.url))

// Node strips the types unread, so nothing else in a test run would notice.
test('the compiler has no objection', async () => {
  const tsc = fileURLToPath(new URL('../node_modules/typescript/bin/tsc', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, [tsc, '--noEmit', '--pretty', 'false'], { cwd: root }).catch((err: { stdout: string }) => err)
  expect(stdout).toBe('')
}, 120_000)
