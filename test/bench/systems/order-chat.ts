import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { pino } from 'pino'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { AvroCodecs, registryConfigFromEnv } from '#libs/kafka/avro.ts'
import { BatchingProducer } from '#libs/kafka/batching-producer.ts'
import { createKafkaClient, kafkaConfigFromEnv } from '#libs/kafka/client.ts'
import { orderEventToAvro } from '#libs/streams/avro-shapes.ts'
import { topics } from '#libs/streams/topics.ts'
import { HOST } from '../../../deploy/local/config.ts'
import { pickFreePorts } from '../../../deploy/local/ports.ts'
import { quietProgress } from '../../../deploy/local/progress.ts'
import { commonServiceEnv, PARTITIONS, type ServiceInstance, serviceInstances, type ServiceWorld } from '../../../deploy/local/service-env.ts'
import { LocalServices } from '../../../deploy/local/services.ts'
import { type World, withPostgres } from '../world.ts'
import { linksOf } from './links.ts'
import type { System } from './system.ts'

export type OrderChatOptions = {
  /** Before every topic, and the name of its database: two of the same name are the same system. */
  readonly name?: string
  readonly extraEnv?: Readonly<Record<string, string>>
  /** Which of the usual processes run, by id; default: all that `npm start` runs. */
  readonly only?: readonly string[]
}

/** All our services as `npm start` runs them. */
export class OrderChat implements System {
  readonly name = 'order-chat'
  readonly #world: World
  readonly #options: Required<OrderChatOptions>
  #services: LocalServices | undefined
  #instances: readonly ServiceInstance[] = []
  #serviceWorld: ServiceWorld | undefined

  constructor(world: World, { name = 'ours', extraEnv = {}, only = [] }: OrderChatOptions = {}) {
    this.#world = world
    this.#options = { name, extraEnv, only }
  }

  async start(): Promise<void> {
    const [edge1 = 0, edge2 = 0, api = 0, ...metrics] = await pickFreePorts(9)
    this.#instances = serviceInstances({ edge: [edge1, edge2], api, metrics: 0 }).map((instance, i) => ({ ...instance, metricsPort: metrics[i]! }))
    const isNew = this.#serviceWorld === undefined
    this.#serviceWorld = { ...(this.#serviceWorld ?? (await this.#newWorld())), apiPort: api }
    this.#services = new LocalServices(this.#instances, {
      dirs: this.#world.dirs,
      world: this.#serviceWorld,
      env: process.env,
      extraEnv: { ...this.#options.extraEnv },
      progress: quietProgress,
    })
    if (isNew) await this.#services.setUp()
    await Promise.all(this.ids().map((id) => this.#services!.start(id)))
  }

  /** Of the processes that run, in the order in which tables show them. */
  ids(): string[] {
    const { only } = this.#options
    return this.#instances.map(({ id }) => id).filter((id) => only.length === 0 || only.includes(id))
  }

  async stop(): Promise<void> {
    await this.#services?.stop()
  }

  get services(): LocalServices {
    return this.#services!
  }

  get postgresUrl(): string {
    return this.#serviceWorld!.endpoints.postgresUrl
  }

  /** As the services get it, for whoever produces or reads beside them. */
  get env(): Record<string, string> {
    return commonServiceEnv(this.#serviceWorld!)
  }

  metricsUrl(id: string): string {
    return `http://${HOST}:${this.#instances.find((instance) => instance.id === id)!.metricsPort}/metrics`
  }

  /** Web addresses of the edges. */
  urls(): string[] {
    return this.#instances.flatMap(({ env }) => (env['EDGE_PORT'] ? [`ws://${HOST}:${env['EDGE_PORT']}`] : []))
  }

  async openRooms(count: number, prefix: string) {
    await this.acceptOrders(Array.from({ length: count }, (_, i) => `${prefix}-${i}`))
    await this.untilStored(`${prefix}-`, count)
    const { senders, receivers } = await linksOf(this.#world, this.urls(), count, prefix)
    return { senders: { protocol: 'order-chat' as const, links: senders }, receivers: { protocol: 'order-chat' as const, links: receivers } }
  }

  /** Orders as the bridge would write them; the customer is `c-<order>`, the vendor `v-<order>`. */
  async acceptOrders(orderIds: readonly string[]): Promise<void> {
    const kafka = createKafkaClient(kafkaConfigFromEnv(this.env), 'bench-orders', pino({ level: 'silent' }))
    const codec = await new AvroCodecs(registryConfigFromEnv(this.env), kafka).forTopic(topics.orderEvents)
    const producer = new BatchingProducer(kafka, { pendingMax: Number.POSITIVE_INFINITY })
    const value = (orderId: string) =>
      codec.encode(
        orderEventToAvro({
          type: 'orderAccepted',
          orderId: orderId as RoomId,
          eventId: randomUUID(),
          occurredAtMs: Date.now(),
          customerId: `c-${orderId}` as UserId,
          vendorId: `v-${orderId}` as UserId,
        }),
      )
    await Promise.all(orderIds.map((orderId) => producer.send(topics.orderEvents.name, { key: orderId, value: value(orderId), headers: {} })))
    await producer.close()
  }

  /** Until Postgres has the rooms: then every edge admits their people at once. */
  async untilStored(prefix: string, count: number, withinMs = 120_000): Promise<void> {
    const deadlineMs = Date.now() + withinMs
    await withPostgres(this.postgresUrl, async (client) => {
      for (;;) {
        const { rows } = await client.query('SELECT count(*)::int AS n FROM chat_rooms WHERE room_id LIKE $1', [`${prefix}%`])
        if (rows[0].n >= count) return
        if (Date.now() > deadlineMs) throw new Error(`${rows[0].n} of ${count} rooms ${prefix}… were stored in ${withinMs / 1_000} s`)
        await pause(100)
      }
    })
  }

  pids() {
    const own = [...this.#services!.processes].map(([id, process]) => [id, process.pid!] as const)
    return new Map([...own, ...this.#world.pids('kafka', 'postgres', 'redis', 'registry')])
  }

  async #newWorld(): Promise<ServiceWorld> {
    const { name } = this.#options
    const postgresUrl = await this.#world.createDatabase(name)
    return {
      endpoints: { ...this.#world.endpoints, postgresUrl, redisUrl: `${this.#world.endpoints.redisUrl}/2` },
      topicPrefix: `${name}.`,
      partitions: PARTITIONS,
      replicationFactor: 1,
      devKeyFile: this.#world.devKeyFile,
      apiPort: 0,
      logLevel: 'info',
    }
  }
}
