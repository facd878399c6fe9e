import { rmSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command, InvalidArgumentError } from 'commander'
import { stackConfigFromEnv, StackError } from './config.ts'
import { LocalInfra, stopLeftOver } from './infra.ts'
import { lineProgress, seconds } from './progress.ts'
import type { Machine } from './tools.ts'
import { printEndpoints } from './welcome.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const machine: Machine = { env: process.env, progress: lineProgress((line) => console.log(line)) }

type StartOptions = { infraOnly?: boolean; brokers: number }

function parseBrokers(raw: string): number {
  if (raw !== '1' && raw !== '3') throw new InvalidArgumentError('1 or 3')
  return Number(raw)
}

async function start(options: StartOptions): Promise<void> {
  const startedMs = Date.now()
  const config = stackConfigFromEnv(machine.env, root, options.brokers)
  const infra = await LocalInfra.start(config, machine)
  printEndpoints(config, console.log)
  machine.progress.say(`Ready in ${seconds(Date.now() - startedMs)}. Ctrl-C stops everything.`)
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => resolve())
    process.on('disconnect', () => resolve())
  })
  await machine.progress.step('stopping', () => infra.stop())
  process.exit(0)
}

async function stop(): Promise<void> {
  await stopLeftOver(stackConfigFromEnv(machine.env, root, 1), machine)
}

async function reset(): Promise<void> {
  await stop()
  const { dataDir, logDir } = stackConfigFromEnv(machine.env, root, 1)
  for (const dir of [dataDir, logDir]) rmSync(dir, { recursive: true, force: true })
  machine.progress.say(`Deleted ${path.relative(root, dataDir)}; the next start begins empty.`)
}

const program = new Command('order-chat').description('The whole stack on this machine, without Docker')
program.command('start')
  .description('start the servers and the services; Ctrl-C stops them')
  .option('--infra-only', 'only the servers: Kafka, registry, Postgres, Redis, SQS')
  .option('--brokers <n>', 'Kafka brokers, 1 or 3', parseBrokers, 1)
  .action(start)
program.command('stop').description('stop what was started from this working copy').action(stop)
program.command('reset').description('stop, and delete all data').action(reset)

try {
  await program.parseAsync()
} catch (err) {
  if (!(err instanceof StackError)) throw err
  console.error(`\norder-chat: ${err.message}`)
  process.exit(1)
}
