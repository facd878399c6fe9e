import { afterAll, beforeAll, expect, test } from 'vitest'
import { directRoomId, type UserId } from '#libs/domain/ids.ts'
import { orderCommand } from '../../deploy/local/order.ts'
import type { SqsBridge } from '../../services/sqs-bridge/service.ts'
import { useStack } from '../support/stack.ts'
import { BridgeRig } from './sqs-bridge-rig.ts'

let rig: BridgeRig
let bridge: SqsBridge

beforeAll(async () => {
  rig = await BridgeRig.make(await useStack(), 'npm-run-order')
  bridge = await rig.startBridge()
})
afterAll(async () => {
  await bridge?.close()
  await rig?.cleanup()
})

async function order(...argv: string[]): Promise<{ exitCode: number; said: string }> {
  const lines: string[] = []
  const out = { log: (line: string) => lines.push(line), error: (line: string) => lines.push(line) }
  return { exitCode: await orderCommand(argv, rig.env, out), said: lines.join('\n') }
}

test('npm run order publishes an order\'s life, in either form', async () => {
  const occurredAt = new Date(Date.now() - 60_000).toISOString()
  const runs = [
    await order('accepted', '--order', 'cli', '--customer', 'c', '--vendor', 'v'),
    await order('rider_assigned', '--order', 'cli', '--rider', 'r', '--occurred-at', occurredAt),
    await order('delivered', '--order', 'cli', '--raw'),
    await order('cancelled', '--order', 'cli-2', '--queue-url', rig.names.sqsQueueUrl),
    await order('created', '--order', 'cli', '--customer', 'c', '--vendor', 'v'),
    await order('blocked', '--user', 'c', '--other', 'v', '--occurred-at', occurredAt),
    await order('unblocked', '--user', 'c', '--other', 'v', '--raw'),
    await order('product', '--product', 'p-1', '--name', 'Ramen', '--price', '12.50', '--currency', 'EUR', '--available', 'yes'),
  ]
  expect(runs.map(({ exitCode }) => exitCode)).toEqual([0, 0, 0, 0, 0, 0, 0, 0])
  expect(runs[0]!.said).toMatch(/order\.accepted .*"cli".*\nSQS message [0-9a-f-]{36}, traceparent 00-/)
  await rig.untilDrained()
  const events = (await rig.readEvents()).map(({ event }) => event)
  expect(events).toHaveLength(7)
  const pair = directRoomId('c' as UserId, 'v' as UserId)
  expect(events).toContainEqual(expect.objectContaining({ orderId: pair, type: 'orderCreated', subjectId: 'cli', customerId: 'c', vendorId: 'v' }))
  expect(events).toContainEqual(expect.objectContaining({ orderId: pair, type: 'blockChanged', blockerId: 'c', blockedId: 'v', on: true, occurredAtMs: Date.parse(occurredAt) }))
  expect(events).toContainEqual(expect.objectContaining({ orderId: pair, type: 'blockChanged', blockerId: 'c', blockedId: 'v', on: false }))
  expect(await rig.readProducts()).toMatchObject([{ key: 'p-1', product: { productId: 'p-1', name: 'Ramen', priceMinor: 1250, currency: 'EUR', available: true } }])
  expect(events).toContainEqual(expect.objectContaining({ orderId: 'cli', type: 'orderAccepted', customerId: 'c', vendorId: 'v' }))
  expect(events).toContainEqual(expect.objectContaining({ orderId: 'cli', type: 'riderAssigned', riderId: 'r', occurredAtMs: Date.parse(occurredAt) }))
  expect(events).toContainEqual(expect.objectContaining({ orderId: 'cli', type: 'orderEnded', reason: 'delivered' }))
  expect(events).toContainEqual(expect.objectContaining({ orderId: 'cli-2', type: 'orderEnded', reason: 'cancelled' }))
})

test('without a stack, or with a queue that is not there, it says what to do', async () => {
  const dead = await order('cancelled', '--order', 'x', '--queue-url', 'http://127.0.0.1:1/000000000000/q', '--endpoint', 'http://127.0.0.1:1')
  expect(dead).toEqual({ exitCode: 1, said: expect.stringContaining('npm start') })
  const missing = await order('cancelled', '--order', 'x', '--queue-url', `${rig.names.sqsQueueUrl}-not`)
  expect(missing).toEqual({ exitCode: 1, said: expect.stringContaining('does not exist') })
})
