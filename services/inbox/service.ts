import type { InboxEntry } from '#libs/domain/inbox.ts'
import { type AvroCodec, AvroCodecs } from '#libs/kafka/avro.ts'
import { createKafkaClient, type KafkaClient } from '#libs/kafka/client.ts'
import { startFencedService } from '#libs/kafka/fenced-service.ts'
import { OffsetsAdmin } from '#libs/kafka/topics-admin.ts'
import { createPool } from '#libs/postgres/pool.ts'
import { createLogger } from '#libs/runtime/logger.ts'
import { startHealthServer } from '#libs/runtime/metrics.ts'
import { Releasers } from '#libs/runtime/releasers.ts'
import { feedInputTopics, topics } from '#libs/streams/topics.ts'
import type { InboxConfig } from './config.ts'
import { FeedProcessor } from './core/feed-processor.ts'
import { type PreparedInboxInput, prepareInboxInputs } from './core/prepare.ts'
import { startFanOut } from './fan-out-service.ts'
import { createInboxMetrics, type InboxMetrics } from './metrics.ts'

/** The partitions of fan-out send one after the other: gathered, what they say costs the feed far fewer fetches and appends. */
const FEED_FETCH = { minBytes: 32 * 1024, waitMs: 60 }

/**
 * Each user's own list of chats, in two halves that meet in a topic, since rooms come in and users go out: the fan-out says
 * what has changed for whom, at least once; the feed applies each change once and gives it the user's next number.
 */
export async function startInbox(config: InboxConfig) {
  const { service } = config
  const logger = createLogger('inbox', service.instanceId, service.logLevel)
  const metrics = createInboxMetrics()
  const releasers = new Releasers()
  const failed = Promise.withResolvers<never>()
  const onFailed = (err: unknown) => failed.reject(err)
  const stopping = new AbortController()
  let isReady = () => false
  const health = await startHealthServer({ host: service.metricsHost, port: service.metricsPort, registry: metrics.registry, isReady: () => !stopping.signal.aborted && isReady() })
  releasers.add(() => health.close())
  const pool = createPool(config.postgres, logger)
  releasers.add(() => pool.end())
  const kafka = createKafkaClient(config.kafka, service.instanceId, logger)
  const codecs = await loadCodecs(config, kafka, stopping.signal)
  const offsets = new OffsetsAdmin(kafka)
  releasers.add(() => offsets.close())
  // The feed is released first: people wait for its next owner, and what the fan-out says meanwhile is not lost.
  const fanOut = await startFanOut({ config, kafka, offsets, pool, codecs, metrics: metrics.fanOut, logger, onFailed }, releasers)
  const feed = await startFeed({ config, kafka, offsets, codecs, metrics, logger, onFailed }, releasers)
  isReady = () => fanOut.isReady() && feed.isReady()
  logger.info({ metricsPort: health.port }, 'started')
  return {
    logger,
    stopTimeoutMs: service.stopTimeoutMs,
    metricsPort: health.port,
    finished: failed.promise,
    close: async () => {
      stopping.abort()
      await releasers.releaseAll()
    },
  }
}

type Codecs = Record<'roomEvents' | 'roomState' | 'inboxUpdates' | 'inboxCommands' | 'userEvents' | 'inboxState', AvroCodec>

async function loadCodecs(config: InboxConfig, kafka: KafkaClient, signal: AbortSignal): Promise<Codecs> {
  const registry = new AvroCodecs(config.registry, kafka)
  const [roomEvents, roomState, inboxUpdates, inboxCommands, userEvents, inboxState] = await Promise.all([
    registry.whenRegistered(topics.roomEvents, signal),
    registry.whenRegistered(topics.roomState, signal),
    registry.whenRegistered(topics.inboxUpdates, signal),
    registry.whenRegistered(topics.inboxCommands, signal),
    registry.whenRegistered(topics.userEvents, signal),
    registry.whenRegistered(topics.inboxState, signal),
  ])
  return { roomEvents, roomState, inboxUpdates, inboxCommands, userEvents, inboxState }
}

type FeedParts = {
  readonly config: InboxConfig
  readonly kafka: KafkaClient
  readonly offsets: OffsetsAdmin
  readonly codecs: Codecs
  readonly metrics: InboxMetrics
  readonly logger: ReturnType<typeof createLogger>
  readonly onFailed: (err: unknown) => void
}

function startFeed({ config, kafka, offsets, codecs, metrics, logger, onFailed }: FeedParts, releasers: Releasers): Promise<{ isReady(): boolean }> {
  const decode = (topic: string, bytes: Buffer) => (topic === topics.inboxUpdates.name ? codecs.inboxUpdates : codecs.inboxCommands).decode(bytes)
  return startFencedService<PreparedInboxInput>(
    {
      kafka,
      offsets,
      groupId: 'inbox-feed',
      transactionalId: 'inbox',
      ownerId: config.service.instanceId,
      inputTopics: feedInputTopics,
      fetch: FEED_FETCH,
      logTopic: topics.userEvents.name,
      stateTopic: topics.inboxState.name,
      deadLetterTopic: topics.inboxDlq.name,
      createProcessor: (partition, deadLetter) =>
        new FeedProcessor({
          userEvents: codecs.userEvents,
          inboxState: codecs.inboxState,
          prepare: (records) => prepareInboxInputs({ partition, partitions: config.kafka.partitions, decode, deadLetter }, records),
          onEntry: (entry) => metrics.feed.entries.inc({ type: entry.type, code: codeOf(entry) }),
        }),
      limits: config.task,
      reportEveryMs: config.commitEveryMs,
      metrics: metrics.feed,
      logger,
      onFailed,
    },
    releasers,
  )
}

const codeOf = (entry: InboxEntry): string => (entry.type === 'chatChanged' ? entry.cause : entry.type === 'inboxRefused' ? entry.code : '')
