import { ChatError } from '#libs/domain/errors.ts'
import type { BatchingProducer } from '#libs/kafka/batching-producer.ts'
import { type JobHandler, startJobRunner } from '#libs/postgres/job-runner.ts'
import type { Pool } from '#libs/postgres/pool.ts'
import { Breakers } from '#libs/push/breakers.ts'
import { createWebPush } from '#libs/push/web-push.ts'
import { createWebhook } from '#libs/push/webhook.ts'
import { newId, systemClock } from '#libs/runtime/clock.ts'
import type { Logger } from '#libs/runtime/logger.ts'
import { createSqsQueue } from '#libs/sqs/queue.ts'
import { headerNames, topics } from '#libs/streams/topics.ts'
import type { NotifierConfig } from './config.ts'
import { type Channel, collapseKeyOf, type DeadLetter, deliver, type DeliveryJob, type DeliveryPorts, InTurn, type Payload, tasks } from './core/delivery.ts'
import { createDeliveryStore } from './delivery-store.ts'
import type { NotifierMetrics } from './metrics.ts'
import type { ClosedStore } from './store.ts'

type Send = DeliveryPorts['send']
export type Senders = Partial<Record<Channel, Send>>

/** Of dead letters, and of what was closed by hand. */
const SIDE_CONCURRENCY = 2

/** The ways out that are configured, each behind the breaker of its provider. */
export function createSenders(config: NotifierConfig, metrics: NotifierMetrics, logger: Logger): { readonly senders: Senders; close(): void } {
  const { timeoutMs, breaker, ttlMs } = config.deliveries
  const breakers = new Breakers({
    ...breaker,
    onState: (provider, isOpen) => {
      metrics.breakerOpen.set({ provider }, isOpen ? 1 : 0)
      if (isOpen) logger.warn({ provider, openMs: breaker.openMs }, 'a provider has failed too often and is left alone for now')
    },
  })
  const guarded = (channel: Channel, provider: string, work: () => Promise<'sent' | 'gone'>) =>
    breakers.run(provider, async () => {
      const done = metrics.deliverySeconds.startTimer({ channel })
      return work().finally(done)
    })
  const queue = config.sqs && createSqsQueue(config.sqs)
  const webhook = config.webhook && createWebhook(config.webhook)
  const webPush = config.webPush && createWebPush(config.webPush)
  const senders: Senders = {
    ...(queue && { sqs: (payload: Payload) => guarded('sqs', 'sqs', () => sendToQueue(queue, payload, timeoutMs)) }),
    ...(webhook && {
      webhook: (payload: Payload) => guarded('webhook', 'webhook', () => webhook.send(payload.dedupeId, JSON.stringify(payload)).then(() => 'sent' as const)),
    }),
    ...(webPush && {
      webPush: (payload: Payload, to: Parameters<Send>[1]) => {
        const message = { body: JSON.stringify(payload), ttlS: Math.floor(ttlMs / 1_000), topic: payload.collapseKey, urgency: payload.type === 'cleared' ? ('low' as const) : ('high' as const) }
        // Of a host that is not on the list any more, there is one refusal, and no request.
        return guarded('webPush', webPush.providerOf(to!) ?? 'none', () => webPush.send(to!, message))
      },
    }),
  }
  return { senders, close: () => queue?.close() }
}

async function sendToQueue(queue: ReturnType<typeof createSqsQueue>, payload: Payload, timeoutMs: number): Promise<'sent'> {
  const timeout = new AbortController()
  const late = systemClock.sleep(timeoutMs, timeout.signal).then(() => Promise.reject(new Error(`no answer in ${timeoutMs} ms`)))
  try {
    await Promise.race([queue.send(JSON.stringify(payload), { dedupeId: payload.dedupeId, type: payload.type }), late])
    return 'sent'
  } catch (err) {
    throw new ChatError('unavailable', `SQS: ${(err as Error).message}`, { cause: err })
  } finally {
    late.catch(() => {})
    timeout.abort()
  }
}

export type DeliveriesOptions = {
  readonly config: NotifierConfig
  readonly pool: Pool
  readonly notifications: ClosedStore
  readonly producer: BatchingProducer
  readonly senders: Senders
  readonly metrics: NotifierMetrics
  readonly logger: Logger
}

/** Works off the delivery jobs, with workers of their own for each way out and for the dead letters. */
export function startDeliveries({ config, pool, notifications, producer, senders, metrics, logger }: DeliveriesOptions): { close(): Promise<void> } {
  const { attemptsMax, ttlMs, concurrency, pollMs, deadMs } = config.deliveries
  const store = createDeliveryStore(pool, config.preview)
  const inTurn = new InTurn()
  const handlerOf = (channel: Channel, send: Send): JobHandler => async (payload, { attempt }) => {
    const job = payload as DeliveryJob
    const ports = { store, send, nowMs: systemClock.nowMs, limits: { attemptsMax, ttlMs } }
    const key = `${channel} ${job.subscriptionId} ${collapseKeyOf(job.userId, job.roomId)}`
    try {
      const outcome = await inTurn.run(key, () => deliver(ports, channel, job, attempt))
      metrics.deliveries.inc({ channel, outcome })
    } catch (err) {
      metrics.deliveries.inc({ channel, outcome: 'retry' })
      logger.debug({ err, channel, attempt }, 'a delivery has failed for now')
      throw err
    }
  }
  const channels = Object.entries(senders).map(([channel, send]) => [channel, { concurrency, handle: handlerOf(channel as Channel, send) }] as const)
  const side = {
    [tasks.deadLetter]: { concurrency: SIDE_CONCURRENCY, handle: async (payload: unknown) => writeDeadLetter(producer, payload as DeadLetter, metrics, logger) },
    [tasks.closed]: {
      concurrency: SIDE_CONCURRENCY,
      handle: async (payload: unknown) => {
        const { userId, roomId } = payload as Pick<DeliveryJob, 'userId' | 'roomId'>
        await notifications.tellClosed(userId, roomId)
      },
    },
  }
  return startJobRunner({ config: config.postgres, processId: newId(), tasks: { ...Object.fromEntries(channels), ...side }, pollMs, deadMs, logger })
}

async function writeDeadLetter(producer: BatchingProducer, { target, code, reason, attempts, payload }: DeadLetter, metrics: NotifierMetrics, logger: Logger): Promise<void> {
  await producer.send(topics.notificationsDlq.name, {
    key: null,
    value: Buffer.from(JSON.stringify(payload)),
    headers: { [headerNames.errorCode]: code, [headerNames.errorReason]: reason, target, attempts: String(attempts) },
  })
  metrics.deadLetters.inc({ code })
  logger.warn({ target, code, reason, attempts, dedupeId: payload.dedupeId }, 'a notification could not be delivered')
}
