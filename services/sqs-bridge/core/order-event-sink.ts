import type { ProductFields } from '#libs/domain/frames.ts'
import type { OrderEvent } from '#libs/domain/inputs.ts'
import type { DeadLetterCode, OrderMessage } from './order-message.ts'

/** Where normalised events and dead letters go. Every promise resolves only once the record is durable. */
export type OrderEventSink = {
  /**
   * At least once: after a rejection the event may be there all the same.
   * @throws ChatError `unavailable` where the same call may succeed later; anything else never will
   */
  publish(event: OrderEvent, traceparent: string): Promise<void>
  /** Throws as `publish` does. */
  publishProduct(product: ProductFields, traceparent: string): Promise<void>
  /** The message as it came, its body unchanged. Throws as `publish` does. */
  deadLetter(message: OrderMessage, code: DeadLetterCode, reason: string, traceparent: string): Promise<void>
  /** Rejects while nothing can be published; resolving promises nothing. */
  probe(): Promise<void>
}
