import fc from 'fast-check'
import { beforeEach, describe, expect, test } from 'vitest'
import { ChatError } from '#libs/domain/errors.ts'
import type { ProductFields } from '#libs/domain/frames.ts'
import { VirtualTime } from '#libs/streams/memory-log.ts'
import { MemoryLive } from './presence-memory.ts'
import { type RigClient, RigNode, type World } from './presence-rig.ts'
import { ProductWatch } from './product-watch.ts'

const card = (productId: string, updatedAtMs: number): ProductFields => ({ productId, name: `${productId} at ${updatedAtMs}`, updatedAtMs })
const cards = ({ socket }: RigClient) => socket.ofType('cardUpdated').map(({ product }) => product.name)
const watch = (client: RigClient, ...productIds: string[]) => client.request({ id: 1, type: 'watchProducts', productIds })

let world: World
let node: RigNode
beforeEach(() => {
  const time = new VirtualTime()
  world = { time, live: new MemoryLive(() => time.nowMs()), rooms: new Map(), events: [], hiding: new Set(), products: new Map([['tea', card('tea', 5)]]) }
  node = new RigNode(world, 'edge-1')
})

describe('watched products', () => {
  test('the request is acked, then come the present cards, then what changes', async () => {
    const client = node.connect('ann')
    await watch(client, 'tea', 'cake')
    expect(client.socket.frames).toEqual([{ id: 1, type: 'ack' }, { type: 'cardUpdated', productId: 'tea', product: card('tea', 5) }])
    node.realtime.products.updated(card('cake', 1))
    node.realtime.products.updated(card('bread', 9))
    expect(cards(client)).toEqual(['tea at 5', 'cake at 1'])
  })

  test('a request replaces the one before', async () => {
    const client = node.connect('ann')
    await watch(client, 'tea')
    await watch(client, 'cake')
    node.realtime.products.updated(card('tea', 6))
    node.realtime.products.updated(card('cake', 6))
    await watch(client)
    node.realtime.products.updated(card('cake', 7))
    expect(cards(client)).toEqual(['tea at 5', 'cake at 6'])
    expect(node.realtime.products.size).toBe(0)
  })

  test('an update that came before the history had it is shown', async () => {
    const client = node.connect('ann')
    node.realtime.products.updated(card('tea', 8))
    await watch(client, 'tea')
    expect(cards(client)).toEqual(['tea at 8'])
  })

  test('a history that is ahead of what was heard here is news for all who watch', async () => {
    const [first, second] = [node.connect('ann'), node.connect('bob')]
    await watch(first, 'tea')
    world.products.set('tea', card('tea', 9))
    await watch(second, 'tea')
    node.realtime.products.updated(card('tea', 9))
    expect([cards(first), cards(second)]).toEqual([['tea at 5', 'tea at 9'], ['tea at 9']])
  })

  test('the history cannot be read: refused as retriable, and what was watched stays', async () => {
    const client = node.connect('ann')
    await watch(client, 'tea')
    world.historyDown = new ChatError('unavailable')
    await expect(watch(client, 'cake')).rejects.toMatchObject({ code: 'history_unavailable', retriable: true })
    node.realtime.products.updated(card('tea', 6))
    node.realtime.products.updated(card('cake', 6))
    expect(cards(client)).toEqual(['tea at 5', 'tea at 6'])
  })

  test('a socket that closes leaves nothing behind', async () => {
    const client = node.connect('ann')
    await watch(client, 'tea')
    node.close(client.connection)
    expect(node.realtime.products.size).toBe(0)
    node.realtime.products.updated(card('tea', 6))
  })

  test('of what nobody watches only the latest are remembered', async () => {
    const loaded: string[][] = []
    const products = new ProductWatch({ load: async (ids) => (loaded.push([...ids]), []), follow: async () => {}, limits: { recentMax: 3, watchedMax: 2 } })
    for (let i = 0; i < 10; i++) products.updated(card(`p${i}`, 1))
    const { connection } = node.connect('ann')
    expect((await products.watch(connection, ['p9', 'p0'])).map(({ productId }) => productId)).toEqual(['p9'])
    await expect(products.watch(connection, ['p7', 'p8', 'p9'])).rejects.toMatchObject({ code: 'unavailable' })
    expect(products.size).toBe(2)
  })
})

test('in whatever order updates come and sockets watch: the last card shown is the latest, and none goes back', async () => {
  const step = fc.oneof(fc.record({ update: fc.constantFrom('tea', 'cake'), atMs: fc.nat(20) }), fc.record({ watch: fc.subarray(['tea', 'cake']), who: fc.nat(2) }))
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.boolean(), async (course, historyKeepsUp) => {
      const stored = new Map<string, ProductFields>()
      const latest = new Map<string, number>()
      const products = new ProductWatch({ load: async (ids) => ids.flatMap((id) => stored.get(id) ?? []), follow: async () => {}, limits: { recentMax: 10, watchedMax: 10 } })
      const clients = [0, 1, 2].map(() => ({ ...node.connect('ann'), watching: [] as string[], shown: [] as ProductFields[] }))
      for (const one of course) {
        if ('watch' in one) {
          const client = clients[one.who]!
          client.watching = one.watch
          client.shown = []
          client.socket.frames.length = 0
          client.shown.push(...(await products.watch(client.connection, one.watch)))
        } else {
          products.updated(card(one.update, one.atMs))
          latest.set(one.update, Math.max(latest.get(one.update) ?? -1, one.atMs))
          if (historyKeepsUp) stored.set(one.update, card(one.update, latest.get(one.update)!))
        }
        for (const client of clients) {
          for (const id of client.watching) {
            const shown = [...client.shown, ...client.socket.ofType('cardUpdated').map(({ product }) => product as ProductFields)].filter(({ productId }) => productId === id).map(({ updatedAtMs }) => updatedAtMs)
            expect(shown).toEqual(shown.toSorted((a, b) => a - b))
            expect(shown.at(-1)).toBe(latest.get(id))
          }
        }
      }
    }),
  )
})
