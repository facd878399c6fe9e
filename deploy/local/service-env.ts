import { HOST, S3_BUCKET, SQS_ACCOUNT, SQS_NOTIFICATIONS_QUEUE, type ServicePorts, type StackEndpoints } from './config.ts'

export type ServiceName = 'sqs-bridge' | 'room-state' | 'message-persister' | 'edge' | 'api' | 'relay' | 'inbox' | 'notifier' | 'moderation'

/** One process of a service: where it listens, and the name it goes by in logs and pid files. */
export type ServiceInstance = { id: string; service: ServiceName; metricsPort: number; env: Record<string, string> }

/** What all services of one stack have in common. */
export type ServiceWorld = {
  endpoints: StackEndpoints
  topicPrefix: string
  partitions: number
  replicationFactor: number
  /** The folder's `dev-key.json` belongs to the api alone; the others get keys from its JWKS. */
  devKeyFile: string
  apiPort: number
  logLevel: string
}

export const AUTH_ISSUER = 'order-chat-dev'
export const AUTH_AUDIENCE = 'order-chat'
export const PARTITIONS = 12

/** The processes that `npm start` runs, in the order in which they are told about. `moderation` has nothing to do without a webhook. */
export function serviceInstances(ports: ServicePorts, { moderation = false } = {}): ServiceInstance[] {
  const edges = ports.edge.map((port, i) => ({ id: `edge-${i + 1}`, service: 'edge' as const, env: { EDGE_HOST: HOST, EDGE_PORT: String(port) } }))
  const instances: Omit<ServiceInstance, 'metricsPort'>[] = [
    // A stop waits for the running poll: locally nobody pays for a shorter one.
    { id: 'sqs-bridge', service: 'sqs-bridge', env: { SQS_WAIT_TIME_S: '1' } },
    { id: 'room-state', service: 'room-state', env: {} },
    { id: 'message-persister', service: 'message-persister', env: {} },
    ...edges,
    { id: 'api', service: 'api', env: { API_HOST: HOST, API_PORT: String(ports.api) } },
    { id: 'relay', service: 'relay', env: {} },
    { id: 'inbox', service: 'inbox', env: {} },
    { id: 'notifier', service: 'notifier', env: {} },
    ...(moderation ? [{ id: 'moderation', service: 'moderation' as const, env: {} }] : []),
  ]
  return instances.map((instance, i) => ({ ...instance, metricsPort: ports.metrics + i }))
}

/** The environment that every service and the set-up step read; docker-compose.yml has the same names. */
export function commonServiceEnv(world: ServiceWorld): Record<string, string> {
  const { endpoints } = world
  return {
    KAFKA_BROKERS: endpoints.kafkaBrokers.join(','),
    KAFKA_TOPIC_PREFIX: world.topicPrefix,
    KAFKA_PARTITIONS: String(world.partitions),
    KAFKA_REPLICATION_FACTOR: String(world.replicationFactor),
    SCHEMA_REGISTRY_URL: endpoints.schemaRegistryUrl,
    POSTGRES_URL: endpoints.postgresUrl,
    REDIS_URL: endpoints.redisUrl,
    SQS_QUEUE_URL: endpoints.sqsQueueUrl,
    ...(endpoints.sqsEndpoint !== '' && localSqs(endpoints.sqsEndpoint)),
    AUTH_JWKS_URL: `http://${HOST}:${world.apiPort}/.well-known/jwks.json`,
    AUTH_ISSUER,
    AUTH_AUDIENCE,
    LOG_LEVEL: world.logLevel,
    // Pages of any local development server may connect.
    EDGE_ALLOWED_ORIGINS: '*',
    // uWebSockets takes 4 KB of headers otherwise; tokens may have 8 KB.
    UWS_HTTP_MAX_HEADERS_SIZE: '16384',
  }
}

/** A queue of one's own has none of these: region and credentials are then the AWS SDK's to find. */
function localSqs(endpoint: string): Record<string, string> {
  return { SQS_ENDPOINT: endpoint, ...localAws }
}

/** S3Proxy knows these and checks them; ElasticMQ takes any. */
export const localAws = { AWS_REGION: 'us-east-1', AWS_ACCESS_KEY_ID: 'local', AWS_SECRET_ACCESS_KEY: 'local' }

/** Where the pushes of a local stack go: for people and tests to look at. */
export const notificationsQueue = (sqsEndpoint: string): string => `${sqsEndpoint}/${SQS_ACCOUNT}/${SQS_NOTIFICATIONS_QUEUE}`

/** The whole environment of one process. */
export function serviceEnv(instance: ServiceInstance, world: ServiceWorld): Record<string, string> {
  return {
    ...commonServiceEnv(world),
    ...instance.env,
    ...(instance.service === 'api' && { AUTH_DEV_KEY_FILE: world.devKeyFile, S3_BUCKET, S3_ENDPOINT: world.endpoints.s3Endpoint, ...localAws }),
    ...(instance.service === 'notifier' && world.endpoints.sqsEndpoint !== '' && { NOTIFIER_SQS_QUEUE_URL: notificationsQueue(world.endpoints.sqsEndpoint) }),
    METRICS_HOST: HOST,
    METRICS_PORT: String(instance.metricsPort),
    INSTANCE_ID: instance.id,
  }
}
