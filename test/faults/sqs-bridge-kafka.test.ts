import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { topics } from '#libs/streams/topics.ts'
import type { SqsBridge } from '../../services/sqs-bridge/service.ts'
import { BridgeRig, metricOf } from '../integration/sqs-bridge-rig.ts'
import { type Stack, useStack } from '../support/stack.ts'

const MAX_RECEIVE_COUNT = 3
const VISIBILITY_TIMEOUT_S = 2
const queueOptions = { maxReceiveCount: MAX_RECEIVE_COUNT, visibilityTimeoutSeconds: VISIBILITY_TIMEOUT_S }
const fastFailing = { KAFKA_CONNECT_TIMEOUT_MS: '1000', KAFKA_REQUEST_TIMEOUT_MS: '3000' }

let stack: Stack
/** One replica of each partition: without one broker some partitions cannot be reached. */
let fragile: BridgeRig
/** Writes need all three replicas: without one broker the others answer, and refuse. */
let strict: BridgeRig
let bridge: SqsBridge | undefined

beforeAll(async () => {
  stack = await useStack()
  fragile = await BridgeRig.make(stack, 'bridge-fragile', { ...queueOptions, replicationFactor: 1 })
  strict = await BridgeRig.make(stack, 'bridge-strict', queueOptions)
  await strict.requireInSync(topics.orderEvents, 3)
})
afterEach(async () => {
  await bridge?.close()
  bridge = undefined
  await stack.control.start('kafka-2')
})
afterAll(async () => {
  await fragile?.cleanup()
  await strict?.cleanup()
})

const delivered = (orderId: string) => ({ type: 'order.delivered', payload: { orderId } })
const orders = (name: string, count: number) => Array.from({ length: count }, (_, i) => `${name}-${i}`)
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

async function readOrders(rig: BridgeRig): Promise<string[]> {
  return (await rig.readEvents()).map(({ event }) => event.orderId as string)
}

// A short hold gives messages back during the outage; a long one keeps them, and publishes them at once.
test.each([
  ['cannot be reached', () => fragile, '1'],
  ['cannot be reached', () => fragile, '600'],
  ['answers and refuses', () => strict, '1'],
  ['answers and refuses', () => strict, '600'],
])('while Kafka %s, no message is lost, or set aside by the queue (%#)', async (how, rigOf, hold) => {
  const rig = rigOf()
  const name = `${how.replaceAll(' ', '-')}-${hold}`
  bridge = await rig.startBridge({ ...fastFailing, SQS_HOLD_MAX_S: hold })
  const before = orders(`before-${name}`, 5)
  for (const orderId of before) await rig.publish(delivered(orderId))
  await rig.untilDrained()
  const receivedBefore = await metricOf(bridge, 'sqs_bridge_received_total')

  await stack.control.stop('kafka-2')
  const during = orders(`during-${name}`, 40)
  for (const orderId of during) await rig.publish(delivered(orderId))
  await vi.waitFor(async () => expect(await metricOf(bridge!, 'sqs_bridge_kafka_up')).toBe(0), { timeout: 10_000 })
  // Many visibility timeouts: whoever kept receiving would have used up every message's receives by now.
  await pause((MAX_RECEIVE_COUNT + 2) * VISIBILITY_TIMEOUT_S * 1_000)
  expect(await metricOf(bridge, 'sqs_bridge_kafka_up')).toBe(0)
  expect(await rig.queued(rig.names.sqsDeadLetterQueueUrl)).toBe(0)
  expect((await metricOf(bridge, 'sqs_bridge_received_total')) - receivedBefore).toBeLessThanOrEqual(during.length)
  expect((await fetch(`http://127.0.0.1:${bridge.metricsPort}/readyz`)).status).toBe(200)

  await stack.control.start('kafka-2')
  await rig.untilDrained(60_000)
  expect(await readOrders(rig)).toEqual(expect.arrayContaining([...before, ...during]))
  expect(await metricOf(bridge, 'sqs_bridge_kafka_up')).toBe(1)
}, 180_000)

test('a bridge that starts while Kafka is down receives nothing until it is there', async () => {
  await stack.control.stop('kafka-2')
  const waiting = orders('early', 5)
  for (const orderId of waiting) await strict.publish(delivered(orderId))
  const starting = strict.startBridge({ ...fastFailing, KAFKA_BROKERS: stack.kafkaBrokers[1]! })
  starting.catch(() => undefined)
  await pause(4_000)
  expect(await strict.receiveCount()).toBe(0)
  await stack.control.start('kafka-2')
  bridge = await starting
  await strict.untilDrained(30_000)
  expect(await readOrders(strict)).toEqual(expect.arrayContaining(waiting))
}, 180_000)
