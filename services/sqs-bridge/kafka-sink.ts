import { ChatError, hasCode } from '#libs/domain/errors.ts'
import type { ProductFields } from '#libs/domain/frames.ts'
import type { OrderEvent } from '#libs/domain/inputs.ts'
import { type AvroCodec, type AvroCodecs } from '#libs/kafka/avro.ts'
import { BatchingProducer } from '#libs/kafka/batching-producer.ts'
import type { KafkaClient } from '#libs/kafka/client.ts'
import { OffsetsAdmin } from '#libs/kafka/topics-admin.ts'
import { orderEventToAvro } from '#libs/streams/avro-shapes.ts'
import { productUpdateToAvro } from '#libs/streams/product-shape.ts'
import { headerNames, topics } from '#libs/streams/topics.ts'
import type { OrderEventSink } from './core/order-event-sink.ts'
import type { DeadLetterCode, OrderMessage } from './core/order-message.ts'

/** Headers that only dead letters have, beside `error-code`, `error-reason` and `traceparent`. */
export const deadLetterHeaders = {
  sqsMessageId: 'sqs-message-id',
  /** ms since 1970 */
  sentTimestamp: 'sent-timestamp',
  /** JSON: name → {type, value}. In raw delivery the event's type is here, and a replay needs it. */
  sqsAttributes: 'sqs-attributes',
} as const

/** Order events go by orderId, product updates by productId; dead letters have a producer of their own, so that none can fail a good event's batch. */
export class KafkaSink implements OrderEventSink {
  readonly #codecs: AvroCodecs
  readonly #events: BatchingProducer
  readonly #deadLetters: BatchingProducer
  readonly #offsets: OffsetsAdmin
  #codec: AvroCodec | undefined
  #productCodec: AvroCodec | undefined

  constructor(kafka: KafkaClient, codecs: AvroCodecs) {
    this.#codecs = codecs
    this.#events = new BatchingProducer(kafka)
    this.#deadLetters = new BatchingProducer(kafka)
    this.#offsets = new OffsetsAdmin(kafka)
  }

  /** Once; before it resolves nothing can be published. After that the registry is not needed any more. */
  async connect(): Promise<void> {
    this.#codec = await this.#codecs.forTopic(topics.orderEvents)
    this.#productCodec = await this.#codecs.forTopic(topics.productUpdates)
    await this.#events.start()
  }

  async publish(event: OrderEvent, traceparent: string): Promise<void> {
    const value = this.#codec!.encode(orderEventToAvro(event))
    const headers = { [headerNames.eventType]: event.type, [headerNames.traceparent]: traceparent }
    await this.#events.send(topics.orderEvents.name, { key: event.orderId, value, headers })
  }

  async publishProduct(product: ProductFields, traceparent: string): Promise<void> {
    const value = this.#productCodec!.encode(productUpdateToAvro(product))
    await this.#events.send(topics.productUpdates.name, { key: product.productId, value, headers: { [headerNames.traceparent]: traceparent } })
  }

  async deadLetter(message: OrderMessage, code: DeadLetterCode, reason: string, traceparent: string): Promise<void> {
    const headers: Record<string, string> = {
      [headerNames.errorCode]: code,
      [headerNames.errorReason]: reason,
      [headerNames.traceparent]: traceparent,
      [deadLetterHeaders.sqsMessageId]: message.messageId,
    }
    if (message.sentTimestampMs !== undefined) headers[deadLetterHeaders.sentTimestamp] = String(message.sentTimestampMs)
    if (Object.keys(message.attributes).length > 0) headers[deadLetterHeaders.sqsAttributes] = JSON.stringify(message.attributes)
    try {
      await this.#deadLetters.send(topics.orderEventsDlq.name, { key: null, value: Buffer.from(message.body), headers })
    } catch (err) {
      // Ours takes 2 MiB, SQS at most 1; in a topic that somebody else made it may not fit, and that is no outage.
      if (hasCode(err, 'unavailable') && isTooLarge(err)) throw new ChatError('frame_too_large', 'for order-events.dlq', { cause: err })
      throw err
    }
  }

  async probe(): Promise<void> {
    await this.#offsets.ranges(topics.orderEvents.name)
  }

  /** What was handed over before is still written, so far as Kafka answers. */
  async close(): Promise<void> {
    await Promise.all([this.#events.close(), this.#deadLetters.close(), this.#offsets.close()])
  }
}

function isTooLarge(err: unknown): boolean {
  for (let cause = err; cause instanceof Error; cause = cause.cause) {
    if ((cause as { type?: unknown }).type === 'MESSAGE_TOO_LARGE') return true
  }
  return false
}
