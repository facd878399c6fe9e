import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { topics } from '#libs/streams/topics.ts'
import type { SqsBridge } from '../../services/sqs-bridge/service.ts'
import { BridgeRig } from '../integration/sqs-bridge-rig.ts'
import { useStack } from '../support/stack.ts'
import { type SnsServer, startSnsServer } from './sns-server.ts'

const TRACEPARENT = '00-0123456789abcdef0123456789abcdef-0123456789abcdef-01'
const FILTER = JSON.stringify({ eventType: [{ prefix: 'order.' }, 'rider.assigned'] })

let sns: SnsServer | undefined
let rig: BridgeRig | undefined

beforeAll(async () => {
  sns = await startSnsServer()
  rig = await BridgeRig.make(await useStack(), 'sns-contract')
})
afterAll(async () => {
  await rig?.cleanup()
  await sns?.close()
})

/** What npm run order imitates, here by a real SNS: topic, subscription, fan-out to the bridge's queue. */
describe.each([['the envelope', 'false'], ['raw delivery', 'true']] as const)('SNS fan-out with %s', (name, RawMessageDelivery) => {
  let bridge: SqsBridge | undefined
  let topicArn: string
  const order = `sns-${RawMessageDelivery}`

  beforeAll(async () => {
    topicArn = await sns!.createTopic(`orders-${RawMessageDelivery}`)
    const queueUrl = await sns!.createQueue(`order-events-${RawMessageDelivery}`)
    await sns!.subscribe(topicArn, queueUrl, { RawMessageDelivery, FilterPolicy: FILTER })
    bridge = await rig!.startBridge({ SQS_QUEUE_URL: queueUrl, SQS_ENDPOINT: sns!.endpoint })
  })
  afterAll(() => bridge?.close())

  const publish = (eventType: string, payload: object) => sns!.publish(topicArn, JSON.stringify(payload), { eventType, traceparent: TRACEPARENT })
  const ofOrder = async () => (await rig!.readEvents()).filter(({ event }) => event.orderId === order)

  test(`an order's events arrive with their type, id and trace (${name})`, async () => {
    const ids = [
      await publish('order.accepted', { orderId: order, customerId: 'c', vendorId: 'v' }),
      await publish('rider.assigned', { orderId: order, riderId: 'r', occurredAt: new Date().toISOString() }),
      await publish('order.delivered', { orderId: order, deliveredAt: new Date().toISOString() }),
    ]
    await vi.waitFor(async () => expect(await ofOrder()).toHaveLength(3), { timeout: 20_000, interval: 200 })
    const records = await ofOrder()
    expect(records.map(({ event }) => event.type).toSorted()).toEqual(['orderAccepted', 'orderEnded', 'riderAssigned'])
    for (const { event, headers } of records) {
      expect(headers['traceparent']).toContain('0123456789abcdef0123456789abcdef')
      if (RawMessageDelivery === 'false') expect(ids).toContain(event.eventId)
      else expect(event.eventId).toMatch(/^[0-9a-f]{64}$/)
    }
  })

  test(`the filter policy keeps out what is not for us; what it lets through and nobody knows is dead-lettered (${name})`, async () => {
    await publish('invoice.created', { orderId: `${order}-filtered` })
    await publish('order.exploded', { orderId: `${order}-unknown` })
    await publish('order.cancelled', { orderId: `${order}-last` })
    const letters = async () => (await rig!.read(topics.orderEventsDlq)).filter(({ value }) => value.includes(order))
    await vi.waitFor(async () => expect(await letters()).toHaveLength(1), { timeout: 20_000, interval: 200 })
    await vi.waitFor(async () => expect((await rig!.readEvents()).map(({ event }) => event.orderId)).toContain(`${order}-last`), { timeout: 20_000, interval: 200 })
    const [letter] = await letters()
    expect(letter!.headers['error-code']).toBe('unknown_event_type')
    expect(letter!.value.toString()).toContain(`${order}-unknown`)
  })
})
