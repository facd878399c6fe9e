import crypto from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'
import type { World } from './world.ts'

let current: World | undefined
let sealed = false

const world = (): World => {
  if (!current) throw new Error('clock or randomness outside of a run')
  return current
}

const forbidden = (name: string) => () => {
  throw new Error(`${name}: a run has no real time`)
}

/**
 * From now on this thread has no clock, no timers and no randomness but those of the world that runs: whatever asks for
 * others by a way that was overlooked gets the seed's, or an error.
 */
function seal(): void {
  sealed = true
  Date.now = () => world().nowMs
  performance.now = () => world().nowMs
  Math.random = () => world().random.next()
  crypto.randomUUID = () => {
    const hex = world().random.hex(16)
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`
  }
  crypto.randomBytes = ((length: number) => Buffer.from(world().random.bytes(length))) as typeof crypto.randomBytes
  syncBuiltinESMExports()
  Object.assign(globalThis, { setTimeout: forbidden('setTimeout'), setInterval: forbidden('setInterval') })
}

/** Called with every world that begins, when all modules have been loaded: they may read a clock at that. */
export function enter(entered: World): void {
  if (!sealed) seal()
  current = entered
}
