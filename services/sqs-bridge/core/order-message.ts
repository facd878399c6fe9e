import type { ProductFields } from '#libs/domain/frames.ts'
import type { OrderEvent } from '#libs/domain/inputs.ts'

/** A message as SQS shows it: everything that its meaning may depend on. */
export type OrderMessage = {
  readonly messageId: string
  readonly body: string
  /** When the queue took it in, ms since 1970. */
  readonly sentTimestampMs: number | undefined
  /** Of text and number type; SNS puts its own here in raw delivery. */
  readonly attributes: Readonly<Record<string, MessageAttribute>>
}

export type MessageAttribute = { readonly type: string; readonly value: string }

export type DeadLetterCode = 'bad_json' | 'unknown_event_type' | 'invalid_event' | 'invalid_room_id' | 'event_too_old'

export type ParsedContent = { readonly kind: 'event'; readonly event: OrderEvent } | { readonly kind: 'product'; readonly product: ProductFields }

/** `traceparent` is what came with the message, not yet checked. */
export type ParsedMessage = { readonly traceparent: string | undefined } & (ParsedContent | { readonly kind: 'dead'; readonly code: DeadLetterCode; readonly reason: string })
