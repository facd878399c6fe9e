import { fileURLToPath } from 'node:url'
import path from 'node:path'
import { endpointsOf, replicationOf, servicePortsFromEnv, type ServicePorts, type StackConfig, stackConfigFromEnv, type StackEndpoints, StackError } from './config.ts'
import { loadOrCreateDevKey } from '#libs/auth/dev-key.ts'
import { docker, DockerInfra } from './docker.ts'
import { LocalInfra, stopLeftOver } from './infra.ts'
import { startKeeper } from './keeper.ts'
import { isAlive, readRecords, removeRecord, startTimeOf, writeRecord } from './pids.ts'
import { requireFreePorts } from './ports.ts'
import { PARTITIONS, serviceInstances, type ServiceWorld } from './service-env.ts'
import { LocalServices } from './services.ts'
import { Supervisor } from './supervisor.ts'
import type { Machine } from './tools.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const SUPERVISOR = 'supervisor'

export type StackOptions = {
  brokers: number
  /** Only the servers, no service. */
  infraOnly: boolean
  /** Services read this queue instead of the local one; AWS settings then come from `extraEnv`. */
  sqsQueueUrl?: string
  /** More variables for the services. */
  extraEnv: Record<string, string>
}

export type RunningStack = {
  config: StackConfig
  ports: ServicePorts
  endpoints: StackEndpoints
  devKeyFile: string
  /** Resolves when something cannot be kept running. */
  failed: Promise<StackError>
  /** Services first, then the servers. */
  stop(): Promise<void>
  /** At once, in no order. */
  kill(): void
}

/** Settings of the stack of this working copy, as every command must see them. */
export function stackFromEnv(machine: Machine, brokers = 1): { config: StackConfig; ports: ServicePorts; world: ServiceWorld } {
  const config = stackConfigFromEnv(machine.env, root, brokers)
  const ports = servicePortsFromEnv(machine.env)
  const world: ServiceWorld = {
    endpoints: endpointsOf(config),
    topicPrefix: '',
    partitions: PARTITIONS,
    replicationFactor: replicationOf(brokers).factor,
    devKeyFile: path.join(path.dirname(config.dataDir), 'dev-key.json'),
    apiPort: ports.api,
    logLevel: machine.env['LOG_LEVEL'] || 'info',
  }
  return { config, ports, world }
}

/**
 * The whole stack, every part of it ready; or, on any failure, nothing of it running.
 * An abort of `machine.signal` is such a failure.
 */
export async function startStack(options: StackOptions, machine: Machine): Promise<RunningStack> {
  const { config, ports, world } = stackFromEnv(machine, options.brokers)
  requireNotRunning(config)
  await stopLeftOver(config, machine)
  await loadOrCreateDevKey(world.devKeyFile)
  const endpoints = options.sqsQueueUrl ? { ...world.endpoints, sqsQueueUrl: options.sqsQueueUrl, sqsEndpoint: '' } : world.endpoints
  const context = { dirs: config, world: { ...world, endpoints }, env: machine.env, extraEnv: options.extraEnv, progress: machine.progress }
  const services = new LocalServices(options.infraOnly ? [] : serviceInstances(ports, { moderation: 'MODERATION_WEBHOOK_URL' in options.extraEnv }), context)
  if (!options.infraOnly) services.requirePrograms()
  claim(config)
  startKeeper('stop', config.runDir)
  try {
    await requireFreePorts(services.portUses())
    const infra = (await docker.isChosen(machine)) ? await DockerInfra.start(config, machine) : await LocalInfra.start(config, machine)
    return await startServices(infra, services, { config, ports, endpoints, devKeyFile: world.devKeyFile }, options, machine)
  } catch (err) {
    removeRecord(config.runDir, SUPERVISOR)
    throw err
  }
}

type Parts = Pick<RunningStack, 'config' | 'ports' | 'endpoints' | 'devKeyFile'>

async function startServices(infra: LocalInfra | DockerInfra, services: LocalServices, parts: Parts, options: StackOptions, machine: Machine): Promise<RunningStack> {
  const { progress, signal } = machine
  const supervisor = new Supervisor(progress)
  const stack: RunningStack = {
    ...parts,
    failed: supervisor.failed,
    stop: async () => {
      supervisor.stop()
      if (!options.infraOnly) await progress.step('stopping the services', () => services.stop())
      await progress.step('stopping the servers', () => infra.stop())
      removeRecord(parts.config.runDir, SUPERVISOR)
    },
    kill: () => {
      services.kill()
      infra.kill()
    },
  }
  const interrupt = (): void => void services.stop()
  signal?.addEventListener('abort', interrupt)
  try {
    if (infra instanceof LocalInfra) {
      for (const [name, process] of infra.processes) supervisor.watch(process, () => infra.startServer(name))
    }
    if (!options.infraOnly) {
      await services.setUp()
      await services.startAll()
      for (const [id, process] of services.processes) supervisor.watch(process, () => services.start(id))
    }
    signal?.throwIfAborted()
    return stack
  } catch (err) {
    await stack.stop()
    throw err
  } finally {
    signal?.removeEventListener('abort', interrupt)
  }
}

/** Leaves a record of this process, which `npm run stop` asks to stop. */
function claim(config: StackConfig): void {
  const startedAt = startTimeOf(process.pid) ?? ''
  writeRecord(config.runDir, { name: SUPERVISOR, pid: process.pid, startedAt, stopSignal: 'SIGTERM', discardSignal: 'SIGKILL', owner: process.pid })
}

function requireNotRunning(config: StackConfig): void {
  const running = runningSupervisor(config)
  if (running) throw new StackError(`The stack of this working copy is running already (pid ${running.pid}). Stop it with: npm run stop`)
}

export function runningSupervisor(config: StackConfig): ReturnType<typeof readRecords>[number] | undefined {
  return readRecords(config.runDir).find((record) => record.name === SUPERVISOR && record.pid !== process.pid && isAlive(record))
}
