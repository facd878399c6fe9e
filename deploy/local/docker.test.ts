import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { stackConfigFromEnv } from './config.ts'
import { docker, DockerInfra } from './docker.ts'
import { quietProgress } from './progress.ts'
import type { Machine } from './tools.ts'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'order-chat-docker-'))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

/** A `docker` that writes down what it is asked, and fails at what its script says. */
function machineWith(script: string, env: Record<string, string> = {}): Machine {
  const program = path.join(dir, 'docker')
  writeFileSync(program, `#!/bin/sh\necho "$ORDER_CHAT_KAFKA_3_PORT $*" >> ${dir}/asked\n${script}\n`)
  chmodSync(program, 0o755)
  return { env: { PATH: dir, ...env }, progress: quietProgress }
}

const asked = (): string[] => readFileSync(path.join(dir, 'asked'), 'utf8').trimEnd().split('\n')

describe('whether Docker runs the servers', () => {
  test('yes, where daemon and Compose answer', async () => {
    expect(await docker.isChosen(machineWith('exit 0'))).toBe(true)
    expect(asked().map((line) => line.trim())).toEqual(['info', 'compose version'])
  })

  test('no, where either does not', async () => {
    expect(await docker.isChosen(machineWith('exit 1'))).toBe(false)
    expect(await docker.isChosen(machineWith('test "$1" = info'))).toBe(false)
  })

  test('ORDER_CHAT_STACK decides, and must be possible', async () => {
    expect(await docker.isChosen(machineWith('exit 0', { ORDER_CHAT_STACK: 'local' }))).toBe(false)
    expect(await docker.isChosen(machineWith('exit 0', { ORDER_CHAT_STACK: 'docker' }))).toBe(true)
    await expect(docker.isChosen(machineWith('exit 1', { ORDER_CHAT_STACK: 'docker' }))).rejects.toThrow(/no Docker daemon/)
    await expect(docker.isChosen(machineWith('test "$1" = info', { ORDER_CHAT_STACK: 'docker' }))).rejects.toThrow(/Compose plugin/)
    await expect(docker.isChosen(machineWith('exit 0', { ORDER_CHAT_STACK: 'podman' }))).rejects.toThrow(/podman/)
  })
})

describe('DockerInfra', () => {
  test('stops the servers with the files and ports of its number of brokers', async () => {
    await new DockerInfra(stackConfigFromEnv({}, '/project', 3), machineWith('exit 0')).stop()
    const [line = ''] = asked()
    expect(line).toMatch(/^19094 compose -f \S+docker-compose\.yml -f \S+three-brokers\.yml stop kafka-1 kafka-2 kafka-3 registry postgres redis elasticmq s3proxy$/)
  })

  test('a failure is told in the words of Compose', async () => {
    const infra = new DockerInfra(stackConfigFromEnv({}, '/project', 1), machineWith('echo "no space left" >&2; exit 1'))
    await expect(infra.deleteData()).rejects.toThrow(/docker compose down failed:\nno space left/)
  })

  test('a start that fails stops what it started', async () => {
    const start = DockerInfra.start(stackConfigFromEnv({}, '/project', 1), machineWith('case "$*" in *up*) exit 1;; esac'))
    await expect(start).rejects.toThrow(/docker compose up failed/)
    expect(asked().at(-1)).toMatch(/ stop kafka-1 /)
  })
})
