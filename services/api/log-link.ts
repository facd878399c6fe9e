import { ChatError } from '#libs/domain/errors.ts'
import type { InboxCommand, UserDecision } from '#libs/domain/inbox.ts'
import type { RoomCommand } from '#libs/domain/inputs.ts'
import { type AvroCodec, AvroCodecs, type RegistryConfig } from '#libs/kafka/avro.ts'
import { BatchingProducer } from '#libs/kafka/batching-producer.ts'
import { createKafkaClient, type KafkaClient, type KafkaConfig } from '#libs/kafka/client.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import { newTraceparent } from '#libs/runtime/trace.ts'
import { type Decision, decisionFromAvro } from '#libs/streams/avro-shapes.ts'
import { commandRecord, inboxCommandRecord, type Routing } from '#libs/streams/command-record.ts'
import { userDecisionFromAvro } from '#libs/streams/inbox-shapes.ts'
import type { OutRecord } from '#libs/streams/record.ts'
import { type TopicName, topics } from '#libs/streams/topics.ts'
import { type FollowedLog, LogFollower } from './log-follower.ts'
import { selectLogPositions } from './sql/positions.ts'

export type LogLinkDeps = {
  readonly kafka: KafkaConfig
  readonly registry: RegistryConfig
  readonly instanceId: string
  readonly db: Queryable
  readonly onReply: (decision: Decision) => void
  readonly onInboxReply: (decision: UserDecision) => void
  readonly logger: Logger
}

type Message = { readonly topic: TopicName; readonly codec: AvroCodec | undefined; readonly key: string; readonly recordOf: (codec: AvroCodec, routing: Routing) => OutRecord }

/** How long the rooms wait for the inbox to come along, so that both are usually followed from the start. */
const INBOX_WAIT_MS = 2_000

/**
 * The way to the logs and back. Comes up in the background, whenever Kafka, registry and Postgres are there. Rooms are written to
 * without the inbox where its logs are not there (yet), or cannot be followed.
 */
export class LogLink {
  readonly #deps: LogLinkDeps
  readonly #kafka: KafkaClient
  readonly #codecs: AvroCodecs
  readonly #producer: BatchingProducer
  readonly #stopped = new AbortController()
  #roomCommands: AvroCodec | undefined
  #inboxCommands: AvroCodec | undefined
  #follower: LogFollower | undefined
  #connecting: Promise<unknown> | undefined

  constructor(deps: LogLinkDeps) {
    this.#deps = deps
    this.#kafka = createKafkaClient(deps.kafka, deps.instanceId, deps.logger)
    this.#codecs = new AvroCodecs(deps.registry, this.#kafka)
    this.#producer = new BatchingProducer(this.#kafka)
  }

  /** Whether rooms can be written to. */
  get isListening(): boolean {
    return this.#follower?.isListening(topics.roomEvents.name) ?? false
  }

  /** Whether one's own list of chats can be changed. */
  get isInboxListening(): boolean {
    return this.#follower?.isListening(topics.userEvents.name) ?? false
  }

  start(): void {
    const { signal } = this.#stopped
    const inbox = this.#connectInbox()
    this.#connecting = Promise.allSettled([inbox, this.#connectRooms(inbox)]).then((results) => {
      for (const result of results) if (result.status === 'rejected' && !signal.aborted) this.#deps.logger.error({ err: result.reason }, 'the log cannot be reached')
    })
  }

  /** Resolves when the command is durable in the log. @throws ChatError `unavailable`: it may be there all the same */
  publish(command: RoomCommand, traceId: string): Promise<void> {
    return this.#send({ topic: topics.chatCommands.name, codec: this.#roomCommands, key: command.roomId, recordOf: (codec, routing) => commandRecord(codec, command, routing) }, traceId)
  }

  /** As `publish`. */
  publishInbox(command: InboxCommand, traceId: string): Promise<void> {
    return this.#send({ topic: topics.inboxCommands.name, codec: this.#inboxCommands, key: command.userId, recordOf: (codec, routing) => inboxCommandRecord(codec, command, routing) }, traceId)
  }

  async stop(): Promise<void> {
    this.#stopped.abort(new ChatError('shutting_down'))
    await this.#connecting
    await this.#follower?.stop()
    await this.#producer.close()
  }

  async #connectRooms(inbox: Promise<FollowedLog>): Promise<void> {
    const { instanceId, logger, onReply } = this.#deps
    const { signal } = this.#stopped
    const [codec, roomCommands] = await Promise.all([this.#codecs.whenRegistered(topics.roomEvents, signal), this.#codecs.whenRegistered(topics.chatCommands, signal)])
    const rooms = this.#logOf(topics.roomEvents, codec, (value) => {
      const decision = decisionFromAvro(value)
      if (decision) onReply(decision)
    })
    const early = await Promise.race([inbox, systemClock.sleep(INBOX_WAIT_MS, signal).then(() => undefined)])
    const follower = new LogFollower({ kafka: this.#kafka, instanceId, logger }, early ? [rooms, early] : [rooms])
    this.#roomCommands = roomCommands
    this.#follower = follower
    follower.start()
    if (!early) follower.add(await inbox)
  }

  async #connectInbox(): Promise<FollowedLog> {
    const { signal } = this.#stopped
    const [codec, inboxCommands] = await Promise.all([this.#codecs.whenRegistered(topics.userEvents, signal), this.#codecs.whenRegistered(topics.inboxCommands, signal)])
    this.#inboxCommands = inboxCommands
    const log = this.#logOf(topics.userEvents, codec, (value) => {
      const decision = userDecisionFromAvro(value)
      if (decision) this.#deps.onInboxReply(decision)
    })
    return { ...log, isOptional: true }
  }

  #logOf({ name: topic }: (typeof topics)['roomEvents' | 'userEvents'], codec: AvroCodec, onDecoded: (value: unknown) => void): FollowedLog {
    return {
      topic,
      positions: () => selectLogPositions(this.#deps.db, topic),
      onAnswer: async (value) => {
        const learning = codec.learn(value)
        if (learning) await learning
        onDecoded(codec.decode(value))
      },
    }
  }

  async #send({ topic, codec, key, recordOf }: Message, traceId: string): Promise<void> {
    const { logger, instanceId } = this.#deps
    const traceparent = newTraceparent(`00-${traceId}-${'0'.repeat(16)}-01`)
    if (!codec) throw new ChatError('unavailable', 'the schema registry')
    try {
      await this.#producer.send(topic, recordOf(codec, { traceparent, replyTo: instanceId }))
    } catch (err) {
      logger.warn({ topic, key, traceId, err }, 'a command was not taken by the log')
      throw err
    }
  }
}
