import { audited } from '#libs/domain/chain.ts'
import type { RoomId } from '#libs/domain/ids.ts'
import { isRoomEvent, type RoomEvent } from '#libs/domain/room.ts'
import { AvroCodecs, type RegistryConfig } from '#libs/kafka/avro.ts'
import { createKafkaClient, type KafkaConfig } from '#libs/kafka/client.ts'
import { PositionedConsumer } from '#libs/kafka/positioned-consumer.ts'
import { readLog } from '#libs/kafka/read-back.ts'
import { OffsetsAdmin } from '#libs/kafka/topics-admin.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import { Releasers } from '#libs/runtime/releasers.ts'
import { decisionFromAvro } from '#libs/streams/avro-shapes.ts'
import { partitionOf } from '#libs/streams/murmur2.ts'
import { readByRule, type ReadPosition } from '#libs/streams/read-by-rule.ts'
import { NO_EPOCH } from '#libs/streams/reader-rule.ts'
import { topics } from '#libs/streams/topics.ts'
import type { AuditedEvent, Source, StoredContent } from './verify.ts'

type Row = { seq: number; event_type: string; at_ms: number; body: RoomEvent; has_content: boolean; content: string | null; salt: string | null; payload: string | null; erased: boolean }

/** The audit log of a room with what contents there still are, as of one moment. @param partition of the room; undefined: its position is not asked for */
export async function readPostgres(db: Queryable, roomId: RoomId, partition?: number): Promise<Source> {
  // Before the rows: what is below it must be among them.
  const position = partition === undefined ? undefined : await db.query<{ next_offset: string }>('SELECT next_offset::text FROM persisted_offsets WHERE topic = $1 AND partition = $2', [topics.roomEvents.name, partition])
  const nextOffset = position?.rows[0]?.next_offset
  const { rows } = await db.query<Row & { head_seq: number | null }>(
    `SELECT e.seq, e.event_type, (extract(epoch FROM e.occurred_at) * 1000)::bigint AS at_ms, e.body,
            c.seq IS NOT NULL AS has_content, c.content, c.salt, c.payload, c.erased_at IS NOT NULL AS erased, r.head_seq
       FROM room_events e
       LEFT JOIN message_contents c ON c.room_id = e.room_id AND c.seq = e.seq
       LEFT JOIN chat_rooms r ON r.room_id = e.room_id
      WHERE e.room_id = $1 ORDER BY e.seq`,
    [roomId],
  )
  const headSeq = rows.length > 0 ? rows[0]!.head_seq : ((await db.query<{ head_seq: number }>('SELECT head_seq FROM chat_rooms WHERE room_id = $1', [roomId])).rows[0]?.head_seq ?? null)
  return { name: 'postgres', fromFirst: true, events: rows.map(eventOf), ...(headSeq !== null && { headSeq: Number(headSeq) }), ...(nextOffset !== undefined && { nextOffset: BigInt(nextOffset) }) }
}

function eventOf(row: Row): AuditedEvent {
  const { body: event } = row
  const seq = Number(row.seq)
  const contradiction =
    event.seq !== seq ? `its row is of seq ${seq}, its body of ${event.seq}`
    : event.type !== row.event_type ? `its row says ${row.event_type}, its body ${event.type}`
    : event.timestampMs !== Number(row.at_ms) ? 'its row has another time than its body'
    : undefined
  return { seq, event, ...(row.has_content && { content: contentOf(row) }), ...(contradiction !== undefined && { contradiction }) }
}

const contentOf = ({ erased, content, salt, payload }: Row): StoredContent =>
  erased ? 'erased' : content === null || salt === null ? 'missing' : { content, salt, payload: payload ?? undefined }

export type TopicConfig = { readonly kafka: KafkaConfig; readonly registry: RegistryConfig }

/** What the topic still holds of a room, by the reader's rule. */
export async function readTopic({ kafka: kafkaConfig, registry }: TopicConfig, roomId: RoomId, logger: Logger, signal: AbortSignal): Promise<Source> {
  const topic = topics.roomEvents.name
  const releasers = new Releasers()
  try {
    const kafka = createKafkaClient(kafkaConfig, 'audit', logger)
    const codec = await new AvroCodecs(registry, kafka).whenRegistered(topics.roomEvents, signal)
    const offsets = new OffsetsAdmin(kafka)
    releasers.add(() => offsets.close())
    const failed = Promise.withResolvers<never>()
    failed.promise.catch(() => {})
    const reader = new PositionedConsumer(kafka, { topics: [topic], onFailed: (err) => failed.reject(err) })
    releasers.add(() => reader.close())
    await reader.start()
    const partition = partitionOf(roomId, kafkaConfig.partitions)
    const { low, high } = await offsets.range(topic, partition)
    let position: ReadPosition = { nextOffset: low, ownerEpoch: NO_EPOCH, lastSources: new Map() }
    const events: AuditedEvent[] = []
    const onRecords = async (records: Parameters<Parameters<typeof readLog>[1]['onRecords']>[0]) => {
      if (records.length === 0) return
      const { after, read } = await readByRule({ codec, decidedOf: decisionFromAvro, concerns: ({ key }) => key === roomId }, position, records)
      position = after
      for (const { record, decided } of read) if (decided.roomId === roomId) events.push(...decided.entries.filter(isRoomEvent).map((event) => ({ ...auditedOf(event), offset: record.offset })))
    }
    await Promise.race([readLog({ reader, offsets }, { topic, partition, from: low, upTo: high - 1n, onRecords, signal }), failed.promise])
    // Where retention has taken the beginning, the first marker that is left may come in the middle of a room.
    return { name: 'topic', fromFirst: false, events }
  } finally {
    await releasers.releaseAll()
  }
}

function auditedOf(event: RoomEvent): AuditedEvent {
  const { content, salt, payload } = event as RoomEvent & { content?: string; salt?: string; payload?: string }
  return { seq: event.seq, event: audited(event) as RoomEvent, ...(content !== undefined && salt !== undefined && { content: { content, salt, payload } }) }
}
