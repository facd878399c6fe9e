import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { type StackConfig, StackError } from './config.ts'
import { requireDisk } from './disk.ts'
import { elasticMqSpec } from './elasticmq.ts'
import { kafkaSpec, prepareKafka } from './kafka.ts'
import { isAlive, readRecords, stopAllRecorded } from './pids.ts'
import { type PortUse, requireFreePorts } from './ports.ts'
import { fallbackDir, type PostgresCluster, postgresCluster, postgresSpec, preparePostgres, setUpPostgres } from './postgres.ts'
import { LocalProcess, type ProcessSpec } from './process.ts'
import { redisSpec } from './redis.ts'
import { registrySpec } from './registry.ts'
import { s3ProxySpec } from './s3proxy.ts'
import { downloadServers, serverFolder } from './servers.ts'
import { type Machine, systemTools, type Tools } from './tools.ts'

const DISK_NEEDED_MB = 500
const STOP_RECORDED_DEADLINE_MS = 40_000

/**
 * The servers of one local stack as child processes of this one. `start` leaves either all of
 * them ready or none running; `stop` ends them in the reverse order of what needs what.
 */
export class LocalInfra {
  readonly config: StackConfig
  readonly #machine: Machine
  readonly #tools: Tools
  readonly #cluster: PostgresCluster
  readonly #running = new Map<string, LocalProcess>()
  #stopping = false

  private constructor(config: StackConfig, machine: Machine, tools: Tools, cluster: PostgresCluster) {
    this.config = config
    this.#machine = machine
    this.#tools = tools
    this.#cluster = cluster
  }

  /** @throws StackError that says what to do: a taken port, a missing tool, a full disk, a server that will not start. */
  static async start(config: StackConfig, machine: Machine): Promise<LocalInfra> {
    await requireFreePorts(portUses(config))
    requireDisk(config.dataDir, DISK_NEEDED_MB, 'the stack')
    const tools = await LocalInfra.prepare(config.cacheDir, machine)
    requireSameBrokers(config)
    const infra = new LocalInfra(config, machine, tools, await postgresCluster(config, tools))
    const interrupt = (): void => void infra.stop()
    machine.signal?.addEventListener('abort', interrupt)
    try {
      machine.signal?.throwIfAborted()
      await infra.#startAll()
      return infra
    } catch (err) {
      await infra.stop()
      throw err
    } finally {
      machine.signal?.removeEventListener('abort', interrupt)
    }
  }

  /** Installs and downloads what is missing; does nothing the second time. */
  static async prepare(cacheDir: string, machine: Machine): Promise<Tools> {
    const servers = serverFolder(cacheDir)
    const tools = await systemTools(machine, { withMaven: !existsSync(servers) })
    await downloadServers(servers, machine)
    return { ...tools, servers }
  }

  /** Every server of this stack, by name; a stopped one is absent. */
  get processes(): ReadonlyMap<string, LocalProcess> {
    return this.#running
  }

  async #startAll(): Promise<void> {
    const { config } = this
    const kafka = Promise.all(config.kafka.map((node) => this.startServer(`kafka-${node.id}`)))
    const registry = kafka.then(() => this.startServer('registry'))
    const rest = ['postgres', 'elasticmq', 'redis', 's3proxy'].map((name) => this.startServer(name))
    // All are awaited before a failure is told: nothing may start behind a stop's back.
    const results = await Promise.allSettled([kafka, registry, ...rest])
    const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []))
    if (failures.length > 0) throw failures[0]
  }

  /** Starts one server, the first time or again, and waits until it is ready. */
  async startServer(name: string, { progress }: Pick<Machine, 'progress'> = this.#machine): Promise<LocalProcess> {
    const { config } = this
    const tools = this.#tools
    return progress.step(name, async () => {
      const node = config.kafka.find(({ id }) => name === `kafka-${id}`)
      if (node) await prepareKafka(config, node, tools)
      if (name === 'postgres') await preparePostgres(this.#cluster, tools)
      if (this.#stopping) throw new StackError(`${name} is not started: the stack is stopping`)
      const process = LocalProcess.spawn(this.#specOf(name), config)
      this.#running.set(name, process)
      void process.exited.then(() => {
        if (this.#running.get(name) === process) this.#running.delete(name)
      })
      await process.untilReady()
      if (name === 'postgres') await setUpPostgres(this.#cluster, config, tools)
      return process
    })
  }

  async stopServer(name: string): Promise<void> {
    await this.#running.get(name)?.stop()
  }

  #specOf(name: string): ProcessSpec {
    const { config } = this
    const node = config.kafka.find(({ id }) => name === `kafka-${id}`)
    if (node) return kafkaSpec(config, node, this.#tools)
    if (name === 'registry') return registrySpec(config, this.#tools)
    if (name === 'postgres') return postgresSpec(this.#cluster, config, this.#tools)
    if (name === 'elasticmq') return elasticMqSpec(config, this.#tools)
    if (name === 'redis') return redisSpec(config, this.#tools)
    if (name === 's3proxy') return s3ProxySpec(config, this.#tools)
    throw new StackError(`there is no server "${name}"`)
  }

  /** Asks every server to stop and waits until all have. Nothing can be started any more. */
  async stop(): Promise<void> {
    this.#stopping = true
    const all = [...this.#running.values()]
    const kafka = all.filter(({ name }) => name.startsWith('kafka-'))
    await Promise.all(all.filter((process) => !kafka.includes(process)).map((process) => process.stop()))
    await Promise.all(kafka.map((process) => process.stop()))
  }

  kill(): void {
    for (const process of this.#running.values()) process.kill()
  }

  async killServer(name: string): Promise<void> {
    const process = this.#running.get(name)
    process?.kill()
    await process?.exited
  }

  /** Names of all servers that this stack has, running or not. */
  get names(): string[] {
    return [...this.config.kafka.map(({ id }) => `kafka-${id}`), 'registry', 'postgres', 'elasticmq', 'redis', 's3proxy']
  }

  /** Ends the stack at once and deletes its data. */
  async discard(): Promise<void> {
    this.#stopping = true
    await Promise.all([...this.#running.values()].map((process) => process.discard()))
    for (const dir of dataDirs(this.config)) rmSync(dir, { recursive: true, force: true })
  }
}

/** Every folder that holds data of this stack. */
export function dataDirs(config: StackConfig): string[] {
  return [config.dataDir, fallbackDir(config)]
}

/** A run that was killed could not clean up; the next one does it first. */
export async function stopLeftOver(config: Pick<StackConfig, 'runDir'>, machine: Pick<Machine, 'progress'>): Promise<void> {
  const records = readRecords(config.runDir)
  const alive = records.filter(isAlive)
  const stop = (): Promise<void> => stopAllRecorded(config.runDir, records, 'stop', STOP_RECORDED_DEADLINE_MS)
  if (alive.length === 0) return stop()
  await machine.progress.step(`stopping what an earlier run left: ${alive.map(({ name }) => name).join(', ')}`, stop)
}

export function portUses(config: StackConfig): PortUse[] {
  const kafka = config.kafka.flatMap((node) => [
    { port: node.port, what: `Kafka broker ${node.id}`, variable: 'ORDER_CHAT_KAFKA_PORT' },
    { port: node.controllerPort, what: `Kafka controller ${node.id}`, variable: 'ORDER_CHAT_KAFKA_PORT' },
  ])
  return [
    ...kafka,
    { port: config.registryPort, what: 'schema registry', variable: 'ORDER_CHAT_REGISTRY_PORT' },
    { port: config.postgresPort, what: 'Postgres', variable: 'ORDER_CHAT_POSTGRES_PORT' },
    { port: config.redisPort, what: 'Redis', variable: 'ORDER_CHAT_REDIS_PORT' },
    { port: config.sqsPort, what: 'SQS', variable: 'ORDER_CHAT_SQS_PORT' },
    { port: config.s3Port, what: 'S3', variable: 'ORDER_CHAT_S3_PORT' },
  ]
}

/** Kafka's data belongs to the number of brokers that it was made with. */
function requireSameBrokers(config: StackConfig): void {
  const file = path.join(config.dataDir, 'brokers')
  const brokers = config.kafka.length
  let before: string
  try {
    before = readFileSync(file, 'utf8')
  } catch {
    writeFileSync(file, String(brokers))
    return
  }
  if (before !== String(brokers)) {
    throw new StackError(`This stack's data was made with ${before} Kafka broker(s), not ${brokers}. Start it with --brokers ${before}, or delete its data first: npm run reset`)
  }
}
