/** Of what was measured; NaN where there was nothing. */
export type Spread = { readonly median: number; readonly min: number; readonly max: number; readonly count: number }

export function percentile(sorted: ArrayLike<number>, p: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * p) - 1)] ?? Number.NaN
}

export type Quantiles = { readonly p50: number; readonly p99: number; readonly max: number; readonly count: number }

/** NaN counts as never: what was lost is slower than anything that came. */
export function quantilesOf(values: Iterable<number>): Quantiles {
  const sorted = Float64Array.from(values, (v) => (Number.isNaN(v) ? Number.POSITIVE_INFINITY : v)).sort()
  return { p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99), max: percentile(sorted, 1), count: sorted.length }
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  const median = sorted.length % 2 === 1 ? sorted[Math.floor(middle)]! : (sorted[middle - 1]! + sorted[middle]!) / 2
  return { median: sorted.length === 0 ? Number.NaN : median, min: sorted[0] ?? Number.NaN, max: sorted.at(-1) ?? Number.NaN, count: sorted.length }
}

/** Round by round, so that what slowed both in one round slows neither against the other. */
export function ratiosOf(of: readonly number[], to: readonly number[]): Spread {
  return spreadOf(of.slice(0, to.length).map((value, i) => value / to[i]!))
}

export function formatted(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? '–' : 'lost'
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en')
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2)
}

/** The median, with the extremes where there are any. */
export function formattedSpread({ median, min, max, count }: Spread): string {
  return count <= 1 ? formatted(median) : `${formatted(median)} (${formatted(min)}–${formatted(max)})`
}
