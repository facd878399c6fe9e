import { ORDER_EVENT_AGE_MAX_MS } from '#libs/domain/limits.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { World } from '../world/world.ts'

export type OrderMessage = { readonly eventId: string; readonly orderId: RoomId; readonly type: string; readonly body: string; readonly isPoison: boolean }

/** One order's life as the order service tells it: in any order, some of it twice, and some nonsense in between. */
export class OrderService {
  readonly sent: OrderMessage[] = []
  readonly #world: World
  readonly #send: (message: OrderMessage) => void
  readonly #firstMs = new Map<RoomId, number>()
  readonly #accepted = new Set<RoomId>()
  readonly #endedMs = new Map<RoomId, number>()
  #events = 0

  constructor(world: World, send: (message: OrderMessage) => void) {
    this.#world = world
    this.#send = send
  }

  accept(orderId: RoomId, customerId: UserId, vendorId: UserId): void {
    this.#publish(orderId, 'order.accepted', { customerId, vendorId })
  }

  assign(orderId: RoomId, riderId: UserId): void {
    this.#publish(orderId, 'order.rider_assigned', { riderId })
  }

  end(orderId: RoomId, how: 'delivered' | 'cancelled'): void {
    this.#publish(orderId, `order.${how}`, {})
    if (!this.#endedMs.has(orderId)) this.#endedMs.set(orderId, this.#world.nowMs)
  }

  /** What can have no meaning. */
  poison(orderId: RoomId): void {
    const { random } = this.#world
    const eventId = `poison-${this.#events++}`
    const body = random.pick([`not json ${eventId}`, JSON.stringify({ type: 'order.exploded', orderId, eventId }), JSON.stringify({ type: 'order.accepted', orderId: 'not a room!', eventId })])
    this.#deliver({ eventId, orderId, type: 'poison', body, isPoison: true })
  }

  #publish(orderId: RoomId, type: string, fields: object): void {
    const { nowMs, random } = this.#world
    const firstMs = this.#firstMs.get(orderId) ?? nowMs
    this.#firstMs.set(orderId, firstMs)
    // By then no order service has anything to say of it, and the room may be forgotten.
    const doneMs = this.#endedMs.get(orderId) ?? (this.#accepted.has(orderId) ? nowMs : firstMs)
    if (nowMs - doneMs > ORDER_EVENT_AGE_MAX_MS) return
    if (type === 'order.accepted') this.#accepted.add(orderId)
    const eventId = `event-${this.#events++}`
    const payload = { orderId, occurredAt: nowMs - random.int(0, 2_000), ...fields }
    const body = JSON.stringify({ Type: 'Notification', MessageId: eventId, Message: JSON.stringify(payload), MessageAttributes: { eventType: { Type: 'String', Value: type } } })
    this.#deliver({ eventId, orderId, type, body, isPoison: false })
  }

  #deliver(message: OrderMessage): void {
    this.sent.push(message)
    this.#world.note(`the order service says ${message.type} of ${message.orderId} (${message.eventId})`)
    this.#send(message)
    // SNS delivers at least once.
    if (this.#world.random.chance(0.15)) this.#send(message)
  }
}
