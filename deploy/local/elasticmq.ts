import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { HOST, SQS_ACCOUNT, SQS_DEAD_LETTER_QUEUE, SQS_MAX_RECEIVE_COUNT, SQS_NOTIFICATIONS_QUEUE, SQS_QUEUE, type StackConfig } from './config.ts'
import { LIGHT_JVM } from './jvm.ts'
import type { ProcessSpec } from './process.ts'
import { serverEnv, type Tools } from './tools.ts'

/** The same text serves docker-compose.yml, with its own host, port and folder. */
export function elasticMqConfig(at: { bindHost: string; host: string; port: number; database: string }): string {
  return `include classpath("application.conf")

node-address {
  protocol = http
  host = "${at.host}"
  port = ${at.port}
  context-path = ""
}

rest-sqs {
  enabled = true
  bind-hostname = "${at.bindHost}"
  bind-port = ${at.port}
  sqs-limits = strict
}

aws {
  region = us-east-1
  accountId = "${SQS_ACCOUNT}"
}

pekko.loglevel = INFO

// WRITE_DELAY=0: an acknowledged message must survive a SIGKILL.
messages-storage {
  enabled = true
  uri = "jdbc:h2:${at.database};WRITE_DELAY=0"
}

queues {
  ${SQS_QUEUE} {
    defaultVisibilityTimeout = 30 seconds
    deadLettersQueue {
      name = "${SQS_DEAD_LETTER_QUEUE}"
      maxReceiveCount = ${SQS_MAX_RECEIVE_COUNT}
    }
  }
  ${SQS_DEAD_LETTER_QUEUE} {}
  ${SQS_NOTIFICATIONS_QUEUE} {}
}
`
}

/** Ready when the service's queue is there. */
export function elasticMqSpec(config: StackConfig, tools: Tools): ProcessSpec {
  const dir = path.join(config.dataDir, 'elasticmq')
  mkdirSync(dir, { recursive: true })
  const file = path.join(dir, 'elasticmq.conf')
  const address = { bindHost: HOST, host: '*', port: config.sqsPort, database: path.join(dir, 'messages') }
  writeFileSync(file, elasticMqConfig(address))
  return {
    name: 'elasticmq',
    command: tools.java,
    args: ['-Xmx128m', ...LIGHT_JVM, `-Dconfig.file=${file}`, '-cp', `${tools.servers}/elasticmq/*`, 'org.elasticmq.server.Main'],
    cwd: dir,
    env: serverEnv(tools),
    stopSignal: 'SIGTERM',
    stopDeadlineMs: 20_000,
    ready: async () => (await queueNames(`http://${HOST}:${config.sqsPort}`)).includes(SQS_QUEUE),
    readyDeadlineMs: 120_000,
  }
}

/** One unsigned ListQueues call; ElasticMQ does not look at signatures. */
async function queueNames(endpoint: string): Promise<string[]> {
  const response = await fetch(endpoint, {
    method: 'POST',
    headers: { 'content-type': 'application/x-amz-json-1.0', 'x-amz-target': 'AmazonSQS.ListQueues' },
    body: '{}',
  })
  const body = (await response.json()) as { QueueUrls?: string[] }
  return (body.QueueUrls ?? []).map((url) => url.slice(url.lastIndexOf('/') + 1))
}
