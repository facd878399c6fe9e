import type { ClientMessageId, RoomId, UserId } from './ids.ts'
import type { CloseReason } from './room.ts'

/** What `room-state` reads: an order event, or what somebody asked for. Shapes follow schemas/*.avsc. */
export type RoomInput = OrderEvent | RoomCommand

export type OrderEvent = {
  readonly orderId: RoomId
  /** SNS MessageId, else a hash of the body: the same for every redelivery. */
  readonly eventId: string
  /** `occurredAt` of the payload, else SNS `Timestamp`, else SQS `SentTimestamp`; ms since 1970. */
  readonly occurredAtMs: number
} & (
  | { readonly type: 'orderAccepted'; readonly customerId: UserId; readonly vendorId: UserId }
  | { readonly type: 'riderAssigned'; readonly riderId: UserId }
  | { readonly type: 'orderEnded'; readonly reason: CloseReason }
)

export type RoomCommand = {
  readonly roomId: RoomId
  /** Made by the edge; the reply in `room-events` carries it back. */
  readonly commandId: string
  readonly senderId: UserId
} & {
  readonly type: 'sendMessage'
  readonly clientMessageId: ClientMessageId
  readonly content: string
  readonly salt: string
}
