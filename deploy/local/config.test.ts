import { describe, expect, test } from 'vitest'
import { endpointsOf, portFromEnv, stackConfigFromEnv } from './config.ts'

describe('the stack config', () => {
  test('without any variable it has the addresses that other programs rely on', () => {
    expect(endpointsOf(stackConfigFromEnv({}, '/project', 1))).toEqual({
      kafkaBrokers: ['127.0.0.1:19092'],
      schemaRegistryUrl: 'http://127.0.0.1:18081/apis/ccompat/v7',
      postgresAdminUrl: 'postgres://postgres@127.0.0.1:15432/postgres',
      postgresUrl: 'postgres://chat@127.0.0.1:15432/chat',
      redisUrl: 'redis://127.0.0.1:16379',
      sqsEndpoint: 'http://127.0.0.1:19324',
      sqsQueueUrl: 'http://127.0.0.1:19324/000000000000/order-events',
      s3Endpoint: 'http://127.0.0.1:19000',
    })
  })

  test('three brokers listen on three ports, their controllers a hundred above', () => {
    const { kafka } = stackConfigFromEnv({ ORDER_CHAT_KAFKA_PORT: '20000' }, '/project', 3)
    expect(kafka).toEqual([
      { id: 1, port: 20_000, controllerPort: 20_100 },
      { id: 2, port: 20_001, controllerPort: 20_101 },
      { id: 3, port: 20_002, controllerPort: 20_102 },
    ])
  })

  test('a port that is none is refused by the name of its variable', () => {
    expect(() => portFromEnv({ ORDER_CHAT_REDIS_PORT: 'redis' }, 'ORDER_CHAT_REDIS_PORT')).toThrow(/ORDER_CHAT_REDIS_PORT/)
    expect(() => portFromEnv({ ORDER_CHAT_REDIS_PORT: '70000' }, 'ORDER_CHAT_REDIS_PORT')).toThrow(/70000/)
    expect(portFromEnv({ ORDER_CHAT_REDIS_PORT: '' }, 'ORDER_CHAT_REDIS_PORT')).toBe(16_379)
  })

  test('another number of brokers than one or three is refused', () => {
    expect(() => stackConfigFromEnv({}, '/project', 2)).toThrow(/1 or 3/)
  })
})
