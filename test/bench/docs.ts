import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { MachineFacts } from './report.ts'

const FILE = fileURLToPath(new URL('../../docs/benchmarks.md', import.meta.url))
const BEGIN = '<!-- measured: written by `npm run bench -- --write-docs`, not by hand -->'
const END = '<!-- end of what was measured -->'

/** Puts the tables of a run where docs/benchmarks.md has those of the last one; the rest of the page is written by hand. */
export function writeDocs(markdown: string, facts: MachineFacts, jsonFile: string): string {
  const page = readFileSync(FILE, 'utf8')
  const [from, to] = [page.indexOf(BEGIN), page.indexOf(END)]
  if (from < 0 || to < from) throw new Error(`${FILE} has lost the marks between which the tables go`)
  const { date, cpu, cores, memoryGb, kernel, node } = facts
  const machine = `Measured on ${date.slice(0, 10)} at ${date.slice(11, 16)} UTC: ${cpu}, ${cores} cores, ${memoryGb} GB, ${kernel}, Node ${node}, all on one machine, the load generator too.`
  const all = `The figures of every round are in ${path.basename(jsonFile)}, which the run leaves in \`.local/bench/\`.`
  writeFileSync(FILE, `${page.slice(0, from)}${BEGIN}\n\n${machine} ${all}\n\n${markdown}\n\n${page.slice(to)}`)
  return FILE
}
