import { v7 as uuidV7 } from 'uuid'
import { createTokenVerifier } from '#libs/auth/verifier.ts'
import { ChatError } from '#libs/domain/errors.ts'
import type { ClientMessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import type { InboxCommand } from '#libs/domain/inbox.ts'
import type { RoomCommand } from '#libs/domain/inputs.ts'
import { type AvroCodec, AvroCodecs } from '#libs/kafka/avro.ts'
import { BatchingProducer } from '#libs/kafka/batching-producer.ts'
import { createKafkaClient } from '#libs/kafka/client.ts'
import { PositionedConsumer } from '#libs/kafka/positioned-consumer.ts'
import { OffsetsAdmin } from '#libs/kafka/topics-admin.ts'
import { createPool } from '#libs/postgres/pool.ts'
import { createRedis } from '#libs/redis/client.ts'
import { createConnectionLimiter } from '#libs/redis/connection-limit.ts'
import { createLocalRateLimiter, createSharedRateLimiter, type RateLimiter } from '#libs/redis/rate-limit.ts'
import { newId, newSalt, random, systemClock } from '#libs/runtime/clock.ts'
import { createLogger, type Logger } from '#libs/runtime/logger.ts'
import { startHealthServer } from '#libs/runtime/metrics.ts'
import { Releasers } from '#libs/runtime/releasers.ts'
import { withRetry } from '#libs/runtime/retry.ts'
import { newTraceparent, traceIdOf } from '#libs/runtime/trace.ts'
import { commandRecord, inboxCommandRecord } from '#libs/streams/command-record.ts'
import { partitionOf } from '#libs/streams/murmur2.ts'
import { type TopicName, topics } from '#libs/streams/topics.ts'
import type { EdgeConfig } from './config.ts'
import { Commands, type CommandsOptions } from './core/commands.ts'
import { Inbox } from './core/inbox.ts'
import { Lookups } from './core/lookups.ts'
import type { LogTail } from './core/ports.ts'
import { isStaff } from './core/room-view.ts'
import { Rooms } from './core/rooms.ts'
import { Sessions } from './core/sessions.ts'
import { drain } from './drain.ts'
import { handshake } from './handshake.ts'
import { createHistory } from './history.ts'
import { createInboxHistory } from './inbox-history.ts'
import { createEdgeMetrics, type EdgeMetrics } from './metrics.ts'
import { createRealtime, type EdgeRealtime } from './realtime.ts'
import { type Server, startServer } from './server.ts'

/** A log that was not heard from for this long may have more than we know. */
const HEALTHY_WITHIN_MS = 3_000

/** A stateless node between sockets and the log. */
export async function startEdge(config: EdgeConfig) {
  const { service } = config
  const logger = createLogger('edge', service.instanceId, service.logLevel)
  const metrics = createEdgeMetrics()
  const releasers = new Releasers()
  const failed = Promise.withResolvers<never>()
  const life = { ready: false, draining: false }
  const health = await startHealthServer({ host: service.metricsHost, port: service.metricsPort, registry: metrics.registry, isReady: () => life.ready })
  releasers.add(() => health.close())

  const basics: Basics = { config, logger, metrics, releasers, fail: (err) => failed.reject(err) }
  const world = await connect(basics)
  const chat = createChat(basics, world)
  await Promise.all([world.consumer.start(), world.producer.start()])
  // A node that admits nobody yet would only send its first clients away.
  await Promise.race([world.consumer.joined, failed.promise])
  warmUp(basics, world)
  const server = await openDoor(basics, world, chat, life)
  releasers.add(() => server.close())
  startTimers(basics, world, chat)
  life.ready = true
  logger.info({ port: server.port, metricsPort: health.port }, 'started')
  return {
    logger,
    port: server.port,
    metricsPort: health.port,
    stopTimeoutMs: Math.max(service.stopTimeoutMs, config.drainMs + 5_000),
    finished: failed.promise,
    close: async () => {
      life.ready = false
      life.draining = true
      server.stopListening()
      await drain(chat.sessions, config.drainMs, systemClock, random)
      await chat.live.stop()
      await releasers.releaseAll()
    },
  }
}

type Basics = {
  readonly config: EdgeConfig
  readonly logger: Logger
  readonly metrics: EdgeMetrics
  readonly releasers: Releasers
  /** Ends the service. */
  readonly fail: (err: unknown) => void
}

type World = Awaited<ReturnType<typeof connect>>

/** Everything outside this process. */
async function connect({ config, logger, releasers, fail }: Basics) {
  const pool = createPool(config.postgres, logger)
  releasers.add(() => pool.end())
  const redis = createRedis(config.redis, logger)
  releasers.add(() => redis.disconnect())
  const kafka = createKafkaClient(config.kafka, config.service.instanceId, logger)
  const codecs = await loadCodecs(new AvroCodecs(config.registry, kafka))
  const offsets = new OffsetsAdmin(kafka)
  releasers.add(() => offsets.close())
  const producer = new BatchingProducer(kafka)
  releasers.add(() => producer.close())
  const consumer = new PositionedConsumer(kafka, {
    topics: [topics.roomEvents.name, topics.userEvents.name, topics.productUpdates.name],
    onFailed: fail,
  })
  releasers.add(() => consumer.close())
  const connectionLimiter = createConnectionLimiter({
    redis,
    keyPrefix: config.redis.prefix,
    perUserMax: config.connectionsPerUserMax,
    forgetAfterMs: 90_000,
    nowMs: systemClock.nowMs,
    onFallback: (err) => logger.debug({ err }, 'connections are counted per node'),
  })
  return { pool, redis, codecs, offsets, producer, consumer, connectionLimiter, verifier: createTokenVerifier(config.auth) }
}

/** So that the first sockets need not wait for the first connection to Postgres and for the issuer's keys. */
function warmUp({ logger, releasers }: Basics, { pool, verifier }: World): void {
  const stopped = new AbortController()
  releasers.add(() => stopped.abort())
  for (const work of [() => verifier.warmUp(), () => pool.query('SELECT 1')]) {
    withRetry(work as () => Promise<unknown>, { clock: systemClock, signal: stopped.signal, attemptsMax: 10 }).catch((err: unknown) => logger.debug({ err }, 'not warmed up'))
  }
}

type Chat = { readonly rooms: Rooms; readonly commands: Commands; readonly inbox: Inbox; readonly sessions: Sessions; readonly live: EdgeRealtime; readonly perUser: RateLimiter }

/** The rules (core/), with the world plugged in. */
function createChat(basics: Basics, world: World): Chat {
  const { config, logger, metrics, fail } = basics
  const { pool, redis, codecs, offsets, producer, consumer } = world
  const history = createHistory(pool, config.conversationsPerUserMax)
  const lookups = new Lookups({ history, clock: systemClock, onTrouble: (err) => troubled(logger, err) })
  const commands = new Commands({
    ...commandPorts(config, producer, codecs.chatCommands, metrics, logger, (roomId, userId) => live.realtime.sent(roomId, userId)),
    lookups,
    viewOf: (roomId) => rooms.viewOf(roomId),
    follow: (roomId) => rooms.follow(roomId),
  })
  const rooms: Rooms = new Rooms({
    edgeId: config.service.instanceId,
    partitions: config.kafka.partitions,
    history,
    log: logTail(topics.roomEvents.name, consumer, offsets),
    codec: codecs.roomEvents,
    clock: systemClock,
    limits: config.rooms,
    takeOwnAck: (event, decision) => commands.takeOwnAck(event, decision),
    onReply: (decision) => commands.onReply(decision),
    onCorrupt: fail,
    onTrouble: (err) => troubled(logger, err),
    realtime: { joined: (connection, roomId) => live.realtime.joined(connection, roomId), left: (connection, roomId) => live.realtime.left(connection, roomId) },
    onDelivered: (event) => metrics.deliverySeconds.observe(Math.max(0, systemClock.nowMs() - event.timestampMs) / 1_000),
    onJoined: ({ speaker }, roomId) => {
      if (isStaff(speaker)) logger.info({ orderId: roomId, userId: speaker.userId, role: speaker.role }, 'a room is read by who is not in it')
    },
  })
  const live: EdgeRealtime = createRealtime({
    ...basics,
    ...world,
    rooms: { room: (roomId) => rooms.partitions.get(partitionOf(roomId, config.kafka.partitions))?.rooms.get(roomId) },
    sockets: {
      get connections() {
        return sessions.connections
      },
    },
    hidesLastSeen: async (userId) => (await lookups.settings(userId)).hideLastSeen,
  })
  const perUser = createSharedRateLimiter(redis, `${config.redis.prefix}requests`, { points: config.requestsPerSecond.user, durationS: 1 })
  const inbox = createInbox(basics, world)
  const sessions = createSessions(basics, world, { rooms, commands, inbox, live, perUser })
  return { rooms, commands, inbox, sessions, live, perUser }
}

function createInbox({ config, logger, metrics, fail }: Basics, { pool, codecs, offsets, producer, consumer }: World): Inbox {
  const { instanceId } = config.service
  const { rooms, pendingPerSocketMax, answerTimeoutMs } = config
  const publish = async (command: InboxCommand) => {
    await producer.send(topics.inboxCommands.name, inboxCommandRecord(codecs.inboxCommands, command, { traceparent: newTraceparent(), replyTo: instanceId }))
  }
  return new Inbox({
    edgeId: instanceId,
    partitions: config.kafka.partitions,
    history: createInboxHistory(pool),
    log: logTail(topics.userEvents.name, consumer, offsets),
    codec: codecs.userEvents,
    clock: systemClock,
    publish,
    newId,
    limits: { ...rooms, pendingPerSocketMax, answerTimeoutMs },
    onCorrupt: fail,
    onTrouble: (err) => troubled(logger, err),
    onDelivered: ({ timestampMs }) => metrics.inboxDeliverySeconds.observe(Math.max(0, systemClock.nowMs() - timestampMs) / 1_000),
  })
}

function createSessions({ config, logger, metrics }: Basics, { verifier, connectionLimiter }: World, { rooms, commands, inbox, live, perUser }: Omit<Chat, 'sessions'>): Sessions {
  const perConnection = createLocalRateLimiter({ points: config.requestsPerSecond.connection, durationS: 1 })
  return new Sessions({
    rooms,
    commands,
    verify: (token) => verifier.verify(token),
    consume: async (connection) => {
      await perConnection.consume(connection.id)
      await perUser.consume(connection.speaker.userId)
    },
    realtime: live.realtime,
    inbox,
    onOpened: () => metrics.connections.inc(),
    onClosed: (connection) => {
      metrics.connections.dec()
      connectionLimiter.leave(connection.speaker.userId, connection.id)
    },
    onError: (err, connection) => logger.error({ err, connection: connection.id }, 'a request has failed'),
    newId,
    nowMs: systemClock.nowMs,
    random,
    limits: config.sessions,
  })
}

const troubled = (logger: Logger, err: unknown) => logger.warn({ err }, 'waiting for what cannot be reached')

function openDoor({ config, logger, metrics }: Basics, { verifier, connectionLimiter }: World, { rooms, sessions, perUser }: Chat, life: { readonly draining: boolean }): Promise<Server> {
  return startServer({
    host: config.host,
    port: config.port,
    allowedOrigins: config.allowedOrigins,
    sessions,
    handshake: (request) => {
      if (life.draining) return Promise.reject(new ChatError('shutting_down', undefined, { retryAfterMs: 1_000 }))
      return handshake({ verifier, rooms, connectionLimiter, consume: (userId) => perUser.consume(userId), allowedOrigins: config.allowedOrigins, newId }, request)
    },
    abandon: ({ identity, connectionId }) => connectionLimiter.leave(identity.userId, connectionId),
    frameBytesMax: config.sessions.frameBytesMax,
    slowBufferBytes: config.rooms.slowBufferBytes,
    observer: {
      handshake: (code, tookMs) => {
        metrics.handshakes.inc({ code })
        metrics.handshakeSeconds.observe(tookMs / 1_000)
      },
      frameIn: () => metrics.messagesIn.inc(),
      frameOut: () => metrics.messagesOut.inc(),
      closing: (name) => {
        metrics.closes.inc({ code: name })
        if (name !== 'shutting_down') logger.info({ code: name }, 'closing a socket')
      },
      failed: (err) => logger.error({ err }, 'a handshake has failed'),
    },
  })
}

async function loadCodecs(codecs: AvroCodecs) {
  const specs = [topics.roomEvents, topics.chatCommands, topics.presenceEvents, topics.productUpdates, topics.userEvents, topics.inboxCommands] as const
  const [roomEvents, chatCommands, presenceEvents, productUpdates, userEvents, inboxCommands] = await Promise.all(specs.map((spec) => codecs.whenRegistered(spec)))
  return { roomEvents: roomEvents!, chatCommands: chatCommands!, presenceEvents: presenceEvents!, productUpdates: productUpdates!, userEvents: userEvents!, inboxCommands: inboxCommands! }
}

function commandPorts(config: EdgeConfig, producer: BatchingProducer, codec: AvroCodec, metrics: EdgeMetrics, logger: Logger, onSent: (roomId: RoomId, userId: UserId) => void): Omit<CommandsOptions, 'lookups' | 'viewOf' | 'follow'> {
  const publish = async (command: RoomCommand) => {
    if (command.type === 'sendMessage') onSent(command.roomId, command.senderId)
    const traceparent = newTraceparent()
    logger.debug({ orderId: command.roomId, traceId: traceIdOf(traceparent), commandId: command.commandId }, 'command')
    try {
      await producer.send(topics.chatCommands.name, commandRecord(codec, command, { traceparent, replyTo: config.service.instanceId }))
    } catch (err) {
      logger.warn({ orderId: command.roomId, traceId: traceIdOf(traceparent), err }, 'a command was not taken by the log')
      throw err
    }
  }
  return {
    publish,
    newId,
    newSalt,
    newClientMessageId: () => uuidV7() as ClientMessageId,
    clock: systemClock,
    limits: { room: config.room, pendingPerSocketMax: config.pendingPerSocketMax, answerTimeoutMs: config.answerTimeoutMs },
    onAck: (tookMs) => metrics.ackSeconds.observe(tookMs / 1_000),
  }
}

function logTail(topic: TopicName, consumer: PositionedConsumer, offsets: OffsetsAdmin): LogTail {
  return {
    open: (partition, from, sink) => consumer.open(topic, partition, from, sink),
    close: (partition) => consumer.closePartition(topic, partition),
    highWatermark: async (partition) => (await offsets.range(topic, partition)).high,
    isHealthy: () => systemClock.nowMs() - consumer.lastHeardMs < HEALTHY_WITHIN_MS,
  }
}

function startTimers({ logger, metrics, releasers }: Basics, { connectionLimiter }: World, { rooms, commands, inbox, sessions }: Chat): void {
  const onTrouble = (err: unknown) => troubled(logger, err)
  const openConnections = function* () {
    for (const { id, speaker } of sessions.connections) yield { userId: speaker.userId, connectionId: id }
  }
  const timers = [
    setInterval(() => {
      const followed = [...rooms.partitions.values()]
      sessions.tick()
      commands.expire()
      inbox.expire()
      metrics.pendingCommands.set(commands.pending + inbox.pending)
      metrics.followedPartitions.set(followed.length)
      metrics.followedInboxPartitions.set(inbox.partitions.size)
      metrics.syncedSockets.set(inbox.synced)
      metrics.followedRooms.set(followed.reduce((sum, p) => sum + p.rooms.size, 0))
      metrics.bufferedRecords.set(followed.reduce((sum, p) => sum + p.buffer.size, 0))
      rooms.prune().catch(onTrouble)
      inbox.prune().catch(onTrouble)
    }, 1_000),
    setInterval(() => {
      rooms.sweep()
      inbox.sweep()
    }, 10_000),
    setInterval(() => connectionLimiter.refresh(openConnections()).catch(onTrouble), 30_000),
  ]
  releasers.add(() => {
    for (const timer of timers) clearInterval(timer)
  })
}
