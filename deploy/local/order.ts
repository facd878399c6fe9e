import { Command, Option } from 'commander'
import { newId, systemClock } from '#libs/runtime/clock.ts'
import { createSqsQueue, sqsConfigFromEnv } from '#libs/sqs/queue.ts'
import { newTraceparent } from '#libs/runtime/trace.ts'
import { type Env, endpointsOf, stackConfigFromEnv } from './config.ts'

export type OrderEventToPublish = {
  /** `order.accepted`, `order.rider_assigned`, `order.delivered`, `order.cancelled`; anything else makes a poison event. */
  readonly type: string
  readonly payload: Readonly<Record<string, unknown>>
  /** As SNS does with raw message delivery: the payload as the body, the attributes on the SQS message. */
  readonly raw?: boolean
  /** Default: a new trace. */
  readonly traceparent?: string
}

export type PublishOptions = {
  readonly env?: Env
  readonly queueUrl?: string
  readonly endpoint?: string
}

export type PublishedOrderEvent = { readonly sqsMessageId: string; readonly snsMessageId: string | undefined; readonly traceparent: string }

export type OrderPublisher = { publish(event: OrderEventToPublish): Promise<PublishedOrderEvent>; close(): void }

/**
 * Puts order events on the queue as an SNS subscription would. The queue is `queueUrl`, else `SQS_QUEUE_URL`, else that
 * of the local stack.
 */
export function createOrderPublisher(options: PublishOptions = {}): OrderPublisher {
  const queue = createSqsQueue(sqsConfigFromEnv(queueEnv(options)))
  return {
    async publish({ type: eventType, payload, raw, traceparent = newTraceparent() }) {
      const attributes = { eventType, traceparent }
      const message = JSON.stringify(payload)
      if (raw) return { sqsMessageId: await queue.send(message, attributes), snsMessageId: undefined, traceparent }
      const snsMessageId = newId()
      const sqsMessageId = await queue.send(JSON.stringify(snsEnvelope(snsMessageId, message, attributes)))
      return { sqsMessageId, snsMessageId, traceparent }
    },
    close: () => queue.close(),
  }
}

/** For a single event; many want a publisher, which keeps its connections. */
export async function publishOrderEvent(event: OrderEventToPublish, options: PublishOptions = {}): Promise<PublishedOrderEvent> {
  const publisher = createOrderPublisher(options)
  try {
    return await publisher.publish(event)
  } finally {
    publisher.close()
  }
}

function queueEnv({ env = {}, queueUrl, endpoint }: PublishOptions): Env {
  const local = endpointsOf(stackConfigFromEnv(env, '.', 1))
  const url = queueUrl || env['SQS_QUEUE_URL'] || `${endpoint || env['SQS_ENDPOINT'] || local.sqsEndpoint}${new URL(local.sqsQueueUrl).pathname}`
  return { ...env, SQS_QUEUE_URL: url, SQS_ENDPOINT: endpoint || env['SQS_ENDPOINT'] }
}

/** What SNS writes to a queue without raw delivery; signed there, which nobody on the way can check here. */
function snsEnvelope(messageId: string, message: string, attributes: Readonly<Record<string, string>>): object {
  return {
    Type: 'Notification',
    MessageId: messageId,
    TopicArn: 'arn:aws:sns:us-east-1:000000000000:orders',
    Message: message,
    Timestamp: nowIso(),
    SignatureVersion: '1',
    Signature: 'none',
    SigningCertURL: 'https://sns.us-east-1.amazonaws.com/SimpleNotificationService-none.pem',
    UnsubscribeURL: 'https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe&SubscriptionArn=none',
    MessageAttributes: Object.fromEntries(Object.entries(attributes).map(([name, Value]) => [name, { Type: 'String', Value }])),
  }
}

const nowIso = (): string => new Date(systemClock.nowMs()).toISOString()

type CliOptions = {
  order: string
  customer?: string
  vendor?: string
  rider?: string
  deliveredAt?: string
  occurredAt?: string
  raw?: boolean
  queueUrl?: string
  endpoint?: string
}

/** @returns the exit code */
export async function orderCommand(argv: readonly string[], env: Env, out: Pick<Console, 'log' | 'error'>): Promise<number> {
  const program = new Command('npm run order --').description('Publish an order event the way the order service would: as SNS puts it on the queue')
  const event = (name: string, description: string, toPayload: (options: CliOptions) => Record<string, unknown>): Command =>
    program
      .command(name)
      .description(description)
      .requiredOption('--order <id>', 'the order, and so the room')
      .option('--occurred-at <time>', 'when it happened, ISO 8601 (the later of two rider assignments wins by this)')
      .option('--raw', 'as SNS raw message delivery: no envelope, attributes on the SQS message')
      .addOption(new Option('--queue-url <url>', 'default: SQS_QUEUE_URL, else the queue of `npm start`'))
      .addOption(new Option('--endpoint <url>', 'default: SQS_ENDPOINT, else what the queue URL says'))
      .action(async (options: CliOptions) => {
        const { order: orderId, occurredAt, raw, queueUrl, endpoint } = options
        const payload = { orderId, ...toPayload(options), ...(occurredAt !== undefined && { occurredAt }) }
        const type = `order.${name}`
        const published = await publishOrderEvent({ type, payload, ...(raw && { raw }) }, { env, ...(queueUrl && { queueUrl }), ...(endpoint && { endpoint }) })
        out.log(`${type} ${JSON.stringify(payload)}`)
        out.log(`SQS message ${published.sqsMessageId}, traceparent ${published.traceparent}`)
      })
  event('accepted', 'opens the room', ({ customer: customerId, vendor: vendorId }) => ({ customerId, vendorId }))
    .requiredOption('--customer <id>')
    .requiredOption('--vendor <id>')
  event('rider_assigned', 'brings the rider in, or another one', ({ rider: riderId }) => ({ riderId })).requiredOption('--rider <id>')
  event('delivered', 'closes the room for writing', ({ deliveredAt }) => ({ deliveredAt: deliveredAt ?? nowIso() }))
    .option('--delivered-at <time>', 'default: now')
  event('cancelled', 'closes the room for writing', () => ({}))
  try {
    await program.parseAsync(argv, { from: 'user' })
    return 0
  } catch (err) {
    out.error(`order-chat: ${explain(err as Error)}`)
    return 1
  }
}

function explain(err: Error & { code?: string }): string {
  const isRefused = [err.code, ...((err as unknown as AggregateError).errors ?? []).map((e: { code?: string }) => e.code)].includes('ECONNREFUSED')
  if (isRefused) return 'no SQS answers: is the stack running? Start it with `npm start`, or name another queue with --queue-url'
  if (/NonExistentQueue|QueueDoesNotExist/.test(err.name)) return 'the queue does not exist: check SQS_QUEUE_URL or --queue-url'
  return err.message
}

if (import.meta.main) process.exitCode = await orderCommand(process.argv.slice(2), process.env, console)
