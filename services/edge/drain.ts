import type { Clock } from '#libs/runtime/clock.ts'
import type { Commands } from './core/commands.ts'
import type { Sessions } from './core/sessions.ts'

const STEP_MS = 50
/** Acks that are on their way are waited for this long at most. */
const PENDING_WAIT_MS = 2_000

/**
 * Closes all sockets over `drainMs`, spread at random, each with a time of its own to come back: their clients then
 * reconnect to the other nodes one by one, and miss nothing.
 */
export async function drain(sessions: Sessions, commands: Commands, drainMs: number, clock: Clock, random: () => number): Promise<void> {
  const due = [...sessions.connections].map((connection) => ({ connection, atMs: random() * drainMs })).sort((a, b) => a.atMs - b.atMs)
  const startedMs = clock.nowMs()
  for (const { connection, atMs } of due) {
    while (clock.nowMs() - startedMs < atMs) await clock.sleep(STEP_MS)
    if (connection.pending > 0) await answered(connection, clock)
    connection.close('shutting_down', Math.round(random() * 1_000))
  }
  const deadlineMs = clock.nowMs() + PENDING_WAIT_MS
  while (commands.pending > 0 && clock.nowMs() < deadlineMs) await clock.sleep(STEP_MS)
}

async function answered(connection: { readonly pending: number }, clock: Clock): Promise<void> {
  const deadlineMs = clock.nowMs() + PENDING_WAIT_MS
  while (connection.pending > 0 && clock.nowMs() < deadlineMs) await clock.sleep(STEP_MS)
}
