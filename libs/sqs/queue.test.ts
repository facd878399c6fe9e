import { expect, test } from 'vitest'
import { sqsConfigFromEnv, sqsConfigsFromEnv } from './queue.ts'

test('AWS: region from the queue URL, endpoint and credentials as the SDK finds them', () => {
  expect(sqsConfigFromEnv({ SQS_QUEUE_URL: 'https://sqs.eu-west-1.amazonaws.com/123456789012/order-events' })).toEqual({
    queueUrl: 'https://sqs.eu-west-1.amazonaws.com/123456789012/order-events',
    endpoint: undefined,
    region: 'eu-west-1',
    credentials: 'chain',
  })
})

test('a stand-in on this machine needs the queue URL and nothing else', () => {
  expect(sqsConfigFromEnv({ SQS_QUEUE_URL: 'http://127.0.0.1:19324/000000000000/order-events' })).toMatchObject({
    endpoint: 'http://127.0.0.1:19324',
    region: 'us-east-1',
    credentials: 'local',
  })
})

test('what is set wins; a stand-in elsewhere uses the credentials of the environment', () => {
  const env = { SQS_QUEUE_URL: 'http://sqs:9324/000000000000/q', SQS_ENDPOINT: 'http://elasticmq:9324', AWS_REGION: 'eu-north-1' }
  expect(sqsConfigFromEnv(env)).toMatchObject({ endpoint: 'http://elasticmq:9324', region: 'eu-north-1', credentials: 'chain' })
  expect(sqsConfigFromEnv({ SQS_QUEUE_URL: 'http://localhost:1/q', AWS_ACCESS_KEY_ID: 'mine' }).credentials).toBe('chain')
})

test('the queue URL is needed, and is one', () => {
  expect(() => sqsConfigFromEnv({})).toThrow(/SQS_QUEUE_URL is not set/)
  expect(() => sqsConfigFromEnv({ SQS_QUEUE_URL: 'order-events' })).toThrow(/SQS_QUEUE_URL must be a URL/)
})

test('several queues, each once, each with a region of its own', () => {
  const [orders, users] = ['https://sqs.eu-west-1.amazonaws.com/1/orders', 'https://sqs.us-east-2.amazonaws.com/1/users']
  expect(sqsConfigsFromEnv({ SQS_QUEUE_URL: `${orders}, ${users},${orders}` }).map(({ queueUrl, region }) => [queueUrl, region])).toEqual([[orders, 'eu-west-1'], [users, 'us-east-2']])
  expect(sqsConfigsFromEnv({ SQS_QUEUE_URL: orders })).toEqual([sqsConfigFromEnv({ SQS_QUEUE_URL: orders })])
  expect(() => sqsConfigsFromEnv({ SQS_QUEUE_URL: `${orders},users` })).toThrow(/SQS_QUEUE_URL must be a URL/)
  expect(() => sqsConfigsFromEnv({})).toThrow(/SQS_QUEUE_URL is not set/)
})
