import { createOrderPublisher, type OrderPublisher } from '../../../deploy/local/order.ts'
import type { System } from '../../support/system.ts'
import type { LoggedEvent } from '../checker/topic.ts'

const EVERY_MS = 400

/**
 * The order service meanwhile: opens rooms in which nobody talks; every second order ends, the others get a rider. Now
 * and then an event comes twice.
 */
export class Orders {
  readonly #publisher: OrderPublisher
  readonly #name: string
  readonly #expected = new Map<string, readonly string[]>()
  readonly #publishing: Promise<unknown>[] = []
  #timer: NodeJS.Timeout | undefined
  #n = 0

  constructor(system: System, name: string) {
    this.#publisher = createOrderPublisher({ queueUrl: system.names.sqsQueueUrl, endpoint: system.stack.sqsEndpoint })
    this.#name = name
  }

  start(): void {
    this.#timer = setInterval(() => this.#publishing.push(this.#order(this.#n++)), EVERY_MS)
  }

  async finish(): Promise<void> {
    clearInterval(this.#timer)
    await Promise.all(this.#publishing)
    this.#publisher.close()
  }

  get rooms(): readonly string[] {
    return [...this.#expected.keys()]
  }

  /** Every event took effect exactly once, in whatever order the queue gave them. */
  *check(topic: ReadonlyMap<string, readonly LoggedEvent[]>): Iterable<string> {
    for (const [orderId, types] of this.#expected) {
      const logged = (topic.get(orderId) ?? []).map(({ type }) => type)
      if (JSON.stringify(logged.toSorted()) !== JSON.stringify(types.toSorted())) yield `order ${orderId}: ${logged.join(', ') || 'nothing'} in the topic, not ${types.join(', ')}`
    }
  }

  async #order(n: number): Promise<void> {
    const orderId = `${this.#name}-order-${n}`
    const publish = (type: string, payload: object = {}) => this.#publisher.publish({ type: `order.${type}`, payload: { orderId, ...payload } })
    const isEnded = n % 2 === 0
    this.#expected.set(orderId, ['roomOpened', isEnded ? 'roomClosed' : 'participantAdded'])
    const accepted = { customerId: `cust-${orderId}`, vendorId: `vend-${orderId}` }
    await publish('accepted', accepted)
    if (n % 5 === 0) await publish('accepted', accepted)
    // One of them only: the queue may turn them round, and a rider who comes behind the end is not let in.
    if (isEnded) await publish('delivered', { deliveredAt: new Date().toISOString() })
    else await publish('rider_assigned', { riderId: `ride-${orderId}` })
  }
}
