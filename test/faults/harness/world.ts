import { mkdirSync } from 'node:fs'
import path from 'node:path'
import type { Stack } from '../../support/stack.ts'
import { System } from '../../support/system.ts'
import type { TopicLogOptions } from '../checker/fenced-topic.ts'
import { TopicLog } from '../checker/topic.ts'
import { UserLog } from '../checker/user-topic.ts'
import type { TcpProxy } from '../proxy/tcp-proxy.ts'
import { Crew } from './crew.ts'
import { Network } from './network.ts'

/** How long the group waits for a silent member. */
export const SESSION_TIMEOUT_MS = 6_000
/** How long a service waits for an answer of Kafka. */
export const REQUEST_TIMEOUT_MS = 4_000

const PARTITIONS = 6
const SERVICES = { 'sqs-bridge': 2, 'room-state': 2, 'message-persister': 2, edge: 2, inbox: 2, api: 1 }

/** The system under fault: two of everything, proxies between it and its servers, and a checker's own view of the log. */
export class World {
  readonly stack: Stack
  readonly system: System
  readonly network: Network
  readonly crew: Crew
  /** Before all edges. */
  readonly balancer: TcpProxy
  readonly log: TopicLog
  readonly users: UserLog
  readonly dir: string

  private constructor(stack: Stack, system: System, network: Network, balancer: TcpProxy, dir: string) {
    this.stack = stack
    this.system = system
    this.network = network
    this.balancer = balancer
    this.dir = dir
    this.crew = new Crew(system)
    const named = (topic: string) => `${system.names.topicPrefix}${topic}`
    const optionsOf = (name: string, ...inputs: readonly string[]): TopicLogOptions => ({
      brokers: stack.kafkaBrokers,
      registryUrl: stack.schemaRegistryUrl,
      name,
      topic: named(name),
      inputs: inputs.map((input) => ({ name: input, topic: named(input) })),
    })
    this.log = new TopicLog(optionsOf('room-events', 'order-events', 'chat-commands'))
    this.users = new UserLog(optionsOf('user-events', 'inbox-updates', 'inbox-commands'))
  }

  /** `dir`: where histories go. */
  static async open(stack: Stack, dir: string): Promise<World> {
    mkdirSync(dir, { recursive: true })
    const network = new Network()
    try {
      const system = await System.start(stack, 'faults', {
        count: SERVICES,
        partitions: PARTITIONS,
        queue: { visibilityTimeoutSeconds: 5 },
        env: { KAFKA_SESSION_TIMEOUT_MS: String(SESSION_TIMEOUT_MS), KAFKA_REQUEST_TIMEOUT_MS: String(REQUEST_TIMEOUT_MS) },
        endpointsOf: (id, endpoints) => network.connect(id, endpoints),
      })
      const edgePorts = [...system.processes.values()].flatMap(({ env }) => (env['EDGE_PORT'] ? [Number(env['EDGE_PORT'])] : []))
      return new World(stack, system, network, await network.balance(edgePorts), path.resolve(dir))
    } catch (err) {
      await network.close()
      throw err
    }
  }

  get edgeUrl(): string {
    return `http://127.0.0.1:${this.balancer.port}`
  }

  async close(): Promise<void> {
    await this.crew.close()
    await this.system.close()
    await this.network.close()
  }
}
