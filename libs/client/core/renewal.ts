/** How far ahead of its expiry a token is renewed, at most. */
const LEAD_MS_MAX = 120_000

/** When to renew a token that lives for `remainingMs` more: in its last third at the latest, spread over clients. */
export function renewDelayMs(remainingMs: number, random: number): number {
  const leadMs = Math.min(LEAD_MS_MAX, remainingMs / 3)
  return Math.max(0, remainingMs - leadMs * (0.5 + random / 2))
}
