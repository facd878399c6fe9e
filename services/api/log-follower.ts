import { ChatError } from '#libs/domain/errors.ts'
import type { AvroCodec } from '#libs/kafka/avro.ts'
import type { KafkaClient } from '#libs/kafka/client.ts'
import { PositionedConsumer } from '#libs/kafka/positioned-consumer.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import { withRetry } from '#libs/runtime/retry.ts'
import { type Decision, decisionFromAvro } from '#libs/streams/avro-shapes.ts'
import { headerText, NO_EPOCH, ReaderRule } from '#libs/streams/reader-rule.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { headerNames, topics } from '#libs/streams/topics.ts'

const topic = topics.roomEvents.name
/** Nearly nothing of what it reads is an answer: gathered, so that a busy log costs few fetches. An answer waits 75 ms on average. */
const FETCH = { minBytes: 64 * 1024, waitMs: 150 }
/** A log that was not heard from for this long is not to be counted on. */
const HEALTHY_WITHIN_MS = 3_000

export type LogPosition = { readonly nextOffset: bigint; readonly ownerEpoch: bigint }

export type LogFollowerDeps = {
  readonly kafka: KafkaClient
  /** Where Postgres stands in each partition that it knows, and the epoch in force there. */
  readonly positions: () => Promise<ReadonlyMap<number, LogPosition>>
  readonly codec: AvroCodec
  /** Whose answers count: `reply-to`. */
  readonly instanceId: string
  readonly onReply: (decision: Decision) => void
  readonly logger: Logger
}

/**
 * Reads all of `room-events` for the answers to this process's commands, by the rule of every reader; what is not for us
 * is judged by its headers and never decoded. Whatever breaks it, it begins anew at what Postgres has by then: answers
 * that it missed meanwhile are `outcome_unknown`, and the same commands give them again.
 */
export class LogFollower {
  readonly #deps: LogFollowerDeps
  readonly #stopped = new AbortController()
  #consumer: PositionedConsumer | undefined
  #isJoined = false
  #running: Promise<void> | undefined

  constructor(deps: LogFollowerDeps) {
    this.#deps = deps
  }

  /** Whether an answer would be seen now. */
  get isListening(): boolean {
    return this.#isJoined && this.#consumer !== undefined && systemClock.nowMs() - this.#consumer.lastHeardMs < HEALTHY_WITHIN_MS
  }

  /** Goes on until `stop`, whatever is down. */
  start(): void {
    const { signal } = this.#stopped
    const { logger } = this.#deps
    // Each attempt lasts as long as it works, and then counts as failed.
    this.#running = withRetry(() => this.#follow(signal), {
      clock: systemClock,
      signal,
      onFailure: (err, _, delayMs) => logger.warn({ err, delayMs }, 'the log cannot be followed: no writing for now'),
    }).catch(() => {})
  }

  async stop(): Promise<void> {
    this.#stopped.abort(new ChatError('shutting_down'))
    await this.#running
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { kafka, positions, logger } = this.#deps
    const failed = Promise.withResolvers<never>()
    failed.promise.catch(() => {})
    const onAbort = () => failed.reject(signal.reason as Error)
    signal.addEventListener('abort', onAbort, { once: true })
    const consumer = new PositionedConsumer(kafka, { topics: [topic], fetch: FETCH, onFailed: failed.reject })
    try {
      const known = await positions()
      for (let partition = 0; partition < kafka.config.partitions; partition++) {
        const { nextOffset, ownerEpoch } = known.get(partition) ?? { nextOffset: 0n, ownerEpoch: NO_EPOCH }
        const rule = new ReaderRule(ownerEpoch)
        consumer.open(topic, partition, nextOffset, (records) => {
          try {
            for (const record of records) this.#handle(rule, record)
          } catch (err) {
            failed.reject(err)
          }
        })
      }
      await Promise.race([consumer.start(), failed.promise])
      await Promise.race([consumer.joined, failed.promise])
      this.#consumer = consumer
      this.#isJoined = true
      logger.info('the log is followed: writing is possible')
      await failed.promise
    } finally {
      this.#isJoined = false
      this.#consumer = undefined
      signal.removeEventListener('abort', onAbort)
      await consumer.close().catch((err: unknown) => logger.debug({ err }, 'closing a consumer that has failed'))
    }
  }

  #handle(rule: ReaderRule, { offset, headers, value }: InRecord): void {
    if (rule.judge(offset, headers) !== 'valid' || value === null) return
    if (headerText(headers, headerNames.replyTo) === this.#deps.instanceId) void this.#answer(value)
  }

  /** Answers are not bound to any order. */
  async #answer(value: Buffer): Promise<void> {
    const { codec, onReply, logger } = this.#deps
    try {
      const learning = codec.learn(value)
      if (learning) await learning
      const decision = decisionFromAvro(codec.decode(value))
      if (decision) onReply(decision)
    } catch (err) {
      logger.warn({ err }, 'an answer in the log cannot be read: its command will be outcome_unknown')
    }
  }
}
