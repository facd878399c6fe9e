import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { TcpProxy } from '../faults/proxy/tcp-proxy.ts'
import { useStack } from '../support/stack.ts'
import { System } from '../support/system.ts'
import { Queue } from './notifier-rig.ts'

const GRACE_MS = 1_500

let system: System
let queue: Queue
let redis: TcpProxy
let postgres: TcpProxy

beforeAll(async () => {
  const stack = await useStack()
  queue = await Queue.create(stack)
  redis = await TcpProxy.listen({ targets: [Number(new URL(stack.redisUrl).port)] })
  postgres = await TcpProxy.listen({ targets: [Number(new URL(stack.postgresUrl).port)] })
  const through = (proxy: TcpProxy, url: string) => Object.assign(new URL(url), { port: String(proxy.port) }).href
  system = await System.start(stack, 'notifier-inbox', {
    count: { edge: 1, inbox: 1, notifier: 1 },
    env: { NOTIFIER_GRACE_MS: String(GRACE_MS), NOTIFIER_PREVIEW: '1', NOTIFIER_SQS_QUEUE_URL: queue.url, EDGE_PRESENCE_GRACE_MS: '200' },
    endpointsOf: async (id, endpoints) => 
      id === 'notifier-1' ? { ...endpoints, redisUrl: through(redis, endpoints.redisUrl), postgresUrl: through(postgres, endpoints.postgresUrl) } : endpoints,
  })
})

afterAll(async () => {
  await system?.close()
  await redis?.close()
  await postgres?.close()
  await queue?.close()
})

const soon = <T>(check: () => T | Promise<T>) => vi.waitFor(check, { timeout: 20_000, interval: 100 })
const toldOf = async (userId: string) => (await queue.drain()).filter((payload) => payload.userId === userId)

test('from a message over a socket to the push of who is away, and back to its clearing by another device', async () => {
  await system.openRoom('o1', 'cust', 'vend')
  const customer = await system.connect(1, { userId: 'cust', orderId: 'o1' })
  const sentMs = Date.now()
  expect(await customer.sendMessage('ring twice')).toMatchObject({ type: 'ack' })
  await soon(async () => expect(await toldOf('vend')).toMatchObject([{ type: 'notification', roomId: 'o1', kind: 'message', count: 1, badge: 1, title: { senderId: 'cust', roomKind: 'order' }, preview: 'ring twice' }]))
  expect(Date.now() - sentMs).toBeGreaterThanOrEqual(GRACE_MS)
  // The sender is told of nothing, though he has a device that could be.
  expect(await toldOf('cust')).toEqual([])

  const vendor = await system.connect(1, { userId: 'vend', orderId: 'o1' })
  expect(await vendor.request({ type: 'mark', roomId: 'o1', seen: 1 })).toMatchObject({ type: 'ack' })
  await soon(async () => expect((await toldOf('vend')).at(-1)).toMatchObject({ type: 'cleared', count: 0, badge: 0 }))

  const before = (await toldOf('vend')).length
  await customer.sendMessage('still there?')
  await soon(async () => expect(await system.process('notifier-1').metricSum('notifier_silent_total{reason="active"')).toBe(1))
  expect((await toldOf('vend')).length).toBe(before)
  vendor.close()
  customer.close()
})

test('what is written while notifier has no Postgres is told when it has it again', async () => {
  await system.openRoom('o3', 'cust', 'vend3')
  const customer = await system.connect(1, { userId: 'cust', orderId: 'o3' })
  postgres.refuse(true)
  postgres.cut()
  await customer.sendMessage('hello')
  // Longer than the runners of the jobs hold out.
  await new Promise((resolve) => setTimeout(resolve, 15_000))
  expect(system.process('notifier-1').isRunning).toBe(true)
  expect(await toldOf('vend3')).toEqual([])
  postgres.refuse(false)
  await soon(async () => expect(await toldOf('vend3')).toMatchObject([{ type: 'notification', roomId: 'o3', preview: 'hello' }]))
  customer.close()
})

test('where Redis cannot be asked, who is there is told too: nothing is lost', async () => {
  await system.openRoom('o2', 'cust', 'vend2')
  const [customer, vendor] = [await system.connect(1, { userId: 'cust', orderId: 'o2' }), await system.connect(1, { userId: 'vend2', orderId: 'o2' })]
  await redis.close()
  await customer.sendMessage('hello')
  await soon(async () => expect(await toldOf('vend2')).toMatchObject([{ type: 'notification', roomId: 'o2' }]))
  expect(await system.process('notifier-1').metricSum('notifier_presence_unknown_total')).toBeGreaterThanOrEqual(1)
  vendor.close()
  customer.close()
})
