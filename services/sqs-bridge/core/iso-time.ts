const ISO_TIME = /^(\d{4})-(\d{2})-(\d{2})T\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})$/

/**
 * ISO 8601 with a zone (seconds may be missing: Java leaves out zeros) as ms since 1970. Undefined for anything else:
 * a time without a zone, or a day that its month does not have, would have to be guessed.
 */
export function parseIsoTimeMs(value: unknown): number | undefined {
  const parts = typeof value === 'string' ? ISO_TIME.exec(value) : null
  if (!parts) return undefined
  const [text, year, month, day] = parts
  const timeMs = Date.parse(text)
  // Date.parse takes February 30 for March 1.
  const daysInMonth = new Date(Date.UTC(Number(year), Number(month), 0)).getUTCDate()
  return Number.isNaN(timeMs) || Number(day) > daysInMonth ? undefined : timeMs
}
