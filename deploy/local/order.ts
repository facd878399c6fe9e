import { Command, Option } from 'commander'
import { newId, systemClock } from '#libs/runtime/clock.ts'
import { createSqsQueue, sqsConfigFromEnv } from '#libs/sqs/queue.ts'
import { newTraceparent } from '#libs/runtime/trace.ts'
import { type Env, endpointsOf, stackConfigFromEnv } from './config.ts'

export type OrderEventToPublish = {
  /** What services/sqs-bridge/core/parse-order-message.ts knows, like `order.accepted`; anything else makes a poison event. */
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
  // A bridge may read several queues; a message says by itself what it is.
  const [firstQueue] = env['SQS_QUEUE_URL']?.split(',') ?? []
  const url = queueUrl || firstQueue || `${endpoint || env['SQS_ENDPOINT'] || local.sqsEndpoint}${new URL(local.sqsQueueUrl).pathname}`
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

/** Flags without a value are there or not. */
type CliOptions = Readonly<Record<string, string | undefined>>
type Payload = Readonly<Record<string, unknown>>

/** @returns the exit code */
export async function orderCommand(argv: readonly string[], env: Env, out: Pick<Console, 'log' | 'error'>): Promise<number> {
  const program = new Command('npm run order --').description('Publish an event the way its service would: as SNS puts it on the queue')
  const event = (name: string, type: string, description: string, toPayload: (options: CliOptions) => Payload): Command =>
    program
      .command(name)
      .description(description)
      .option('--occurred-at <time>', 'when it happened, ISO 8601 (of two riders, two words about a block and two prices the later wins by this)')
      .option('--raw', 'as SNS raw message delivery: no envelope, attributes on the SQS message')
      .addOption(new Option('--queue-url <url>', 'default: the first of SQS_QUEUE_URL, else the queue of `npm start`'))
      .addOption(new Option('--endpoint <url>', 'default: SQS_ENDPOINT, else what the queue URL says'))
      .action(async (options: CliOptions) => {
        const { occurredAt, raw, queueUrl, endpoint } = options
        const payload = { ...toPayload(options), ...(occurredAt !== undefined && { occurredAt }) }
        const published = await publishOrderEvent({ type, payload, raw: raw !== undefined }, { env, ...(queueUrl && { queueUrl }), ...(endpoint && { endpoint }) })
        out.log(`${type} ${JSON.stringify(payload)}`)
        out.log(`SQS message ${published.sqsMessageId}, traceparent ${published.traceparent}`)
      })
  addOrderEvents((name, description, toPayload) =>
    event(name, `order.${name}`, description, (options) => ({ orderId: options['order'], ...toPayload(options) })).requiredOption('--order <id>', 'the order, and so the room'),
  )
  addOtherEvents(event)
  try {
    await program.parseAsync(argv, { from: 'user' })
    return 0
  } catch (err) {
    out.error(`order-chat: ${explain(err as Error)}`)
    return 1
  }
}

function addOrderEvents(event: (name: string, description: string, toPayload: (options: CliOptions) => Payload) => Command): void {
  const people = ({ customer: customerId, vendor: vendorId }: CliOptions) => ({ customerId, vendorId })
  event('created', 'posts a card of the order into the direct room of the two', people).requiredOption('--customer <id>').requiredOption('--vendor <id>')
  event('accepted', 'opens the room', people).requiredOption('--customer <id>').requiredOption('--vendor <id>')
  event('rider_assigned', 'brings the rider in, or another one', ({ rider: riderId }) => ({ riderId })).requiredOption('--rider <id>')
  event('delivered', 'closes the room for writing', ({ deliveredAt }) => ({ deliveredAt: deliveredAt ?? nowIso() })).option('--delivered-at <time>', 'default: now')
  event('cancelled', 'closes the room for writing', () => ({}))
}

/** Of other services than that of the orders. */
function addOtherEvents(event: (name: string, type: string, description: string, toPayload: (options: CliOptions) => Payload) => Command): void {
  for (const [name, description] of [['blocked', 'no message between the two any more'], ['unblocked', 'takes the block back']] as const) {
    event(name, `user.${name}`, description, ({ user: userId, other: blockedUserId }) => ({ userId, blockedUserId }))
      .requiredOption('--user <id>', 'who says so')
      .requiredOption('--other <id>', 'of whom')
  }
  event('product', 'product.updated', 'changes what cards of the product show', ({ product: productId, name, price, currency, imageUrl, available }) => ({
    productId,
    name,
    ...(price !== undefined && { price }),
    ...(currency !== undefined && { currency }),
    ...(imageUrl !== undefined && { imageUrl }),
    ...(available !== undefined && { available: available === 'yes' }),
  }))
    .requiredOption('--product <id>')
    .requiredOption('--name <text>')
    .option('--price <amount>', 'like 12.50; needs a currency')
    .option('--currency <code>', 'ISO 4217, like EUR')
    .option('--image-url <url>')
    .addOption(new Option('--available <yes or no>').choices(['yes', 'no']))
}

function explain(err: Error & { code?: string }): string {
  const isRefused = [err.code, ...((err as unknown as AggregateError).errors ?? []).map((e: { code?: string }) => e.code)].includes('ECONNREFUSED')
  if (isRefused) return 'no SQS answers: is the stack running? Start it with `npm start`, or name another queue with --queue-url'
  if (/NonExistentQueue|QueueDoesNotExist/.test(err.name)) return 'the queue does not exist: check SQS_QUEUE_URL or --queue-url'
  return err.message
}

if (import.meta.main) process.exitCode = await orderCommand(process.argv.slice(2), process.env, console)
