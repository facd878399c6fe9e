// A small process beside each stack. It holds the reading end of a pipe whose other end only the
// stack's owner has: when the owner is gone, however it went (SIGKILL too), the pipe ends, and
// what the owner had started and could not stop is stopped here.
//
//   node keeper.ts <stop|discard> <owner pid> <run folder> [folders to delete when discarding…]
import { type ChildProcess, spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { readRecords, stopAllRecorded } from './pids.ts'

export type KeeperOrder = 'stop' | 'discard'

const STOP_DEADLINE_MS = 40_000
const self = fileURLToPath(import.meta.url)

/** Starts the keeper of the calling process; ends with it. */
export function startKeeper(order: KeeperOrder, runDir: string, dirs: readonly string[] = []): ChildProcess {
  const args = ['--disable-warning=ExperimentalWarning', self, order, String(process.pid), runDir, ...dirs]
  const child = spawn(process.execPath, args, { detached: true, stdio: ['pipe', 'ignore', 'ignore'], cwd: '/' })
  child.unref()
  return child
}

async function keep(order: KeeperOrder, owner: number, runDir: string, dirs: readonly string[]): Promise<void> {
  for await (const _ of process.stdin) {
    // Nothing is ever sent; only the end matters.
  }
  // A new owner may have begun in the same folder: its processes are not ours to stop.
  const records = readRecords(runDir).filter((record) => record.owner === owner)
  await stopAllRecorded(runDir, records, order, STOP_DEADLINE_MS)
  if (order === 'discard') for (const dir of dirs) rmSync(dir, { recursive: true, force: true })
}

if (process.argv[1] === self) {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
  const [order, owner, runDir, ...dirs] = process.argv.slice(2)
  await keep(order as KeeperOrder, Number(owner), runDir ?? '', dirs)
}
