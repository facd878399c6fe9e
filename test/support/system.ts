import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { SendMessageCommand } from '@aws-sdk/client-sqs'
import pg from 'pg'
import { devJwks, signDevToken } from '#libs/auth/dev-key.ts'
import { commonServiceEnv, type ServiceInstance, type ServiceName, serviceEnv, type ServiceWorld } from '../../deploy/local/service-env.ts'
import { HOST, type StackEndpoints } from '../../deploy/local/config.ts'
import { startKeeper } from '../../deploy/local/keeper.ts'
import { pickFreePorts } from '../../deploy/local/ports.ts'
import { publishOrderEvent } from '../../deploy/local/order.ts'
import { setUp, setUpConfigFromEnv } from '../../deploy/setup/setup.ts'
import { ChatSocket, type ConnectOptions } from './chat-socket.ts'
import { ServiceProcess } from './service-process.ts'
import { type Isolated, type IsolateOptions, type Stack, sqsClient } from './stack.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

export type SystemOptions = {
  /** How many processes of each service; default: one each, two edges. */
  readonly count?: Partial<Record<ServiceName, number>>
  readonly partitions?: number
  /** Added to the environment of every service. */
  readonly env?: Readonly<Record<string, string>>
  readonly queue?: IsolateOptions
  /** Where one process finds the servers, if not where they are: behind a proxy, say. */
  readonly endpointsOf?: (id: string, endpoints: StackEndpoints) => Promise<StackEndpoints>
}

const defaultCount: Record<ServiceName, number> = { 'sqs-bridge': 1, 'room-state': 1, 'message-persister': 1, edge: 2, api: 0, relay: 0, inbox: 0, notifier: 0, moderation: 0 }

/** All services as processes of their own, on topics, a queue and a database that nobody else uses. */
export class System {
  readonly stack: Stack
  readonly names: Isolated
  readonly processes = new Map<string, ServiceProcess>()
  readonly pool: pg.Pool
  readonly #jwks: Server
  readonly #keyFile: string
  readonly #sockets: ChatSocket[] = []

  private constructor(stack: Stack, names: Isolated, jwks: Server, keyFile: string) {
    this.stack = stack
    this.names = names
    this.#jwks = jwks
    this.#keyFile = keyFile
    this.pool = new pg.Pool({ connectionString: names.postgresUrl, max: 4 })
    this.pool.on('error', () => {
      // Tests stop Postgres; whoever asks then is told by his own query.
    })
  }

  static async start(stack: Stack, name: string, options: SystemOptions = {}): Promise<System> {
    const names = await stack.isolate(name, options.queue)
    const dir = path.join(root, '.local/test-systems', names.topicPrefix.replace(/\.$/, ''))
    mkdirSync(dir, { recursive: true })
    // Stops what is left, should the run be killed; ends with this process.
    startKeeper('discard', path.join(dir, 'run'))
    const keyFile = path.join(dir, 'dev-key.json')
    const jwks = await serveJwks(keyFile)
    const system = new System(stack, names, jwks, keyFile)
    const world: ServiceWorld = {
      endpoints: { ...stack, postgresUrl: names.postgresUrl, redisUrl: names.redisUrl, sqsQueueUrl: names.sqsQueueUrl },
      topicPrefix: names.topicPrefix,
      partitions: options.partitions ?? 4,
      replicationFactor: Math.min(3, stack.brokers),
      devKeyFile: keyFile,
      apiPort: (jwks.address() as AddressInfo).port,
      logLevel: 'info',
    }
    await setUp(setUpConfigFromEnv({ ...commonServiceEnv(world), LOG_LEVEL: 'warn' }))
    for (const instance of await instancesOf({ ...defaultCount, ...options.count })) {
      const endpoints = (await options.endpointsOf?.(instance.id, world.endpoints)) ?? world.endpoints
      const env = { ...serviceEnv(instance, { ...world, endpoints }), SQS_WAIT_TIME_S: '1', KAFKA_SESSION_TIMEOUT_MS: '6000', ...options.env }
      system.processes.set(instance.id, new ServiceProcess({ id: instance.id, service: instance.service, env, logFile: path.join(dir, `${instance.id}.log`), runDir: path.join(dir, 'run'), root }))
    }
    try {
      await Promise.all([...system.processes.values()].map((process) => process.start()))
    } catch (err) {
      await system.close()
      throw err
    }
    return system
  }

  process(id: string): ServiceProcess {
    const process = this.processes.get(id)
    if (!process) throw new Error(`no process ${id}: there are ${[...this.processes.keys()].join(', ')}`)
    return process
  }

  token(userId: string, role = 'user', ttlS = 3_600): Promise<string> {
    return signDevToken({ file: this.#keyFile, issuer: 'order-chat-dev', audience: 'order-chat', userId, role, ttlS })
  }

  /** A token that differs from a good one in what is given. */
  tokenWith(claims: { readonly userId: string; readonly role?: string; readonly ttlS?: number; readonly issuer?: string; readonly audience?: string }): Promise<string> {
    return signDevToken({ file: this.#keyFile, issuer: 'order-chat-dev', audience: 'order-chat', role: 'user', ttlS: 3_600, ...claims })
  }

  /** `http://127.0.0.1:<port>` of the n-th edge, from 1. */
  edgeUrl(n: number): string {
    return `http://${HOST}:${this.process(`edge-${n}`).env['EDGE_PORT']}`
  }

  /** Puts an order event on the queue. `type` without `order.`; `raw`: as SNS raw message delivery. */
  async order(type: string, orderId: string, payload: Readonly<Record<string, unknown>> = {}, { raw = false } = {}): Promise<void> {
    await publishOrderEvent({ type: `order.${type}`, payload: { orderId, ...payload }, raw }, { queueUrl: this.names.sqsQueueUrl, endpoint: this.stack.sqsEndpoint })
  }

  /** Puts a message on the queue as it is, byte for byte. */
  async putOnQueue(body: string): Promise<void> {
    const client = sqsClient(this.stack)
    await client.send(new SendMessageCommand({ QueueUrl: this.names.sqsQueueUrl, MessageBody: body })).finally(() => client.destroy())
  }

  /** Opens a room and waits until an edge admits its customer to it. */
  async openRoom(orderId: string, customerId: string, vendorId: string): Promise<void> {
    await this.order('accepted', orderId, { customerId, vendorId })
    const socket = await this.connect(1, { orderId, userId: customerId, until: 'open' })
    socket.close()
  }

  /** As `connect`, with whatever token, or none. */
  async connectAs(edge: number, options: ConnectOptions): Promise<ChatSocket> {
    const socket = await ChatSocket.connect(this.edgeUrl(edge), options)
    this.#sockets.push(socket)
    return socket
  }

  /** A `ws` socket that keeps every frame. */
  async connect(edge: number, options: Omit<ConnectOptions, 'token'> & { readonly userId: string; readonly role?: string; readonly token?: string }): Promise<ChatSocket> {
    const token = options.token ?? (await this.token(options.userId, options.role))
    return this.connectAs(edge, { ...options, token })
  }

  /** What Postgres has of a room, ascending. */
  async storedEvents(roomId: string): Promise<{ seq: number; type: string; content: string | null; messageId: string | null; clientMessageId: string | null }[]> {
    const { rows } = await this.pool.query(
      `SELECT e.seq::int AS seq, e.event_type AS type, c.content, m.message_id AS "messageId", m.client_message_id AS "clientMessageId"
         FROM room_events e LEFT JOIN chat_messages m USING (room_id, seq) LEFT JOIN message_contents c USING (room_id, seq)
        WHERE room_id = $1 ORDER BY seq`,
      [roomId],
    )
    return rows
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.terminate()
    await Promise.all([...this.processes.values()].map((process) => process.stop()))
    await this.pool.end()
    this.#jwks.close()
    await this.names.cleanup()
  }
}

async function instancesOf(count: Record<ServiceName, number>): Promise<ServiceInstance[]> {
  const wanted = Object.entries(count).flatMap(([service, n]) => Array.from({ length: n }, (_, i) => ({ service: service as ServiceName, id: `${service}-${i + 1}` })))
  const ports = await pickFreePorts(wanted.length * 2)
  return wanted.map(({ service, id }, i) => {
    const [metricsPort, port] = [ports[i * 2]!, String(ports[i * 2 + 1]!)]
    const env: Record<string, string> = service === 'edge' ? { EDGE_HOST: HOST, EDGE_PORT: port, EDGE_DRAIN_MS: '500' } : service === 'api' ? { API_HOST: HOST, API_PORT: port } : {}
    return { id, service, metricsPort, env }
  })
}

/** The keys as an identity provider of one's own would serve them. */
async function serveJwks(keyFile: string): Promise<Server> {
  const body = JSON.stringify(await devJwks(keyFile))
  const server = createServer((_, res) => {
    res.writeHead(200, { 'content-type': 'application/json' }).end(body)
  })
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve))
  return server
}
