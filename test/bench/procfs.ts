import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import os from 'node:os'

/** Processes by the name they have in the tables; each counts with all its descendants. */
export type Pids = ReadonlyMap<string, number>

/** CPU seconds since each process began, its threads and its children, dead ones too. */
export type CpuSample = ReadonlyMap<string, number>

const TICKS_PER_S = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))

export function sampleCpu(pids: Pids): CpuSample {
  const stats = readStats()
  return new Map([...pids].map(([name, pid]) => [name, cpuOfTree(pid, stats)]))
}

/** Named differences; a process that came in between counts from its beginning. */
export function cpuBetween(before: CpuSample, after: CpuSample): Map<string, number> {
  return new Map([...after].map(([name, cpuS]) => [name, cpuS - (before.get(name) ?? 0)]))
}

/** Resident MB of each tree; pages that several processes share are divided among them. */
export function residentMb(pids: Pids): Map<string, number> {
  const stats = readStats()
  return new Map([...pids].map(([name, pid]) => [name, treeOf(pid, stats).reduce((sum, one) => sum + pssKb(one), 0) / 1_024]))
}

/** What this machine has done for everybody, and of that for the harness and all that it has started; seconds. */
export type MachineSample = { readonly busyS: number; readonly stolenS: number; readonly oursS: number; readonly atMs: number }

export function sampleMachine(): MachineSample {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = readFileSync('/proc/stat', 'utf8').split('\n')[0]!.trim().split(/\s+/).slice(1).map(Number)
  return {
    busyS: (user + nice + system + irq + softirq) / TICKS_PER_S,
    stolenS: steal / TICKS_PER_S,
    oursS: cpuOfTree(process.pid, readStats()),
    atMs: performance.now(),
  }
}

/** The part of the machine (1: all of it) that others had meanwhile, its host included. */
export function takenByOthers(before: MachineSample, after: MachineSample): number {
  const others = after.busyS - before.busyS + (after.stolenS - before.stolenS) - (after.oursS - before.oursS)
  return Math.max(0, others) / (((after.atMs - before.atMs) / 1_000) * os.availableParallelism())
}

type Stat = { readonly parent: number; readonly ownS: number; readonly reapedS: number }

/** All processes there are now. */
function readStats(): Map<number, Stat> {
  const stats = new Map<number, Stat>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      const text = readFileSync(`/proc/${name}/stat`, 'utf8')
      // The command, in brackets, may hold blanks: count the fields after it.
      const fields = text.slice(text.lastIndexOf(')') + 2).split(' ').map(Number)
      const seconds = (a: number, b: number) => (fields[a]! + fields[b]!) / TICKS_PER_S
      stats.set(Number(name), { parent: fields[1]!, ownS: seconds(11, 12), reapedS: seconds(13, 14) })
    } catch {
      // It has ended since.
    }
  }
  return stats
}

function treeOf(pid: number, stats: ReadonlyMap<number, Stat>): number[] {
  const children = [...stats].flatMap(([child, { parent }]) => (parent === pid ? treeOf(child, stats) : []))
  return stats.has(pid) ? [pid, ...children] : children
}

function cpuOfTree(pid: number, stats: ReadonlyMap<number, Stat>): number {
  return treeOf(pid, stats).reduce((sum, one) => sum + stats.get(one)!.ownS + stats.get(one)!.reapedS, 0)
}

function pssKb(pid: number): number {
  try {
    return Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0)
  } catch {
    return 0
  }
}
