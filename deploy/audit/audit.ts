import type { RoomId } from '#libs/domain/ids.ts'
import { postgresConfigFromEnv } from '#libs/postgres/config.ts'
import { createPool } from '#libs/postgres/pool.ts'
import { registryConfigFromEnv } from '#libs/kafka/avro.ts'
import { kafkaConfigFromEnv } from '#libs/kafka/client.ts'
import type { Env } from '#libs/runtime/env.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import { partitionOf } from '#libs/streams/murmur2.ts'
import { type RoomAt, roomAt } from './room-at.ts'
import { readPostgres, readTopic } from './sources.ts'
import { type Break, compare, type Source, type Verified, verify } from './verify.ts'

export type AuditOptions = { readonly roomId: RoomId; readonly from: 'postgres' | 'topic' | 'both'; /** Undefined: the head. */ readonly at: number | undefined }

export type AuditReport = {
  readonly roomId: RoomId
  /** False: no source has anything of such a room. */
  readonly found: boolean
  readonly sources: readonly Verified[]
  /** What is no break, but should be known. */
  readonly notes: readonly string[]
  /** In the order of their seq: the first is where it begins. */
  readonly breaks: readonly Break[]
  readonly room: RoomAt | undefined
}

export async function audit(env: Env, { roomId, from, at }: AuditOptions, logger: Logger, signal: AbortSignal): Promise<AuditReport> {
  // Postgres first: whatever it has by then is in the topic, if that has kept it.
  const postgres = from === 'topic' ? undefined : await postgresSource(env, roomId, from === 'both' ? partitionOf(roomId, kafkaConfigFromEnv(env).partitions) : undefined, logger)
  const topic = from === 'postgres' ? undefined : await readTopic({ kafka: kafkaConfigFromEnv(env), registry: registryConfigFromEnv(env) }, roomId, logger, signal)
  return reportOf(roomId, [postgres, topic].filter((source) => source !== undefined), at)
}

async function postgresSource(env: Env, roomId: RoomId, partition: number | undefined, logger: Logger): Promise<Source> {
  const pool = createPool(postgresConfigFromEnv(env, { poolMax: 1, statementTimeoutMs: 60_000, applicationName: 'audit' }), logger)
  try {
    return await readPostgres(pool, roomId, partition)
  } finally {
    await pool.end()
  }
}

/** Pure. */
export function reportOf(roomId: RoomId, sources: readonly Source[], at: number | undefined): AuditReport {
  const verified = sources.map((source) => verify(roomId, source))
  const [postgres, topic] = (['postgres', 'topic'] as const).map((name) => sources.find((source) => source.name === name))
  const breaks = [...verified.flatMap((one) => one.breaks), ...(postgres && topic ? compare(postgres, topic) : [])].toSorted((a, b) => a.seq - b.seq)
  const full = sources.find(({ events }) => events[0]?.seq === 1)
  return {
    roomId,
    found: sources.some(({ events, headSeq }) => events.length > 0 || headSeq !== undefined),
    sources: verified,
    notes: notesOf(postgres, topic, verified),
    breaks,
    room: full && roomAt(roomId, full.events, at ?? full.events.at(-1)!.seq),
  }
}

function notesOf(postgres: Source | undefined, topic: Source | undefined, verified: readonly Verified[]): string[] {
  const behind = (topic?.events.at(-1)?.seq ?? 0) - (postgres?.events.at(-1)?.seq ?? 0)
  return [
    ...verified.flatMap(({ source, events, chainBegins, firstSeq }) =>
      events === 0 ? [`${source} has none of its events`]
      : chainBegins === undefined ? [`${source}: there is no chain, all events are of writers of before`]
      : chainBegins > firstSeq! ? [`${source}: chain begins at seq ${chainBegins}`]
      : [],
    ),
    ...(topic?.events[0] && topic.events[0].seq > 1 ? [`the topic holds the room from seq ${topic.events[0].seq} on: earlier records are beyond its retention`] : []),
    ...(postgres && topic && behind > 0 ? [`Postgres is ${behind} events behind the topic`] : []),
  ]
}
