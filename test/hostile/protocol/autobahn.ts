import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Progress } from '../../../deploy/local/progress.ts'
import { Report } from '../report.ts'
import { type Echo, startEchoServers } from './echo-servers.ts'
import { ensureSuite } from './suite.ts'

const exec = promisify(execFile)
const dir = fileURLToPath(new URL('../../../.local/hostile/autobahn/', import.meta.url))
const RUN_WITHIN_MS = 1_800_000

type Outcome = { readonly behavior: string; readonly behaviorClose: string }
/** By agent, then by case. */
type Index = Readonly<Record<string, Readonly<Record<string, Outcome>>>>

/** Megabytes, and compression, which is off on both: tried where no limit is in the way. What is cut at the limits is in raw-cases.ts. */
const BEYOND_LIMITS = ['9.*', '12.*', '13.*']

const FAILURES = ['FAILED', 'WRONG CODE', 'UNCLEAN', 'FAILED BY CLIENT', 'MISSING']
const isFailure = (one: Outcome | undefined): boolean => !one || FAILURES.includes(one.behavior) || FAILURES.includes(one.behaviorClose)
const textOf = (one: Outcome | undefined): string => (one ? `${one.behavior}/${one.behaviorClose}` : 'not run')

/** Autobahn's fuzzing client on the edge's server and on bare uWebSockets.js: nothing may fail here that passes there. */
export async function runAutobahn(progress: Progress, cases: readonly string[] = ['*']): Promise<Report> {
  const wstest = await ensureSuite(progress)
  const servers = await startEchoServers()
  try {
    const index = await progress.step(`Autobahn's cases on ${servers.map(({ name }) => name).join(', ')}`, () => runCases(wstest, servers, cases))
    return compared(index, servers)
  } finally {
    for (const server of servers) server.stop()
  }
}

async function runCases(wstest: string, servers: readonly Echo[], cases: readonly string[]): Promise<Index> {
  rmSync(dir, { recursive: true, force: true })
  mkdirSync(dir, { recursive: true })
  const spec = path.join(dir, 'spec.json')
  const reports = path.join(dir, 'reports')
  const targets = servers.map(({ name, port }) => ({ agent: name, url: `ws://127.0.0.1:${port}/ws/chat` }))
  writeFileSync(spec, JSON.stringify({ outdir: reports, servers: targets, cases, 'exclude-cases': [], 'exclude-agent-cases': { edge: BEYOND_LIMITS, bare: BEYOND_LIMITS } }))
  await exec(wstest, ['--mode', 'fuzzingclient', '--spec', spec], { cwd: dir, timeout: RUN_WITHIN_MS, maxBuffer: 256 * 1024 * 1024 })
  return JSON.parse(readFileSync(path.join(reports, 'index.json'), 'utf8')) as Index
}

function compared(index: Index, servers: readonly Echo[]): Report {
  const report = new Report('autobahn')
  for (const suffix of ['', '-large']) {
    const [edge, bare] = [index[`edge${suffix}`] ?? {}, index[`bare${suffix}`] ?? {}]
    const names = [...new Set([...Object.keys(edge), ...Object.keys(bare)])]
    const worse = names.filter((name) => isFailure(edge[name]) && !isFailure(bare[name]))
    const other = names.filter((name) => textOf(edge[name]) !== textOf(bare[name]))
    const told = `${names.length} cases: ${tally(edge)}; bare: ${tally(bare)}; ${other.length} differ`
    const limits = suffix === '' ? 'limits as they are' : 'limits that no case reaches'
    report.check(`${limits}: all cases were run on both`, names.length > 0 && names.every((name) => edge[name] && bare[name]), `${names.length} cases`)
    report.none(`${limits}: nothing fails that bare uWebSockets.js passes`, worse.map((name) => `${name} is ${textOf(edge[name])}, bare ${textOf(bare[name])}`), told)
    report.figures[`cases${suffix}`] = names.map((name) => ({ case: name, ours: textOf(edge[name]), bare: textOf(bare[name]) }))
  }
  report.none('every server is still there', servers.filter(({ isAlive }) => !isAlive).map(({ name }) => name), `${servers.length} servers`)
  return report
}

function tally(outcomes: Readonly<Record<string, Outcome>>): string {
  const counts = Map.groupBy(Object.values(outcomes), ({ behavior }) => behavior)
  return [...counts].map(([behavior, all]) => `${all.length} ${behavior}`).join(', ')
}
