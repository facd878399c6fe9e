import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import type { ChatSocket, Frame } from '../support/chat-socket.ts'
import { System } from '../support/system.ts'
import { useStack } from '../support/stack.ts'
import { newClientMessageId, originalOf, range, readRoom, sendUntilAnswered, seqsOf, wideLimits } from './helpers.ts'

let system: System
beforeAll(async () => {
  system = await System.start(await useStack(), 'resume', { env: { ...wideLimits, ROOM_SNAPSHOT_EVERY_MS: '500' } })
})
afterAll(() => system?.close())

// A test that fails between a kill and the start after it must not take the next ones with it.
beforeEach(async () => {
  for (const process of system.processes.values()) if (!process.isRunning) await process.start()
})

const join = (edge: number, userId: string, orderId: string, since = 0) => system.connect(edge, { userId, orderId, since, until: 'open' })

test('an edge is killed in mid-traffic: on the other one, `since` gives exactly what is missing, and a retry sends nothing twice', async () => {
  const orderId = 'order-killed-edge'
  await system.openRoom(orderId, 'customer', 'vendor')
  const customer = await join(1, 'customer', orderId)
  const vendor = await join(2, 'vendor', orderId)
  await Promise.all([customer, vendor].map((socket) => socket.waitForType('caughtUp')))
  let talking = true
  const vendorAcks = (async () => {
    const acks: Frame[] = []
    while (talking) acks.push(await vendor.sendMessage(`vendor ${acks.length}`))
    return acks
  })()
  const sent = new Map(range(1, 60).map((i) => [newClientMessageId(), `customer ${i}`]))
  const send = ([clientMessageId, message]: [string, string]) => customer.sendRaw(JSON.stringify({ id: clientMessageId, type: 'sendMessage', clientMessageId, message }))
  for (const message of [...sent].slice(0, 40)) send(message)
  await customer.waitFor((f) => f.type === 'ack', 'a first ack')
  // The last ones meet the end of their edge.
  for (const message of [...sent].slice(40)) send(message)
  await system.process('edge-1').kill()
  await customer.waitForClose()

  const since = seqsOf(customer.events()).at(-1)!
  expect(seqsOf(customer.events())).toEqual(range(1, since))
  const again = await join(2, 'customer', orderId, since)
  const acked = new Map(customer.frames.filter((f) => f.type === 'ack').map((f) => [f['clientMessageId'] as string, f]))
  const unacked = [...sent].filter(([clientMessageId]) => !acked.has(clientMessageId))
  for (const [clientMessageId, message] of unacked) acked.set(clientMessageId, await sendUntilAnswered(again, message, { clientMessageId }))
  talking = false
  const head = Math.max(...seqsOf([...acked.values(), ...(await vendorAcks)]))

  await Promise.all([again.waitForSeq(head), vendor.waitForSeq(head)])
  expect(seqsOf(again.events())).toEqual(range(since + 1, head))
  expect(seqsOf(vendor.events())).toEqual(range(1, head))
  const seenByVendor = vendor.frames.filter((f) => f.type === 'newMessage')
  expect(seenByVendor.map((f) => f['clientMessageId']).toSorted()).toEqual([...sent.keys()].toSorted())
  for (const f of seenByVendor) expect(f).toMatchObject({ seq: acked.get(f['clientMessageId'])!['seq'], messageId: acked.get(f['clientMessageId'])!['messageId'], content: sent.get(f['clientMessageId'])! })
})

test('a repeat gets the original ack: on another edge, after room-state was stopped and after it was killed, and in a closed room', async () => {
  const orderId = 'order-repeats'
  await system.openRoom(orderId, 'customer', 'vendor')
  const vendor = await join(2, 'vendor', orderId)
  const customers = [await join(1, 'customer', orderId), await join(2, 'customer', orderId)] as const
  const clientMessageId = newClientMessageId()
  const first = await customers[0].sendMessage('once', { clientMessageId })
  expect(first).toMatchObject({ type: 'ack', seq: 2, messageIndex: 1, clientMessageId })
  expect(first).not.toHaveProperty('repeated')
  const expectRepeat = async (socket: ChatSocket) => {
    const repeat = await sendUntilAnswered(socket, 'once', { clientMessageId })
    expect(repeat).toMatchObject({ type: 'ack', repeated: true })
    expect(originalOf(repeat)).toEqual(originalOf(first))
  }
  await expectRepeat(customers[0])
  await expectRepeat(customers[1])
  // The first content stands, whatever the repeat brings.
  expect(await customers[1].sendMessage('something else', { clientMessageId })).toMatchObject({ type: 'ack', repeated: true, seq: 2 })
  // Another sender's id is another message.
  expect(await vendor.sendMessage('mine', { clientMessageId })).toMatchObject({ type: 'ack', seq: 3 })

  await system.process('room-state-1').restart()
  await expectRepeat(customers[1])
  const later = await sendUntilAnswered(customers[0], 'after the restart', { clientMessageId: newClientMessageId() })
  expect(later).toMatchObject({ type: 'ack', seq: 4 })

  await system.process('room-state-1').kill()
  await system.process('room-state-1').start()
  await expectRepeat(customers[0])
  const unsent = newClientMessageId()
  expect(await sendUntilAnswered(customers[1], 'after the kill', { clientMessageId: unsent })).toMatchObject({ type: 'ack', seq: 5 })

  await system.order('delivered', orderId)
  await Promise.all([vendor, ...customers].map((socket) => socket.waitForSeq(6)))
  await expectRepeat(customers[0])
  expect(await sendUntilAnswered(customers[0], 'too late', { clientMessageId: newClientMessageId() })).toMatchObject({ type: 'error', code: 'room_read_only' })
  await system.process('room-state-1').restart()
  await expectRepeat(customers[1])
  expect(await sendUntilAnswered(customers[1], 'too late', { clientMessageId: newClientMessageId() })).toMatchObject({ type: 'error', code: 'room_read_only' })

  for (const socket of [vendor, ...customers]) expect(seqsOf(socket.events())).toEqual(range(1, 6))
  expect((await readRoom(system, 1, 'vendor', orderId)).flatMap((f) => f['content'] ?? [])).toEqual(['once', 'mine', 'after the restart', 'after the kill'])
})

test('what was sent while no room-state ran is answered once it does', async () => {
  const orderId = 'order-pause'
  await system.openRoom(orderId, 'customer', 'vendor')
  const customer = await join(1, 'customer', orderId)
  const vendor = await join(2, 'vendor', orderId)
  await customer.sendMessage('before')
  await system.process('room-state-1').stop()
  const messages = range(1, 20).map((i) => ({ clientMessageId: newClientMessageId(), message: `while it is down ${i}` }))
  const answers = Promise.all(messages.map(({ clientMessageId, message }) => sendUntilAnswered(customer, message, { clientMessageId })))
  await system.process('room-state-1').start()
  expect(seqsOf(await answers)).toEqual(range(3, 22))
  await vendor.waitForSeq(22)
  expect(vendor.events().slice(2).map((f) => f['content'])).toEqual(messages.map(({ message }) => message))
})

test('a message without an id gets no ack but the event; of two devices of a sender one gets the ack, the other the event', async () => {
  const orderId = 'order-devices'
  await system.openRoom(orderId, 'customer', 'vendor')
  const phone = await join(1, 'customer', orderId)
  const tablet = await join(1, 'customer', orderId)
  const laptop = await join(2, 'customer', orderId)
  await Promise.all([phone, tablet, laptop].map((socket) => socket.waitForType('caughtUp')))
  const ack = await phone.sendMessage('with an id')
  for (const other of [tablet, laptop]) expect(await other.waitForSeq(2)).toMatchObject({ type: 'newMessage', senderId: 'customer', content: 'with an id', messageId: ack['messageId'] })
  expect(phone.frames.filter((f) => f['seq'] === 2 && f.type !== 'ack')).toEqual([])

  phone.sendRaw(JSON.stringify({ type: 'sendMessage', message: 'without one' }))
  for (const socket of [phone, tablet, laptop]) expect(await socket.waitForSeq(3)).toMatchObject({ type: 'newMessage', content: 'without one' })
  await phone.request({ type: 'ping' })
  expect(phone.frames.filter((f) => f.type === 'ack' && f['seq'] !== undefined)).toHaveLength(1)
  for (const socket of [phone, tablet, laptop]) for (const f of socket.frames) if (f.type !== 'ack') expect(f).not.toHaveProperty('id')
})

test('SIGTERM of an edge: what is in flight is acked, then 4000 with a time to come back; nobody is let in meanwhile', async () => {
  const orderId = 'order-drain'
  await system.openRoom(orderId, 'customer', 'vendor')
  const others = await Promise.all(range(1, 5).map(() => join(1, 'vendor', orderId)))
  const customer = await join(1, 'customer', orderId)
  await customer.waitForType('caughtUp')
  const sends = range(1, 50).map((i) => customer.sendMessage(`in flight ${i}`))
  await sends[0]
  const stopped = system.process('edge-1').stop()
  const acks = await Promise.all(sends)
  expect(acks.every((f) => f.type === 'ack')).toBe(true)
  expect(seqsOf(acks)).toEqual(range(2, 51))
  for (const socket of [customer, ...others]) {
    const { code, reason } = await socket.waitForClose()
    expect([code, JSON.parse(reason)]).toEqual([4000, { code: 'shutting_down', retryAfterMs: expect.any(Number) }])
  }
  expect(await stopped).toBe(0)
  await expect(system.connect(1, { userId: 'customer', orderId })).rejects.toThrow()
  expect(seqsOf(await readRoom(system, 2, 'vendor', orderId))).toEqual(range(1, 51))
})

test('SIGTERM of an edge while nobody answers: every socket is told to come back all the same, within the deadline', async () => {
  const orderId = 'order-drain-in-vain'
  await system.openRoom(orderId, 'customer', 'vendor')
  const sockets = await Promise.all(range(1, 12).map(() => join(1, 'customer', orderId)))
  await Promise.all(sockets.map((socket) => socket.waitForType('caughtUp')))
  await system.process('room-state-1').kill()
  const clientMessageId = newClientMessageId()
  for (const socket of sockets) socket.sendRaw(JSON.stringify({ id: 1, type: 'sendMessage', clientMessageId, message: 'is anybody there?' }))
  await vi.waitFor(async () => expect(await system.process('edge-1').metricSum('websocket_pending_commands')).toBe(sockets.length), { timeout: 10_000 })
  expect(await system.process('edge-1').stop()).toBe(0)
  expect((await Promise.all(sockets.map((socket) => socket.waitForClose()))).map(({ code }) => code)).toEqual(sockets.map(() => 4000))
  // Nobody was told that it is lost, and it is not: sent once, by whichever of them.
  await system.process('room-state-1').start()
  const again = await join(2, 'customer', orderId)
  expect(await sendUntilAnswered(again, 'is anybody there?', { clientMessageId })).toMatchObject({ type: 'ack', seq: 2, repeated: true })
})
