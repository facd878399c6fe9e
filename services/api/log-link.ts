import type { RoomCommand } from '#libs/domain/inputs.ts'
import { ChatError } from '#libs/domain/errors.ts'
import { type AvroCodec, AvroCodecs, type RegistryConfig } from '#libs/kafka/avro.ts'
import { BatchingProducer } from '#libs/kafka/batching-producer.ts'
import { createKafkaClient, type KafkaConfig } from '#libs/kafka/client.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import { newTraceparent } from '#libs/runtime/trace.ts'
import { commandToAvro, type Decision } from '#libs/streams/avro-shapes.ts'
import { headerNames, topics } from '#libs/streams/topics.ts'
import { LogFollower } from './log-follower.ts'
import { selectLogPositions } from './sql/positions.ts'

export type LogLinkDeps = {
  readonly kafka: KafkaConfig
  readonly registry: RegistryConfig
  readonly instanceId: string
  readonly db: Queryable
  readonly onReply: (decision: Decision) => void
  readonly logger: Logger
}

/** The way to the log and back. Comes up in the background, whenever Kafka, registry and Postgres are there. */
export class LogLink {
  readonly #deps: LogLinkDeps
  readonly #producer: BatchingProducer
  readonly #connect: () => Promise<void>
  readonly #stopped = new AbortController()
  #codec: AvroCodec | undefined
  #follower: LogFollower | undefined
  #connecting: Promise<void> | undefined

  constructor(deps: LogLinkDeps) {
    const { kafka: config, registry, instanceId, db, onReply, logger } = deps
    this.#deps = deps
    const kafka = createKafkaClient(config, instanceId, logger)
    this.#producer = new BatchingProducer(kafka)
    this.#connect = async () => {
      const codecs = new AvroCodecs(registry, kafka)
      const [codec, chatCommands] = await Promise.all([
        codecs.whenRegistered(topics.roomEvents, this.#stopped.signal),
        codecs.whenRegistered(topics.chatCommands, this.#stopped.signal),
      ])
      this.#codec = chatCommands
      this.#follower = new LogFollower({ kafka, positions: () => selectLogPositions(db, topics.roomEvents.name), codec, instanceId, onReply, logger })
      this.#follower.start()
    }
  }

  get isListening(): boolean {
    return this.#follower?.isListening ?? false
  }

  start(): void {
    const { signal } = this.#stopped
    this.#connecting = this.#connect().catch((err: unknown) => {
      if (!signal.aborted) this.#deps.logger.error({ err }, 'the log cannot be reached')
    })
  }

  /** Resolves when the command is durable in the log. @throws ChatError `unavailable`: it may be there all the same */
  async publish(command: RoomCommand, traceId: string): Promise<void> {
    const { logger, instanceId } = this.#deps
    const traceparent = newTraceparent(`00-${traceId}-${'0'.repeat(16)}-01`)
    const headers = { [headerNames.traceparent]: traceparent, [headerNames.replyTo]: instanceId, [headerNames.commandId]: command.commandId }
    if (!this.#codec) throw new ChatError('unavailable', 'the schema registry')
    try {
      await this.#producer.send(topics.chatCommands.name, { key: command.roomId, value: this.#codec.encode(commandToAvro(command)), headers })
    } catch (err) {
      logger.warn({ roomId: command.roomId, traceId, err }, 'a command was not taken by the log')
      throw err
    }
  }

  async stop(): Promise<void> {
    this.#stopped.abort(new ChatError('shutting_down'))
    await this.#connecting
    await this.#follower?.stop()
    await this.#producer.close()
  }
}
