import { rmSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command, InvalidArgumentError } from 'commander'
import { StackError } from './config.ts'
import { docker, DockerInfra } from './docker.ts'
import { dataDirs, stopLeftOver } from './infra.ts'
import { runningSupervisor, type RunningStack, stackFromEnv, startStack } from './local-stack.ts'
import { stopRecorded } from './pids.ts'
import { lineProgress, seconds } from './progress.ts'
import { LocalServices } from './services.ts'
import type { Machine } from './tools.ts'
import { printWelcome } from './welcome.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const STOP_SUPERVISOR_DEADLINE_MS = 60_000
/** npm, the shell and bootstrap.mjs may each pass on the same Ctrl-C. */
const SAME_SIGNAL_WITHIN_MS = 1_000

const interrupted = new AbortController()
const machine: Machine = { env: process.env, progress: lineProgress((line) => console.log(line)), signal: interrupted.signal }

type StartOptions = { infraOnly?: boolean; brokers: number; sqsQueueUrl?: string; env: Record<string, string> }

async function start(options: StartOptions): Promise<void> {
  const startedMs = Date.now()
  let stack: RunningStack | undefined
  onInterrupt(() => interrupted.abort(new StackError('interrupted')), () => {
    stack?.kill()
    process.exit(130)
  })
  stack = await startStack({
    brokers: options.brokers,
    infraOnly: options.infraOnly ?? false,
    extraEnv: options.env,
    ...(options.sqsQueueUrl !== undefined && { sqsQueueUrl: options.sqsQueueUrl }),
  }, machine)
  try {
    await runUntilInterrupted(stack, options, startedMs)
  } finally {
    await stack.stop()
  }
}

/** @throws StackError when something of the stack cannot be kept running. */
async function runUntilInterrupted(stack: RunningStack, options: StartOptions, startedMs: number): Promise<void> {
  await printWelcome(stack, { infraOnly: options.infraOnly ?? false, ownQueue: options.sqsQueueUrl !== undefined }, console.log)
  machine.progress.say(`Ready in ${seconds(Date.now() - startedMs)}. Logs are in ${path.relative(process.cwd(), stack.config.logDir)}. Ctrl-C stops everything.`)
  const failure = await Promise.race([stack.failed, untilInterrupted()])
  if (failure) throw failure
}

/** Stops what a start from this working copy runs, in whichever terminal. */
async function stop(): Promise<void> {
  const { config } = stackFromEnv(machine)
  const supervisor = runningSupervisor(config)
  if (supervisor) await machine.progress.step(`stopping the stack (pid ${supervisor.pid})`, () => stopRecorded(supervisor, STOP_SUPERVISOR_DEADLINE_MS))
  await stopLeftOver(config, machine)
  if (await docker.isChosen(machine)) await new DockerInfra(config, machine).stop()
}

async function reset(): Promise<void> {
  await stop()
  const { config } = stackFromEnv(machine)
  if (await docker.isChosen(machine)) await new DockerInfra(config, machine).deleteData()
  for (const dir of [...dataDirs(config), config.logDir, config.runDir]) rmSync(dir, { recursive: true, force: true })
  machine.progress.say(`Deleted the data in ${path.relative(root, config.dataDir)}; the next start begins empty.`)
}

/** Only the set-up step, against a stack that runs. */
async function setUp(options: Pick<StartOptions, 'brokers' | 'env'>): Promise<void> {
  const { config, world } = stackFromEnv(machine, options.brokers)
  await new LocalServices([], { dirs: config, world, env: machine.env, extraEnv: options.env, progress: machine.progress }).setUp()
}

function untilInterrupted(): Promise<undefined> {
  const { signal } = interrupted
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined)
    signal.addEventListener('abort', () => resolve(undefined))
  })
}

/** A second Ctrl-C is for those who do not want to wait. */
function onInterrupt(first: () => void, second: () => void): void {
  let firstMs: number | undefined
  const hear = (): void => {
    if (firstMs === undefined) {
      firstMs = Date.now()
      first()
    } else if (Date.now() - firstMs > SAME_SIGNAL_WITHIN_MS) second()
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, hear)
  // bootstrap.mjs holds the other end: it went without a word.
  process.on('disconnect', hear)
}

function parseBrokers(raw: string): number {
  if (raw !== '1' && raw !== '3') throw new InvalidArgumentError('1 or 3')
  return Number(raw)
}

function parseEnv(raw: string, before: Record<string, string>): Record<string, string> {
  const at = raw.indexOf('=')
  if (at < 1) throw new InvalidArgumentError('NAME=value')
  return { ...before, [raw.slice(0, at)]: raw.slice(at + 1) }
}

const program = new Command('order-chat').description('The whole stack on this machine')
program.command('start')
  .description('start the servers and the services; Ctrl-C stops them')
  .option('--infra-only', 'only the servers: Kafka, registry, Postgres, Redis, SQS')
  .option('--brokers <n>', 'Kafka brokers, 1 or 3', parseBrokers, 1)
  .option('--sqs-queue-url <url>', 'read order events from your own queue; give its AWS settings with --env')
  .option('--env <NAME=value>', 'another variable for the services; repeatable', parseEnv, {})
  .action(start)
program.command('stop').description('stop what was started from this working copy').action(stop)
program.command('reset').description('stop, and delete all data').action(reset)
program.command('setup')
  .description('create topics, schemas and tables on running servers')
  .option('--brokers <n>', 'Kafka brokers, 1 or 3', parseBrokers, 1)
  .option('--env <NAME=value>', 'another variable for the step; repeatable', parseEnv, {})
  .action(setUp)

try {
  await program.parseAsync()
  process.exit(0)
} catch (err) {
  if (!interrupted.signal.aborted) console.error(err instanceof StackError ? `\norder-chat: ${err.message}` : err)
  process.exit(interrupted.signal.aborted ? 130 : 1)
}
