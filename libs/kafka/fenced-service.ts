import { ChatError } from '#libs/domain/errors.ts'
import { newId, systemClock } from '#libs/runtime/clock.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import type { Counter, Gauge, Histogram } from '#libs/runtime/metrics.ts'
import type { Releasers } from '#libs/runtime/releasers.ts'
import { retryDelayMs } from '#libs/runtime/retry.ts'
import type { Processor } from '#libs/streams/fenced-ports.ts'
import { FencedTask, type TaskLimits, type TaskObserver } from '#libs/streams/fenced-task.ts'
import { PartitionTasks } from '#libs/streams/partition-tasks.ts'
import type { OutRecord } from '#libs/streams/record.ts'
import { headerNames, type TopicName } from '#libs/streams/topics.ts'
import { coPartitionedAssigner } from './assigner.ts'
import { BatchingProducer } from './batching-producer.ts'
import type { KafkaClient } from './client.ts'
import { kafkaFencedLog, kafkaSnapshotLog, kafkaTaskInputs, SharedAppends } from './fenced-log.ts'
import { PositionedConsumer } from './positioned-consumer.ts'
import { reportPositions } from './report-positions.ts'
import type { OffsetsAdmin } from './topics-admin.ts'

/** Some heartbeats. Where none gets through, the partition may be another's: asked again after a delay. */
const CONFIRM_WITHIN_MS = 5_000

/** People wait for a restore, so its reader looks often; a look that asks for nothing is a timer, no request. */
const RESTORE_FETCH = { minBytes: 1, waitMs: 20 }

/** Its next heartbeat tells a member that another has left, and that people wait for it to take over. */
const HEARTBEAT_MS_MAX = 150

/** A stop waits no longer for the last snapshots: without them the next owner replays some seconds of log. */
const CHECKPOINT_WITHIN_MS = 1_000

export type FencedMetrics = {
  readonly partitions: Gauge
  readonly takeovers: Counter
  readonly takeoverSeconds: Histogram
  readonly doubts: Counter<'code'>
  readonly inputs: Counter
  readonly batchInputs: Histogram
  readonly batchSeconds: Histogram
  readonly snapshotRecords: Histogram
  readonly snapshotSeconds: Histogram
  readonly deadLetters: Counter<'code'>
  readonly lag: Gauge<'topic' | 'partition'>
}

/** Resolves when the dead letter is durable. */
export type DeadLetter = (letter: OutRecord) => Promise<void>

export type FencedServiceOptions<Prepared> = {
  readonly kafka: KafkaClient
  readonly offsets: OffsetsAdmin
  /** Of consumers, and the beginning of the transactional ids: the same for every owner there will ever be. */
  readonly groupId: string
  readonly transactionalId: string
  readonly ownerId: string
  readonly inputTopics: readonly TopicName[]
  /** Of the inputs. Default: whatever is there at once. */
  readonly fetch?: { readonly minBytes: number; readonly waitMs: number }
  readonly logTopic: TopicName
  readonly stateTopic: TopicName
  readonly deadLetterTopic: TopicName
  readonly createProcessor: (partition: number, deadLetter: DeadLetter) => Processor<Prepared>
  readonly limits: TaskLimits
  readonly reportEveryMs: number
  readonly metrics: FencedMetrics
  readonly logger: Logger
  /** The process should end. */
  readonly onFailed: (err: unknown) => void
}

/**
 * The owners of a fenced log in this process: a task for each partition that the group assigns to it. What is to be
 * released goes to `releasers`, which must release it before what is given in `options`.
 */
export async function startFencedService<Prepared>(options: FencedServiceOptions<Prepared>, releasers: Releasers): Promise<{ isReady(): boolean }> {
  const { kafka, offsets, groupId, inputTopics, logTopic, stateTopic, metrics, logger, onFailed, reportEveryMs } = options
  const appends = new SharedAppends(kafka, offsets)
  releasers.add(() => appends.close())
  const deadLetters = new BatchingProducer(kafka)
  releasers.add(() => deadLetters.close())
  const reader = new PositionedConsumer(kafka, { topics: [logTopic, stateTopic], fetch: RESTORE_FETCH, onFailed })
  releasers.add(() => reader.close())
  const tasks = new PartitionTasks<FencedTask<Prepared>>({ create: (partition) => createTask(options, { consumer, reader, appends, deadLetters }, partition), onFailure: onFailed })
  let assigned = false
  const consumer = new PositionedConsumer(kafka, {
    topics: inputTopics,
    ...(options.fetch && { fetch: options.fetch }),
    group: {
      id: groupId,
      assigner: coPartitionedAssigner(kafka.config.partitions, () => tasks.partitions()),
      heartbeatMs: Math.min(kafka.config.heartbeatMs, HEARTBEAT_MS_MAX),
    },
    onAssigned: (byTopic) => {
      // Each partition is assigned for all inputs at once.
      const partitions = byTopic.get(inputTopics[0]!) ?? []
      logger.info({ groupId, partitions }, 'partitions are assigned')
      tasks.assign(partitions)
      metrics.partitions.set(partitions.length)
      assigned = true
    },
    onFailed,
  })
  // In reverse: snapshots while the work goes on; then the group learns that the partitions are free; what has been
  // read by then is still decided, and nobody waits for anything of ours.
  releasers.add(() => tasks.stopAll())
  releasers.add(() => consumer.close())
  releasers.add(() => checkpointAll(tasks))

  await reader.start()
  await consumer.start()
  const report = setInterval(() => {
    const positions = tasks.entries().flatMap(([partition, task]) => positionsOf(inputTopics, partition, task.positions))
    reportPositions({ consumer, offsets, logger }, positions, ({ topic, partition }, lag) => metrics.lag.set({ topic, partition }, lag))
  }, reportEveryMs)
  releasers.add(() => clearInterval(report))
  // Ready once every partition of the first assignment was taken over; later rebalances are no reason to unlist a node.
  let ready = false
  return { isReady: () => (ready ||= assigned && tasks.entries().every(([, task]) => task.positions !== undefined)) }
}

async function checkpointAll<Prepared>(tasks: PartitionTasks<FencedTask<Prepared>>): Promise<void> {
  const checkpoints = tasks.entries().map(([, task]) => task.checkpoint())
  await Promise.race([Promise.all(checkpoints), systemClock.sleep(CHECKPOINT_WITHIN_MS)])
}

type Shared = {
  readonly consumer: PositionedConsumer
  readonly reader: PositionedConsumer
  readonly appends: SharedAppends
  readonly deadLetters: BatchingProducer
}

function createTask<Prepared>(options: FencedServiceOptions<Prepared>, shared: Shared, partition: number): FencedTask<Prepared> {
  const { kafka, offsets, transactionalId, ownerId, inputTopics, logTopic, stateTopic, deadLetterTopic, createProcessor, limits, metrics, logger } = options
  const { consumer, deadLetters } = shared
  const log = logger.child({ topic: logTopic, partition })
  const deps = { kafka, offsets, ...shared }
  return new FencedTask({
    ownerId,
    log: kafkaFencedLog(deps, logTopic, partition),
    snapshots: kafkaSnapshotLog(deps, stateTopic, partition, `${transactionalId}-${partition}`),
    inputs: kafkaTaskInputs(consumer, offsets, inputTopics, partition),
    inputTopics,
    createProcessor: () =>
      createProcessor(partition, async (letter) => {
        metrics.deadLetters.inc({ code: String(letter.headers[headerNames.errorCode]) })
        log.error({ source: letter.headers[headerNames.source], reason: letter.headers[headerNames.errorReason] }, 'an input goes to the dead letters')
        await deadLetters.send(deadLetterTopic, letter)
      }),
    clock: systemClock,
    newNonce: newId,
    retryDelayMs: (attempt) => retryDelayMs(attempt),
    confirmAssigned: (signal) => consumer.confirmMembership(CONFIRM_WITHIN_MS, signal),
    limits,
    observer: observerOf(metrics, log),
  })
}

function observerOf(metrics: FencedMetrics, log: Logger): TaskObserver {
  return {
    takenOver: (epoch, tookMs) => {
      metrics.takeovers.inc()
      metrics.takeoverSeconds.observe(tookMs / 1_000)
      log.info({ epoch: epoch.toString(), tookMs }, 'took the partition over')
    },
    appended: (inputs, _bytes, tookMs) => {
      metrics.inputs.inc(inputs)
      metrics.batchInputs.observe(inputs)
      metrics.batchSeconds.observe(tookMs / 1_000)
    },
    snapshotted: (records, tookMs) => {
      metrics.snapshotRecords.observe(records)
      metrics.snapshotSeconds.observe(tookMs / 1_000)
    },
    lost: (err, delayMs) => {
      metrics.doubts.inc({ code: err instanceof ChatError ? err.code : 'stranger' })
      log.warn({ err, delayMs }, 'in doubt: the partition is taken over again')
    },
  }
}

function positionsOf(inputTopics: readonly TopicName[], partition: number, acknowledged: ReadonlyMap<string, bigint> | undefined) {
  return inputTopics.flatMap((topic) => {
    const next = acknowledged?.get(topic)
    return next === undefined ? [] : [{ topic, partition, next }]
  })
}
