import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { kafkaBrokerIds } from './kafka-probe.ts'
import { refusesUnsigned } from './s3proxy.ts'
import { endpointsOf, HOST, type StackConfig, StackError } from './config.ts'
import { run, type RunOptions, type RunResult } from './run.ts'
import { type Machine, ownEnv } from './tools.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** The servers below the services, by their names in docker-compose.yml. */
export function composeServers(brokers: number): string[] {
  const kafka = Array.from({ length: brokers }, (_, i) => `kafka-${i + 1}`)
  return [...kafka, 'registry', 'postgres', 'redis', 'elasticmq', 's3proxy']
}

/** Three brokers come from a second file that is laid over the first. */
export function composeFiles(brokers: number): string[] {
  return ['docker-compose.yml', ...(brokers > 1 ? ['deploy/docker/three-brokers.yml'] : [])]
}

/** What the compose files read from the environment. */
export function composeEnv(config: StackConfig): Record<string, string> {
  return {
    ...Object.fromEntries(config.kafka.map((node) => [kafkaPortVariable(node.id), String(node.port)])),
    ORDER_CHAT_REGISTRY_PORT: String(config.registryPort),
    ORDER_CHAT_POSTGRES_PORT: String(config.postgresPort),
    ORDER_CHAT_REDIS_PORT: String(config.redisPort),
    ORDER_CHAT_SQS_PORT: String(config.sqsPort),
    ORDER_CHAT_S3_PORT: String(config.s3Port),
  }
}

function kafkaPortVariable(id: number): string {
  return id === 1 ? 'ORDER_CHAT_KAFKA_PORT' : `ORDER_CHAT_KAFKA_${id}_PORT`
}

export const docker = {
  /** Whether Docker runs the servers: as ORDER_CHAT_STACK says, else if a daemon and Compose answer. */
  async isChosen({ env, progress }: Machine): Promise<boolean> {
    const choice = env['ORDER_CHAT_STACK'] ?? ''
    if (choice === 'local') return false
    if (choice !== '' && choice !== 'docker') throw new StackError(`ORDER_CHAT_STACK must be "docker" or "local", not "${choice}"`)
    const options = { env: ownEnv({ env }) }
    const daemon = (await run('docker', ['info'], options)).ok
    const compose = daemon && (await run('docker', ['compose', 'version'], options)).ok
    if (choice === 'docker' && !compose) {
      throw new StackError(`ORDER_CHAT_STACK=docker, but ${daemon ? 'the Compose plugin is missing' : 'no Docker daemon answers'}`)
    }
    if (daemon && !compose) progress.say('Docker answers, but its Compose plugin is missing: running the servers as local processes.')
    return compose
  },
}

/** The servers of `npm start` as containers; the same ports and settings as the local processes. */
export class DockerInfra {
  readonly config: StackConfig
  readonly #machine: Machine

  constructor(config: StackConfig, machine: Machine) {
    this.config = config
    this.#machine = machine
  }

  static async start(config: StackConfig, machine: Machine): Promise<DockerInfra> {
    const infra = new DockerInfra(config, machine)
    try {
      await machine.progress.step('docker compose up (pulls images the first time)', async (note) => {
        const up = ['up', '--detach', '--wait', ...composeServers(config.kafka.length)]
        const onLine = (line: string): void => note(line.slice(0, 80))
        await infra.#compose(up, { onLine, ...(machine.signal && { signal: machine.signal }) })
        await untilReachable(config)
      })
      return infra
    } catch (err) {
      // What went wrong is worth more than that stopping after it went wrong, too.
      await infra.stop().catch(() => {})
      throw err
    }
  }

  /** Stops the containers and keeps their volumes. */
  async stop(): Promise<void> {
    await this.#compose(['stop', ...composeServers(this.config.kafka.length)])
  }

  /** A second Ctrl-C leaves stopping to the daemon. */
  kill(): void {}

  /** Removes containers and volumes. */
  async deleteData(): Promise<void> {
    await this.#compose(['down', '--volumes', '--remove-orphans'])
  }

  async #compose(args: readonly string[], options: Pick<RunOptions, 'onLine' | 'signal'> = {}): Promise<RunResult> {
    const files = composeFiles(this.config.kafka.length).flatMap((file) => ['-f', path.join(root, file)])
    const env = { ...ownEnv(this.#machine), ...composeEnv(this.config) }
    const result = await run('docker', ['compose', ...files, ...args], { cwd: root, env, ...options })
    if (!result.ok) throw new StackError(`docker compose ${args[0]} failed:\n${result.output.trimEnd().split('\n').slice(-15).join('\n')}`)
    return result
  }
}

const REACHABLE_WITHIN_MS = 60_000

/** Healthy containers are not enough: the published ports must answer, all brokers and the queue included. */
export async function untilReachable(config: StackConfig): Promise<void> {
  const untilMs = Date.now() + REACHABLE_WITHIN_MS
  const [first] = config.kafka
  const checks = [
    async () => first !== undefined && (await kafkaBrokerIds(HOST, first.port)).length === config.kafka.length,
    async () => (await fetch(new URL('/health/ready', endpointsOf(config).schemaRegistryUrl))).ok,
    async () => (await fetch(`${endpointsOf(config).sqsQueueUrl}?Action=GetQueueAttributes`)).ok,
    () => refusesUnsigned(endpointsOf(config).s3Endpoint),
  ]
  for (const check of checks) {
    while (!(await check().catch(() => false))) {
      if (Date.now() > untilMs) throw new StackError('the containers run, but their ports do not answer')
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
  }
}
