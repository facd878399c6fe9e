import { type Clock, systemClock } from '#libs/runtime/clock.ts'
import { createLogger, type Logger } from '#libs/runtime/logger.ts'
import { createRegistry, startHealthServer } from '#libs/runtime/metrics.ts'
import { Releasers } from '#libs/runtime/releasers.ts'
import { withRetry } from '#libs/runtime/retry.ts'
import type { RunningService } from '#libs/runtime/run-main.ts'
import { AvroCodecs } from '#libs/kafka/avro.ts'
import { createKafkaClient } from '#libs/kafka/client.ts'
import { createSqsQueue, type SqsQueue } from '#libs/sqs/queue.ts'
import { SqsReceiver } from '#libs/sqs/receiver.ts'
import { Bridge } from './bridge.ts'
import type { SqsBridgeConfig } from './config.ts'
import { KafkaSink } from './kafka-sink.ts'
import { createSqsBridgeMetrics, type SqsBridgeMetrics } from './metrics.ts'
import { SinkGate } from './sink-gate.ts'

export type SqsBridge = RunningService & {
  readonly logger: Logger
  readonly stopTimeoutMs: number
  readonly metricsPort: number
  isReady(): boolean
}

/** How much of the stop's deadline what is in work may take; the rest is for giving back and disconnecting. */
const STOP_WORK_SHARE = 0.6
/** Disconnecting from a Kafka that does not answer is not worth more. */
const SINK_CLOSE_MS = 1_000

/** Resolves at once; the bridge is ready when it has reached Kafka and the registry once, and only then receives. */
export async function startSqsBridge(config: SqsBridgeConfig, overrides: { logger?: Logger; clock?: Clock } = {}): Promise<SqsBridge> {
  const clock = overrides.clock ?? systemClock
  const logger = overrides.logger ?? createLogger('sqs-bridge', config.instanceId, config.logLevel)
  const releasers = new Releasers()
  const registry = createRegistry('sqs-bridge')
  let ready = false
  const health = await startHealthServer({ host: config.metricsHost, port: config.metricsPort, registry, isReady: () => ready })
  releasers.add(() => health.close())

  const inHand = () => receivers.reduce((sum, { inWork }) => sum + inWork, 0)
  const metrics = createSqsBridgeMetrics(registry, inHand)
  const kafka = createKafkaClient(config.kafka, `sqs-bridge-${config.instanceId}`, logger)
  const sink = new KafkaSink(kafka, new AvroCodecs(config.registry, kafka))
  releasers.add(() => Promise.race([sink.close(), clock.sleep(SINK_CLOSE_MS)]))
  const gate = new SinkGate({ sink, clock, logger, inHand, onPhase: (phase) => metrics.kafkaUp.set(phase === 'up' ? 1 : 0) })
  releasers.add(() => gate.close())
  const bridge = new Bridge({ sink, gate, clock, logger, metrics, holdMaxMs: config.holdMaxMs })
  const receivers: readonly SqsReceiver[] = config.queues.map((one) => {
    const queue = createSqsQueue(one)
    releasers.add(() => queue.close())
    return createReceiver({ config, queue, clock, logger, metrics, gate, bridge })
  })
  releasers.add(() => Promise.all(receivers.map((receiver) => receiver.close(config.stopTimeoutMs * STOP_WORK_SHARE))).then(() => undefined))

  const stopping = new AbortController()
  const started = (async () => {
    await withRetry(() => sink.connect(), {
      clock,
      signal: stopping.signal,
      onFailure: (err) => logger.warn({ err }, 'Kafka or the schema registry cannot be reached yet'),
    })
    for (const receiver of receivers) receiver.start()
    ready = true
    logger.info({ queueUrls: config.queues.map(({ queueUrl }) => queueUrl), metricsPort: health.port }, 'receiving events')
  })()
  const finished = Promise.withResolvers<void>()
  started.catch((err: unknown) => {
    if (!stopping.signal.aborted) finished.reject(err)
  })
  return {
    logger,
    stopTimeoutMs: config.stopTimeoutMs,
    metricsPort: health.port,
    isReady: () => ready,
    finished: finished.promise,
    async close() {
      ready = false
      stopping.abort(new Error('stopping'))
      await started.catch(() => undefined)
      await releasers.releaseAll()
      finished.resolve()
    },
  }
}

function createReceiver(deps: {
  config: SqsBridgeConfig
  queue: SqsQueue
  clock: Clock
  logger: Logger
  metrics: SqsBridgeMetrics
  gate: SinkGate
  bridge: Bridge
}): SqsReceiver {
  const { config, queue, clock, logger, metrics, gate, bridge } = deps
  return new SqsReceiver({
    queue,
    clock,
    logger,
    config: config.receiver,
    handle: (batch, settle, stopping) => bridge.handle(batch, settle, stopping),
    admit: (stopping) => gate.mayReceive(stopping),
    onReceived: (messages) => metrics.received.inc(messages),
    onReceiveFailed: () => metrics.receiveErrors.inc(),
    onRemoved: (worked) => (worked ? metrics.deleted : metrics.deleteFailures).inc(),
    onReleased: () => metrics.released.inc(),
  })
}
