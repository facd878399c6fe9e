import { mkdirSync, statfsSync } from 'node:fs'
import { StackError } from './config.ts'

/** @throws StackError when the disk of `dir` (made if need be) has less than this to give. */
export function requireDisk(dir: string, neededMb: number, what: string): void {
  mkdirSync(dir, { recursive: true })
  const { bavail, bsize } = statfsSync(dir)
  const freeMb = Math.floor((bavail * bsize) / 1024 / 1024)
  if (freeMb >= neededMb) return
  throw new StackError(`${dir} has ${freeMb} MB of free disk; ${what} needs ${neededMb} MB. Free some, or move everything elsewhere with ORDER_CHAT_LOCAL_DIR.`)
}
