import type { ProductFields } from '#libs/domain/frames.ts'
import type { UserId } from '#libs/domain/ids.ts'
import type { HistoryRule, Metadata } from '#libs/domain/room.ts'
import type { LinkReason } from './core/link.ts'
import type { OperationAck } from './core/operations.ts'
import type { ChatClientError } from './errors.ts'
import type { Inbox } from './inbox.ts'
import type { InboxStorage, OutboxEntry, OutboxStorage, Ports, TokenProvider } from './ports.ts'
import type { Room } from './room.ts'
import type { FailedMessage, MessageAck } from './sender.ts'

export type ClientOptions = {
  /** `ws://host/ws/chat`; with `orderId`: `ws://host/chat`. */
  readonly url: string
  readonly token: TokenProvider
  /** Makes each socket that of one room: the load balancer can route by it, and joining costs no round trip. */
  readonly orderId?: string
  /** Default: in memory, gone with the client. */
  readonly storage?: OutboxStorage
  /** Of the list of chats. Default: none; a new client begins anew. */
  readonly inboxStorage?: InboxStorage
  readonly ports?: Partial<Ports>
  readonly limits?: Partial<ClientLimits>
}

export type ClientLimits = {
  /** Messages that wait, all rooms together: `outbox_full` above. */
  readonly outboxEntriesMax: number
  /** Other requests that wait (edits, reactions, …), all rooms together: `operations_full` above. */
  readonly operationsMax: number
  /** UTF-16 units of a message: `content_too_long` above. The server's own limit (4,000 characters) lies below. */
  readonly contentLengthMax: number
  /** `too_many_rooms` above. */
  readonly roomsMax: number
  readonly connectTimeoutMs: number
  readonly requestTimeoutMs: number
}

export const defaultClientLimits: ClientLimits = {
  outboxEntriesMax: 1_000,
  operationsMax: 200,
  contentLengthMax: 8_000,
  roomsMax: 1_000,
  connectTimeoutMs: 15_000,
  requestTimeoutMs: 30_000,
}

/** offline: tries again in `retryInMs` by itself. closed: does not; `connect()` does. */
export type ClientState =
  | { readonly state: 'connecting' | 'online' }
  | { readonly state: 'offline'; readonly reason: LinkReason; readonly retryInMs: number }
  | { readonly state: 'closed'; readonly reason?: LinkReason }

export type ClientEvents = {
  state: ClientState
  /** A message is durable; also for those that an earlier client left in the storage. */
  acked: MessageAck
  /** A message has failed for good and is out of the outbox. */
  failed: FailedMessage
  /** The present data of a watched product. */
  cardUpdated: { readonly productId: string; readonly product: ProductFields }
  /** Something went wrong that the client copes with, or that belongs to no request: for logs. */
  error: ChatClientError
}

export type NewConversation = {
  readonly kind: 'direct' | 'group'
  /** Of the others; oneself is in, as the owner of a group. */
  readonly participants: readonly string[]
  /** Of a group: asking again with the same one gives the same room. Default: a new one. */
  readonly clientId?: string
  readonly name?: string
  readonly metadata?: Metadata
  /** What newcomers of a group see. Default: all. */
  readonly history?: HistoryRule
}

export type ChatClient = {
  readonly state: ClientState
  /** Whom the token speaks for, once connected. */
  readonly userId: UserId | undefined
  /** The user's own list of chats, across all rooms; `inbox.start()` asks for it. */
  readonly inbox: Inbox
  on<K extends keyof ClientEvents>(name: K, listener: (value: ClientEvents[K]) => void): () => void
  /** Connects and stays connected. Resolves when first online; rejects when that ends for good. May be ignored. */
  connect(): Promise<void>
  /**
   * The room's handle; joined now, or as soon as there is a connection, and again after every reconnect. `since`: the
   * last seq that the app holds (default 0: everything). The same room gives the same handle, and `since` then means nothing.
   * @throws ChatClientError `invalid_room_id`, `invalid_request`, `too_many_rooms`, `client_closed`
   */
  join(roomId: string, options?: { readonly since?: number }): Room
  /**
   * Makes a conversation, or finds the one that there is: `join` the room of the ack. Sent as soon as there is a connection,
   * and again until it is answered, as a room's requests are.
   */
  createConversation(conversation: NewConversation): Promise<OperationAck>
  /** As `room.acceptInvitation()`, for who has no use for the room before. */
  acceptInvitation(roomId: string): Promise<OperationAck>
  /** How this user shows to others, on this socket and those that follow it. The server takes a new socket for online. */
  setPresence(status: 'online' | 'away', options?: { readonly hideLastSeen?: boolean }): void
  /**
   * Whose cards the app shows, instead of those before: they come as `cardUpdated`, on this socket and those that follow it.
   * @throws ChatClientError `invalid_request` for more than 100
   */
  watchProducts(productIds: readonly string[]): void
  /** Messages that wait, each room's in the order of sending. */
  pending(roomId?: string): OutboxEntry[]
  /** To be called when the device wakes or the network comes back: tries at once, or checks that the socket lives. */
  wake(): void
  /** For good. Messages that wait stay in the storage; their `done` rejects with `client_closed`. */
  close(): Promise<void>
}
