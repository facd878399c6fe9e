import { topics } from '#libs/streams/topics.ts'
import { orderEventFromAvro } from '#libs/streams/avro-shapes.ts'
import type { Town } from '../town.ts'
import { decodeValue } from '../world/registry.ts'

/** Every message of the order service came through: as an event that the rooms show, or as a dead letter. */
export function checkOrders({ world, plan, servers, truth, orders }: Town): void {
  const { kafka, sqs } = servers
  const arrived = new Set<string>()
  for (let p = 0; p < plan.partitions; p++) for (const { value } of kafka.log(topics.orderEvents.name, p).records) arrived.add(orderEventFromAvro(decodeValue(value!)).eventId)
  const dead = new Set([...kafka.log(topics.orderEventsDlq.name, 0).records.map(({ value }) => value!.toString()), ...sqs.deadLetters.map(({ body }) => body)])
  for (const { eventId, body, isPoison, type } of orders.sent) {
    if (plan.counts.bridges === 0 && isPoison) continue
    if (isPoison ? !dead.has(body) : !arrived.has(eventId) && !dead.has(body)) world.fail('sqs-once', `${type} ${eventId} is neither in the log nor among the dead letters`)
  }
  for (const [roomId, { events }] of truth.rooms) {
    const count = (type: string) => events.filter((event) => event.type === type).length
    if (count('roomOpened') > 1 || count('roomClosed') > 1) world.fail('sqs-once', `room ${roomId} was opened ${count('roomOpened')} and closed ${count('roomClosed')} times`)
  }
  for (const { orderId, type, body } of orders.sent) {
    const isAccepted = orders.sent.some((message) => message.orderId === orderId && message.type === 'order.accepted' && !dead.has(message.body))
    const isEnd = type === 'order.delivered' || type === 'order.cancelled'
    if (isEnd && isAccepted && !dead.has(body) && truth.state(orderId)?.status !== 'closed') world.fail('sqs-once', `room ${orderId} is ${truth.state(orderId)?.status} after ${type}`)
  }
}
