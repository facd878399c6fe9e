import { expect, test } from 'vitest'
import { notifierConfigFromEnv } from './config.ts'

const env = { KAFKA_BROKERS: 'k:9092', SCHEMA_REGISTRY_URL: 'http://r', POSTGRES_URL: 'postgres://p/chat', REDIS_URL: 'redis://r' }
const secret = `whsec_${Buffer.alloc(32).toString('base64')}`

test('without any way out there are only the notifications themselves', () => {
  const { sqs, webhook, webPush, preview, graceMs } = notifierConfigFromEnv(env)
  expect({ sqs, webhook, webPush, preview, graceMs }).toEqual({ sqs: undefined, webhook: undefined, webPush: undefined, preview: false, graceMs: 5_000 })
})

test('the queue of the notifications is not that of the orders', () => {
  const { sqs } = notifierConfigFromEnv({ ...env, SQS_QUEUE_URL: 'https://sqs.eu-west-1.amazonaws.com/1/orders', NOTIFIER_SQS_QUEUE_URL: 'https://sqs.eu-west-1.amazonaws.com/1/push' })
  expect(sqs).toMatchObject({ queueUrl: 'https://sqs.eu-west-1.amazonaws.com/1/push', region: 'eu-west-1' })
})

test.each([
  [{ NOTIFIER_SQS_QUEUE_URL: 'https://sqs.eu-west-1.amazonaws.com/1/push.fifo' }, /NOTIFIER_SQS_QUEUE_URL must be a standard queue/],
  [{ NOTIFIER_WEBHOOK_URL: 'https://hook' }, /NOTIFIER_WEBHOOK_SECRET must be whsec_/],
  [{ NOTIFIER_WEBHOOK_URL: 'ftp://hook', NOTIFIER_WEBHOOK_SECRET: secret }, /NOTIFIER_WEBHOOK_URL must be https/],
  [{ NOTIFIER_ATTEMPTS_MAX: '0' }, /NOTIFIER_ATTEMPTS_MAX/],
  [{ VAPID_PRIVATE_KEY: 'x' }, /go together/],
])('%j is refused by name', (more, message) => expect(() => notifierConfigFromEnv({ ...env, ...more })).toThrow(message))
