import type { Identity, TokenVerifier } from '#libs/auth/verifier.ts'
import { ChatError } from '#libs/domain/errors.ts'
import type { ClientMessageId } from '#libs/domain/ids.ts'
import { createConnectionLimiter } from '#libs/redis/connection-limit.ts'
import { commandRecord, inboxCommandRecord } from '#libs/streams/command-record.ts'
import { type TopicName, topics } from '#libs/streams/topics.ts'
import { Commands } from '../../../services/edge/core/commands.ts'
import type { FollowedLog } from '../../../services/edge/core/followed-log.ts'
import { errorFrameOf } from '../../../services/edge/core/frames.ts'
import { Inbox, type InboxOptions } from '../../../services/edge/core/inbox.ts'
import { Lookups } from '../../../services/edge/core/lookups.ts'
import { Rooms, type RoomsLimits } from '../../../services/edge/core/rooms.ts'
import { Sessions } from '../../../services/edge/core/sessions.ts'
import { drain } from '../../../services/edge/drain.ts'
import { handshake } from '../../../services/edge/handshake.ts'
import { createHistory } from '../../../services/edge/history.ts'
import { createInboxHistory } from '../../../services/edge/inbox-history.ts'
import type { LogTail } from '../../../services/edge/core/ports.ts'
import { SimConsumer } from '../world/consumer.ts'
import type { Door } from '../world/network.ts'
import { SimProducer } from '../world/producer.ts'
import type { Process } from '../world/process.ts'
import type { SimCodec } from '../world/registry.ts'
import type { Plan } from '../plan.ts'
import type { Servers } from '../world/servers.ts'

const HEALTHY_WITHIN_MS = 3_000
const TICK_MS = 1_000
const DRAIN_MS = 1_000
export const SLOW_BUFFER_BYTES = 2_000
/** What one step may put on a socket before it looks at what is buffered. */
const SOCKET_SLACK_BYTES = 3_000

const sessionLimits = { heartbeatMs: 4_000, frameBytesMax: 65_536, requestTimeoutMs: 15_000, queuedPerSocketMax: 100, malformedMax: 20, refusalsMax: 200 }

/** services/edge/service.ts and server.ts in the simulated world, listening as `host`. Returns its graceful end. */
export function startEdge(process: Process, servers: Servers, host: string, plan: Plan): () => Promise<void> {
  const { world, network } = servers
  const chat = createChat(process, servers, plan)
  const { rooms, commands, inbox, sessions, connectionLimiter } = chat
  let draining = false
  const admit = (request: Parameters<typeof handshake>[1]) => {
    if (draining) return Promise.reject(new ChatError('shutting_down', undefined, { retryAfterMs: 200 }))
    return handshake({ verifier: verifierOf(process), rooms, connectionLimiter, consume: async () => {}, allowedOrigins: ['*'], newId: chat.newId }, request)
  }
  const door = doorOf(process, chat, admit)
  network.doors.set(host, door)
  const closeDoor = () => {
    if (network.doors.get(host) === door) network.doors.delete(host)
  }
  process.onEnd(closeDoor)
  const positions = new WeakMap<FollowedLog, bigint>()
  process.every(TICK_MS, 'tick', () => {
    sessions.tick()
    commands.expire()
    inbox.expire()
    rooms.prune().catch(() => {})
    inbox.prune().catch(() => {})
    checkBounds(servers, process, chat, plan.roomsLimits, positions)
  })
  process.every(2_000, 'sweep', () => {
    rooms.sweep()
    inbox.sweep()
  })
  const open = function* () {
    for (const { id, speaker } of sessions.connections) yield { userId: speaker.userId, connectionId: id }
  }
  process.every(30_000, 'refresh', () => void connectionLimiter.refresh(open()).catch(() => {}))
  return async () => {
    draining = true
    closeDoor()
    await drain(sessions, DRAIN_MS, process.clock, () => world.random.next())
  }
}

type Chat = ReturnType<typeof createChat>

function createChat(process: Process, servers: Servers, plan: Plan) {
  const { world, kafka, postgres, redis, registry } = servers
  const fatal = (err: unknown) => world.fail('no-fatal-error', `${process.name}: ${err instanceof Error ? err.message : err}`)
  const known = new Set<number>()
  const commandCodec = registry.codec(process, topics.chatCommands, known)
  const inboxCodec = registry.codec(process, topics.inboxCommands, known)
  const producer = new SimProducer(process, kafka)
  const consumer = new SimConsumer(process, kafka, { inGroup: false, onFailed: fatal })
  let ids = 0
  const newId = () => `${process.name}-${ids++}`
  const history = createHistory(postgres.pool(process))
  const tailOf = (topic: TopicName): LogTail => ({
    open: (partition, from, sink) => consumer.open(topic, partition, from, sink),
    close: (partition) => consumer.close(topic, partition),
    highWatermark: async (partition) => (await kafka.range(process, topic, partition)).high,
    isHealthy: () => world.nowMs - consumer.lastHeardMs < HEALTHY_WITHIN_MS,
  })
  const commands = new Commands({
    lookups: new Lookups({ history, clock: process.clock, onTrouble: () => {} }),
    viewOf: (roomId) => rooms.viewOf(roomId),
    follow: (roomId) => rooms.follow(roomId),
    publish: (command) => producer.send(topics.chatCommands.name, commandRecord(commandCodec, command, { traceparent: '', replyTo: process.name })),
    newId,
    newSalt: () => world.random.hex(4),
    newClientMessageId: () => `${process.clock.nowMs().toString(16).padStart(12, '0').replace(/^(.{8})/, '$1-')}-7000-8000-${world.random.hex(6)}` as ClientMessageId,
    clock: process.clock,
    limits: { room: plan.room, pendingPerSocketMax: 20, answerTimeoutMs: 5_000 },
  })
  const rooms: Rooms = new Rooms({
    edgeId: process.name,
    partitions: kafka.partitions,
    history,
    log: tailOf(topics.roomEvents.name),
    codec: registry.codec(process, topics.roomEvents, known),
    clock: process.clock,
    limits: plan.roomsLimits,
    takeOwnAck: (event, decision) => commands.takeOwnAck(event, decision),
    onReply: (decision) => commands.onReply(decision),
    onCorrupt: fatal,
    onTrouble: () => {},
  })
  const inbox = createInbox(process, servers, plan, { codec: registry.codec(process, topics.userEvents, known), log: tailOf(topics.userEvents.name), producer, inboxCodec, newId, onCorrupt: fatal })
  const connectionLimiter = createConnectionLimiter({ redis: redis.client(process) as never, keyPrefix: '', perUserMax: 20, forgetAfterMs: 90_000, nowMs: process.clock.nowMs, onFallback: () => {} })
  const consume = async () => {
    if (!world.calm && world.random.chance(0.01)) throw new ChatError('rate_limited', undefined, { retryAfterMs: 300 })
  }
  const sessions = new Sessions({
    rooms,
    commands,
    inbox,
    verify: (token) => verifierOf(process).verify(token),
    consume,
    onOpened: () => {},
    onClosed: ({ speaker, id }) => connectionLimiter.leave(speaker.userId, id),
    onError: fatal,
    newId,
    nowMs: process.clock.nowMs,
    random: () => world.random.next(),
    limits: sessionLimits,
  })
  return { rooms, commands, inbox, sessions, connectionLimiter, consume, newId }
}

type InboxParts = Pick<InboxOptions, 'codec' | 'log' | 'newId' | 'onCorrupt'> & { readonly producer: SimProducer; readonly inboxCodec: SimCodec }

function createInbox(process: Process, { kafka, postgres }: Servers, plan: Plan, { codec, log, producer, inboxCodec, newId, onCorrupt }: InboxParts): Inbox {
  return new Inbox({
    edgeId: process.name,
    partitions: kafka.partitions,
    history: createInboxHistory(postgres.pool(process)),
    log,
    codec,
    clock: process.clock,
    publish: (command) => producer.send(topics.inboxCommands.name, inboxCommandRecord(inboxCodec, command, { traceparent: '', replyTo: process.name })),
    newId,
    limits: { ...plan.roomsLimits, pendingPerSocketMax: 20, answerTimeoutMs: 5_000 },
    onCorrupt,
    onTrouble: () => {},
  })
}

/** Tokens are the identity itself, as JSON in base64url. */
export const tokenOf = (identity: Omit<Identity, 'subject'>): string => Buffer.from(JSON.stringify(identity)).toString('base64url')

function verifierOf(process: Process): TokenVerifier {
  return {
    verify: async (token) => {
      if (token === undefined) throw new ChatError('token_missing')
      const identity = JSON.parse(Buffer.from(token, 'base64url').toString()) as Identity
      if (identity.expiresAtMs <= process.clock.nowMs()) throw new ChatError('token_expired')
      return identity
    },
    warmUp: async () => {},
  }
}

function doorOf(process: Process, { sessions, connectionLimiter }: Chat, admit: (request: Parameters<typeof handshake>[1]) => ReturnType<typeof handshake>): Door {
  return {
    process,
    upgrade: async (request, wire) => {
      try {
        const { connectionId, identity, first } = await admit(request)
        if (!wire.accept()) {
          connectionLimiter.leave(identity.userId, connectionId)
          return
        }
        const receive = (text: string) => wire.connection && sessions.receive(wire.connection, text)
        wire.onReceived = (text) => void receive(text)
        wire.onClosed = () => wire.connection && sessions.closed(wire.connection)
        wire.identity = identity
        wire.connection = sessions.open(connectionId, wire, identity, first)
      } catch (err) {
        process.world.note(`${process.name} refuses ${wire.client.name}: ${(err as Error).message}`)
        wire.refuse()
      }
    },
    probe: async (request) => {
      try {
        const { connectionId, identity } = await admit(request)
        connectionLimiter.leave(identity.userId, connectionId)
        throw new ChatError('upgrade_required')
      } catch (err) {
        return { status: err instanceof ChatError ? err.httpStatus : 500, body: JSON.stringify(errorFrameOf(undefined, err)) }
      }
    },
  }
}

function checkBounds({ world }: Servers, process: Process, { rooms, inbox, sessions }: Chat, limits: RoomsLimits, positions: WeakMap<FollowedLog, bigint>): void {
  for (const [number, followed] of [...rooms.partitions, ...inbox.partitions]) {
    const { buffer, position } = followed
    if (buffer.size > limits.buffer.recordsMax) world.fail('bounded-buffers', `${process.name} keeps ${buffer.size} records of partition ${number}`)
    if (position < (positions.get(followed) ?? 0n)) world.fail('positions', `${process.name} goes back to ${position} in partition ${number}`)
    positions.set(followed, position)
  }
  for (const { socket, speaker } of sessions.connections) {
    if (socket.bufferedBytes() > SLOW_BUFFER_BYTES + SOCKET_SLACK_BYTES) world.fail('bounded-buffers', `${process.name} holds ${socket.bufferedBytes()} bytes for ${speaker.userId}`)
  }
}
