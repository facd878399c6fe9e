export type ProbeVerdict =
  /** The same request may succeed later. */
  | { readonly kind: 'trouble'; readonly code: string; readonly message?: string; readonly retryAfterMs?: number }
  /** The token has expired: another may do. */
  | { readonly kind: 'expired'; readonly code: string; readonly message?: string }
  /** The same request gives the same answer. */
  | { readonly kind: 'terminal'; readonly code: string; readonly message?: string }

/** Where an http(s) GET answers what the upgrade of `url` (ws, wss) was refused with. */
export const probeUrl = (url: string): string => url.replace(/^ws/, 'http')

/**
 * What the answer to a probe means. Only a refusal in the server's own words (JSON with `code` and `retriable: false`)
 * is final: a proxy's or a captive portal's error page is trouble on the way, and passes.
 */
export function judgeProbe(status: number, body: string): ProbeVerdict {
  const { code, message, retriable, retryAfterMs } = parseAnswer(body)
  const text = message === undefined ? {} : { message }
  // 426: access is fine, so whatever kept the socket from opening was the network.
  if (code === undefined || status === 426) return { kind: 'trouble', code: 'connect_failed' }
  if (code === 'token_expired') return { kind: 'expired', code, ...text }
  const isRefusal = status >= 400 && status < 500 && status !== 429
  if (isRefusal && retriable === false) return { kind: 'terminal', code, ...text }
  return { kind: 'trouble', code, ...text, ...(retryAfterMs !== undefined && { retryAfterMs }) }
}

type Answer = { readonly code?: string; readonly message?: string; readonly retriable?: boolean; readonly retryAfterMs?: number }

function parseAnswer(body: string): Answer {
  try {
    const { code, message, retriable, retryAfterMs } = JSON.parse(body) as Record<string, unknown>
    return {
      ...(typeof code === 'string' && { code }),
      ...(typeof message === 'string' && { message }),
      ...(typeof retriable === 'boolean' && { retriable }),
      ...(Number.isFinite(retryAfterMs) && { retryAfterMs: retryAfterMs as number }),
    }
  } catch {
    // Not our server's answer.
    return {}
  }
}
