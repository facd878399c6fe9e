import type { Clock } from '#libs/runtime/clock.ts'
import type { Connection } from './core/connection.ts'
import type { Sessions } from './core/sessions.ts'

const STEP_MS = 50
/** Each socket's answers that are on their way are waited for this long at most. */
const PENDING_WAIT_MS = 2_000

/**
 * Closes all sockets over `drainMs`, spread at random, each with a time of its own to come back: their clients then
 * reconnect to the other nodes one by one, and miss nothing. Takes at most `drainMs` and 2 s, whoever does not answer.
 */
export async function drain(sessions: Sessions, drainMs: number, clock: Clock, random: () => number): Promise<void> {
  const close = (connection: Connection) => connection.close('shutting_down', Math.round(random() * 1_000))
  await Promise.all(
    [...sessions.connections].map(async (connection) => {
      await clock.sleep(random() * drainMs)
      await answered(connection, clock)
      close(connection)
    }),
  )
  // Their handshakes were under way when the drain began.
  for (const connection of [...sessions.connections]) close(connection)
}

async function answered(connection: Connection, clock: Clock): Promise<void> {
  const deadlineMs = clock.nowMs() + PENDING_WAIT_MS
  while (!connection.closed && connection.pending + connection.queued > 0 && clock.nowMs() < deadlineMs) await clock.sleep(STEP_MS)
}
