import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  type Message,
  type MessageAttributeValue,
  ReceiveMessageCommand,
  SendMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs'
import { type Env, envList, envOptional, envUrl } from '#libs/runtime/env.ts'

export type SqsConfig = {
  readonly queueUrl: string
  /** Undefined: the host of `queueUrl`, or what the SDK finds. */
  readonly endpoint: string | undefined
  /** Undefined: as the SDK's default chain finds it. */
  readonly region: string | undefined
  /** `chain` is the SDK's own: variables, shared files, SSO, web identity, container and instance roles. */
  readonly credentials: 'chain' | 'local'
}

/** SQS allows no more messages than this in one call of any kind. */
export const SQS_BATCH_MAX = 10

export function sqsConfigFromEnv(env: Env): SqsConfig {
  const queueUrl = envUrl(env, 'SQS_QUEUE_URL')
  const endpoint = envOptional(env, 'SQS_ENDPOINT') === undefined ? undefined : envUrl(env, 'SQS_ENDPOINT')
  const host = new URL(endpoint ?? queueUrl).hostname
  const isAws = /(^|\.)amazonaws\.com(\.cn)?$/.test(host)
  return {
    queueUrl,
    endpoint: endpoint ?? (isAws ? undefined : new URL(queueUrl).origin),
    region: envOptional(env, 'AWS_REGION') ?? regionOf(queueUrl) ?? (isAws ? undefined : 'us-east-1'),
    // A stand-in on this machine takes any credentials; without this the SDK would look for an instance role.
    credentials: isLoopback(host) && envOptional(env, 'AWS_ACCESS_KEY_ID') === undefined ? 'local' : 'chain',
  }
}

/** `SQS_QUEUE_URL` may name several queues, comma-separated; all else is the same for all. */
export function sqsConfigsFromEnv(env: Env): readonly SqsConfig[] {
  return [...new Set(envList(env, 'SQS_QUEUE_URL'))].map((queueUrl) => sqsConfigFromEnv({ ...env, SQS_QUEUE_URL: queueUrl }))
}

const regionOf = (queueUrl: string): string | undefined => /^sqs\.([a-z0-9-]+)\.amazonaws\./.exec(new URL(queueUrl).hostname)?.[1]
const isLoopback = (host: string): boolean => host === 'localhost' || host === '[::1]' || /^127\./.test(host)

export type QueueMessage = {
  readonly messageId: string
  /** Of this one showing; deletes the message and changes its visibility. */
  readonly receiptHandle: string
  readonly body: string
  /** ms since 1970 */
  readonly sentTimestampMs: number | undefined
  /** From 1. The queue's redrive policy looks at this. */
  readonly receiveCount: number
  /** Binary values as base64. */
  readonly attributes: Readonly<Record<string, { readonly type: string; readonly value: string }>>
}

/** At least once, in no particular order (a standard queue). Calls with entries take at most `SQS_BATCH_MAX`. */
export type SqsQueue = {
  /** Waits for up to `waitS`; may resolve with nothing. Rejects when `signal` aborts. */
  receive(options: { max: number; waitS: number; visibilityTimeoutS: number; signal: AbortSignal }): Promise<readonly QueueMessage[]>
  /** @returns the receipt handles that could not be deleted */
  remove(receiptHandles: readonly string[]): Promise<readonly string[]>
  /** @returns the receipt handles for which it failed */
  changeVisibility(changes: readonly VisibilityChange[]): Promise<readonly string[]>
  /** @returns the new message's id */
  send(body: string, attributes?: Readonly<Record<string, string>>): Promise<string>
  close(): void
}

export type VisibilityChange = { readonly receiptHandle: string; readonly visibilityTimeoutS: number }

const CONNECT_TIMEOUT_MS = 5_000
/** Beyond the long poll itself; a connection that has gone dead must not hold a receiver for ever. */
const ANSWER_TIMEOUT_MS = 10_000
const LONG_POLL_MAX_S = 20

export function createSqsQueue(config: SqsConfig): SqsQueue {
  const client = new SQSClient({
    ...(config.endpoint !== undefined && { endpoint: config.endpoint }),
    ...(config.region !== undefined && { region: config.region }),
    ...(config.credentials === 'local' && { credentials: { accessKeyId: 'local', secretAccessKey: 'local' } }),
    maxAttempts: 3,
    requestHandler: {
      connectionTimeout: CONNECT_TIMEOUT_MS,
      requestTimeout: LONG_POLL_MAX_S * 1_000 + ANSWER_TIMEOUT_MS,
      throwOnRequestTimeout: true,
    },
  })
  const QueueUrl = config.queueUrl
  return {
    async receive({ max, waitS, visibilityTimeoutS, signal }) {
      const command = new ReceiveMessageCommand({
        QueueUrl,
        MaxNumberOfMessages: max,
        WaitTimeSeconds: waitS,
        VisibilityTimeout: visibilityTimeoutS,
        MessageSystemAttributeNames: ['SentTimestamp', 'ApproximateReceiveCount'],
        MessageAttributeNames: ['All'],
      })
      const { Messages = [] } = await client.send(command, { abortSignal: signal })
      return Messages.map(toQueueMessage)
    },
    async remove(handles) {
      const Entries = handles.map((ReceiptHandle, i) => ({ Id: String(i), ReceiptHandle }))
      const { Failed = [] } = await client.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }))
      return Failed.map(({ Id }) => handles[Number(Id)]!)
    },
    async changeVisibility(changes) {
      const Entries = changes.map((change, i) => ({ Id: String(i), ReceiptHandle: change.receiptHandle, VisibilityTimeout: change.visibilityTimeoutS }))
      const { Failed = [] } = await client.send(new ChangeMessageVisibilityBatchCommand({ QueueUrl, Entries }))
      return Failed.map(({ Id }) => changes[Number(Id)]!.receiptHandle)
    },
    async send(body, attributes = {}) {
      const MessageAttributes = Object.fromEntries(
        Object.entries(attributes).map(([name, StringValue]) => [name, { DataType: 'String', StringValue }]),
      )
      const { MessageId } = await client.send(new SendMessageCommand({ QueueUrl, MessageBody: body, MessageAttributes }))
      return MessageId!
    },
    close: () => client.destroy(),
  }
}

function toQueueMessage(message: Message): QueueMessage {
  const { SentTimestamp, ApproximateReceiveCount } = message.Attributes ?? {}
  return {
    messageId: message.MessageId ?? '',
    receiptHandle: message.ReceiptHandle!,
    body: message.Body ?? '',
    sentTimestampMs: SentTimestamp === undefined ? undefined : Number(SentTimestamp),
    receiveCount: Number(ApproximateReceiveCount ?? 1),
    attributes: Object.fromEntries(Object.entries(message.MessageAttributes ?? {}).map(([name, value]) => [name, toAttribute(value)])),
  }
}

function toAttribute(value: MessageAttributeValue): { type: string; value: string } {
  const text = value.StringValue ?? (value.BinaryValue && Buffer.from(value.BinaryValue).toString('base64'))
  return { type: value.DataType ?? 'String', value: text ?? '' }
}
