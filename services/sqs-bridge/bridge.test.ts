import { pino } from 'pino'
import { Registry } from 'prom-client'
import { afterEach, expect, test } from 'vitest'
import { ChatError } from '#libs/domain/errors.ts'
import type { ProductFields } from '#libs/domain/frames.ts'
import type { OrderEvent } from '#libs/domain/inputs.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import type { QueueMessage } from '#libs/sqs/queue.ts'
import { Bridge } from './bridge.ts'
import type { OrderEventSink } from './core/order-event-sink.ts'
import { createSqsBridgeMetrics } from './metrics.ts'
import { SinkGate } from './sink-gate.ts'

/** Keeps what was published, and fails as it is told. */
class MemorySink implements OrderEventSink {
  readonly published: OrderEvent[] = []
  readonly products: ProductFields[] = []
  readonly deadLetters: string[] = []
  failures: Error[] = []

  async publish(event: OrderEvent): Promise<void> {
    await new Promise(setImmediate)
    const failure = this.failures.shift()
    if (failure) throw failure
    this.published.push(event)
  }

  async publishProduct(product: ProductFields): Promise<void> {
    await new Promise(setImmediate)
    const failure = this.failures.shift()
    if (failure) throw failure
    this.products.push(product)
  }

  async deadLetter(_: unknown, code: string): Promise<void> {
    this.deadLetters.push(code)
  }

  async probe(): Promise<void> {}
}

const gates: SinkGate[] = []
afterEach(async () => {
  for (const gate of gates.splice(0)) await gate.close()
})

async function handle(sink: MemorySink, payloads: readonly object[], stopping = new AbortController().signal, holdMaxMs = 60_000) {
  const logger = pino({ level: 'silent' })
  const gate = new SinkGate({ sink, clock: systemClock, logger, inHand: () => payloads.length, onPhase: () => {} })
  gates.push(gate)
  const metrics = createSqsBridgeMetrics(new Registry(), () => 0)
  const bridge = new Bridge({ sink, gate, clock: systemClock, logger, metrics, holdMaxMs })
  const batch = payloads.map((payload, i): QueueMessage => ({ messageId: `m${i}`, receiptHandle: `h${i}`, body: JSON.stringify(payload), sentTimestampMs: Date.now(), receiveCount: 2, attributes: {} }))
  const settled: string[] = []
  await bridge.handle(
    batch,
    { remove: ({ messageId }) => settled.push(`${messageId} removed`), release: ({ messageId }, delayS) => settled.push(`${messageId} released ${delayS}`) },
    stopping,
  )
  return settled.toSorted()
}

const ended = (orderId: string, what: string) => ({ type: `order.${what}`, orderId })

test('events of one order are published in the order of the batch, also over failures', async () => {
  const sink = new MemorySink()
  sink.failures = [new ChatError('unavailable'), new ChatError('unavailable')]
  const settled = await handle(sink, [ended('a', 'cancelled'), ended('b', 'delivered'), ended('a', 'delivered'), { type: 'order.accepted', orderId: 'a', customerId: 'c', vendorId: 'v' }])
  expect(settled).toEqual(['m0 removed', 'm1 removed', 'm2 removed', 'm3 removed'])
  expect(sink.published.filter((event) => event.orderId === 'a').map((event) => ('reason' in event ? event.reason : event.type))).toEqual(['cancelled', 'delivered', 'orderAccepted'])
})

test('what a pair says and what a product costs keep their order too, also over failures', async () => {
  const sink = new MemorySink()
  sink.failures = [new ChatError('unavailable'), new ChatError('unavailable')]
  const block = (what: string, userId: string, blockedUserId: string) => ({ type: `user.${what}`, userId, blockedUserId })
  const product = (priceMinor: number) => ({ type: 'product.updated', productId: 'p', name: 'n', priceMinor })
  const settled = await handle(sink, [block('blocked', 'a', 'b'), product(1), block('unblocked', 'a', 'b'), product(2), block('blocked', 'b', 'a'), product(3)])
  expect(settled).toEqual(['m0 removed', 'm1 removed', 'm2 removed', 'm3 removed', 'm4 removed', 'm5 removed'])
  expect(sink.published.map((event) => event.type === 'blockChanged' && [event.blockerId, event.on])).toEqual([['a', true], ['a', false], ['b', true]])
  expect(sink.products.map(({ priceMinor }) => priceMinor)).toEqual([1, 2, 3])
})

test('a product update goes from the queue only once it is acknowledged', async () => {
  const sink = new MemorySink()
  sink.failures = [new TypeError('planted')]
  expect(await handle(sink, [{ type: 'product.updated', productId: 'p', name: 'n' }])).toEqual(['m0 released 10'])
  expect(sink.products).toEqual([])
})

test('poison is dead-lettered beside good events', async () => {
  const sink = new MemorySink()
  expect(await handle(sink, [ended('a', 'exploded'), ended('b', 'delivered')])).toEqual(['m0 removed', 'm1 removed'])
  expect([sink.deadLetters, sink.published.length]).toEqual([['unknown_event_type'], 1])
})

test('what can never be written goes back to the queue, whose redrive policy will set it aside', async () => {
  const sink = new MemorySink()
  sink.failures = [new TypeError('planted')]
  expect(await handle(sink, [ended('a', 'delivered')])).toEqual(['m0 released 10'])
})

test('what Kafka does not take for too long goes back to the queue', async () => {
  const sink = new MemorySink()
  sink.failures = Array.from({ length: 10_000 }, () => new ChatError('unavailable'))
  const startMs = performance.now()
  const settled = await handle(sink, [ended('a', 'delivered'), ended('b', 'delivered')], new AbortController().signal, 100)
  expect(settled).toEqual([expect.stringMatching(/^m0 released \d+$/), expect.stringMatching(/^m1 released \d+$/)])
  expect(performance.now() - startMs).toBeGreaterThanOrEqual(99)
  expect(sink.published).toEqual([])
})

test('a stop does not wait for Kafka to come back', async () => {
  const sink = new MemorySink()
  sink.failures = [new ChatError('unavailable')]
  expect(await handle(sink, [ended('a', 'delivered')], AbortSignal.abort())).toEqual(['m0 released 10'])
})
