import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { endpointsOf, kafkaNodes, type StackConfig } from '../../deploy/local/config.ts'
import { dataDirs, LocalInfra, stopLeftOver } from '../../deploy/local/infra.ts'
import { startKeeper } from '../../deploy/local/keeper.ts'
import { startTimeOf } from '../../deploy/local/pids.ts'
import { pickFreePorts } from '../../deploy/local/ports.ts'
import { quietProgress } from '../../deploy/local/progress.ts'
import type { Machine } from '../../deploy/local/tools.ts'
import type { StackProvider } from './stack-provider.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const cacheDir = path.join(root, '.local/cache')
const testsDir = path.join(root, '.local/test')

/** A stack of local processes on its own ports, in its own folder, which is deleted at the end. */
export async function startLocalStack(brokers: number, machine: Machine): Promise<StackProvider> {
  await sweep(machine)
  const config = await freshConfig(brokers)
  startKeeper('discard', config.runDir, [path.dirname(config.dataDir), ...dataDirs(config)])
  const infra = await LocalInfra.start(config, machine)
  const quiet = { ...machine, progress: quietProgress }
  return {
    brokers,
    endpoints: endpointsOf(config),
    stop: (server) => infra.stopServer(server),
    kill: (server) => infra.killServer(server),
    start: async (server) => {
      if (!infra.processes.has(server)) await infra.startServer(server, quiet)
    },
    heal: async () => {
      for (const name of infra.names) if (!infra.processes.has(name)) await infra.startServer(name, quiet)
    },
    discard: async () => {
      await infra.discard()
      rmSync(path.dirname(config.dataDir), { recursive: true, force: true })
    },
  }
}

/** Everything that takes long the first time on a machine. */
export async function prepareLocalStack(machine: Machine): Promise<void> {
  await LocalInfra.prepare(cacheDir, machine)
}

async function freshConfig(brokers: number): Promise<StackConfig> {
  const dir = path.join(testsDir, `${process.pid}-${Date.now()}`)
  mkdirSync(dir, { recursive: true })
  writeFileSync(path.join(dir, 'owner.json'), JSON.stringify({ pid: process.pid, startedAt: startTimeOf(process.pid) }))
  const [registryPort = 0, postgresPort = 0, redisPort = 0, sqsPort = 0, s3Port = 0, ...kafkaPorts] = await pickFreePorts(5 + 2 * brokers)
  return {
    cacheDir,
    throwAway: true,
    dataDir: path.join(dir, 'data'),
    logDir: path.join(dir, 'logs'),
    runDir: path.join(dir, 'run'),
    kafka: kafkaNodes(brokers, (i) => kafkaPorts[i] ?? 0, (i) => kafkaPorts[brokers + i] ?? 0),
    registryPort,
    postgresPort,
    redisPort,
    sqsPort,
    s3Port,
  }
}

/** Ends and deletes what a run left whose process and keeper were both killed. */
async function sweep(machine: Machine): Promise<void> {
  mkdirSync(testsDir, { recursive: true })
  for (const name of readdirSync(testsDir)) {
    const dir = path.join(testsDir, name)
    if (isOwned(dir)) continue
    await stopLeftOver({ runDir: path.join(dir, 'run') }, machine)
    rmSync(dir, { recursive: true, force: true })
  }
}

function isOwned(dir: string): boolean {
  try {
    const owner = JSON.parse(readFileSync(path.join(dir, 'owner.json'), 'utf8')) as { pid: number; startedAt: string }
    return startTimeOf(owner.pid) === owner.startedAt
  } catch {
    return false
  }
}
