import { SendMessageCommand } from '@aws-sdk/client-sqs'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { directRoomId, type UserId } from '#libs/domain/ids.ts'
import { partitionOf } from '#libs/streams/murmur2.ts'
import { topics } from '#libs/streams/topics.ts'
import type { SqsBridge } from '../../services/sqs-bridge/service.ts'
import { useStack } from '../support/stack.ts'
import { BridgeRig, metricOf } from './sqs-bridge-rig.ts'

let rig: BridgeRig
let bridge: SqsBridge | undefined

beforeAll(async () => {
  rig = await BridgeRig.make(await useStack(), 'sqs-bridge')
})
afterEach(async () => {
  await bridge?.close()
  bridge = undefined
})
afterAll(() => rig?.cleanup())

const accepted = (orderId: string) => ({ type: 'order.accepted', payload: { orderId, customerId: `c-${orderId}`, vendorId: 'v', basket: ['tea'] } })
const ofOrder = async (orderId: string) => (await rig.readEvents()).filter(({ event }) => event.orderId === orderId)

describe('a good event', () => {
  test.each([['envelope', false], ['raw', true]] as const)('in %s form becomes one record of its order, and leaves SQS', async (form, raw) => {
    bridge = await rig.startBridge()
    const orderId = `good-${form}`
    const { traceparent, snsMessageId } = await rig.publish({ ...accepted(orderId), raw })
    await rig.untilDrained()
    const [record, ...others] = await ofOrder(orderId)
    expect(others).toEqual([])
    expect(record).toMatchObject({ key: orderId, partition: partitionOf(orderId, 4), headers: { 'event-type': 'orderAccepted' } })
    expect(record!.headers['traceparent']!.split('-')[1]).toBe(traceparent.split('-')[1])
    expect(record!.event).toMatchObject({ type: 'orderAccepted', orderId, customerId: `c-${orderId}`, vendorId: 'v' })
    if (snsMessageId !== undefined) expect(record!.event.eventId).toBe(snsMessageId)
    expect(Math.abs(record!.event.occurredAtMs - Date.now())).toBeLessThan(60_000)
    expect(await metricOf(bridge, 'sqs_bridge_published_total{type="orderAccepted"')).toBe(1)
    expect(await metricOf(bridge, 'sqs_bridge_deleted_total')).toBe(1)
    expect(await metricOf(bridge, 'sqs_bridge_in_flight')).toBe(0)
  })

  test('200 orders at once each arrive once', async () => {
    const orders = Array.from({ length: 200 }, (_, i) => `many-${i}`)
    await Promise.all(orders.map((orderId) => rig.publish(accepted(orderId))))
    bridge = await rig.startBridge()
    await rig.untilDrained()
    const read = (await rig.readEvents()).map(({ event }) => event.orderId).filter((orderId) => orderId.startsWith('many-'))
    expect(read.toSorted()).toEqual(orders.toSorted())
  })
})

test('poison goes to order-events.dlq with its code and its bytes, while good events flow', async () => {
  const poison: [code: string, body: string][] = [
    ['bad_json', '{"orderId": "p-1", "type": "order.accepted" – ünd so weiter'],
    ['unknown_event_type', '{"orderId":"p-2","type":"order.exploded"}'],
    ['invalid_event', '{"orderId":"p-3","type":"order.accepted","customerId":"c"}'],
    ['invalid_room_id', '{"orderId":"p/4","type":"order.delivered"}'],
    ['event_too_old', '{"orderId":"p-5","type":"order.delivered","occurredAt":"2020-01-01T00:00:00Z"}'],
    ['bad_json', `"${'x'.repeat(700_000)}`],
    ['bad_json', `"${'y'.repeat(250_000)}`],
  ]
  for (const [i, [, body]] of poison.entries()) {
    await rig.sqs.send(new SendMessageCommand({ QueueUrl: rig.names.sqsQueueUrl, MessageBody: body, MessageAttributes: { shop: { DataType: 'String', StringValue: `s-${i}` } } }))
    await rig.publish(accepted(`beside-${i}`))
  }
  bridge = await rig.startBridge()
  await rig.untilDrained()
  const letters = await rig.read(topics.orderEventsDlq)
  expect(letters.map(({ headers, value }) => [headers['error-code'], value.toString()]).toSorted()).toEqual(poison.toSorted())
  for (const { headers, key } of letters) {
    expect(key).toBeUndefined()
    expect(headers['error-reason']).toBeTruthy()
    expect(headers['sqs-message-id']).toMatch(/^[0-9a-f-]{36}$/)
    expect(headers['traceparent']).toMatch(/^00-[0-9a-f]{32}-/)
    expect(Math.abs(Number(headers['sent-timestamp']) - Date.now())).toBeLessThan(60_000)
    expect(JSON.parse(headers['sqs-attributes']!).shop.value).toMatch(/^s-\d$/)
  }
  const read = (await rig.readEvents()).map(({ event }) => event.orderId)
  for (const i of poison.keys()) expect(read).toContain(`beside-${i}`)
  expect(await metricOf(bridge, 'sqs_bridge_dead_lettered_total{code="unknown_event_type"')).toBe(1)
})

test('the same SNS message twice gives two records with one event id', async () => {
  bridge = await rig.startBridge()
  const body = JSON.stringify({
    Type: 'Notification',
    MessageId: 'a5f5d0a0-0000-4000-8000-000000000001',
    Timestamp: new Date().toISOString(),
    Message: JSON.stringify({ orderId: 'twice', riderId: 'r' }),
    MessageAttributes: { eventType: { Type: 'String', Value: 'order.rider_assigned' } },
  })
  for (let i = 0; i < 2; i++) await rig.sqs.send(new SendMessageCommand({ QueueUrl: rig.names.sqsQueueUrl, MessageBody: body }))
  await rig.untilDrained()
  const [first, second, ...others] = await ofOrder('twice')
  expect(second!.event).toEqual(first!.event)
  expect(first!.event.eventId).toBe('a5f5d0a0-0000-4000-8000-000000000001')
  expect(others).toEqual([])
})

test('two queues, one bridge: each message goes where its own type belongs', async () => {
  const { sqsQueueUrl: first, sqsDeadLetterQueueUrl: second } = rig.names
  bridge = await rig.startBridge({ SQS_QUEUE_URL: `${first},${second}` })
  const put = (QueueUrl: string, body: object) => rig.sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: JSON.stringify(body) }))
  await put(first, { type: 'order.delivered', orderId: 'of-the-first' })
  await put(second, { type: 'user.blocked', userId: 'a', blockedUserId: 'b' })
  await put(second, { type: 'product.updated', productId: 'p-1', name: 'Ramen', priceMinor: 1250, currency: 'EUR' })
  await vi.waitFor(async () => expect([await rig.queued(first), await rig.queued(second)]).toEqual([0, 0]), { timeout: 20_000, interval: 100 })
  expect(await ofOrder('of-the-first')).toHaveLength(1)
  const pair = directRoomId('a' as UserId, 'b' as UserId)
  expect(await ofOrder(pair)).toMatchObject([{ key: pair, headers: { 'event-type': 'blockChanged' }, event: { type: 'blockChanged', blockerId: 'a', blockedId: 'b', on: true } }])
  expect(await rig.readProducts()).toMatchObject([{ key: 'p-1', partition: partitionOf('p-1', 4), product: { name: 'Ramen', priceMinor: 1250, currency: 'EUR' } }])
  expect(await metricOf(bridge, 'sqs_bridge_deleted_total')).toBe(3)
})

test('health and readiness are served, and a stop leaves nothing in work', async () => {
  bridge = await rig.startBridge({ SQS_WAIT_TIME_S: '2' })
  const { metricsPort } = bridge
  for (const path of ['/healthz', '/readyz']) expect((await fetch(`http://127.0.0.1:${metricsPort}${path}`)).status).toBe(200)
  const startedMs = Date.now()
  await bridge.close()
  bridge = undefined
  expect(Date.now() - startedMs).toBeLessThan(3_000)
  await rig.publish(accepted('after-the-stop'))
  bridge = await rig.startBridge()
  await rig.untilDrained()
  expect(await ofOrder('after-the-stop')).toHaveLength(1)
})
