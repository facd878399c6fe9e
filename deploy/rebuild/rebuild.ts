import { ChatError } from '#libs/domain/errors.ts'
import { AvroCodecs, type RegistryConfig } from '#libs/kafka/avro.ts'
import { createKafkaClient, type KafkaConfig } from '#libs/kafka/client.ts'
import { OffsetsAdmin } from '#libs/kafka/topics-admin.ts'
import type { PostgresConfig } from '#libs/postgres/config.ts'
import { migrate } from '#libs/postgres/migrate.ts'
import { createPool, type Pool, type Queryable } from '#libs/postgres/pool.ts'
import { withTransaction } from '#libs/postgres/transaction.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import { topics } from '#libs/streams/topics.ts'
import type { Progress } from '../local/progress.ts'
import { compareTable, isEqual, linesOf, type Scope, type TableResult } from './compare.ts'
import { checkMigrations, checkName, configOf, copyTables, createDatabase, databaseOf, dropDatabase, type Position, positionsOf, repeatErasures, tablesOf } from './database.ts'
import { Replay, type Span, spanKey, type Until } from './replay.ts'
import { type FoldedTable, foldedTables, type RebuiltTopic, rebuiltTopics } from './tables.ts'

export type RebuildConfig = { readonly kafka: KafkaConfig; readonly registry: RegistryConfig; readonly postgres: PostgresConfig }

export type RebuildOptions = {
  /** The new database stays, with what is in no topic copied into it. */
  readonly keep: boolean
  /** Its name; one that is there must be empty. Default: beside the live one, by the time. */
  readonly into: string | undefined
  /** How long the live persister may take to reach the ends that the topics had at the start. */
  readonly waitMs: number
}

export type RebuildReport = {
  readonly database: string
  readonly tables: readonly TableResult[]
  /** Positions that are not the same, in words. */
  readonly positions: readonly string[]
  /** Partitions whose start retention has removed. */
  readonly cut: readonly Span[]
  readonly erased: number
  /** Rows by table; empty where the database is not kept. */
  readonly copied: ReadonlyMap<string, number>
  readonly isEqual: boolean
}

/** Whole tables are read in one statement. */
const STATEMENT_TIMEOUT_MS = 6 * 3_600_000
const LOOK_EVERY_MS = 250

type Parts = { readonly config: RebuildConfig; readonly options: RebuildOptions; readonly progress: Progress; readonly logger: Logger; readonly signal: AbortSignal }

/**
 * Makes the tables that are folds of topics again, from the topics, in a database beside the live one, and compares the two
 * as of one moment: the new one is brought to exactly the positions that a snapshot of the live one has.
 * @throws ChatError where it cannot be done; a difference is no exception
 */
export async function rebuild(parts: Parts): Promise<RebuildReport> {
  const { config, options, progress, logger } = parts
  const patient = { ...config.postgres, statementTimeoutMs: STATEMENT_TIMEOUT_MS, applicationName: 'rebuild' }
  const name = options.into ?? `${databaseOf(config.postgres)}_rebuild_${new Date(systemClock.nowMs()).toISOString().replaceAll(/\D/g, '').slice(0, 14)}`
  checkName(name, config.postgres)
  const live = createPool(patient, logger)
  const rebuilt = createPool(configOf(patient, name), logger)
  let isOurs = false
  try {
    isOurs = await createDatabase(live, name, () => tablesOf(rebuilt))
    await progress.step(`the tables in the new database ${name}`, () => migrate(configOf(patient, name)))
    const report = await rebuildInto({ ...parts, live, rebuilt, name })
    isOurs &&= !options.keep && options.into === undefined
    return report
  } finally {
    await rebuilt.end()
    if (isOurs) await dropDatabase(live, name).catch((err: unknown) => progress.say(`the database ${name} is still there: ${(err as Error).message}`))
    await live.end()
  }
}

type Both = Parts & { readonly live: Pool; readonly rebuilt: Pool; readonly name: string }

async function rebuildInto(parts: Both): Promise<RebuildReport> {
  const { config, progress, logger, live, rebuilt, signal } = parts
  await checkMigrations(live, rebuilt)
  const kafka = createKafkaClient(config.kafka, 'rebuild', logger)
  const codecs = new AvroCodecs(config.registry, kafka)
  const [rooms, users, products] = await Promise.all([codecs.forTopic(topics.roomEvents), codecs.forTopic(topics.userEvents), codecs.forTopic(topics.productUpdates)])
  const byTopic = new Map([[topics.roomEvents.name, rooms], [topics.userEvents.name, users], [topics.productUpdates.name, products]] as const)
  const replay = new Replay(kafka, byTopic, rebuilt)
  const offsets = new OffsetsAdmin(kafka)
  try {
    const { spans, ends } = await spansOf(offsets)
    const cut = spans.filter(({ topic, low }) => low > 0n && topic !== 'product-updates')
    for (const span of cut) progress.say(`! ${spanKey(span)} begins at ${span.low}: retention has removed what was before. Rooms and users of that time are left out`)
    await progress.step('the topics, up to their ends as of now', (note) => replay.run(spans, ends, note, signal))
    await progress.step('waiting until the live database has as much', () => untilLiveHas(live, ends, parts))
    return await withTransaction(live, 'repeatable read, read only', async (snapshot) => {
      const positions = await positionsOf(snapshot)
      const exact = new Map(spans.map((span) => [spanKey(span), positions.get(spanKey(span))?.nextOffset ?? 0n]))
      await progress.step('the topics, up to where the live database is now', (note) => replay.run(spans, exact, note, signal))
      return reportOf(parts, { snapshot, positions, replay, spans, until: exact, cut })
    })
  } finally {
    await offsets.close()
  }
}

async function spansOf(offsets: OffsetsAdmin): Promise<{ spans: Span[]; ends: Until }> {
  const spans: Span[] = []
  const ends = new Map<string, bigint>()
  for (const topic of rebuiltTopics) {
    for (const [partition, { low, high }] of (await offsets.ranges(topic)).entries()) {
      spans.push({ topic, partition, low })
      ends.set(spanKey({ topic, partition }), high)
    }
  }
  return { spans, ends }
}

async function untilLiveHas(live: Queryable, ends: Until, { options, signal }: Parts): Promise<void> {
  const deadlineMs = systemClock.nowMs() + options.waitMs
  for (;;) {
    const positions = await positionsOf(live)
    const behind = [...ends].filter(([key, end]) => end > (positions.get(key)?.nextOffset ?? 0n))
    if (behind.length === 0) return
    if (systemClock.nowMs() > deadlineMs) {
      const [key, end] = behind[0]!
      throw new ChatError('unavailable', `${behind.length} partitions are not in the live database yet: ${key} is at ${positions.get(key)?.nextOffset ?? 0} of ${end}. Is message-persister running?`)
    }
    await systemClock.sleep(LOOK_EVERY_MS, signal)
  }
}

type Rebuilt = {
  readonly snapshot: Queryable
  readonly positions: ReadonlyMap<string, Position>
  readonly replay: Replay
  readonly spans: readonly Span[]
  readonly until: Until
  readonly cut: readonly Span[]
}

async function reportOf({ progress, options, rebuilt, name }: Both, made: Rebuilt): Promise<RebuildReport> {
  const { snapshot, positions, cut } = made
  const erased = await progress.step('the erasures of admin_audit', () => repeatErasures(snapshot, rebuilt))
  const there = new Set(await tablesOf(rebuilt))
  const tables: TableResult[] = []
  for (const table of foldedTables.filter(({ name: one }) => there.has(one))) {
    tables.push(await progress.step(`comparing ${table.name}`, () => compareTable(table, snapshot, rebuilt, scopeOf(table, made))))
  }
  const isKept = options.keep || options.into !== undefined
  const copied = isKept ? await progress.step('copying what is in no topic', () => copyTables(snapshot, rebuilt)) : new Map<string, number>()
  const moved = differentPositions(positions, await positionsOf(rebuilt), cut)
  const report: RebuildReport = { database: name, tables, positions: moved, cut, erased, copied, isEqual: moved.length === 0 && tables.every(isEqual) }
  for (const line of summaryOf(report, made, isKept)) progress.say(line)
  return report
}

/** Where a log's start is gone, only what is whole in the rest of it counts. */
function scopeOf({ topic }: FoldedTable, { cut, spans, replay, until }: Rebuilt): Scope {
  if (!cut.some((span) => span.topic === topic)) return {}
  if (topic !== topics.roomEvents.name) return { mayLack: true }
  const ofRooms = spans.filter((span) => span.topic === topic)
  return {
    where: `EXISTS (SELECT FROM room_events o JOIN unnest($1::int[], $2::bigint[]) AS s(partition, first) ON o.log_partition = s.partition AND o.log_offset >= s.first
                     WHERE o.room_id = t.room_id AND o.seq = 1)`,
    values: [ofRooms.map(({ partition }) => partition), ofRooms.map((span) => replay.firstCounted(span, until.get(spanKey(span))!).toString())],
  }
}

/** Of the fenced logs; in a compacted topic the offset before an end may be gone. */
function differentPositions(live: ReadonlyMap<string, Position>, rebuilt: ReadonlyMap<string, Position>, cut: readonly Span[]): string[] {
  const isCut = (key: string) => cut.some((span) => spanKey(span) === key)
  return [...live].flatMap(([key, ours]) => {
    const theirs = rebuilt.get(key)
    if (ours.topic === ('product-updates' satisfies RebuiltTopic) || (ours.nextOffset === 0n && !theirs)) return []
    const isSame = ours.nextOffset === theirs?.nextOffset && ours.ownerEpoch === theirs.ownerEpoch && (isCut(key) || ours.lastSources === theirs.lastSources)
    const told = (position: Position | undefined) => (position ? `${position.nextOffset}, epoch ${position.ownerEpoch}, sources ${position.lastSources}` : 'none')
    return isSame ? [] : [`${key}: live ${told(ours)}; rebuilt ${told(theirs)}`]
  })
}

function summaryOf({ tables, positions, erased, copied, cut, database, isEqual: same }: RebuildReport, { replay }: Rebuilt, isKept: boolean): string[] {
  const lines = ['', 'Compared with the live database, as of one moment:', ...tables.flatMap(linesOf)]
  lines.push(positions.length === 0 ? '  positions: no difference' : '  positions: DIFFERENT', ...positions.map((line) => `    ${line}`))
  lines.push(`  erasures taken over from admin_audit: ${erased} contents`)
  if (cut.length > 0) {
    lines.push(`  the start of ${cut.length} partitions is gone by retention: ${replay.skipped} records about older rooms were left out, and those rooms were not compared`)
  }
  for (const [table, rows] of copied) lines.push(`  copied, since no topic has it: ${table}, ${rows} rows`)
  lines.push('', same ? 'No difference.' : 'The rebuilt tables are NOT the same as the live ones.')
  lines.push(isKept ? `The database ${database} is kept.` : `The database ${database} is dropped; --keep keeps it.`)
  return lines
}
