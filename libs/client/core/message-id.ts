import { v7 as uuidV7 } from 'uuid'
import type { ClientMessageId } from '#libs/domain/ids.ts'

/** What the server's clock said, and when by the monotonic clock here: a wrong or adjusted local clock changes nothing. */
export type ServerTime = { readonly serverTimeMs: number; readonly atMonotonicMs: number }

/** The server's time now; before the first contact the local clock must do. */
export function serverNowMs(known: ServerTime | undefined, clock: { readonly nowMs: number; readonly monotonicMs: number }): number {
  return known ? known.serverTimeMs + (clock.monotonicMs - known.atMonotonicMs) : clock.nowMs
}

/** A UUIDv7 that carries `serverMs`. `random`: 16 bytes. */
export function newClientMessageId(serverMs: number, random: Uint8Array): ClientMessageId {
  return uuidV7({ msecs: Math.max(0, Math.floor(serverMs)), random }) as ClientMessageId
}
