import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { useStack } from '../support/stack.ts'
import { BridgeRig } from './sqs-bridge-rig.ts'

const main = fileURLToPath(new URL('../../services/sqs-bridge/main.ts', import.meta.url))
const children: ChildProcess[] = []
let rig: BridgeRig

beforeAll(async () => {
  rig = await BridgeRig.make(await useStack(), 'bridge-kill', { visibilityTimeoutSeconds: 3 })
})
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
})
afterAll(() => rig?.cleanup())

function spawnBridge(env: Record<string, string> = {}): ChildProcess {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main], {
    env: { PATH: process.env['PATH'], LOG_LEVEL: 'warn', ...rig.env, ...env },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  children.push(child)
  return child
}

test('SIGKILL in the middle of work loses nothing; SIGTERM ends clean', async () => {
  const orders: string[] = []
  // There is work to be in the middle of until the last kill, however fast the bridge and slow the machine.
  let killing = true
  const publishing = (async () => {
    while (killing || orders.length < 600) {
      const some = Array.from({ length: 20 }, (_, i) => `kill-${orders.length + i}`)
      orders.push(...some)
      await Promise.all(some.map((orderId) => rig.publish({ type: 'order.delivered', payload: { orderId } })))
      await pause(20)
    }
  })()
  for (let kills = 0; kills < 3; kills++) {
    const doomed = spawnBridge()
    const readBefore = (await rig.readEvents()).length
    await vi.waitFor(async () => expect((await rig.readEvents()).length).toBeGreaterThan(readBefore), { timeout: 20_000 })
    doomed.kill('SIGKILL')
    await once(doomed, 'exit')
  }
  killing = false
  await publishing
  const survivor = spawnBridge()
  await rig.untilDrained(40_000)
  const read = (await rig.readEvents()).map(({ event }) => event.orderId as string)
  expect([...new Set(read)].toSorted()).toEqual(orders.toSorted())
  survivor.kill('SIGTERM')
  expect(await once(survivor, 'exit')).toEqual([0, null])
}, 120_000)

test('a configuration that cannot be right ends the process, and names the variable', async () => {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main], {
    env: { PATH: process.env['PATH'], ...rig.env, SQS_QUEUE_URL: 'order-events' },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  children.push(child)
  let said = ''
  child.stderr!.on('data', (chunk: Buffer) => (said += chunk.toString()))
  expect(await once(child, 'close')).toEqual([78, null])
  expect(said).toMatch(/SQS_QUEUE_URL must be a URL/)
})
