import { hasCode } from '#libs/domain/errors.ts'
import type { Clock } from '#libs/runtime/clock.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import { newTraceparent, traceIdOf } from '#libs/runtime/trace.ts'
import type { QueueMessage } from '#libs/sqs/queue.ts'
import type { Settle } from '#libs/sqs/receiver.ts'
import { lanesOf } from './core/lanes.ts'
import type { OrderEventSink } from './core/order-event-sink.ts'
import type { ParsedMessage } from './core/order-message.ts'
import { parseOrderMessage } from './core/parse-order-message.ts'
import { redeliveryDelayS } from './core/sink-health.ts'
import type { SqsBridgeMetrics } from './metrics.ts'
import type { SinkGate } from './sink-gate.ts'

export type BridgeDeps = {
  readonly sink: OrderEventSink
  readonly gate: SinkGate
  readonly clock: Clock
  readonly logger: Logger
  readonly metrics: SqsBridgeMetrics
  readonly holdMaxMs: number
}

type Work = { readonly message: QueueMessage; readonly parsed: ParsedMessage; readonly traceparent: string }

/**
 * From an SQS message to Kafka, at least once: a message is removed only after its event, or its dead letter, was
 * acknowledged. Events of one order, of one pair of people and of one product keep the order of their batch.
 */
export class Bridge {
  readonly #deps: BridgeDeps

  constructor(deps: BridgeDeps) {
    this.#deps = deps
  }

  async handle(batch: readonly QueueMessage[], settle: Settle, stopping: AbortSignal): Promise<void> {
    const works = batch.map((message) => this.#understand(message))
    const lanes = lanesOf(works, ({ parsed }) => laneOf(parsed))
    await Promise.all(
      lanes.map(async (lane) => {
        for (const work of lane) await this.#deliver(work, settle, stopping)
      }),
    )
  }

  #understand(message: QueueMessage): Work {
    const parsed = parseOrderMessage(message, this.#deps.clock.nowMs())
    return { message, parsed, traceparent: newTraceparent(parsed.traceparent) }
  }

  async #deliver(work: Work, settle: Settle, stopping: AbortSignal): Promise<void> {
    const { gate, clock, holdMaxMs, metrics, logger } = this.#deps
    const { message } = work
    const heldUntilMs = clock.nowMs() + holdMaxMs
    while (await gate.mayPublish(heldUntilMs - clock.nowMs(), stopping)) {
      try {
        await this.#write(work)
        gate.report('published')
        return settle.remove(message)
      } catch (err) {
        metrics.publishFailures.inc()
        if (!hasCode(err, 'unavailable')) {
          // Nothing that passes: after enough receives the queue's redrive policy sets it aside.
          logger.error({ err, ...facts(work) }, 'an order message cannot be written')
          break
        }
        gate.report('failed', err)
      }
    }
    settle.release(message, redeliveryDelayS(message.receiveCount))
  }

  async #write(work: Work): Promise<void> {
    const { sink, clock, metrics, logger } = this.#deps
    const { message, parsed, traceparent } = work
    const done = metrics.publishSeconds.startTimer()
    if (parsed.kind === 'event') {
      await sink.publish(parsed.event, traceparent)
      metrics.published.inc({ type: parsed.event.type })
      logger.info(facts(work), 'order event published')
    } else if (parsed.kind === 'product') {
      await sink.publishProduct(parsed.product, traceparent)
      metrics.published.inc({ type: 'productUpdated' })
      logger.info(facts(work), 'product update published')
    } else {
      await sink.deadLetter(message, parsed.code, parsed.reason, traceparent)
      metrics.deadLettered.inc({ code: parsed.code })
      logger.warn(facts(work), 'order message dead-lettered')
    }
    done()
    if (message.sentTimestampMs !== undefined) metrics.queueSeconds.observe((clock.nowMs() - message.sentTimestampMs) / 1_000)
  }
}

/** What belongs together goes one after the other; dead letters need no order. */
function laneOf(parsed: ParsedMessage): string | undefined {
  if (parsed.kind === 'product') return `product ${parsed.product.productId}`
  return parsed.kind === 'event' ? parsed.event.orderId : undefined
}

function facts({ message, parsed, traceparent }: Work): object {
  const common = { sqsMessageId: message.messageId, receiveCount: message.receiveCount, traceId: traceIdOf(traceparent) }
  if (parsed.kind === 'dead') return { ...common, code: parsed.code, reason: parsed.reason }
  if (parsed.kind === 'product') return { ...common, productId: parsed.product.productId, type: 'productUpdated' }
  return { ...common, orderId: parsed.event.orderId, eventId: parsed.event.eventId, type: parsed.event.type }
}
