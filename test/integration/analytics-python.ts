import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { installWithApt } from '../../deploy/local/apt.ts'
import { run } from '../../deploy/local/run.ts'
import { type Machine, ownRun } from '../../deploy/local/tools.ts'

export const recipes = fileURLToPath(new URL('../../docs/recipes/', import.meta.url))
const dir = fileURLToPath(new URL('../../.local/python/', import.meta.url))
const python = path.join(dir, 'bin/python')
const stamp = path.join(dir, 'requirements.stamp')
/** The clients come as wheels, for these and later. */
const OLDEST = '(3, 9)'

/**
 * A Python with the packages that the recipes ask for, in .local: made once. Where the machine has no Python 3, or one
 * that makes no environments, apt brings it.
 * @throws where there is no way to get one: the recipes are promised to run
 */
export async function ensurePython(machine: Machine): Promise<string> {
  const requirements = readFileSync(path.join(recipes, 'requirements.txt'), 'utf8')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === requirements && (await run(python, ['-c', 'import confluent_kafka, fastavro'])).ok) return python
  const { progress } = machine
  if (!(await makeEnvironment(machine))) {
    progress.say('This machine lacks Python 3.9 or later with venv (runs the recipes of docs/recipes)')
    await installWithApt([['python3'], ['python3-venv']], machine)
    if (!(await makeEnvironment(machine))) throw new Error('no Python 3.9 or later with venv, and none to be had. Debian, Ubuntu:  sudo apt-get install python3 python3-venv')
  }
  await progress.step(`pip install ${requirements.trim().split('\n').join(' ')}`, async () => {
    const { ok, output } = await run(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', path.join(recipes, 'requirements.txt')], ownRun(machine))
    if (!ok) throw new Error(`pip cannot install what the recipes need: ${output.trim().split('\n').slice(-5).join('\n')}`)
  })
  writeFileSync(stamp, requirements)
  return python
}

async function makeEnvironment(machine: Machine): Promise<boolean> {
  for (const candidate of ['python3', '/usr/bin/python3', '/opt/homebrew/bin/python3']) {
    if (!(await run(candidate, ['-c', `import sys, venv; assert sys.version_info >= ${OLDEST}`], ownRun(machine))).ok) continue
    rmSync(dir, { recursive: true, force: true })
    mkdirSync(path.dirname(path.resolve(dir)), { recursive: true })
    const { ok } = await run(candidate, ['-m', 'venv', dir], ownRun(machine))
    // Debian's own makes a folder without pip where python3-venv is not installed.
    if (ok && (await run(python, ['-m', 'pip', '--version'])).ok) return true
  }
  return false
}
