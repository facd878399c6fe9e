import { connect } from 'node:net'
import { connect as tlsConnect } from 'node:tls'
import { isIP } from 'node:net'
import { type ISocketFactory, Kafka, type KafkaConfig as KafkaJsConfig, type LogEntry, logLevel, type SASLOptions } from 'kafkajs'
import { type Env, envBool, envFile, envInt, envList, envOneOf, envOptional, envSecret, envText } from '#libs/runtime/env.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import { useFetchSessions } from './fetch-sessions.ts'
import { tameIdleConnections } from './idle-connections.ts'

export type KafkaConfig = {
  readonly brokers: readonly string[]
  /** Before every topic name, consumer group id and transactional id. */
  readonly prefix: string
  /** Of every keyed topic, fixed for the life of the topics. */
  readonly partitions: number
  readonly replicationFactor: number
  readonly ssl: false | { readonly ca?: string; readonly cert?: string; readonly key?: string }
  readonly sasl: { readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'; readonly username: string; readonly password: string } | undefined
  readonly connectTimeoutMs: number
  readonly requestTimeoutMs: number
  /** How long the group waits for a silent member before its partitions go to another. */
  readonly sessionTimeoutMs: number
  readonly heartbeatMs: number
  /** The longest that a fetch waits for data; a resume or seek takes effect after at most this. */
  readonly fetchWaitMs: number
  /** The least time between two batches of one producer, and between two fetches of one consumer. */
  readonly collectMs: number
}

export function kafkaConfigFromEnv(env: Env): KafkaConfig {
  const mechanism = envOneOf(env, 'KAFKA_SASL_MECHANISM', ['none', 'plain', 'scram-sha-256', 'scram-sha-512'], 'none')
  const sessionTimeoutMs = envInt(env, 'KAFKA_SESSION_TIMEOUT_MS', 10_000, { min: 1_000 })
  return {
    brokers: envList(env, 'KAFKA_BROKERS'),
    prefix: envText(env, 'KAFKA_TOPIC_PREFIX', ''),
    partitions: envInt(env, 'KAFKA_PARTITIONS', 12, { min: 1, max: 1_000 }),
    replicationFactor: envInt(env, 'KAFKA_REPLICATION_FACTOR', 3, { min: 1, max: 9 }),
    ssl: sslFromEnv(env),
    sasl:
      mechanism === 'none'
        ? undefined
        : { mechanism, username: envText(env, 'KAFKA_SASL_USERNAME'), password: envSecret(env, 'KAFKA_SASL_PASSWORD') ?? envText(env, 'KAFKA_SASL_PASSWORD') },
    connectTimeoutMs: envInt(env, 'KAFKA_CONNECT_TIMEOUT_MS', 3_000, { min: 100 }),
    requestTimeoutMs: envInt(env, 'KAFKA_REQUEST_TIMEOUT_MS', 10_000, { min: 100 }),
    sessionTimeoutMs,
    heartbeatMs: envInt(env, 'KAFKA_HEARTBEAT_MS', Math.floor(sessionTimeoutMs / 10), { min: 100 }),
    fetchWaitMs: envInt(env, 'KAFKA_FETCH_WAIT_MS', 200, { min: 1 }),
    collectMs: envInt(env, 'KAFKA_COLLECT_MS', 5, { min: 0, max: 1_000 }),
  }
}

function sslFromEnv(env: Env): KafkaConfig['ssl'] {
  if (!envBool(env, 'KAFKA_SSL', envOptional(env, 'KAFKA_SSL_CA_FILE') !== undefined)) return false
  const ca = envFile(env, 'KAFKA_SSL_CA_FILE')
  const cert = envFile(env, 'KAFKA_SSL_CERT_FILE')
  const key = envFile(env, 'KAFKA_SSL_KEY_FILE')
  return { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) }
}

/** kafkajs with our names, timeouts and logger. Only libs/kafka sees the kafkajs inside. */
export type KafkaClient = {
  readonly kafkajs: Kafka
  readonly config: KafkaConfig
  readonly logger: Logger
  /** The name of a topic, a consumer group or a transactional id on the cluster. */
  named(name: string): string
  /** The inverse of `named`, for topics that came from the cluster. */
  unnamed(name: string): string
}

export function createKafkaClient(config: KafkaConfig, clientId: string, logger: Logger): KafkaClient {
  tameIdleConnections()
  useFetchSessions()
  const log = logger.child({ part: 'kafkajs' })
  const kafkajs = new Kafka({
    clientId,
    brokers: [...config.brokers],
    ssl: config.ssl as KafkaJsConfig['ssl'] & {},
    ...(config.sasl && { sasl: config.sasl as SASLOptions }),
    connectionTimeout: config.connectTimeoutMs,
    authenticationTimeout: config.connectTimeoutMs,
    requestTimeout: config.requestTimeoutMs,
    enforceRequestTimeout: true,
    retry: { retries: 5, initialRetryTime: 100, maxRetryTime: 1_000, factor: 0.2, multiplier: 2 },
    logLevel: logLevel.WARN,
    logCreator: () => (entry) => forward(log, entry),
    socketFactory: noDelaySockets,
  })
  return {
    kafkajs,
    config,
    logger,
    named: (name) => `${config.prefix}${name}`,
    unnamed: (name) => name.slice(config.prefix.length),
  }
}

/** kafkajs leaves Nagle's algorithm on, which may hold a small request back until the last one is acknowledged. */
const noDelaySockets: ISocketFactory = ({ host, port, ssl, onConnect }) => {
  const socket = ssl
    ? tlsConnect({ host, port, ...(isIP(host) === 0 && { servername: host }), ...ssl }, onConnect)
    : connect({ host, port }, onConnect)
  return socket.setKeepAlive(true, 60_000).setNoDelay(true)
}

/** What kafkajs calls an error is mostly a retry of its own; what matters reaches us as an exception. */
function forward(log: Logger, entry: LogEntry): void {
  const { message, timestamp: _, logger: __, ...rest } = entry.log
  const fields = { namespace: entry.namespace, ...rest }
  if (entry.level === logLevel.ERROR || entry.level === logLevel.WARN) log.warn(fields, message)
  else log.debug(fields, message)
}
