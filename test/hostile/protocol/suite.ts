import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Progress } from '../../../deploy/local/progress.ts'

const exec = promisify(execFile)
const dir = fileURLToPath(new URL('../../../.local/autobahn/', import.meta.url))
const wstest = path.join(dir, 'suite/bin/wstest')
const PYTHON = '2.7.18'

/** Why there is no Autobahn test suite on this machine. */
export class NoSuiteError extends Error {}

/**
 * Autobahn's test suite, which runs on Python 2.7 alone: made once, with the ordinary package clients.
 * @throws NoSuiteError where no Python 2.7 is to be had
 */
export async function ensureSuite(progress: Progress): Promise<string> {
  if (existsSync(wstest)) return wstest
  const python = await python27(progress)
  mkdirSync(dir, { recursive: true })
  const boot = path.join(dir, 'boot')
  const steps: [command: string, args: string[]][] = [
    ['python3', ['-m', 'venv', boot]],
    // The last one that can make an environment for Python 2.7.
    [path.join(boot, 'bin/pip'), ['install', '--quiet', 'virtualenv==20.15.1']],
    [path.join(boot, 'bin/virtualenv'), ['--quiet', '--python', python, path.join(dir, 'suite')]],
    [path.join(dir, 'suite/bin/pip'), ['install', '--quiet', 'autobahntestsuite==25.10.1']],
  ]
  await progress.step(`autobahntestsuite under ${python}`, async () => {
    for (const [command, args] of steps) {
      await exec(command, args, { timeout: 300_000 }).catch((err: unknown) => {
        rmSync(path.join(dir, 'suite'), { recursive: true, force: true })
        throw new NoSuiteError(`${command} ${args.join(' ')}: ${(err as Error).message}`)
      })
    }
  })
  return wstest
}

async function python27(progress: Progress): Promise<string> {
  const ofPyenv = path.join(homedir(), `.pyenv/versions/${PYTHON}/bin/python2.7`)
  const candidates = [ofPyenv, 'python2.7']
  for (const candidate of candidates) if (await runs(candidate)) return candidate
  try {
    await progress.step(`pyenv install ${PYTHON}`, () => exec('pyenv', ['install', '--skip-existing', PYTHON], { timeout: 900_000 }))
  } catch (err) {
    throw new NoSuiteError(`no Python 2.7: neither ${candidates.join(' nor ')}, and pyenv gives none: ${(err as Error).message.slice(0, 200)}`)
  }
  if (await runs(ofPyenv)) return ofPyenv
  throw new NoSuiteError(`pyenv has installed no ${ofPyenv}`)
}

const runs = (command: string): Promise<boolean> => exec(command, ['-c', 'import ssl, zlib']).then(() => true, () => false)
