// The door of every npm script: plain JavaScript, no dependencies, any Node from 20 on.
//
// It makes sure that Node 22 is in .local/node and that node_modules was installed by it
// (uWebSockets.js picks its native build by the Node that installs), then runs the command
// under Node 22, which runs TypeScript files as they are.
import { execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const NODE_VERSION = '22.23.3'
const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')
const local = path.join(root, '.local')

/** What runs for each command, below the project's root. */
const COMMANDS = {
  start: ['deploy/local/cli.ts', 'start'],
  stop: ['deploy/local/cli.ts', 'stop'],
  reset: ['deploy/local/cli.ts', 'reset'],
  infra: ['deploy/local/cli.ts', 'start', '--infra-only'],
  setup: ['deploy/local/cli.ts', 'setup'],
  test: ['node_modules/vitest/vitest.mjs', 'run'],
  demo: ['deploy/local/demo.ts'],
  chat: ['deploy/local/chat.ts'],
  load: ['test/bench/load.ts'],
  faults: ['test/faults/run.ts'],
  bench: ['test/bench/main.ts'],
  hostile: ['test/hostile/main.ts'],
  sim: ['test/simulation/sim.ts'],
  order: ['deploy/local/order.ts'],
  token: ['deploy/local/token.ts'],
  audit: ['deploy/audit/main.ts'],
  rebuild: ['deploy/rebuild/main.ts'],
}

/** An npm of any version, run by the Node that is given. */
function npm(node, args, seconds) {
  const cli = process.env.npm_execpath
  const [command, first] = /npm-cli\.c?js$/.test(cli ?? '') ? [node, [cli]] : ['npm', []]
  // `npm -s start` would make this npm silent too, and its reasons are read below.
  const env = { ...process.env, npm_config_loglevel: 'error', PATH: path.dirname(node) + path.delimiter + process.env.PATH }
  try {
    execFileSync(command, [...first, ...args], { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'], timeout: seconds * 1000 })
  } catch (err) {
    const said = `${err.stdout ?? ''}${err.stderr ?? ''}`.trim()
    throw new Error(`\`npm ${args.join(' ')}\` failed: ${said || err.message}`)
  }
}

/** Says what is being done before it is done, and how long it took. */
function step(text, work) {
  const startedMs = Date.now()
  process.stderr.write(`${text} …\n`)
  work()
  process.stderr.write(`${text}: done in ${((Date.now() - startedMs) / 1000).toFixed(1)} s\n`)
}

/** Two commands started at once must not install into the same folder at once. */
async function exclusively(work) {
  const lock = path.join(local, 'install.lock')
  for (let waiting = false; ; waiting = true) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' })
      break
    } catch (err) {
      if (err.code !== 'EEXIST') throw err
    }
    if (isAbandoned(lock)) rmSync(lock, { force: true })
    else if (!waiting) process.stderr.write('Waiting for another command of this project that is installing …\n')
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  try {
    return work()
  } finally {
    rmSync(lock, { force: true })
  }
}

/** A lock that is being written or was just released counts as held: the next look will tell. */
function isAbandoned(lock) {
  try {
    const pid = Number(readFileSync(lock, 'utf8'))
    if (pid > 0) process.kill(pid, 0)
    return false
  } catch (err) {
    return err.code === 'ESRCH'
  }
}

/** @returns {string} the path of a Node 22 that answers with the pinned version. */
function ensureNode() {
  if (process.version === `v${NODE_VERSION}`) return process.execPath
  const platform = `node-${process.platform}-${process.arch}`
  const node = path.join(local, 'node/node_modules', platform, 'bin/node')
  if (!existsSync(node) || versionOf(node) !== `v${NODE_VERSION}`) {
    step(`Installing Node ${NODE_VERSION} into .local/node (about 40 MB)`, () => {
      mkdirSync(path.join(local, 'node'), { recursive: true })
      const where = ['--prefix', path.join(local, 'node'), '--no-save', '--no-package-lock', '--no-audit', '--no-fund']
      npm(process.execPath, ['install', ...where, `${platform}@${NODE_VERSION}`], 600)
    })
  }
  if (versionOf(node) !== `v${NODE_VERSION}`) throw new Error(`${node} is not Node ${NODE_VERSION}`)
  return node
}

function versionOf(node) {
  try {
    return execFileSync(node, ['--version'], { encoding: 'utf8' }).trim()
  } catch {
    return undefined
  }
}

/** node_modules is what package-lock.json says, installed under Node 22. */
function ensureModules(node) {
  const hash = createHash('sha256')
  for (const file of ['package.json', 'package-lock.json']) hash.update(readFileSync(path.join(root, file)))
  const stamp = path.join(local, 'node_modules.stamp')
  const wanted = `${NODE_VERSION} ${process.platform}-${process.arch} ${hash.digest('hex')}`
  const modules = path.join(root, 'node_modules')
  if (existsSync(modules) && existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return
  step('Installing the packages of package-lock.json', () => installModules(node))
  writeFileSync(stamp, wanted)
}

/**
 * `npm ci` refuses a lock file that lacks the optional builds for other platforms, which npm leaves
 * out where the registry it was written with does not serve them. `npm install --no-save` takes
 * the same locked versions, adds this platform's builds and leaves the lock file alone.
 */
function installModules(node) {
  const quiet = ['--no-audit', '--no-fund']
  try {
    npm(node, ['ci', ...quiet], 900)
  } catch (err) {
    if (!/Missing: .* from lock file/.test(err.message)) throw err
    npm(node, ['install', '--no-save', ...quiet], 900)
  }
}

/** Runs the command under Node 22 and ends as it ends; a signal to us is a signal to it. */
function run(node, [file, ...first], args) {
  const target = path.join(root, file)
  if (!existsSync(target)) throw new Error(`${file} is missing`)
  const env = { ...process.env, PATH: path.dirname(node) + path.delimiter + process.env.PATH }
  // The channel tells cli.ts when this process is gone, however it went; vitest wants none.
  const stdio = file.endsWith('cli.ts') ? ['inherit', 'inherit', 'inherit', 'ipc'] : 'inherit'
  const child = spawn(node, ['--disable-warning=ExperimentalWarning', target, ...first, ...args], { cwd: root, env, stdio })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)))
}

try {
  const [command = 'start', ...args] = process.argv.slice(2)
  if (!Object.hasOwn(COMMANDS, command)) {
    throw new Error(`unknown command "${command}"; there are: ${Object.keys(COMMANDS).join(', ')}`)
  }
  mkdirSync(local, { recursive: true })
  const node = await exclusively(() => {
    const installed = ensureNode()
    ensureModules(installed)
    return installed
  })
  run(node, COMMANDS[command], args)
} catch (err) {
  process.stderr.write(`order-chat: ${err.message}\n`)
  process.exitCode = 1
}
