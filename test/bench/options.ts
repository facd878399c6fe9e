import type { BenchOptions } from './bench.ts'

/** Nothing but: does it work. */
export const QUICK: BenchOptions = {
  rounds: 1,
  seconds: 2,
  warmUpSeconds: 1,
  rooms: 50,
  rates: [100],
  stepSeconds: 1,
  idleSeconds: 2,
  settleSeconds: 2,
  followSeconds: 2,
  presenceSeconds: 3,
  sockets: 200,
  crowd: 100,
  persistedMessages: 2_000,
  takeoverRooms: 1_000,
  quick: true,
}

/** What does not change with the command line. */
export const FULL_SIZES = {
  idleSeconds: 30,
  settleSeconds: 15,
  followSeconds: 10,
  presenceSeconds: 30,
  sockets: 10_000,
  crowd: 5_000,
  persistedMessages: 100_000,
  takeoverRooms: 100_000,
} as const satisfies Partial<BenchOptions>
