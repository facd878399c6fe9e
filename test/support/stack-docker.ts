import { fileURLToPath } from 'node:url'
import { DockerComposeEnvironment, getContainerRuntimeClient, type StartedDockerComposeEnvironment, Wait } from 'testcontainers'
import { endpointsOf, kafkaNodes, type StackConfig } from '../../deploy/local/config.ts'
import { composeEnv, composeFiles, composeServers, untilReachable } from '../../deploy/local/docker.ts'
import { pickFreePorts } from '../../deploy/local/ports.ts'
import type { Machine } from '../../deploy/local/tools.ts'
import type { ServerName, StackProvider } from './stack-provider.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const STARTUP_TIMEOUT_MS = 180_000

/**
 * The same docker-compose.yml under a name and ports of its own. testcontainers' reaper removes
 * it when this process ends without discarding it.
 */
export async function startDockerStack(brokers: number, machine: Machine): Promise<StackProvider> {
  const config = await freshConfig(brokers)
  const environment = await machine.progress.step('docker compose up (pulls images the first time)', async () => {
    const started = await new DockerComposeEnvironment(root, composeFiles(brokers))
      .withEnvironment(composeEnv(config))
      .withDefaultWaitStrategy(Wait.forListeningPorts())
      .withStartupTimeout(STARTUP_TIMEOUT_MS)
      .up(composeServers(brokers))
    await untilReachable(config)
    return started
  })
  const start = async (server: ServerName): Promise<void> => {
    await environment.getContainer(`${server}-1`).restart()
    await untilReachable(config)
  }
  const stopped = new Set<ServerName>()
  return {
    brokers,
    endpoints: endpointsOf(config),
    stop: async (server) => {
      stopped.add(server)
      await onContainer(environment, server, (container) => container.stop())
    },
    kill: async (server) => {
      stopped.add(server)
      await onContainer(environment, server, (container) => container.kill())
    },
    start: async (server) => {
      if (!stopped.delete(server)) return
      await start(server)
    },
    heal: async () => {
      for (const server of stopped) {
        stopped.delete(server)
        await start(server)
      }
    },
    discard: async () => {
      await environment.down({ removeVolumes: true, timeout: 0 })
    },
  }
}

type Container = { stop(): Promise<unknown>; kill(): Promise<unknown> }

/** Below testcontainers' own stop, which would remove the container and its data. */
async function onContainer(environment: StartedDockerComposeEnvironment, server: ServerName, work: (container: Container) => Promise<unknown>): Promise<void> {
  const client = await getContainerRuntimeClient()
  await work(client.container.getById(environment.getContainer(`${server}-1`).getId()))
}

async function freshConfig(brokers: number): Promise<StackConfig> {
  const [registryPort = 0, postgresPort = 0, redisPort = 0, sqsPort = 0, s3Port = 0, ...kafkaPorts] = await pickFreePorts(5 + brokers)
  return {
    cacheDir: '',
    throwAway: true,
    dataDir: '',
    logDir: '',
    runDir: '',
    // Controllers talk inside the containers' network only.
    kafka: kafkaNodes(brokers, (i) => kafkaPorts[i] ?? 0, () => 0),
    registryPort,
    postgresPort,
    redisPort,
    sqsPort,
    s3Port,
  }
}
