import type { ProductFields } from '#libs/domain/frames.ts'
import type { MessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import type { BlockKey, HistoryRule, Metadata, Role, RoomKind } from '#libs/domain/room.ts'
import { hasConversationsMax } from '#libs/postgres/conversations.ts'
import type { Pool } from '#libs/postgres/pool.ts'
import { NO_EPOCH } from '#libs/streams/reader-rule.ts'
import { type TopicName, topics } from '#libs/streams/topics.ts'
import type { StoredEvent } from './core/frames.ts'
import type { History, LogPosition, Persisted } from './core/ports.ts'
import type { RoomView } from './core/room-view.ts'

type PositionRow = { next_offset: string; owner_epoch: string }
/** `sinceSeq` is left out by writers of before there were rooms that show newcomers less than everything. */
type ParticipantJson = { userId: UserId; role: Role; sinceSeq?: number }
type ReceiptJson = [userId: UserId, delivered: number, seen: number, hidden: boolean]
type RoomRow = {
  participants: ParticipantJson[]
  is_readonly: boolean
  is_frozen: boolean
  head_seq: number
  message_count: number
  kind: RoomKind
  name: string | null
  metadata: Metadata
  history: HistoryRule
  receipts: ReceiptJson[] | null
  blocks: BlockKey[] | null
}
type PositionAndRoomRow = Omit<RoomRow, 'participants'> & { next_offset: string | null; participants: RoomRow['participants'] | null }
type EventRow = { body: Record<string, unknown>; content: string | null; payload: string | null; revision: number | null; content_seq: number | null; deleted: boolean; redacted: string | null }

const topic = topics.roomEvents.name

/** How far a log is in Postgres. */
export function createPersisted(pool: Pool, name: TopicName): Persisted {
  return {
    async position(partition) {
      const { rows } = await pool.query<PositionRow>(POSITION, [name, partition])
      return positionOf(rows[0])
    },
    async nextOffsets() {
      const { rows } = await pool.query<{ partition: number; next_offset: string }>('SELECT partition, next_offset::text FROM persisted_offsets WHERE topic = $1', [name])
      return new Map(rows.map((row) => [row.partition, BigInt(row.next_offset)]))
    },
  }
}

/** The history in Postgres, as an edge reads it. @param conversationsMax that one user may have made */
export function createHistory(pool: Pool, conversationsMax: number = Number.MAX_SAFE_INTEGER): History {
  return {
    ...createPersisted(pool, topic),
    async room(partition, roomId) {
      const { rows } = await pool.query<PositionAndRoomRow>(POSITION_AND_ROOM, [topic, partition, roomId])
      const { next_offset, participants, ...room } = rows[0]!
      return { nextOffset: BigInt(next_offset ?? 0), view: participants ? viewOf({ participants, ...room }) : undefined }
    },
    async events(roomId: RoomId, after, upTo, limit) {
      const { rows } = await pool.query<EventRow>(EVENTS, [roomId, after, upTo, limit])
      return rows.map(storedEventOf)
    },
    async messageSeq(roomId: RoomId, messageId: MessageId) {
      const { rows } = await pool.query<{ seq: number }>('SELECT seq FROM chat_messages WHERE room_id = $1 AND message_id = $2', [roomId, messageId])
      return rows[0]?.seq
    },
    async settings(userId: UserId) {
      const { rows } = await pool.query<{ hide_receipts: boolean; hide_last_seen: boolean }>('SELECT hide_receipts, hide_last_seen FROM user_settings WHERE user_id = $1', [userId])
      return { hideReceipts: rows[0]?.hide_receipts ?? false, hideLastSeen: rows[0]?.hide_last_seen ?? false }
    },
    hasConversationsMax: (userId, roomId) => hasConversationsMax(pool, userId, roomId, conversationsMax),
  }
}

const POSITION = 'SELECT next_offset::text, owner_epoch::text FROM persisted_offsets WHERE topic = $1 AND partition = $2'

/** One statement sees one moment, for a fourth of a transaction's round trips. Always one row. */
const POSITION_AND_ROOM = `
  SELECT p.next_offset::text, r.participants, r.is_readonly, r.is_frozen, r.head_seq, r.message_count, r.kind, r.name, r.metadata, r.history,
         (SELECT jsonb_agg(jsonb_build_array(s.user_id, s.delivered, s.seen, s.hidden)) FROM room_receipts s WHERE s.room_id = $3) AS receipts,
         (SELECT array_agg(b.blocker_id || ' ' || b.blocked_id) FROM room_blocks b WHERE b.room_id = $3) AS blocks
    FROM (SELECT 1) AS one
    LEFT JOIN persisted_offsets p ON p.topic = $1 AND p.partition = $2
    LEFT JOIN chat_rooms r ON r.room_id = $3`

/**
 * As participants may see them: a message with its last content, an edit with its content only while it is the last one,
 * nothing of what was deleted. The payload is always that of the message itself: an edit changes its text alone.
 */
const EVENTS = `
  SELECT e.body, ch.revision, ch.content_seq, ch.deleted_seq IS NOT NULL AS deleted, ch.redacted_reason AS redacted,
         CASE WHEN ch.deleted_seq IS NOT NULL THEN NULL
              WHEN ch.content_seq IS NULL OR ch.content_seq = e.seq THEN c.content
              WHEN e.event_type = 'messageSent' THEN (SELECT l.content FROM message_contents l WHERE l.room_id = $1 AND l.seq = ch.content_seq)
         END AS content,
         CASE WHEN ch.deleted_seq IS NULL THEN c.payload END AS payload
    FROM room_events e
    LEFT JOIN message_contents c ON c.room_id = $1 AND c.seq = e.seq
    LEFT JOIN message_changes ch ON ch.room_id = $1 AND ch.message_seq = CASE e.event_type WHEN 'messageSent' THEN e.seq WHEN 'messageEdited' THEN (e.body ->> 'messageSeq')::bigint END
   WHERE e.room_id = $1 AND e.seq > $2 AND e.seq <= $3 ORDER BY e.seq LIMIT $4`

function positionOf(row: PositionRow | undefined): LogPosition {
  return row ? { nextOffset: BigInt(row.next_offset), ownerEpoch: BigInt(row.owner_epoch) } : { nextOffset: 0n, ownerEpoch: NO_EPOCH }
}

function viewOf({ participants, is_readonly, is_frozen, head_seq, message_count, kind, name, metadata, history, receipts, blocks }: RoomRow): RoomView {
  return {
    headSeq: head_seq,
    messageCount: message_count,
    readOnly: is_readonly,
    frozen: is_frozen,
    kind,
    name: name ?? undefined,
    metadata,
    history,
    participants: new Map(participants.map(({ userId, role, sinceSeq = 1 }) => [userId, { role, sinceSeq }])),
    receipts: new Map((receipts ?? []).map(([userId, delivered, seen, hidden]) => [userId, { delivered, seen, hidden }])),
    blocks: new Set(blocks),
  }
}

function storedEventOf({ body, content, payload, revision, content_seq, deleted, redacted }: EventRow): StoredEvent {
  switch (body['type']) {
    case 'messageSent': {
      const edited = revision !== null && revision > 0 && { revision, contentSeq: content_seq }
      return { ...body, content, ...(payload !== null && { payload }), ...edited, ...(deleted && { deleted }), ...(redacted !== null && { redacted }) } as unknown as StoredEvent
    }
    case 'messageEdited':
      return { ...body, content } as unknown as StoredEvent
    default:
      return body as unknown as StoredEvent
  }
}

type ProductRow = { product_id: string; name: string; price_minor: number | null; currency: string | null; image_url: string | null; available: boolean | null; updated_at_ms: number }

/** The cards in Postgres. @throws ChatError `unavailable` while it cannot be read */
export function createProductHistory(pool: Pool) {
  return {
    /** Of those that are known, in any order. */
    async products(productIds: readonly string[]): Promise<readonly ProductFields[]> {
      const { rows } = await pool.query<ProductRow>('SELECT product_id, name, price_minor, currency, image_url, available, updated_at_ms FROM products WHERE product_id = ANY($1)', [productIds])
      return rows.map(productOf)
    },
    /** Every update below this offset of the partition is in the history. */
    async productsPosition(partition: number): Promise<bigint> {
      const { rows } = await pool.query<PositionRow>(POSITION, [topics.productUpdates.name, partition])
      return positionOf(rows[0]).nextOffset
    },
  }
}

function productOf({ product_id, name, price_minor, currency, image_url, available, updated_at_ms }: ProductRow): ProductFields {
  return {
    productId: product_id,
    name,
    ...(price_minor !== null && { priceMinor: price_minor }),
    ...(currency !== null && { currency }),
    ...(image_url !== null && { imageUrl: image_url }),
    ...(available !== null && { available }),
    updatedAtMs: updated_at_ms,
  }
}
