import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command, InvalidArgumentError } from 'commander'
import { lineProgress, type Progress } from '../../deploy/local/progress.ts'
import { startOwnStack } from '../support/own-stack.ts'
import type { Stack } from '../support/stack.ts'
import { autobahn, floods, fuzz, jwt, type Part } from './parts.ts'
import { type Report, tableOf } from './report.ts'

const parts: Readonly<Record<string, Part>> = { jwt, fuzz, autobahn, floods }
const resultDir = fileURLToPath(new URL('../../.local/hostile/', import.meta.url))

type Options = { only?: string[]; quick: boolean; seed: number }

/** One stack for all parts, started when the first asks for it. */
class LazyStack {
  #started: ReturnType<typeof startOwnStack> | undefined
  readonly #progress: Progress

  constructor(progress: Progress) {
    this.#progress = progress
  }

  async get(): Promise<Stack> {
    this.#started ??= startOwnStack(1, this.#progress)
    return (await this.#started).stack
  }

  async close(): Promise<void> {
    await (await this.#started)?.close()
  }
}

async function main({ only, quick, seed }: Options): Promise<void> {
  const progress = lineProgress(console.log)
  const stack = new LazyStack(progress)
  const reports: Report[] = []
  const broken: string[] = []
  const startedAt = new Date()
  mkdirSync(resultDir, { recursive: true })
  try {
    for (const [name, part] of Object.entries(parts)) {
      if (only && !only.includes(name)) continue
      progress.say(`\n${name}`)
      try {
        const found = await part({ quick, seed, progress }, () => stack.get())
        // Each its own, so that one part run again leaves the figures of the others.
        writeFileSync(path.join(resultDir, `${name}.json`), `${JSON.stringify({ startedAt, quick, seed, reports: found }, null, 1)}\n`)
        reports.push(...found)
      } catch (err) {
        console.error(err)
        broken.push(name)
      }
    }
  } finally {
    await stack.close()
  }
  const failed = reports.flatMap((report) => report.failed)
  const count = reports.reduce((sum, { checks }) => sum + checks.length, 0)
  console.log(`\n${tableOf(reports)}\n\n${count - failed.length} of ${count} hold${broken.length > 0 ? `; could not be run to their end: ${broken.join(', ')}` : ''}; seed ${seed}; figures in ${path.relative(process.cwd(), resultDir)}/`)
  process.exitCode = failed.length + broken.length > 0 ? 1 : 0
}

function names(raw: string): string[] {
  const chosen = raw.split(',')
  const strange = chosen.find((name) => !Object.hasOwn(parts, name))
  if (strange !== undefined) throw new InvalidArgumentError(`There are ${Object.keys(parts).join(', ')}.`)
  return chosen
}

await new Command('hostile')
  .description('Hostile and careless clients against a real edge; brings its own servers.')
  .option('--only <names>', `of ${Object.keys(parts).join(', ')}`, names)
  .option('--quick', 'far fewer of everything', false)
  .option('--seed <n>', 'for what is made at random', Number, Date.now() % 1_000_000)
  .action(main)
  .parseAsync()
