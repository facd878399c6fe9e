import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { HOST, type KafkaNode, replicationOf, StackError, type StackConfig } from './config.ts'
import { LIGHT_JVM } from './jvm.ts'
import { kafkaBrokerIds } from './kafka-probe.ts'
import type { ProcessSpec } from './process.ts'
import { run } from './run.ts'
import { serverEnv, type Tools } from './tools.ts'

/** Any 16 bytes in base64url; all nodes of a cluster must be formatted with the same ones. */
const CLUSTER_ID = 'b3JkZXItY2hhdC1sb2NhbA'

const LOG4J = `status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %-5p %m (%c{1})%n%throwable
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
`

/** server.properties of one node: the settings that production would have, sized for one machine. */
export function kafkaProperties(config: StackConfig, node: KafkaNode, logDir: string): Record<string, string | number | boolean> {
  const { factor, minInSync } = replicationOf(config.kafka.length)
  return {
    'process.roles': 'broker,controller',
    'node.id': node.id,
    'controller.quorum.voters': config.kafka.map((n) => `${n.id}@${HOST}:${n.controllerPort}`).join(','),
    'listeners': `PLAINTEXT://${HOST}:${node.port},CONTROLLER://${HOST}:${node.controllerPort}`,
    'advertised.listeners': `PLAINTEXT://${HOST}:${node.port}`,
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'inter.broker.listener.name': 'PLAINTEXT',
    'controller.listener.names': 'CONTROLLER',
    'log.dirs': logDir,
    ...kafkaSettings(factor, minInSync),
  }
}

/** The settings that do not depend on where a node runs; docker-compose.yml has the same. */
export function kafkaSettings(factor: number, minInSync: number): Record<string, string | number | boolean> {
  return {
    'auto.create.topics.enable': false,
    'unclean.leader.election.enable': false,
    'default.replication.factor': factor,
    'min.insync.replicas': minInSync,
    'offsets.topic.replication.factor': factor,
    'offsets.topic.num.partitions': 4,
    'transaction.state.log.replication.factor': factor,
    'transaction.state.log.min.isr': minInSync,
    'transaction.state.log.num.partitions': 4,
    'share.coordinator.state.topic.replication.factor': factor,
    'share.coordinator.state.topic.min.isr': minInSync,
    // A group of one machine has nobody to wait for; tests want a dead member noticed soon.
    'group.initial.rebalance.delay.ms': 0,
    'group.min.session.timeout.ms': 1000,
    'log.retention.check.interval.ms': 60_000,
    'log.cleaner.dedupe.buffer.size': 16 * 1024 * 1024,
    // A broker that died is replaced as leader within this time; alone it has no replacement.
    'broker.session.timeout.ms': factor > 1 ? 6_000 : 18_000,
  }
}

/** Lays out and formats the node's folder if that is not done yet. */
export async function prepareKafka(config: StackConfig, node: KafkaNode, tools: Tools): Promise<void> {
  const dir = path.join(config.dataDir, `kafka-${node.id}`)
  const logDir = path.join(dir, 'log')
  mkdirSync(logDir, { recursive: true })
  const lines = Object.entries(kafkaProperties(config, node, logDir)).map(([key, value]) => `${key}=${value}`)
  writeFileSync(path.join(dir, 'server.properties'), `${lines.join('\n')}\n`)
  writeFileSync(path.join(dir, 'log4j2.properties'), LOG4J)
  if (existsSync(path.join(logDir, 'meta.properties'))) return
  const format = ['format', '--cluster-id', CLUSTER_ID, '--config', path.join(dir, 'server.properties')]
  const jvm = ['-Xmx128m', ...LIGHT_JVM, '-cp', `${tools.servers}/kafka/*`]
  const { ok, output } = await run(tools.java, [...jvm, 'kafka.tools.StorageTool', ...format], { env: serverEnv(tools) })
  if (!ok) throw new StackError(`Kafka could not format ${logDir}:\n${output}`)
}

/** Ready when this node knows every broker of the cluster. */
export function kafkaSpec(config: StackConfig, node: KafkaNode, tools: Tools): ProcessSpec {
  const dir = path.join(config.dataDir, `kafka-${node.id}`)
  const log4j = `-Dlog4j2.configurationFile=${path.join(dir, 'log4j2.properties')}`
  const compiler = config.throwAway ? ['-XX:TieredStopAtLevel=1'] : []
  const jvm = ['-Xms256m', '-Xmx512m', '-XX:+UseG1GC', '-XX:MaxGCPauseMillis=20', ...compiler]
  return {
    name: `kafka-${node.id}`,
    command: tools.java,
    args: [...jvm, log4j, '-cp', `${tools.servers}/kafka/*`, 'kafka.Kafka', path.join(dir, 'server.properties')],
    cwd: dir,
    env: serverEnv(tools),
    stopSignal: 'SIGTERM',
    stopDeadlineMs: 20_000,
    ready: async () => (await kafkaBrokerIds(HOST, node.port)).length === config.kafka.length,
    readyDeadlineMs: 120_000,
  }
}
