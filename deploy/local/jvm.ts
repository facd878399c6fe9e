import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import type { StackConfig } from './config.ts'
import { startTimeOf } from './pids.ts'
import type { Tools } from './tools.ts'

type Servers = Pick<Tools, 'servers'>

/** For small servers and short lives: less to compile, less memory for it. */
export const LIGHT_JVM = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC'] as const

/** An orderly stop may have to write an archive first. */
export const JVM_STOP_DEADLINE_MS = 30_000

/**
 * Flags that let the JVM map its classes from an archive instead of loading them, which halves
 * what a start costs. Where there is no archive yet, the JVM writes one when it stops; a stack
 * that is thrown away never stops in order and writes none.
 */
export function classArchiveFlags(tools: Servers, name: string, { throwAway }: Pick<StackConfig, 'throwAway'>): string[] {
  const file = archiveFile(tools, name)
  const quiet = ['-Xlog:cds=off', '-Xlog:cds+dynamic=off']
  if (existsSync(file)) return [`-XX:SharedArchiveFile=${file}`, ...quiet]
  return throwAway ? [] : [`-XX:ArchiveClassesAtExit=${file}.${process.pid}`, ...quiet]
}

/** Whether the stop of this server will take longer, to make its next start quicker. */
export function writesClassArchive(tools: Servers, name: string, { throwAway }: Pick<StackConfig, 'throwAway'>): boolean {
  return !throwAway && !existsSync(archiveFile(tools, name))
}

/** Puts the archive that a JVM wrote to use; one that was killed may have written half of it. */
export function keepClassArchive(tools: Servers, name: string, wasKilled: boolean): void {
  const file = archiveFile(tools, name)
  const fresh = `${file}.${process.pid}`
  if (wasKilled) rmSync(fresh, { force: true })
  else if (existsSync(fresh)) renameSync(fresh, file)
}

/** Deletes what owners left that did not come to put it to use. */
export function dropUnfinishedArchives({ servers }: Servers): void {
  for (const name of readdirSync(servers)) {
    const owner = /\.jsa\.(\d+)$/.exec(name)?.[1]
    if (owner !== undefined && startTimeOf(Number(owner)) === undefined) rmSync(path.join(servers, name), { force: true })
  }
}

function archiveFile({ servers }: Servers, name: string): string {
  return path.join(servers, `${name}.jsa`)
}
