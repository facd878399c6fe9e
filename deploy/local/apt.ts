import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { run, type RunOptions } from './run.ts'
import { type Machine, ownEnv, ownRun } from './tools.ts'

/** Debian asks this program before it starts a service; 101 means no. */
const POLICY = '/usr/sbin/policy-rc.d'
/** Keeps Debian's Postgres package from making a cluster of its own. */
const NO_CLUSTER = '/etc/postgresql-common/createcluster.d/order-chat.conf'

/**
 * Installs, of each list, the first package that this system has. Starts no service. Where apt
 * or root is missing it does nothing: the caller looks again and names what is still missing.
 */
export async function installWithApt(lists: readonly (readonly string[])[], machine: Machine): Promise<void> {
  const { progress } = machine
  const root = process.getuid?.() === 0
  if (!root || !(await run('apt-get', ['--version'], { env: ownEnv(machine) })).ok) return
  const own = ownRun(machine)
  const options: RunOptions = { ...own, env: { ...own.env, DEBIAN_FRONTEND: 'noninteractive' } }
  await progress.step('apt-get update', () => run('apt-get', ['update', '-q'], options))
  const packages: string[] = []
  for (const list of lists) packages.push(...(await firstAvailable(list, options)))
  if (packages.length === 0) return
  await withoutStartingServices(() =>
    progress.step(`apt-get install ${packages.join(' ')} (its services are not started)`, async (note) => {
      const install = ['install', '-y', '-q', '--no-install-recommends', ...packages]
      const result = await run('apt-get', install, { ...options, onLine: (line) => note(line.slice(0, 80)) })
      if (!result.ok) progress.say(result.output.trimEnd().split('\n').slice(-10).join('\n'))
    }))
}

async function firstAvailable(names: readonly string[], options: RunOptions): Promise<string[]> {
  for (const name of names) {
    if ((await run('apt-cache', ['show', name], options)).ok) return [name]
  }
  return []
}

/** Files that were there before stay as they are; ours go again. */
async function withoutStartingServices(work: () => Promise<void>): Promise<void> {
  const ours = [
    { file: POLICY, content: '#!/bin/sh\nexit 101\n', mode: 0o755 },
    { file: NO_CLUSTER, content: 'create_main_cluster = false\n', mode: 0o644 },
  ].filter(({ file }) => !existsSync(file))
  try {
    for (const { file, content, mode } of ours) {
      mkdirSync(path.dirname(file), { recursive: true })
      writeFileSync(file, content, { mode })
    }
    await work()
  } finally {
    for (const { file } of ours) rmSync(file, { force: true })
  }
}
