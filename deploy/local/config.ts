import path from 'node:path'

/** One Kafka node, broker and controller at once. */
export type KafkaNode = { id: number; port: number; controllerPort: number }

/**
 * Where one local stack lives and listens. Two stacks with different folders and ports
 * share nothing but the downloaded servers, so that tests can run beside `npm start`.
 */
export type StackConfig = {
  /** Downloaded servers, shared by all stacks of this working copy. */
  cacheDir: string
  /** Its data will be deleted and its speed not measured: it may save on both. */
  throwAway: boolean
  /** What must survive a restart. */
  dataDir: string
  logDir: string
  /** Records of the processes that were started, so that others can stop them. */
  runDir: string
  kafka: readonly KafkaNode[]
  registryPort: number
  postgresPort: number
  redisPort: number
  sqsPort: number
  s3Port: number
}

/** Ports that belong to the services rather than to the servers below them. */
export type ServicePorts = { edge: readonly [number, number]; api: number; metrics: number }

export type Env = Readonly<Record<string, string | undefined>>

export const HOST = '127.0.0.1'

/** Every variable that changes the local stack, with its default. Documented in docs/operations.md. */
export const stackDefaults = {
  ORDER_CHAT_KAFKA_PORT: 19_092,
  ORDER_CHAT_REGISTRY_PORT: 18_081,
  ORDER_CHAT_POSTGRES_PORT: 15_432,
  ORDER_CHAT_REDIS_PORT: 16_379,
  ORDER_CHAT_SQS_PORT: 19_324,
  ORDER_CHAT_S3_PORT: 19_000,
  ORDER_CHAT_EDGE_1_PORT: 7001,
  ORDER_CHAT_EDGE_2_PORT: 7002,
  ORDER_CHAT_API_PORT: 7100,
  ORDER_CHAT_METRICS_PORT: 7201,
} as const

export type PortVariable = keyof typeof stackDefaults

/** Controllers listen this much above their broker's port. */
const CONTROLLER_PORT_OFFSET = 100

export class StackError extends Error {}

export function portFromEnv(env: Env, name: PortVariable): number {
  const raw = env[name]
  if (raw === undefined || raw === '') return stackDefaults[name]
  const port = Number(raw)
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new StackError(`${name} must be a port, not "${raw}"`)
  return port
}

/** The stack of `npm start`; `ORDER_CHAT_LOCAL_DIR` moves everything it writes. */
export function stackConfigFromEnv(env: Env, root: string, brokers: number): StackConfig {
  const local = path.resolve(root, env['ORDER_CHAT_LOCAL_DIR'] || '.local')
  const kafkaPort = portFromEnv(env, 'ORDER_CHAT_KAFKA_PORT')
  return {
    cacheDir: path.join(local, 'cache'),
    throwAway: false,
    dataDir: path.join(local, 'data'),
    logDir: path.join(local, 'logs'),
    runDir: path.join(local, 'run'),
    kafka: kafkaNodes(brokers, (i) => kafkaPort + i, (i) => kafkaPort + CONTROLLER_PORT_OFFSET + i),
    registryPort: portFromEnv(env, 'ORDER_CHAT_REGISTRY_PORT'),
    postgresPort: portFromEnv(env, 'ORDER_CHAT_POSTGRES_PORT'),
    redisPort: portFromEnv(env, 'ORDER_CHAT_REDIS_PORT'),
    sqsPort: portFromEnv(env, 'ORDER_CHAT_SQS_PORT'),
    s3Port: portFromEnv(env, 'ORDER_CHAT_S3_PORT'),
  }
}

export function servicePortsFromEnv(env: Env): ServicePorts {
  return {
    edge: [portFromEnv(env, 'ORDER_CHAT_EDGE_1_PORT'), portFromEnv(env, 'ORDER_CHAT_EDGE_2_PORT')],
    api: portFromEnv(env, 'ORDER_CHAT_API_PORT'),
    metrics: portFromEnv(env, 'ORDER_CHAT_METRICS_PORT'),
  }
}

export function kafkaNodes(brokers: number, port: (i: number) => number, controllerPort: (i: number) => number): KafkaNode[] {
  if (brokers !== 1 && brokers !== 3) throw new StackError(`the local stack runs 1 or 3 Kafka brokers, not ${brokers}`)
  return Array.from({ length: brokers }, (_, i) => ({ id: i + 1, port: port(i), controllerPort: controllerPort(i) }))
}

/** Three brokers keep three copies and take a write with two of them up. */
export function replicationOf(brokers: number): { factor: number; minInSync: number } {
  return brokers >= 3 ? { factor: 3, minInSync: 2 } : { factor: 1, minInSync: 1 }
}

/** Addresses of a running stack, as clients want them. */
export type StackEndpoints = {
  kafkaBrokers: string[]
  schemaRegistryUrl: string
  /** The superuser's, for making databases. */
  postgresAdminUrl: string
  postgresUrl: string
  redisUrl: string
  sqsEndpoint: string
  sqsQueueUrl: string
  s3Endpoint: string
}

export const SQS_ACCOUNT = '000000000000'
export const SQS_QUEUE = 'order-events'
export const SQS_DEAD_LETTER_QUEUE = 'order-events-dlq'
export const SQS_NOTIFICATIONS_QUEUE = 'notifications'
export const SQS_MAX_RECEIVE_COUNT = 10
export const S3_BUCKET = 'order-chat'

export function endpointsOf(config: StackConfig): StackEndpoints {
  const sqsEndpoint = `http://${HOST}:${config.sqsPort}`
  return {
    kafkaBrokers: config.kafka.map((node) => `${HOST}:${node.port}`),
    schemaRegistryUrl: `http://${HOST}:${config.registryPort}/apis/ccompat/v7`,
    postgresAdminUrl: `postgres://postgres@${HOST}:${config.postgresPort}/postgres`,
    postgresUrl: `postgres://chat@${HOST}:${config.postgresPort}/chat`,
    redisUrl: `redis://${HOST}:${config.redisPort}`,
    sqsEndpoint,
    sqsQueueUrl: `${sqsEndpoint}/${SQS_ACCOUNT}/${SQS_QUEUE}`,
    s3Endpoint: `http://${HOST}:${config.s3Port}`,
  }
}
