import { ChatError } from '#libs/domain/errors.ts'
import type { KafkaClient } from '#libs/kafka/client.ts'
import { PositionedConsumer, type RecordSink } from '#libs/kafka/positioned-consumer.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import { withRetry } from '#libs/runtime/retry.ts'
import { headerText, NO_EPOCH, ReaderRule } from '#libs/streams/reader-rule.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { headerNames, type TopicName } from '#libs/streams/topics.ts'

/** Nearly nothing of what it reads is an answer: gathered, so that a busy log costs few fetches. An answer waits 75 ms on average. */
const FETCH = { minBytes: 64 * 1024, waitMs: 150 }
/** A log that was not heard from for this long is not to be counted on. */
const HEALTHY_WITHIN_MS = 3_000
/** How long the others are followed without a log that cannot be; each time twice as long, since every new try is a short pause for them too. */
const LEFT_OUT_MS = { min: 60_000, max: 15 * 60_000 } as const

export type LogPosition = { readonly nextOffset: bigint; readonly ownerEpoch: bigint }

/** A fenced log in which answers to this process's commands come. */
export type FollowedLog = {
  readonly topic: TopicName
  /** Where Postgres stands in each partition that it knows, and the epoch in force there. */
  readonly positions: () => Promise<ReadonlyMap<number, LogPosition>>
  /** The value of a valid record with an answer for this process. */
  readonly onAnswer: (value: Buffer) => Promise<void>
  /** Where it alone cannot be followed, the others are followed without it for a while. */
  readonly isOptional?: boolean
}

export type LogFollowerDeps = {
  readonly kafka: KafkaClient
  /** Whose answers count: `reply-to`. */
  readonly instanceId: string
  readonly logger: Logger
}

/**
 * Reads all of its logs, with one consumer, for the answers to this process's commands, by the rule of every reader; what
 * is not for us is judged by its headers and never decoded. Whatever breaks it, it begins anew at what Postgres has by
 * then: answers that it missed meanwhile are `outcome_unknown`, and the same commands give them again.
 */
export class LogFollower {
  readonly #deps: LogFollowerDeps
  readonly #logs = new Map<TopicName, FollowedLog>()
  readonly #leftOut = new Map<TopicName, { readonly untilMs: number; readonly forMs: number }>()
  readonly #stopped = new AbortController()
  #consumer: PositionedConsumer | undefined
  #followed: ReadonlySet<TopicName> = new Set()
  #begin: (() => void) | undefined
  #running: Promise<void> | undefined

  constructor(deps: LogFollowerDeps, logs: readonly FollowedLog[]) {
    this.#deps = deps
    for (const log of logs) this.#logs.set(log.topic, log)
  }

  /** Whether an answer in this log would be seen now. */
  isListening(topic: TopicName): boolean {
    return this.#followed.has(topic) && this.#consumer !== undefined && systemClock.nowMs() - this.#consumer.lastHeardMs < HEALTHY_WITHIN_MS
  }

  /** Goes on until `stop`, whatever is down. */
  start(): void {
    const { signal } = this.#stopped
    const { logger } = this.#deps
    // Each attempt lasts as long as it works, and then counts as failed.
    this.#running = withRetry(() => this.#followOn(signal), {
      clock: systemClock,
      signal,
      onFailure: (err, _, delayMs) => logger.warn({ err, delayMs }, 'the log cannot be followed: no writing for now'),
    }).catch(() => {})
  }

  /** Follows this one too, from now on. */
  add(log: FollowedLog): void {
    this.#logs.set(log.topic, log)
    this.#begin?.()
  }

  async stop(): Promise<void> {
    this.#stopped.abort(new ChatError('shutting_down'))
    await this.#running
  }

  /** Begins anew, without any pause, as often as it shall follow others. */
  async #followOn(signal: AbortSignal): Promise<never> {
    for (;;) {
      const nowMs = systemClock.nowMs()
      const logs = [...this.#logs.values()].filter(({ topic }) => (this.#leftOut.get(topic)?.untilMs ?? 0) <= nowMs)
      const leftOut = [...this.#logs.keys()].filter((topic) => !logs.some((log) => log.topic === topic))
      const untilMs = Math.min(...leftOut.map((topic) => this.#leftOut.get(topic)!.untilMs))
      await this.#follow(logs, signal, untilMs - nowMs)
    }
  }

  /** Resolves when others are to be followed: one was added, or after `forMs` what was left out may be tried again. */
  async #follow(logs: readonly FollowedLog[], signal: AbortSignal, forMs: number): Promise<void> {
    const { kafka, logger } = this.#deps
    const ended = Promise.withResolvers<'ended'>()
    ended.promise.catch(() => {})
    const fail = (err: unknown, topic?: TopicName) => {
      if (topic !== undefined && this.#logs.get(topic)?.isOptional) {
        this.#leaveOut(topic, err)
        ended.resolve('ended')
      } else ended.reject(err)
    }
    const onAbort = () => ended.reject(signal.reason as Error)
    signal.addEventListener('abort', onAbort, { once: true })
    this.#begin = () => ended.resolve('ended')
    const timer = Number.isFinite(forMs) ? setTimeout(this.#begin, forMs) : undefined
    const consumer = new PositionedConsumer(kafka, { topics: logs.map(({ topic }) => topic), fetch: FETCH, onFailed: fail })
    try {
      for (const log of logs) await this.#open(consumer, log, fail)
      if ((await Promise.race([consumer.start(), ended.promise])) === 'ended') return
      if ((await Promise.race([consumer.joined, ended.promise])) === 'ended') return
      this.#consumer = consumer
      this.#followed = new Set(logs.map(({ topic }) => topic))
      logger.info({ topics: [...this.#followed] }, 'the log is followed: writing is possible')
      await ended.promise
    } finally {
      this.#followed = new Set()
      this.#consumer = undefined
      this.#begin = undefined
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      await consumer.close().catch((err: unknown) => logger.debug({ err }, 'closing a consumer that has failed'))
    }
  }

  #leaveOut(topic: TopicName, err: unknown): void {
    const nowMs = systemClock.nowMs()
    const before = this.#leftOut.get(topic)
    // What is fetched already may come to the sink some more times.
    if (before && before.untilMs > nowMs) return
    const forMs = before ? Math.min(2 * before.forMs, LEFT_OUT_MS.max) : LEFT_OUT_MS.min
    this.#deps.logger.error({ err, topic, leftOutMs: forMs }, 'a log cannot be followed: the others go on without it')
    this.#leftOut.set(topic, { untilMs: nowMs + forMs, forMs })
  }

  async #open(consumer: PositionedConsumer, log: FollowedLog, fail: (err: unknown, topic: TopicName) => void): Promise<void> {
    const known = await log.positions()
    for (let partition = 0; partition < this.#deps.kafka.config.partitions; partition++) {
      const { nextOffset, ownerEpoch } = known.get(partition) ?? { nextOffset: 0n, ownerEpoch: NO_EPOCH }
      const rule = new ReaderRule(ownerEpoch)
      const sink: RecordSink = (records) => {
        try {
          for (const record of records) this.#handle(log, rule, record)
        } catch (err) {
          fail(err, log.topic)
        }
      }
      consumer.open(log.topic, partition, nextOffset, sink)
    }
  }

  #handle(log: FollowedLog, rule: ReaderRule, { offset, headers, value }: InRecord): void {
    if (rule.judge(offset, headers) !== 'valid' || value === null) return
    if (headerText(headers, headerNames.replyTo) !== this.#deps.instanceId) return
    // Answers are not bound to any order.
    log.onAnswer(value).catch((err: unknown) => this.#deps.logger.warn({ err, topic: log.topic }, 'an answer in the log cannot be read: its command will be outcome_unknown'))
  }
}
