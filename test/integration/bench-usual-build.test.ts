import { v7 as uuidV7 } from 'uuid'
import { io, type Socket } from 'socket.io-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { tokenOf } from '../bench/systems/links.ts'
import { usualBuild } from '../bench/systems/usual-build.ts'
import { Pair } from '../bench/generator/pair.ts'
import { World } from '../bench/world.ts'
import { useStack } from '../support/stack.ts'

/** The build that order-chat is measured against must do its work; and the generator must speak to it as a real client does. */
describe('the usual build', () => {
  let world: World
  let system: ReturnType<typeof usualBuild>
  const sockets: Socket[] = []

  beforeAll(async () => {
    world = await World.on(await useStack(), 'usual-build')
    system = usualBuild(world)
    await system.start()
    await system.openRooms(2, 'real')
  })

  afterAll(async () => {
    for (const socket of sockets) socket.disconnect()
    await system?.stop()
    await world?.discard()
  })

  async function connect(instance: number, userId: string, roomId: string, token?: string): Promise<Socket> {
    const socket = io(system.urls()[instance], { transports: ['websocket'], auth: { roomId, token: token ?? (await tokenOf(world, userId)) }, reconnection: false, forceNew: true })
    sockets.push(socket)
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('connect_error', reject))
    return socket
  }

  test('a real socket.io client is heard on the other instance, and acked once the row is there', async () => {
    const [customer, vendor] = [await connect(0, 'c-real-0', 'real-0'), await connect(1, 'v-real-0', 'real-0')]
    const heard = new Promise((resolve) => vendor.once('message', resolve))
    const clientMessageId = uuidV7()
    const ack = await customer.emitWithAck('message', { roomId: 'real-0', clientMessageId, text: 'hi' })
    expect(ack).toMatchObject({ ok: true })
    expect(await heard).toMatchObject({ roomId: 'real-0', senderId: 'c-real-0', content: 'hi', clientMessageId, messageId: ack.messageId })
    expect(await customer.emitWithAck('message', { roomId: 'real-0', clientMessageId, text: 'hi' }), 'a repeat').toMatchObject({ messageId: ack.messageId })
  })

  test('lets nobody in without a token, nor into the room of others', async () => {
    await expect(connect(0, 'c-real-0', 'real-0', 'no token')).rejects.toThrow()
    await expect(connect(0, 'c-real-0', 'real-1')).rejects.toThrow('not_a_participant')
    const customer = await connect(0, 'c-real-0', 'real-0')
    expect(await customer.emitWithAck('message', { roomId: 'real-1', clientMessageId: uuidV7(), text: 'hi' })).toEqual({ ok: false, code: 'not_a_participant' })
  })

  test('the generator, which speaks the protocol by hand, delivers and is acked', async () => {
    const pair = new Pair()
    try {
      await pair.connect(await system.openRooms(10, 'by-hand'))
      const run = await pair.play({ rate: 100, seconds: 1, seed: 1 })
      expect({ delivered: run.delivered, duplicates: run.duplicates, troubles: run.troubles }).toEqual({ delivered: 100, duplicates: 0, troubles: [] })
      expect(run.ackMs.filter(Number.isNaN)).toHaveLength(0)
    } finally {
      await pair.end()
    }
  })
})
