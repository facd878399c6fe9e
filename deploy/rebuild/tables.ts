import { topics } from '#libs/streams/topics.ts'

/** A table that is a fold of topics: a rebuild makes it again, row by row the same. */
export type FoldedTable = {
  readonly name: string
  /** Of the primary key. */
  readonly key: readonly string[]
  /** The log that it comes from. */
  readonly topic: RebuiltTopic
  /** What people have written: not for a report. */
  readonly secret?: readonly string[]
}

export const rebuiltTopics = [topics.roomEvents.name, topics.userEvents.name, topics.productUpdates.name] as const
export type RebuiltTopic = (typeof rebuiltTopics)[number]

const [rooms, users, products] = rebuiltTopics

export const foldedTables: readonly FoldedTable[] = [
  { name: 'chat_rooms', key: ['room_id'], topic: rooms },
  { name: 'room_participants', key: ['room_id', 'user_id'], topic: rooms },
  { name: 'chat_messages', key: ['room_id', 'seq'], topic: rooms },
  { name: 'message_contents', key: ['room_id', 'seq'], topic: rooms, secret: ['content', 'salt', 'payload'] },
  { name: 'room_events', key: ['room_id', 'seq'], topic: rooms, secret: ['body'] },
  { name: 'message_changes', key: ['room_id', 'message_seq'], topic: rooms },
  { name: 'message_reactions', key: ['room_id', 'message_seq', 'user_id', 'emoji'], topic: rooms },
  { name: 'room_receipts', key: ['room_id', 'user_id'], topic: rooms },
  { name: 'room_invitations', key: ['room_id', 'user_id'], topic: rooms },
  { name: 'room_blocks', key: ['room_id', 'blocker_id', 'blocked_id'], topic: rooms },
  { name: 'message_reports', key: ['room_id', 'seq'], topic: rooms, secret: ['note'] },
  { name: 'user_heads', key: ['user_id'], topic: users },
  { name: 'user_chats', key: ['user_id', 'room_id'], topic: users },
  { name: 'products', key: ['product_id'], topic: products },
]

/**
 * What is in no topic, or is some service's own standing beside its position: a database that is kept gets it as it is in
 * the live one. In an order in which rows may refer to earlier tables.
 */
export const copiedTables: readonly string[] = ['admin_audit', 'user_settings', 'relay_blocks', 'notifications', 'notifications_shown', 'push_subscriptions']

/** Of processes that run now; so are the jobs of the schema graphile_worker. In a database that is kept there are none yet. */
export const transientTables: readonly string[] = ['notifier_processes']

/** Made anew by every rebuild, with positions of its own; those of other readers are copied. */
export const POSITIONS_TABLE = 'persisted_offsets'
