import { setTimeout as pause } from 'node:timers/promises'
import { pino } from 'pino'
import { postgresConfigFromEnv } from '#libs/postgres/config.ts'
import { migrate, migrationsDir } from '#libs/postgres/migrate.ts'
import { HOST } from '../../../deploy/local/config.ts'
import { pickFreePorts } from '../../../deploy/local/ports.ts'
import { quietProgress } from '../../../deploy/local/progress.ts'
import { commonServiceEnv, PARTITIONS, type ServiceInstance, serviceInstances, type ServiceWorld } from '../../../deploy/local/service-env.ts'
import { LocalServices } from '../../../deploy/local/services.ts'
import { type World, withPostgres } from '../world.ts'
import { acceptOrders } from './inputs.ts'
import { linksOf } from './links.ts'
import type { System } from './system.ts'

export type OrderChatOptions = {
  /** Before every topic, and in the name of its database, which nobody else uses. */
  readonly name?: string
  readonly partitions?: number
  readonly extraEnv?: Readonly<Record<string, string>>
  /** Which of the usual processes run from the start, by id; default: all that `npm start` runs. */
  readonly only?: readonly string[]
  /** A second `room-state-2`, which stands by. */
  readonly standby?: boolean
}

/** All our services as `npm start` runs them. */
export class OrderChat implements System {
  readonly name = 'order-chat'
  readonly #world: World
  readonly #options: Required<OrderChatOptions>
  #services: LocalServices | undefined
  #instances: readonly ServiceInstance[] = []
  #serviceWorld: ServiceWorld | undefined

  constructor(world: World, { name = 'ours', partitions = PARTITIONS, extraEnv = {}, only = [], standby = false }: OrderChatOptions = {}) {
    this.#world = world
    this.#options = { name, partitions, extraEnv, only, standby }
  }

  async start(): Promise<void> {
    const isNew = this.#serviceWorld === undefined
    const serviceWorld = this.#serviceWorld ?? (await this.#newWorld())
    const { extraEnv, only } = this.#options
    const [edge1 = 0, edge2 = 0, api = 0, ...metrics] = await pickFreePorts(16)
    const usual = serviceInstances({ edge: [edge1, edge2], api, metrics: 0 })
    const standby: Omit<ServiceInstance, 'metricsPort'> = { id: 'room-state-2', service: 'room-state', env: {} }
    this.#instances = [...usual, ...(this.#options.standby ? [standby] : [])].map((instance, i) => ({ ...instance, metricsPort: metrics[i]! }))
    this.#serviceWorld = { ...serviceWorld, apiPort: api }
    this.#services = new LocalServices(this.#instances, { dirs: this.#world.dirs, world: this.#serviceWorld, env: process.env, extraEnv: { ...extraEnv }, progress: quietProgress })
    if (isNew) await this.#services.setUp()
    await Promise.all(this.#instances.filter(({ id }) => only.length === 0 || only.includes(id)).map(({ id }) => this.#services!.start(id)))
  }

  async stop(): Promise<void> {
    await this.#services?.stop()
  }

  async startOne(id: string): Promise<void> {
    await this.#services!.start(id)
  }

  async stopOne(id: string): Promise<void> {
    await this.#services!.processes.get(id)?.stop()
  }

  async killOne(id: string): Promise<void> {
    const process = this.#services!.processes.get(id)!
    process.kill()
    await process.exited
  }

  pidOf(id: string): number {
    return this.#services!.processes.get(id)!.pid!
  }

  get postgresUrl(): string {
    return this.#serviceWorld!.endpoints.postgresUrl
  }

  /** As the services get it, for whoever produces or reads beside them. */
  get env(): Record<string, string> {
    return commonServiceEnv(this.#serviceWorld!)
  }

  /** Sum over the series of a metric of one process. */
  async metric(id: string, series: string): Promise<number> {
    const { metricsPort } = this.#instances.find((instance) => instance.id === id)!
    const lines = (await (await fetch(`http://${HOST}:${metricsPort}/metrics`)).text()).split('\n').filter((line) => line.startsWith(series))
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
  }

  /** Web addresses of the edges. */
  urls(): string[] {
    return this.#instances.flatMap(({ env }) => (env['EDGE_PORT'] ? [`ws://${HOST}:${env['EDGE_PORT']}`] : []))
  }

  /** By default customer and vendor are on different edges. */
  async openRooms(count: number, prefix: string, urls: readonly string[] = this.urls()) {
    await this.acceptOrders(Array.from({ length: count }, (_, i) => `${prefix}-${i}`))
    const { senders, receivers } = await linksOf(this.#world, urls, count, prefix)
    return { senders: { protocol: 'order-chat' as const, links: senders }, receivers: { protocol: 'order-chat' as const, links: receivers } }
  }

  /** Until Postgres has the rooms: then every edge admits their people at once. */
  async acceptOrders(orderIds: readonly string[], withinMs = 180_000): Promise<void> {
    const count = (client: { query(sql: string): Promise<{ rows: { n: number }[] }> }) => client.query('SELECT count(*)::int AS n FROM chat_rooms').then(({ rows }) => rows[0]!.n)
    const deadlineMs = Date.now() + withinMs
    await withPostgres(this.postgresUrl, async (client) => {
      const before = await count(client)
      await acceptOrders(this.env, orderIds)
      for (let n = 0; (n = (await count(client)) - before) < orderIds.length; await pause(100)) {
        if (Date.now() > deadlineMs) throw new Error(`${n} of ${orderIds.length} rooms were stored in ${withinMs / 1_000} s`)
      }
    })
  }

  /** Makes our tables in another database. */
  async migrate(postgresUrl: string): Promise<void> {
    const config = postgresConfigFromEnv({ ...this.env, POSTGRES_URL: postgresUrl }, { applicationName: 'bench' })
    await migrate(config, migrationsDir, pino({ level: 'silent' }))
  }

  pids() {
    const own = [...this.#services!.processes].map(([id, process]) => [id, process.pid!] as const)
    return new Map([...own, ...this.#world.pids('kafka', 'postgres', 'redis', 'registry')])
  }

  async #newWorld(): Promise<ServiceWorld> {
    const { name, partitions } = this.#options
    const postgresUrl = await this.#world.createDatabase(`${name.replaceAll('-', '_')}_${Date.now()}`)
    return {
      endpoints: { ...this.#world.endpoints, postgresUrl, redisUrl: `${this.#world.endpoints.redisUrl}/2` },
      topicPrefix: `${name}-${Date.now()}.`,
      partitions,
      replicationFactor: 1,
      devKeyFile: this.#world.devKeyFile,
      apiPort: 0,
      logLevel: 'info',
    }
  }
}
