/**
 * WebSocket close codes. 4000–4499: reconnect (after `retryAfterMs`, where the reason carries one); 4500–4999:
 * terminal, reconnecting with the same token and room gives the same. The close reason is JSON:
 * `{"code":"<name>","retryAfterMs":1200}`. `docs/protocol.md` lists them all (held by test/tidy.test.ts).
 */
export const closeCodes = {
  shutting_down: { code: 4000, reconnect: true },
  slow_consumer: { code: 4001, reconnect: true },
  internal: { code: 4002, reconnect: true },
  history_unavailable: { code: 4003, reconnect: true },
  token_expired: { code: 4010, reconnect: true },
  rate_limited: { code: 4020, reconnect: true },
  token_invalid: { code: 4500, reconnect: false },
  not_a_participant: { code: 4501, reconnect: false },
  malformed_frame: { code: 4502, reconnect: false },
} as const satisfies Record<string, { code: number; reconnect: boolean }>

export type CloseName = keyof typeof closeCodes

/** Close reasons are at most 123 bytes (RFC 6455); this stays far below. */
export function closeReason(name: CloseName, retryAfterMs?: number): string {
  return JSON.stringify(retryAfterMs === undefined ? { code: name } : { code: name, retryAfterMs })
}

/** Whether a client should reconnect after `code`. Anything outside 4500–4999 (1006 too) is worth another try. */
export const shouldReconnect = (code: number): boolean => code < 4500 || code > 4999
