import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'

/**
 * A process that was started here. A pid alone proves nothing, since pids are reused:
 * only a process with this pid *and* this start time is ours to stop.
 */
export type ProcessRecord = {
  name: string
  pid: number
  startedAt: string
  stopSignal: NodeJS.Signals
  /** Ends the process at once, when its data is to be thrown away. */
  discardSignal: NodeJS.Signals
  /** The pid of the process that started it. */
  owner: number
}

/** The start time of a live process in its system's own notation; undefined if there is none. */
export function startTimeOf(pid: number): string | undefined {
  try {
    if (process.platform === 'linux') {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
      // The command, in brackets, may hold blanks: count the fields after it.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      return fields[0] === 'Z' ? undefined : fields[19]
    }
    return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim() || undefined
  } catch {
    return undefined
  }
}

export function isAlive(record: ProcessRecord): boolean {
  return startTimeOf(record.pid) === record.startedAt
}

export function writeRecord(runDir: string, record: ProcessRecord): void {
  mkdirSync(runDir, { recursive: true })
  writeFileSync(path.join(runDir, `${record.name}.json`), JSON.stringify(record))
}

export function removeRecord(runDir: string, name: string): void {
  rmSync(path.join(runDir, `${name}.json`), { force: true })
}

/** What was recorded, dead or alive. An unreadable record is dropped: it names no process. */
export function readRecords(runDir: string): ProcessRecord[] {
  let files: string[]
  try {
    files = readdirSync(runDir).filter((file) => file.endsWith('.json'))
  } catch {
    return []
  }
  return files.flatMap((file) => {
    try {
      return [JSON.parse(readFileSync(path.join(runDir, file), 'utf8')) as ProcessRecord]
    } catch {
      return []
    }
  })
}

const SIGKILL_WAIT_MS = 5_000

/** Asks the process to stop, then makes it. Does nothing to a process that is not ours. */
export async function stopRecorded(record: ProcessRecord, deadlineMs: number, signal = record.stopSignal): Promise<void> {
  signalIfOurs(record, signal)
  if (await goneWithin(record, deadlineMs)) return
  signalIfOurs(record, 'SIGKILL')
  await goneWithin(record, SIGKILL_WAIT_MS)
}

/** Kafka is stopped last: the others talk to it while they stop. */
export async function stopAllRecorded(runDir: string, records: readonly ProcessRecord[], how: 'stop' | 'discard', deadlineMs: number): Promise<void> {
  const isKafka = (record: ProcessRecord): boolean => record.name.startsWith('kafka-')
  for (const group of [records.filter((record) => !isKafka(record)), records.filter(isKafka)]) {
    await Promise.all(group.map(async (record) => {
      await stopRecorded(record, deadlineMs, how === 'discard' ? record.discardSignal : record.stopSignal)
      removeRecord(runDir, record.name)
    }))
  }
}

function signalIfOurs(record: ProcessRecord, signal: NodeJS.Signals): void {
  if (!isAlive(record)) return
  try {
    process.kill(record.pid, signal)
  } catch {
    // It went between the look and the signal.
  }
}

async function goneWithin(record: ProcessRecord, deadlineMs: number): Promise<boolean> {
  const untilMs = Date.now() + deadlineMs
  while (isAlive(record)) {
    if (Date.now() > untilMs) return false
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return true
}
