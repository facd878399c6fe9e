import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { endpointsOf, replicationOf, S3_BUCKET, servicePortsFromEnv, stackConfigFromEnv, stackDefaults } from './config.ts'
import { composeEnv, composeServers } from './docker.ts'
import { elasticMqConfig } from './elasticmq.ts'
import { kafkaSettings } from './kafka.ts'
import { postgresSettings } from './postgres.ts'
import { redisSettings } from './redis.ts'
import { registrySettings } from './registry.ts'
import { s3ProxySettings } from './s3proxy.ts'
import { PARTITIONS, serviceEnv, serviceInstances, type ServiceWorld } from './service-env.ts'

type Service = { image: string; command?: string[]; ports?: string[]; environment: Record<string, string | number> }
type Compose = { services: Record<string, Service> }

const read = (file: string): string => readFileSync(fileURLToPath(new URL(`../../${file}`, import.meta.url)), 'utf8')
const compose = parse(read('docker-compose.yml'), { merge: true }) as Compose
const three = parse(read('deploy/docker/three-brokers.yml'), { merge: true }) as Compose

const service = (name: string): Service => {
  const found = compose.services[name]
  if (!found) throw new Error(`docker-compose.yml has no service ${name}`)
  return found
}

const config = stackConfigFromEnv({}, '/project', 1)
const ports = servicePortsFromEnv({})
const world: ServiceWorld = {
  endpoints: endpointsOf(config),
  topicPrefix: '',
  partitions: PARTITIONS,
  replicationFactor: 1,
  devKeyFile: '/project/.local/dev-key.json',
  apiPort: ports.api,
  logLevel: 'info',
}

/** `${NAME:-default}` as compose would read it when the variable is not set. */
const defaults = (text: string): string => text.replaceAll(/\$\{[A-Z0-9_]+:-([^}]*)\}/g, '$1')

describe('docker-compose.yml is the local stack in containers', () => {
  test('every published port has the same variable and default, on the loopback interface', () => {
    const published = Object.values(compose.services).flatMap(({ ports: list = [] }) => list)
    const byVariable = Object.fromEntries(published.flatMap((port) => {
      const match = /\$\{([A-Z0-9_]+):-(\d+)\}/.exec(port)
      return match ? [[match[1], Number(match[2])]] : []
    }))
    const { ORDER_CHAT_METRICS_PORT: metrics, ...named } = stackDefaults
    expect(byVariable).toEqual(named)
    expect(published.every((port) => port.startsWith('127.0.0.1:'))).toBe(true)
    for (const [i, instance] of serviceInstances(ports).entries()) {
      expect(service(instance.id).ports?.at(-1)).toBe(`127.0.0.1:${metrics + i}:${metrics + i}`)
    }
  })

  test.each([1, 3])('Kafka has the same settings with %i broker(s)', (brokers) => {
    const { factor, minInSync } = replicationOf(brokers)
    const settings = Object.entries(kafkaSettings(factor, minInSync))
    for (let id = 1; id <= brokers; id++) {
      const environment = { ...compose.services[`kafka-${id}`]?.environment, ...(brokers > 1 && three.services[`kafka-${id}`]?.environment) }
      const seen = settings.map(([key]) => [key, String(environment[`KAFKA_${key.toUpperCase().replaceAll('.', '_')}`])])
      expect(seen).toEqual(settings.map(([key, value]) => [key, String(value)]))
      expect(environment['KAFKA_NODE_ID']).toBe(id)
    }
  })

  test('registry, Postgres and Redis have the same settings', () => {
    expect(service('registry').environment).toMatchObject(registrySettings)
    for (const [key, value] of Object.entries(postgresSettings)) expect(service('postgres').command).toContain(`${key}=${value}`)
    expect(service('redis').command).toEqual(['redis-server', ...redisSettings])
  })

  test('the store of files has the same settings and the same bucket', () => {
    const { environment } = service('s3proxy')
    for (const [key, value] of Object.entries(s3ProxySettings)) expect(environment[key.toUpperCase().replaceAll(/[.-]/g, '_')]).toBe(value)
    expect(JSON.stringify(service('s3proxy'))).toContain(`mkdir -p ${environment['JCLOUDS_FILESYSTEM_BASEDIR']}/${S3_BUCKET} `)
  })

  test('the queues are the same', () => {
    expect(read('deploy/docker/elasticmq.conf')).toBe(elasticMqConfig({ bindHost: '0.0.0.0', host: '*', port: 19_324, database: '/data/messages' }))
  })

  test('the servers have the versions that Maven brings', () => {
    const version = (file: string, artifact: string): string | undefined => {
      return new RegExp(`<artifactId>${artifact}</artifactId>\\s*<version>([^<]+)`).exec(read(`deploy/local/maven/${file}/pom.xml`))?.[1]
    }
    expect(service('kafka-1').image).toBe(`apache/kafka:${version('kafka', 'kafka_2.13')}`)
    expect(three.services['kafka-2']?.image).toBe(service('kafka-1').image)
    expect(service('registry').image).toBe(`apicurio/apicurio-registry:${version('registry', 'apicurio-registry-app')}`)
    expect(service('elasticmq').image).toBe(`softwaremill/elasticmq:${version('elasticmq', 'elasticmq-server_2.13')}`)
    expect(service('s3proxy').image).toBe(`andrewgaul/s3proxy:${version('s3proxy', 's3proxy')}`)
  })

  test.each(serviceInstances(ports))('$id reads the same variables', (instance) => {
    const local = serviceEnv(instance, world)
    const { environment } = service(instance.id)
    expect(Object.keys(environment).sort()).toEqual(Object.keys(local).sort())
    // Addresses differ by nature: names inside the containers' network, the loopback outside.
    const isAddress = (name: string): boolean => /_(BROKERS|URL|ENDPOINT|HOST|FILE)$/.test(name)
    for (const name of Object.keys(local).filter((key) => !isAddress(key))) expect([name, defaults(String(environment[name]))]).toEqual([name, local[name]])
    expect(service(instance.id).command).toEqual(['node', `services/${instance.service}/main.ts`])
  })

  test('with three brokers every service is told so', () => {
    const told = Object.fromEntries(serviceInstances(ports).map(({ id }) => [id, three.services[id]?.environment]))
    for (const environment of Object.values(told)) {
      expect(environment).toEqual({ KAFKA_BROKERS: 'kafka-1:9092,kafka-2:9092,kafka-3:9092', KAFKA_REPLICATION_FACTOR: '3' })
    }
  })

  test('three brokers are published where the local ones listen', () => {
    const published = stackConfigFromEnv({}, '/project', 3).kafka.map(({ id, port }) => {
      const [list] = (three.services[`kafka-${id}`]?.ports ?? service(`kafka-${id}`).ports) ?? []
      return [port, defaults(list ?? '')]
    })
    expect(published).toEqual([[19_092, '127.0.0.1:19092:19092'], [19_093, '127.0.0.1:19093:19092'], [19_094, '127.0.0.1:19094:19092']])
  })

  test('what npm start asks Docker for exists, and every variable it sets is read', () => {
    const all = { ...compose.services, ...three.services }
    expect(Object.keys(all)).toEqual(expect.arrayContaining(composeServers(3)))
    const text = read('docker-compose.yml') + read('deploy/docker/three-brokers.yml')
    for (const name of Object.keys(composeEnv(stackConfigFromEnv({}, '/project', 3)))) expect(text).toContain(`\${${name}:-`)
  })
})
