import { mkdirSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { HOST, type StackConfig } from './config.ts'
import type { ProcessSpec } from './process.ts'
import { serverEnv, type Tools } from './tools.ts'

/** Nothing in Redis is worth keeping, so nothing is written to disk. */
export const redisSettings = ['--save', '', '--appendonly', 'no', '--databases', '64'] as const

export function redisSpec(config: StackConfig, tools: Tools): ProcessSpec {
  const dir = path.join(config.dataDir, 'redis')
  mkdirSync(dir, { recursive: true })
  return {
    name: 'redis',
    command: tools.redis,
    // Debian's redis-tools has the server's binary under another name; it goes by the name it is called.
    argv0: 'redis-server',
    args: ['--bind', HOST, '--port', String(config.redisPort), '--dir', dir, ...redisSettings],
    cwd: dir,
    env: serverEnv(tools),
    stopSignal: 'SIGTERM',
    stopDeadlineMs: 5_000,
    ready: () => answersPing(config.redisPort),
    readyDeadlineMs: 15_000,
  }
}

function answersPing(port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host: HOST, port, timeout: 1_000 }, () => socket.write('PING\r\n'))
    socket.once('data', (data) => {
      socket.destroy()
      resolve(data.toString().startsWith('+PONG'))
    })
    socket.once('timeout', () => socket.destroy(new Error('no answer')))
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('closed')))
  })
}
