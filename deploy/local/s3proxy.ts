import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { HOST, S3_BUCKET, type StackConfig } from './config.ts'
import { LIGHT_JVM } from './jvm.ts'
import type { ProcessSpec } from './process.ts'
import { serverEnv, type Tools } from './tools.ts'

/** What docker-compose.yml gives it, too. It checks signatures as S3 does: key, type, size, and when they end. */
export const s3ProxySettings = {
  's3proxy.authorization': 'aws-v4',
  's3proxy.identity': 'local',
  's3proxy.credential': 'local',
  's3proxy.cors-allow-all': 'true',
  'jclouds.provider': 'filesystem-nio2',
} as const

/** By itself it logs every step of every request. */
const LOGBACK = `<configuration>
  <appender name="stdout" class="ch.qos.logback.core.ConsoleAppender"><encoder><pattern>%d %level %logger{30} %msg%n</pattern></encoder></appender>
  <root level="warn"><appender-ref ref="stdout"/></root>
</configuration>
`

export function s3ProxySpec(config: StackConfig, tools: Tools): ProcessSpec {
  const dir = path.join(config.dataDir, 's3proxy')
  const files = path.join(dir, 'files')
  // A folder is a bucket.
  mkdirSync(path.join(files, S3_BUCKET), { recursive: true })
  const endpoint = `http://${HOST}:${config.s3Port}`
  const settings = { 's3proxy.endpoint': endpoint, 'jclouds.filesystem.basedir': files, ...s3ProxySettings }
  const file = path.join(dir, 's3proxy.conf')
  writeFileSync(file, `${Object.entries(settings).map(([key, value]) => `${key}=${value}`).join('\n')}\n`)
  const logback = path.join(dir, 'logback.xml')
  writeFileSync(logback, LOGBACK)
  return {
    name: 's3proxy',
    command: tools.java,
    args: ['-Xmx96m', ...LIGHT_JVM, `-Dlogback.configurationFile=${logback}`, '-cp', `${tools.servers}/s3proxy/*`, 'org.gaul.s3proxy.Main', '--properties', file],
    cwd: dir,
    env: serverEnv(tools),
    stopSignal: 'SIGTERM',
    stopDeadlineMs: 10_000,
    ready: () => refusesUnsigned(endpoint),
    readyDeadlineMs: 120_000,
  }
}

/** It is up, and asks who is there. */
export async function refusesUnsigned(endpoint: string): Promise<boolean> {
  return (await fetch(endpoint)).status === 403
}
