import type { HistoryEntry } from './history.ts'

export type FaultWindow = { readonly what: string; readonly fromMs: number; readonly toMs: number }

/** Of the longest pauses that each user felt in each of his rooms, one for every fault of a kind. ms */
export type Pauses = { readonly faults: number; readonly samples: number; readonly p50: number; readonly p99: number; readonly max: number }

type Gap = { readonly fromMs: number; readonly toMs: number }

/** A fault may be felt for so long after it is over. */
const AFTER_MS = 20_000

/**
 * A pause is the time in which nothing came to a user in a room although something was due: from the first send that
 * he has not seen (or from the last delivery, where that was later) to the next delivery.
 */
export function pausesOf(history: readonly HistoryEntry[], windows: readonly FaultWindow[]): Record<string, Pauses> {
  const ordered = windows.toSorted((a, b) => a.fromMs - b.fromMs)
  // The next fault's pause is not this one's.
  const spans = ordered.map(({ fromMs, toMs }, i) => ({ fromMs, toMs: Math.min(toMs + AFTER_MS, ordered[i + 1]?.fromMs ?? Number.POSITIVE_INFINITY) }))
  const samples = new Map<string, number[]>()
  for (const gaps of gapsByView(history).values()) {
    const longest = spans.map(() => 0)
    for (const gap of gaps) {
      const at = spanOf(gap, spans)
      if (at >= 0) longest[at] = Math.max(longest[at]!, gap.toMs - gap.fromMs)
    }
    for (const [i, { what }] of ordered.entries()) samples.set(what, [...(samples.get(what) ?? []), longest[i]!])
  }
  return Object.fromEntries([...samples].map(([what, all]) => [what, summary(all, windows.filter((window) => window.what === what).length)]))
}

/** The span that a gap lies in for the most part; -1: none. */
function spanOf(gap: Gap, spans: readonly Gap[]): number {
  const overlaps = spans.map(({ fromMs, toMs }) => Math.min(gap.toMs, toMs) - Math.max(gap.fromMs, fromMs))
  const most = Math.max(0, ...overlaps)
  return most > 0 ? overlaps.indexOf(most) : -1
}

function summary(samples: readonly number[], faults: number): Pauses {
  const sorted = samples.toSorted((a, b) => a - b)
  const at = (q: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0
  return { faults, samples: sorted.length, p50: at(0.5), p99: at(0.99), max: sorted.at(-1) ?? 0 }
}

function gapsByView(history: readonly HistoryEntry[]): Map<string, Gap[]> {
  const sentMs = new Map(history.flatMap((entry) => (entry.what === 'send' ? [[entry.id, entry.at] as const] : [])))
  const seen = history.filter((entry) => entry.what === 'saw')
  return new Map([...Map.groupBy(seen, ({ user, room }) => `${user} in ${room}`)].map(([view, entries]) => [view, gapsOf(entries, sentMs)]))
}

function gapsOf(seen: readonly (HistoryEntry & { readonly what: 'saw' })[], sentMs: ReadonlyMap<string, number>): Gap[] {
  // From the end: when was the first of all messages sent that come here or later?
  let firstDueMs = Number.POSITIVE_INFINITY
  const gaps: Gap[] = []
  for (let i = seen.length - 1; i > 0; i--) {
    const { at, message } = seen[i]!
    firstDueMs = Math.min(firstDueMs, (message && sentMs.get(message.id)) ?? Number.POSITIVE_INFINITY)
    const fromMs = Math.max(seen[i - 1]!.at, firstDueMs)
    if (fromMs < at) gaps.push({ fromMs, toMs: at })
  }
  return gaps
}
