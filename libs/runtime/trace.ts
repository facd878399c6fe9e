import { randomHex } from './clock.ts'

const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$/

/** A W3C `traceparent`: a new trace, or a new span within the one that came in. */
export function newTraceparent(parent?: string): string {
  const traceId = traceIdOf(parent) ?? randomHex(16)
  return `00-${traceId}-${randomHex(8)}-01`
}

/** The trace id for log lines. */
export function traceIdOf(traceparent: string | undefined): string | undefined {
  return traceparent === undefined ? undefined : TRACEPARENT.exec(traceparent)?.[1]
}
