import { strict as assert } from 'node:assert'
import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import WebSocket from 'ws'
import type { Person } from './person.ts'
import type { Stage } from './stage.ts'

/** From the acceptance of an order to its delivery. */
export async function orderLife(stage: Stage): Promise<void> {
  const orderId = `demo-${stage.run}`
  stage.chapter(`The life of order ${orderId}`)
  const customer = await stage.step('order.accepted through SQS; the customer is in the room, on edge 1', async () => {
    await stage.publish('order.accepted', { orderId, customerId: stage.userId('customer'), vendorId: stage.userId('vendor') })
    return stage.inOrder('customer', orderId, { edge: 1 })
  })
  const vendor = await stage.step('the vendor joins on edge 2', () => stage.inOrder('vendor', orderId, { edge: 2 }))
  await stage.step('customer → vendor, from edge to edge', () => say(stage, orderId, customer, vendor, 'Is it ready?'))
  await stage.step('vendor → customer', () => say(stage, orderId, vendor, customer, 'In five minutes'))
  await stage.step('a stranger gets 403, an unknown order 404', async () => {
    assert.deepEqual(await statusOf(stage, 'stranger', orderId), { status: 403, code: 'not_a_participant' })
    assert.deepEqual(await statusOf(stage, 'customer', `${orderId}-unknown`), { status: 404, code: 'room_not_found' })
  })
  await stage.step('order.rider_assigned; the others see it', async () => {
    await stage.publish('order.rider_assigned', { orderId, riderId: stage.userId('rider') })
    await stage.until(() => [customer, vendor].every((p) => p.seat(orderId).room.lastSeq >= 4), 'the rider did not come')
  })
  const rider = await stage.step('the rider joins and has the whole history', async () => {
    const person = await stage.inOrder('rider', orderId, { edge: 1 })
    assert.deepEqual(person.seat(orderId).events.map((e) => e.seq), [1, 2, 3, 4])
    return person
  })
  await stage.step('rider → vendor', () => say(stage, orderId, rider, vendor, 'On my way'))
  await stage.step('the same clientMessageId again, on the other edge, is the same message', () => repeat(stage, orderId, customer))
  const people = [customer, vendor, rider]
  await stage.step('order.delivered; the room is read-only', async () => {
    await stage.publish('order.delivered', { orderId, deliveredAt: new Date().toISOString() })
    await stage.until(() => people.every((p) => p.seat(orderId).room.lastSeq === 7), 'the room did not close')
    await assert.rejects(customer.seat(orderId).room.send('Thanks').done, { code: 'room_read_only' })
  })
  await stage.step('an admin reads the whole log, and cannot write', async () => {
    const admin = await stage.inOrder('boss', orderId, { edge: 2, role: 'admin' })
    assert.deepEqual(admin.seat(orderId).events, vendor.seat(orderId).events)
    await assert.rejects(admin.seat(orderId).room.send('I see you').done, { code: 'admin_is_read_only' })
  })
  await stage.step('everybody saw the same, 1 … 7; Postgres and the api have it too', () => compare(stage, orderId, people))
}

/** Sends, and waits until the other one has it. */
async function say(stage: Stage, roomId: string, from: Person, to: Person, content: string): Promise<void> {
  const { seq } = await from.seat(roomId).room.send(content).done
  const { room, events } = to.seat(roomId)
  await stage.until(() => room.lastSeq >= seq, `seq ${seq} did not arrive`)
  const seen = events.at(seq - 1)
  assert.equal(seen?.type === 'newMessage' && seen.content, content)
}

async function statusOf(stage: Stage, name: string, id: string): Promise<{ status: number; code: string }> {
  const answer = await fetch(`${stage.edgeUrl(1, 'http')}/chat?orderId=${id}`, { headers: { authorization: `Bearer ${await stage.token(name)}` } })
  return { status: answer.status, code: ((await answer.json()) as { code: string }).code }
}

async function repeat(stage: Stage, orderId: string, customer: Person): Promise<void> {
  const sent = customer.seat(orderId).room.send('Ring twice, please')
  const { seq } = await sent.done
  const ws = new WebSocket(`${stage.edgeUrl(2, 'ws')}/chat?orderId=${orderId}&since=${seq}`, { headers: { authorization: `Bearer ${await stage.token('customer')}` } })
  const replies: { id?: string; seq?: number; repeated?: boolean }[] = []
  ws.on('message', (data) => replies.push(JSON.parse(data.toString())))
  await new Promise((resolve, reject) => ws.once('open', resolve).once('error', reject))
  ws.send(JSON.stringify({ id: 'again', type: 'sendMessage', clientMessageId: sent.clientMessageId, message: 'Ring twice, please' }))
  await stage.until(() => replies.some((r) => r.id === 'again'), 'no reply to the repeat')
  const reply = replies.find((r) => r.id === 'again')
  assert.deepEqual([reply?.seq, reply?.repeated], [seq, true])
  ws.close()
}

async function compare(stage: Stage, orderId: string, people: readonly Person[]): Promise<void> {
  const [first, ...others] = people.map((person) => person.seat(orderId).events)
  assert.deepEqual(first!.map((e) => e.seq), [1, 2, 3, 4, 5, 6, 7])
  for (const events of others) assert.deepEqual(events, first)
  const said = first!.flatMap((e) => (e.type === 'newMessage' ? [[e.seq, e.senderId, e.content]] : []))
  const client = new pg.Client({ connectionString: stage.postgresUrl })
  await client.connect()
  try {
    let rows: { seq: string; sender_id: string; content: string }[] = []
    for (const deadlineMs = Date.now() + 15_000; rows.length < said.length && Date.now() < deadlineMs; await pause(20)) {
      rows = (await client.query('SELECT seq, sender_id, content FROM chat_history WHERE room_id = $1 ORDER BY seq', [orderId])).rows
    }
    assert.deepEqual(rows.map((r) => [Number(r.seq), r.sender_id, r.content]), said)
  } finally {
    await client.end()
  }
  const { messages } = await stage.api('vendor', 'GET', `/rooms/${orderId}/messages?after=0&limit=200`)
  assert.deepEqual(messages.map((m: { seq: number; senderId: string; content: string }) => [m.seq, m.senderId, m.content]), said)
  const { events } = await stage.api('boss', 'GET', `/admin/rooms/${orderId}/events`, { role: 'admin' })
  assert.equal(events.length, 7)
}
