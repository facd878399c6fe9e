import type { RoundResult } from './harness/round.ts'

type Row = Pick<RoundResult, 'violations' | 'seconds' | 'sent' | 'acked' | 'seen' | 'log' | 'unasked' | 'pauses' | 'figures'> & { readonly name: string }

/** The whole run on one page. */
export function tableOf(rows: readonly Row[]): string {
  const table = rows.map(({ name, violations, seconds, sent, acked, seen, log, unasked, figures }) => ({
    scenario: name,
    held: violations.length === 0 ? 'yes' : `NO: ${violations.length}`,
    seconds,
    sent,
    acked,
    seen,
    markers: log.markers,
    voids: log.voids,
    'ended by itself': unasked.length,
    figures: Object.entries(figures).map(([what, n]) => `${what} ${n}`).join(', '),
  }))
  const pauses = rows.flatMap(({ pauses: all }) => Object.entries(all).map(([fault, { faults, samples, p50, p99, max }]) => ({ 'pause felt in': fault, faults, samples, 'p50 ms': p50, 'p99 ms': p99, 'max ms': max })))
  return [table, pauses].filter((part) => part.length > 0).map(columns).join('\n\n')
}

function columns(rows: readonly Readonly<Record<string, string | number>>[]): string {
  const names = Object.keys(rows[0]!)
  const lines = [names, ...rows.map((row) => names.map((name) => String(row[name])))]
  const widths = names.map((_, i) => Math.max(...lines.map((line) => line[i]!.length)))
  return lines.map((line) => line.map((cell, i) => cell.padEnd(widths[i]!)).join('  ').trimEnd()).join('\n')
}
