import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { HOST, type StackConfig } from './config.ts'
import { LIGHT_JVM } from './jvm.ts'
import type { ProcessSpec } from './process.ts'
import { serverEnv, type Tools } from './tools.ts'

/** What docker-compose.yml gives the registry, too. */
export const registrySettings = {
  APICURIO_STORAGE_KIND: 'kafkasql',
  // Without it a write takes as long as the journal's consumer sleeps: 5 s by default.
  APICURIO_KAFKASQL_CONSUMER_POLL_TIMEOUT: '200',
} as const

/** Apicurio keeps its schemas in Kafka topics, so it starts after Kafka and needs no folder to survive. */
export function registrySpec(config: StackConfig, tools: Tools): ProcessSpec {
  const dir = path.join(config.dataDir, 'registry')
  mkdirSync(dir, { recursive: true })
  const jvm = ['-Xmx256m', ...LIGHT_JVM, '-Djava.util.logging.manager=org.jboss.logmanager.LogManager']
  return {
    name: 'registry',
    command: tools.java,
    args: [...jvm, '-jar', path.join(tools.servers, 'registry/apicurio-registry-app-3.0.9-runner.jar')],
    cwd: dir,
    env: {
      ...serverEnv(tools),
      ...registrySettings,
      QUARKUS_HTTP_HOST: HOST,
      QUARKUS_HTTP_PORT: String(config.registryPort),
      APICURIO_KAFKASQL_BOOTSTRAP_SERVERS: config.kafka.map((node) => `${HOST}:${node.port}`).join(','),
      APICURIO_STORAGE_SNAPSHOT_LOCATION: dir,
    },
    stopSignal: 'SIGTERM',
    stopDeadlineMs: 20_000,
    ready: async () => (await fetch(`http://${HOST}:${config.registryPort}/health/ready`)).ok,
    readyDeadlineMs: 120_000,
  }
}
