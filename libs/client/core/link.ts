import { shouldReconnect } from '#libs/domain/close-codes.ts'
import { retryDelayMs } from './backoff.ts'
import type { ProbeVerdict } from './probe.ts'

/** The state of the connection: what happened to it decides when, or whether, it is tried again. Pure. */
export type Link = {
  /** closed: nothing is tried until the app asks. offline: waits for `retryAtMs`. probing: asks why the upgrade failed. */
  readonly phase: 'closed' | 'offline' | 'connecting' | 'probing' | 'online'
  /** Failures in a row. An online time of `STABLE_MS` ends the row. */
  readonly failures: number
  /** Both by the monotonic clock. */
  readonly onlineSinceMs?: number
  readonly retryAtMs?: number
  /** The last token was refused as expired; if the next one is too, asking again does not help. */
  readonly tokenExpired: boolean
  /** Why it is not online. */
  readonly reason?: LinkReason
}

export type LinkReason = { readonly code: string; readonly message?: string; readonly closeCode?: number }
export type Moment = { readonly nowMs: number; readonly random: number }

/** So long online, and the next failure is the first again. */
export const STABLE_MS = 10_000

export const idleLink: Link = { phase: 'closed', failures: 0, tokenExpired: false }

export const connecting = ({ failures, tokenExpired, reason }: Link): Link => ({ phase: 'connecting', failures, tokenExpired, ...(reason && { reason }) })

/** For an app that asks to connect again after a terminal end: history does not count. */
export const connectingAnew = (): Link => ({ phase: 'connecting', failures: 0, tokenExpired: false })

export const online = ({ failures }: Link, nowMs: number): Link => ({ phase: 'online', failures, tokenExpired: false, onlineSinceMs: nowMs })

export const probing = ({ failures, tokenExpired }: Link): Link => ({ phase: 'probing', failures, tokenExpired })

export const closed = (link: Link, reason: LinkReason): Link => ({ phase: 'closed', failures: link.failures, tokenExpired: false, reason })

/** Something failed that is worth another try. */
export function offline(link: Link, reason: LinkReason, { nowMs, random }: Moment, retryAfterMs?: number): Link {
  const stable = link.onlineSinceMs !== undefined && nowMs - link.onlineSinceMs >= STABLE_MS
  const failures = stable ? 0 : link.failures
  const retryAtMs = nowMs + retryDelayMs(failures, random, { retryAfterMs })
  return { phase: 'offline', failures: failures + 1, tokenExpired: link.tokenExpired, retryAtMs, reason }
}

/** The server (or the network) has closed an open socket. */
export function afterClose(link: Link, close: { readonly code: number; readonly reason: string }, moment: Moment): Link {
  const { code, retryAfterMs } = parseCloseReason(close.reason)
  const reason: LinkReason = { code: code ?? 'connection_lost', closeCode: close.code }
  if (!shouldReconnect(close.code)) return closed(link, reason)
  const next = offline(link, reason, moment, retryAfterMs)
  return code === 'token_expired' ? { ...next, tokenExpired: true } : next
}

/** What asking by HTTP has told about a socket that never opened. */
export function afterProbe(link: Link, verdict: ProbeVerdict, moment: Moment): Link {
  const { code, message } = verdict
  const reason: LinkReason = { code, ...(message !== undefined && { message }) }
  switch (verdict.kind) {
    case 'terminal':
      return closed(link, reason)
    case 'expired':
      return link.tokenExpired ? closed(link, reason) : { ...offline(link, reason, moment), tokenExpired: true }
    case 'trouble':
      return offline(link, reason, moment, verdict.retryAfterMs)
  }
}

function parseCloseReason(text: string): { readonly code?: string; readonly retryAfterMs?: number } {
  try {
    const { code, retryAfterMs } = JSON.parse(text) as { code?: unknown; retryAfterMs?: unknown }
    return { ...(typeof code === 'string' && { code }), ...(Number.isFinite(retryAfterMs) && { retryAfterMs: retryAfterMs as number }) }
  } catch {
    // Proxies and engines close with texts of their own, or none.
    return {}
  }
}
