import type { Progress } from '../../deploy/local/progress.ts'

export type Check = { readonly name: string; readonly ok: boolean; readonly detail: string }

/** What one part found: what must hold, with what was seen; and figures that are only told. */
export class Report {
  readonly part: string
  readonly checks: Check[] = []
  readonly figures: Record<string, unknown> = {}
  /** What was not checked here, and why: counts as nothing. */
  readonly notRun: { readonly name: string; readonly why: string }[] = []

  constructor(part: string) {
    this.part = part
  }

  check(name: string, ok: boolean, detail: string | number): void {
    this.checks.push({ name, ok, detail: String(detail) })
  }

  /** Holds if nothing went wrong; tells the first things that did. */
  none(name: string, wrong: readonly string[], detail: string | number): void {
    this.check(name, wrong.length === 0, wrong.length === 0 ? detail : `${wrong.length} wrong: ${wrong.slice(0, 5).join('; ')}`)
  }

  get failed(): readonly Check[] {
    return this.checks.filter(({ ok }) => !ok)
  }
}

export type Run = {
  /** A short form: the same kinds of checks, far fewer of each. */
  readonly quick: boolean
  readonly seed: number
  readonly progress: Progress
}

export function tableOf(reports: readonly Report[]): string {
  const rows = reports.flatMap(({ part, checks, notRun }) => [
    ...checks.map(({ name, ok, detail }) => [ok ? 'ok' : 'FAILED', part, name, detail]),
    ...notRun.map(({ name, why }) => ['not run', part, name, why]),
  ])
  const widths = [0, 1, 2].map((column) => Math.max(0, ...rows.map((row) => row[column]!.length)))
  return rows.map((row) => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ').trimEnd()).join('\n')
}

/** Runs `work` on all items, `width` at a time, and gives the results in their order. */
export async function inParallel<T, R>(items: readonly T[], width: number, work: (item: T, index: number) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  let next = 0
  const worker = async () => {
    while (next < items.length) {
      const i = next++
      results[i] = await work(items[i]!, i)
    }
  }
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, worker))
  return results
}
