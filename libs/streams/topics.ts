/**
 * Every topic: its name without the prefix, what its key is, how it is cleaned up, and who writes to it: one kind of service alone,
 * but for commands, which the api, the relay and moderation write too.
 * Retention is in ms; -1 keeps for ever. All keyed topics have the same partition count, fixed for their life.
 */
export type TopicSpec = {
  readonly name: string
  readonly key: 'orderId' | 'roomId' | 'productId' | 'userId' | null
  readonly cleanup: 'delete' | 'compact'
  readonly retentionMs: number
  readonly writer: 'sqs-bridge' | 'room-state' | 'edge' | 'inbox' | 'notifier' | 'moderation'
  /** Avro schema in schemas/, registered as `<topic>-value`; null: the values are whatever could not be processed. */
  readonly schema: string | null
}

const DAY_MS = 24 * 3_600_000

export const topics = {
  orderEvents: { name: 'order-events', key: 'orderId', cleanup: 'delete', retentionMs: 7 * DAY_MS, writer: 'sqs-bridge', schema: 'order-events.avsc' },
  orderEventsDlq: { name: 'order-events.dlq', key: null, cleanup: 'delete', retentionMs: 30 * DAY_MS, writer: 'sqs-bridge', schema: null },
  chatCommands: { name: 'chat-commands', key: 'roomId', cleanup: 'delete', retentionMs: 7 * DAY_MS, writer: 'edge', schema: 'chat-commands.avsc' },
  chatCommandsDlq: { name: 'chat-commands.dlq', key: null, cleanup: 'delete', retentionMs: 30 * DAY_MS, writer: 'room-state', schema: null },
  roomEvents: { name: 'room-events', key: 'roomId', cleanup: 'delete', retentionMs: 30 * DAY_MS, writer: 'room-state', schema: 'room-events.avsc' },
  roomState: { name: 'room-state', key: 'roomId', cleanup: 'compact', retentionMs: -1, writer: 'room-state', schema: 'room-state.avsc' },
  productUpdates: { name: 'product-updates', key: 'productId', cleanup: 'compact', retentionMs: -1, writer: 'sqs-bridge', schema: 'product-updates.avsc' },
  presenceEvents: { name: 'presence-events', key: 'userId', cleanup: 'delete', retentionMs: 7 * DAY_MS, writer: 'edge', schema: 'presence-events.avsc' },
  inboxUpdates: { name: 'inbox-updates', key: 'userId', cleanup: 'delete', retentionMs: 7 * DAY_MS, writer: 'inbox', schema: 'inbox-updates.avsc' },
  inboxCommands: { name: 'inbox-commands', key: 'userId', cleanup: 'delete', retentionMs: 7 * DAY_MS, writer: 'edge', schema: 'inbox-commands.avsc' },
  inboxDlq: { name: 'inbox.dlq', key: null, cleanup: 'delete', retentionMs: 30 * DAY_MS, writer: 'inbox', schema: null },
  userEvents: { name: 'user-events', key: 'userId', cleanup: 'delete', retentionMs: 30 * DAY_MS, writer: 'inbox', schema: 'user-events.avsc' },
  inboxState: { name: 'inbox-state', key: 'userId', cleanup: 'compact', retentionMs: -1, writer: 'inbox', schema: 'inbox-state.avsc' },
  notificationsDlq: { name: 'notifications.dlq', key: null, cleanup: 'delete', retentionMs: 30 * DAY_MS, writer: 'notifier', schema: null },
  moderationDlq: { name: 'moderation.dlq', key: null, cleanup: 'delete', retentionMs: 30 * DAY_MS, writer: 'moderation', schema: null },
} as const satisfies Record<string, TopicSpec>

export type TopicName = (typeof topics)[keyof typeof topics]['name']

/** The inputs of a room-state task, both from the partition of its own number. */
export const inputTopics = [topics.orderEvents.name, topics.chatCommands.name] as const

/** The inputs of a task of the inbox's feed. */
export const feedInputTopics = [topics.inboxUpdates.name, topics.inboxCommands.name] as const

/** Facts for routing travel as Kafka headers, so that a reader can filter without decoding. */
export const headerNames = {
  /** Offset of the ownership marker that its writer believed in force. */
  ownerEpoch: 'owner-epoch',
  /** `<input topic>:<offset>`, topic without prefix. */
  source: 'source',
  /** Entry types of the record, joined by commas; `ownershipMarker` for a marker. */
  eventType: 'event-type',
  /** W3C trace context. */
  traceparent: 'traceparent',
  /** Where the answer to a command is awaited: the edge process's id. Copied from command to decision. */
  replyTo: 'reply-to',
  /** Of a command: also in its value, but this one can be read when the value cannot. */
  commandId: 'command-id',
  /** Dead letters: code of the error catalogue, and the reason in words. */
  errorCode: 'error-code',
  errorReason: 'error-reason',
} as const

export const OWNERSHIP_MARKER = 'ownershipMarker'

/** Record batches of `room-events` and `room-state` stay under this many bytes (kafkajs never splits a batch). */
export const BATCH_BYTES_MAX = 512 * 1024
